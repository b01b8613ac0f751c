"""The command line: results, exit codes, JSON, and errors in one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import cache, cli, nn, optim
from tinygrad_rnn.kernels.build import disk_cache
from tinygrad_rnn.storage.weights import read_weights, write_weights
from tinygrad_rnn.train import Trainer

ROOT = Path(cli.__file__).parents[2]
CELLS = """
import tinygrad_rnn as tr
from tinygrad_rnn import nn

class Good(nn.Cell):
    def __init__(self, input_size, hidden_size):
        self.input_size, self.hidden_size = input_size, hidden_size
        self.inner = nn.Linear(input_size + hidden_size, hidden_size)
    def step(self, x, h):
        h = tr.tanh(self.inner(tr.concat([x, h], axis=-1)))
        return h, h

class Bad(Good):
    def step(self, x, h):
        h = tr.tanh(self.inner(tr.concat([x, h], axis=-1))) + x.sum()
        return h, h

class Branching(Good):
    def step(self, x, h):
        return (h, h) if float(x.sum()) > 0 else (h * 1, h * 1)

class Three(Good):
    def __init__(self, a, b, c):
        pass

class Fails(Good):
    def __init__(self):
        raise RuntimeError("no\\nluck")

class Raises(Good):
    def step(self, x, h):
        raise KeyError("a")

class Leaves(Good):
    def step(self, x, h):
        raise SystemExit(0)

class Misfits(Good):
    def step(self, x, h):
        return h + x, h

class Unsized(Good):
    def __init__(self):
        super().__init__(3, 4)
        self.input_size = None

def make():
    return Good(3, 4)

made, layer, model, number = make(), nn.LSTM(3, 4, num_layers=2), nn.Linear(2, 2), 3
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with modules of cells, which is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "my_cells.py").write_text(CELLS)
    (tmp_path / "broken.py").write_text("x = (\n")
    (tmp_path / "raises.py").write_text("\n1 / 0\n")
    (tmp_path / "leaves.py").write_text("raise SystemExit(3)\n")
    (tmp_path / "imports.py").write_text("import not_there_at_all\n")
    yield tmp_path
    for name in ("my_cells", "broken", "raises", "leaves", "imports"):
        sys.modules.pop(name, None)


def run(capsys, *arguments):
    """Exit code, output and errors."""
    code = cli.main([str(a) for a in arguments])
    return code, *capsys.readouterr()


def as_json(capsys, *arguments, code=0):
    got, out, err = run(capsys, *arguments, "--json")
    assert (got, err) == (code, "")
    return json.loads(out)


# ---- check and explain


@pytest.mark.parametrize("spec", ["my_cells:Good", "my_cells:make", "my_cells.py:made", "./my_cells.py:Good", "gru"])
def test_check_passes(here, capsys, spec):
    code, out, err = run(capsys, "check", spec, "--check", "runs", "--check", "rows_independent", "--examples", 3)
    assert (code, out, err) == (0, "runs: passed\nrows_independent: passed\n", "")


def test_check_fails(here, capsys):
    code, out, err = run(capsys, "check", "my_cells:Bad", "--check", "rows_independent")
    assert (code, err) == (1, "")
    assert "fails the check rows_independent" in out
    found = as_json(capsys, "check", "my_cells:Bad", "--check", "rows_independent", code=1)
    assert (found["passed"], found["check"]) == (False, "rows_independent")


def test_check_as_json(here, capsys):
    found = as_json(capsys, "check", "my_cells:Good", "--check", "runs", "--examples", 2)
    assert found == {"cell": "my_cells:Good", "passed": True, "checks": ["runs"], "skipped": {}}


def test_features(here, capsys):
    code, _, err = run(capsys, "check", "my_cells:Unsized", "--check", "runs")
    assert code == 2
    assert err.endswith("here: --features N\n")
    assert run(capsys, "check", "my_cells:Unsized", "--check", "runs", "--features", 3)[0] == 0


def test_check_without_hypothesis(here, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    code, _, err = run(capsys, "check", "gru")
    assert (code, err.count("\n")) == (1, 1)
    assert "check_cell needs hypothesis; run: pip install hypothesis" in err


@pytest.mark.parametrize("spec", ["my_cells:Good", "my_cells:made", "my_cells:layer", "rnn"])
def test_explain(here, capsys, spec):
    code, out, _ = run(capsys, "explain", spec, "--steps", 5, "--batch", 2)
    assert code == 0
    assert "tanh" in out
    found = as_json(capsys, "explain", spec, "--steps", 5, "--batch", 2)
    assert found["compiled"]
    assert len(found["cells"]) == (2 if spec.endswith("layer") else 1)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Raises", "KeyError: 'a', at "),
        ("Leaves", "SystemExit: 0, at "),
        ("Misfits", "ShapeError: add: got shapes (32, 16) and (32, 8), which do not broadcast together, at "),
        ("Unsized", "my_cells:Unsized: "),
    ],
)
def test_explain_what_does_not_run(here, capsys, name, words):
    code, out, err = run(capsys, "explain", f"my_cells:{name}")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err


def test_check_what_leaves(here, capsys):
    code, _, err = run(capsys, "check", "my_cells:Leaves", "--check", "runs")
    assert (code, err.count("\n")) == (2, 1)
    assert "SystemExit: 0, at " in err


def test_explain_what_does_not_compile(here, capsys):
    found = as_json(capsys, "explain", "my_cells:Branching", "--sizes", 3, 4)
    assert not found["compiled"]
    assert "my_cells.py" in found["cells"][0]["reason"]


@pytest.mark.parametrize("command", ["check", "explain"])
@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("nowhere:Cell", "nowhere: no such module in"),
        ("no.where:Cell", "no.where: no such module in"),
        ("nowhere.py:Cell", "nowhere.py: no such file"),
        ("my_cells:Goood", "my_cells: no name 'Goood'; did you mean Good?"),
        ("lstmm", "lstmm: no such cell; did you mean lstm?"),
        ("my_cells", "wanted module:Cell, file.py:Cell, or one of"),
        (":Good", "wanted module:Cell"),
        ("broken:Cell", "broken.py:1"),
        ("raises:Cell", "ZeroDivisionError: division by zero, at"),
        ("leaves:Cell", "importing it fails: SystemExit: 3"),
        ("imports:Cell", "imports: imports not_there_at_all, which is not installed"),
        ("my_cells:Three", "my_cells:Three: needs the arguments a, b, c, wanted none, or input_size and hidden_size"),
        ("my_cells:number", "my_cells:number: got int, wanted an nn.Cell, or what makes one"),
        ("my_cells:model", "my_cells:model: "),
        ("my_cells:Fails", "RuntimeError: no luck"),
    ],
)
def test_cells_that_cannot_be_had(here, capsys, command, spec, words):
    """One clear line, exit code 2."""
    code, out, err = run(capsys, command, spec)
    assert (code, out) == (2, "")
    assert err.startswith("tinygrad-rnn: ")
    assert err.count("\n") == 1
    assert words in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["chekc"], "no command 'chekc'; did you mean check?"),
        (["cache", "claer"], "no command 'claer'; did you mean clear?"),
        (["check", "gru", "--check", "rows_indpendent"], "no check 'rows_indpendent'; did you mean rows_independent?"),
        (["explain", "gru", "--jsno"], "--json"),
        (["explain"], "MODULE:CELL"),
        (["explain", "gru", "--steps", "0"], "--steps"),
        (["completion", "csh"], "bash"),
    ],
)
def test_wrong_arguments(capsys, arguments, words):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert words in err


# ---- weights


def test_convert(here, capsys):
    arrays = {"model.w": np.ones((2, 3), np.float32), "loss": np.zeros(1)}
    write_weights("a.npz", arrays)
    code, out, _ = run(capsys, "convert", "a.npz", "new/b.safetensors")
    assert (code, out) == (0, "wrote new/b.safetensors: 2 arrays, 7 numbers\n")
    assert read_weights("new/b.safetensors").keys() == arrays.keys()
    code, _, err = run(capsys, "convert", "a.npz", "new/b.safetensors", "--prefix", "model.")
    assert (code, err) == (2, "tinygrad-rnn: new/b.safetensors: is there already; pass --force to replace it\n")
    found = as_json(capsys, "convert", "a.npz", "new/b.safetensors", "--prefix", "model.", "--force")
    assert found == {"target": "new/b.safetensors", "arrays": {"w": ["float32", [2, 3]]}}
    assert read_weights("new/b.safetensors").keys() == {"w"}


def test_convert_a_checkpoint(here, capsys):
    model = nn.Linear(2, 1)
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), nn.mse_loss, progress=False)
    trainer.save("run.safetensors")
    assert run(capsys, "convert", "run.safetensors", "weights.npz")[0] == 0
    np.testing.assert_array_equal(np.load("weights.npz")["weight"], model.weight.numpy())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["none.npz", "b.npz"], 2, "none.npz: no such file"),
        (["my_cells.py", "b.npz"], 1, "my_cells.py, which is no file of weights"),
        (["a.npz", "b.txt"], 1, "path: got b.txt, wanted a name that ends in .safetensors"),
        (["a.npz", "b.npz", "--prefix", "x."], 2, "a.npz: holds no weights whose names begin with 'x.'"),
        (["a.npz", "my_cells.py/b.npz"], 1, "my_cells.py"),
    ],
)
def test_convert_what_cannot_be(here, capsys, arguments, code, words):
    write_weights("a.npz", {"w": np.ones(2)})
    got, out, err = run(capsys, "convert", *arguments)
    assert (got, out, err.count("\n")) == (code, "", 1)
    assert words in err


# ---- info, caches, what lies beside


def test_info(capsys):
    found = as_json(capsys, "info")
    assert found["tinygrad_rnn"] == tr.__version__
    assert found["packages"]["numpy"] == np.__version__
    assert found["threads"] == tr.get_num_threads()
    code, out, _ = run(capsys, "info")
    assert code == 0
    assert all(name in out for name in ("Python", "processor", "threads", "cache"))


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A folder of compiled code, with two files that are ours and some that are not."""
    monkeypatch.setattr(disk_cache, "directory", lambda: tmp_path)
    names = f"gemm.pack-{'a' * 20}.code", f"tinygrad_rnn_step_{'0' * 20}.py"
    for name in (*names, "mine.py", "notes.code", f"tinygrad_rnn_step_{'0' * 20}.txt"):
        (tmp_path / name).write_bytes(bytes(10))
    (tmp_path / f"folder-{'a' * 20}.code").mkdir()
    return tmp_path, names


def test_cache(kept, capsys):
    folder, names = kept
    found = as_json(capsys, "cache", "list")
    assert {entry["name"] for entry in found["files"]} == {*names}
    assert (found["folder"], found["bytes"]) == (str(folder), 20)
    assert "in 2 files of" in run(capsys, "cache", "list")[1]
    others = {path.name for path in folder.iterdir()} - {*names}
    assert run(capsys, "cache", "clear")[:2] == (0, f"removed 2 files, 20 B, from {folder}\n")
    assert {path.name for path in folder.iterdir()} == others
    assert as_json(capsys, "cache", "clear") == {"folder": str(folder), "files": 0, "bytes": 0}


def test_warm(monkeypatch, capsys):
    made = [disk_cache_made(True), disk_cache_made(False)]
    monkeypatch.setattr(cache, "warmed", lambda layers, dtypes: iter(made) if layers == ("RNN",) else iter([]))
    code, out, _ = run(capsys, "cache", "warm", "--layer", "RNN", "--dtype", "float32")
    assert code == 0
    assert "1 compiled, for" in out
    assert as_json(capsys, "cache", "warm", "--layer", "RNN")["compiled"] == 1


def disk_cache_made(loaded):
    from tinygrad_rnn.kernels.build.compile_times import Made

    return Made("tasks.run", loaded, 0.1, 0.1)


@pytest.mark.parametrize("arguments", [["list"], ["clear"], ["warm"]])
def test_no_cache(monkeypatch, capsys, arguments):
    monkeypatch.setattr(disk_cache, "directory", lambda: None)
    code, _, err = run(capsys, "cache", *arguments)
    assert code == 1
    assert "set TINYGRAD_RNN_CACHE" in err


def test_models(capsys):
    code, out, _ = run(capsys, "models")
    assert code == 0
    assert "tinygrad-rnn models NAME" in out
    code, _, err = run(capsys, "models", "airlin")
    assert (code, err) == (2, "models: got 'airlin', which is no model; did you mean airline?\n")
    code, out, _ = run(capsys, "models", "airline", "--help")
    assert code == 0
    assert out.startswith("usage: tinygrad-rnn models airline")
    assert run(capsys, "models", "airline", "--epoch", 3)[0] == 2


def test_benchmarks(capsys, monkeypatch):
    assert "usage: python -m benchmarks" in run(capsys, "bench")[1]
    assert run(capsys, "bench", "nothing")[0] == 2
    from tinygrad_rnn.cli import outside

    monkeypatch.setattr(outside, "CLONE", outside.CLONE / "docs")
    code, _, err = run(capsys, "bench")
    assert (code, err.count("\n")) == (2, 1)
    assert "they are in a clone" in err


# ---- the terminal


COMMANDS = [[], ["info"], ["check"], ["explain"], ["convert"], ["cache"], ["cache", "list"], ["cache", "warm"]]


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_fits_the_terminal(command, columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, err = run(capsys, *command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith("Usage: tinygrad-rnn")
    assert max(map(len, out.splitlines())) <= columns


@pytest.mark.parametrize("columns", [40, 80])
def test_info_fits_the_terminal(columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    _, out, _ = run(capsys, "info")
    words = {word for word in out.split() if len(word) > columns - 14}  # paths, which are left whole
    assert all(len(line) <= columns or words & {*line.split()} for line in out.splitlines())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell, capsys):
    code, out, _ = run(capsys, "completion", shell)
    assert code == 0
    assert "_TINYGRAD_RNN_COMPLETE" in out


def process(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "tinygrad_rnn", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_as_a_process():
    done = process("--version")
    assert (done.returncode, done.stdout) == (0, f"tinygrad-rnn, version {tr.__version__}\n")
    assert done.stderr == ""
    code = "import sys; sys.modules['click'] = None; from tinygrad_rnn.cli import main; raise SystemExit(main())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr) == (1, 'tinygrad-rnn: needs click; run: pip install "tinygrad_rnn[cli]"\n')


def test_completion_of_models():
    code = "from tinygrad_rnn.cli import main; raise SystemExit(main())"
    words = {"COMP_WORDS": "tinygrad-rnn models air", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | words | {"_TINYGRAD_RNN_COMPLETE": "bash_complete"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["plain,airline"], done.stderr
