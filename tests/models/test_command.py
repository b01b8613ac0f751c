"""``python -m models``: the list, and what it says to wrong input."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from models import __main__ as command
from tinygrad_rnn.train import Trainer

ROOT = Path(command.__file__).parents[1]


def test_list_has_a_line_for_every_model(capsys):
    assert command.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {"airline", "sine"} <= set(command.names())
    for name in command.names():
        (line,) = [x for x in lines if x.startswith(f"  {name} ")]
        assert len(line) > 25
    assert not any("_command" in x or "__main__" in x for x in lines)


def test_every_file_is_a_model(monkeypatch, tmp_path):
    """To add a model is to add a file."""
    (tmp_path / "parrot.py").write_text('"""Says it again."""\n')
    monkeypatch.setattr(command, "FOLDER", [*command.FOLDER, str(tmp_path)])
    assert "parrot" in command.names()


def test_unknown_name(capsys):
    assert command.main(["airlime"]) == 2
    assert "got 'airlime', which is no model; did you mean airline?" in capsys.readouterr().err
    assert command.main(["xyz"]) == 2
    assert "got 'xyz', which is no model; wanted airline, " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--epoch", "3"], "got '--epoch', which is no option; did you mean --epochs?"),
        (["--hidden_size=3"], "got '--hidden_size', which is no option; did you mean --hidden-size?"),
        (["predcit", "--help"], "got 'predcit', which is no use of this model; did you mean predict?"),
        (["--epochs", "3", "more"], "unrecognized arguments: more"),
        (["--lr", "0"], "argument --lr: got '0', wanted a number above 0"),
        (["--lr", "nan"], "argument --lr: got 'nan', wanted a number above 0"),
    ],
)
def test_near_misses(arguments, words, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(["airline", *arguments])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.sampled(4)
@pytest.mark.parametrize("columns", [40, 80, 120])
def test_texts_fit_the_terminal(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert command.main([]) == 0
    for name in command.names():
        with pytest.raises(SystemExit):
            command.main([name, "--help"])
    text = capsys.readouterr().out
    assert all(len(line) <= columns for line in text.splitlines())
    assert "scikit-\n" not in text


@pytest.mark.parametrize("name", command.names())
def test_help(name, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main([name, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert f"usage: python -m models {name}" in text
    assert all(option in text for option in ("--epochs", "--seed", "--out", "--cell", "--resume"))
    for verb in command.load(name).main.uses:
        assert f"python -m models {name} {verb} --help" in text
        with pytest.raises(SystemExit) as stop:
            command.main([name, verb, "--help"])
        assert stop.value.code == 0
        assert f"usage: python -m models {name} {verb}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--epochs", "0"], ["--epochs", "many"], ["--seed", "-1"]])
@pytest.mark.parametrize("name", command.names())
def test_bad_option(name, arguments, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main([name, *arguments, "--out", str(tmp_path / "out")])
    assert stop.value.code == 2
    assert f"argument {arguments[0]}: got '{arguments[1]}', wanted an integer" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", [n for n in command.names() if n not in ("memory", "policy")])
def test_data_that_are_not_there(name, tmp_path, capsys):
    path, out = tmp_path / "nothing", tmp_path / "out"
    column = ["--column", "x"] if name in ("airline", "forecast", "sine") else []
    assert command.main([name, "--data", str(path), *column, "--out", str(out)]) == 1
    folder = name in ("melody", "speech", "digits")
    what = "got no such folder, wanted a folder of " if folder else "No such file or directory"
    assert capsys.readouterr().err.startswith(f"models {name}: {path}: {what}")
    path.write_text("a file")
    if folder:
        assert command.main([name, "--data", str(path), "--out", str(out)]) == 1
        assert f"{path}: got a file, wanted a folder of " in capsys.readouterr().err
    assert not out.exists()


def test_a_file_where_the_run_should_go(tmp_path, capsys):
    (tmp_path / "taken").write_text("mine")
    assert command.main(["sine", "--epochs", "1", "--out", str(tmp_path / "taken")]) == 1
    assert capsys.readouterr().err == f"models sine: {tmp_path / 'taken'}: File exists\n"
    assert (tmp_path / "taken").read_text() == "mine"


def test_missing_package():
    code = "import sys; sys.modules['matplotlib'] = None; from models.__main__ import main; main(['airline'])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr.startswith("models: airline needs matplotlib")
    assert 'pip install -e ".[models]"' in run.stderr


def test_from_the_shell():
    run = subprocess.run([sys.executable, "-m", "models"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert "airline" in run.stdout
    assert run.stderr == ""


# ---- going on, and using the wrong folder


def sine(out, *arguments):
    return command.main(["sine", "--samples", "20", "--epochs", "1", "--out", str(out), *arguments])


def test_resume_without_a_run(tmp_path, capsys):
    assert sine(tmp_path, "--resume") == 1
    assert "options.json does not exist: there is no run in that folder" in capsys.readouterr().err


@pytest.mark.slow
def test_resume_with_other_options(tmp_path, capsys):
    assert sine(tmp_path, "--hidden-size", "8") == 0
    assert sine(tmp_path, "--hidden-size", "9", "--resume") == 1
    assert "--hidden-size: got 9 with --resume, wanted 8 as the run in" in capsys.readouterr().err
    assert command.main(["sine", "--out", str(tmp_path), "--resume", "--epochs", "2"]) == 0
    assert "going on after epoch 1" in capsys.readouterr().out


@pytest.mark.slow
def test_a_new_run_takes_nothing_from_an_old_one(tmp_path):
    assert sine(tmp_path) == 0
    stale = tmp_path / "checkpoint-other.safetensors"
    stale.write_bytes(b"of an older run")
    assert sine(tmp_path, "--resume", "--epochs", "1") == 0
    assert stale.exists()
    assert sine(tmp_path, "--force") == 0
    assert not stale.exists()


def test_a_folder_is_not_written_over(tmp_path, capsys):
    out = tmp_path / "run"
    assert sine(out) == 0
    before = (out / "weights.safetensors").read_bytes()
    assert sine(out, "--seed", "1") == 1
    assert f"--out: {out} holds files already; go on with that run with --resume" in capsys.readouterr().err
    assert (out / "weights.safetensors").read_bytes() == before
    assert sine(out, "--seed", "1", "--force") == 0
    assert (out / "weights.safetensors").read_bytes() != before


def test_learning_rate(tmp_path, monkeypatch):
    """Training begins at --lr, and the schedule goes on from there; --resume keeps it."""
    rates = []
    original = Trainer.fit

    def fit(self, *args, **options):
        rates.append(self.optimizer.param_groups[0]["lr"])
        history = original(self, *args, **options)
        rates.append(self.optimizer.param_groups[0]["lr"])
        return history

    monkeypatch.setattr(Trainer, "fit", fit)
    assert sine(tmp_path, "--lr", "0.004") == 0
    assert sine(tmp_path, "--resume", "--epochs", "2") == 0
    np.testing.assert_allclose(rates, [0.004, 0.004 * 0.985, 0.004 * 0.985, 0.004 * 0.985**2])
    assert sine(tmp_path, "--resume", "--lr", "0.005") == 1


def test_folder_of_another_model(tmp_path, capsys):
    assert sine(tmp_path) == 0
    assert command.main(["airline", "--out", str(tmp_path), "--resume"]) == 1
    assert "got a run of sine, wanted one of airline" in capsys.readouterr().err
    assert command.main(["airline", "predict", "--out", str(tmp_path)]) == 1
    assert "got weights of sine, wanted those of airline" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"no weights", bytes(100)])
def test_broken_weights(tmp_path, capsys, content):
    (tmp_path / "weights.safetensors").write_bytes(content)
    assert command.main(["sine", "predict", "--out", str(tmp_path)]) == 1
    assert "weights.safetensors: cannot be read as weights" in capsys.readouterr().err


def test_broken_options(tmp_path, capsys):
    (tmp_path / "options.json").write_text("[]")
    assert sine(tmp_path, "--resume") == 1
    assert "options.json: cannot be read as the options of a run" in capsys.readouterr().err


@pytest.mark.slow
def test_interrupted(tmp_path, monkeypatch):
    """Ctrl-C leaves a checkpoint, and says how to go on."""
    whole = tmp_path / "whole"
    assert sine(whole, "--epochs", "3") == 0

    class Interrupt:
        def on_epoch_end(self, trainer):
            if trainer.epoch == 2:
                raise KeyboardInterrupt

    original = Trainer.fit

    def interrupted(self, *args, **options):
        self.callbacks[0].seconds = 0.0  # save at every update
        self.callbacks.append(Interrupt())
        return original(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "fit", interrupted)
        with pytest.raises(SystemExit, match=r"go on with: python -m models sine --out .* --resume"):
            sine(tmp_path / "part", "--epochs", "3")
    assert command.main(["sine", "--out", str(tmp_path / "part"), "--resume"]) == 0
    a, b = (load_file(folder / "weights.safetensors") for folder in (whole, tmp_path / "part"))
    assert all((a[key] == b[key]).all() for key in a)


@pytest.mark.slow
def test_resume_before_the_first_checkpoint(tmp_path, capsys):
    assert sine(tmp_path) == 0
    for checkpoint in tmp_path.glob("checkpoint*"):
        checkpoint.unlink()
    capsys.readouterr()
    assert sine(tmp_path, "--resume") == 0
    assert "there is no checkpoint" in (out := capsys.readouterr().out)
    assert "this begins at update 0" in out


STOPPED_AT_UPDATE_20 = """
import os, sys
from models import __main__ as command
from tinygrad_rnn.train import Trainer

class Signal:
    def on_step_end(self, trainer):
        if trainer.steps == 20:
            os.kill(os.getpid(), {number})

original = Trainer.fit
def fit(self, *arguments, **options):
    self.callbacks.append(Signal())
    return original(self, *arguments, **options)

Trainer.fit = fit
sys.exit(command.main({arguments}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_what_was_trained(tmp_path, number):
    """Long before the first checkpoint would be due; what goes on ends as a run that nobody stopped."""
    options = ["--samples", "40", "--epochs", "15"]
    arguments = ["sine", *options, "--out", str(tmp_path / "part")]
    code = STOPPED_AT_UPDATE_20.format(number=int(number), arguments=arguments)
    stopped = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    said = r"interrupted after .* at update 20; update 20 is saved, go on with: python -m models sine .* --resume"
    assert re.search(said, stopped.stderr), stopped.stderr
    assert stopped.returncode == (1 if number == signal.SIGINT else 143)
    run = subprocess.run(
        [sys.executable, "-m", "models", "sine", "--resume", "--out", str(tmp_path / "part")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "update 20" in run.stdout
    assert command.main(["sine", *options, "--out", str(tmp_path / "whole")]) == 0
    a, b = (load_file(tmp_path / name / "weights.safetensors") for name in ("part", "whole"))
    assert all((a[key] == b[key]).all() for key in a)


@pytest.mark.slow
def test_other_cells(tmp_path):
    """--cell takes more than the classical ones, also where lengths differ."""
    for cell in ("indrnn", "lru", "mgu", "peephole_lstm"):
        arguments = ["--cell", cell, "--epochs", "2", "--reviews", "60", "--hidden-size", "8"]
        assert command.main(["sentiment", *arguments, "--out", str(tmp_path / cell)]) == 0
        assert command.main(["sentiment", "predict", "the plot is dull", "--out", str(tmp_path / cell)]) == 0


def test_unknown_cell(capsys):
    with pytest.raises(SystemExit):
        command.main(["sine", "--cell", "elephant"])
    assert "argument --cell: invalid choice: 'elephant'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["sine", "--cell", "lstmm"])
    assert "argument --cell: got 'lstmm', which is no choice; did you mean lstm?" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="pipes")
def test_nobody_reads_the_output(tmp_path):
    """As in ``| head -1``: it stops, and says so."""
    arguments = [sys.executable, "-m", "models", "sine", "--samples", "20", "--epochs", "3", "--out", str(tmp_path)]
    with subprocess.Popen(
        arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as run:
        run.stdout.close()
        errors = run.stderr.read()
    assert run.returncode == 1
    assert errors == "models sine: stopped, as nobody reads its output; if training had begun, --resume goes on\n"
