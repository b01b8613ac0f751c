"""What holds for every model: its loss falls, it names its files, it goes on, its weights can be used."""

import json
import re

import numpy as np
import pytest
from safetensors.numpy import load, load_file

import tinygrad_rnn as tr
from models import __main__ as command
from models import _command

from .cases import QUICK, USES, fresh

PNG = b"\x89PNG"
FEW = ("airline", "forecast", "sine")  # quick ones, for what takes longer


def some(default):
    """The models of `default`; the others are slow."""
    marks = [() if name in default else pytest.mark.slow for name in command.names()]
    names = [pytest.param(name, marks=m) for name, m in zip(command.names(), marks)]
    return pytest.mark.parametrize("trained", names, indirect=True)


def test_every_model_is_here():
    assert sorted(QUICK) == command.names() == sorted(USES)


QUICKER = ("airline", "charlm", "digits", "policy", "sentiment", "sine")  # the others are slow


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=() if name in QUICKER else pytest.mark.slow) for name in command.names()],
)
def trained(request, tmp_path_factory):
    """The name of a model, the folder of its short training, and its arguments."""
    out = tmp_path_factory.mktemp(request.param) / "new"
    arguments = [*QUICK[request.param], "--seed", "1", "--out", str(out)]
    assert command.main([request.param, *arguments]) == 0
    return request.param, out, arguments


@pytest.mark.sampled(4)
def test_the_loss_falls(trained):
    name, out, _ = trained
    if name == "policy":  # its loss moves with the policy: tests/train/test_rollout.py has what holds for it
        return
    for losses in json.loads((out / "metrics.json").read_text())["losses"].values():
        assert losses[-1] < losses[0]


@pytest.mark.sampled(4)
def test_the_card_names_what_is_there(trained):
    name, out, _ = trained
    card = command.load(name).main.card
    metrics = json.loads((out / "metrics.json").read_text())
    assert np.isfinite([metrics[card.score], metrics[card.baseline_score]]).all()
    assert f"{metrics[card.score]:{card.style}}"
    assert (out / card.picture).read_bytes().startswith(PNG)
    assert card.form in _command.FORMS


@pytest.mark.sampled(6)
def test_it_names_its_files(trained, capsys):
    """Again with --resume: nothing is left to train, and the same files are written and named."""
    name, out, _ = trained
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.suffix == ".safetensors"}
    assert command.main([name, "--resume", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    named = lines[lines.index("wrote:") + 1 :]
    kept = lines[lines.index("wrote:") - 1].removeprefix(f"kept in {out} for --resume: ").split(", ")
    hidden = {path.name for path in out.iterdir() if path.name.startswith("checkpoint")} | {"options.json"}
    assert all(list(out.glob(name)) for name in kept)
    assert {line.strip() for line in named} == {str(p) for p in out.iterdir() if p.name not in hidden}
    for file, content in before.items():
        first, second = load(content), load_file(out / file)
        assert first.keys() == second.keys()
        for key in first:
            np.testing.assert_array_equal(first[key], second[key], err_msg=f"{file}: {key}")
    for path in out.glob("*.png"):
        assert path.read_bytes().startswith(PNG)


@pytest.mark.slow
@pytest.mark.sampled(6)
@some(FEW)
def test_going_on_is_not_stopping(trained, tmp_path):
    """Fewer epochs, then --resume up to all of them: the same weights, bit for bit."""
    name, out, arguments = trained
    epochs = arguments.index("--epochs") + 1
    short = [*arguments[:epochs], "1", *arguments[epochs + 1 : -1], str(tmp_path)]
    assert command.main([name, *short]) == 0
    tr.seed(5)
    assert command.main([name, "--resume", "--epochs", arguments[epochs], "--out", str(tmp_path)]) == 0
    for path in out.glob("weights*.safetensors"):
        whole, resumed = load_file(path), load_file(tmp_path / path.name)
        assert whole.keys() == resumed.keys()
        for key in whole:
            np.testing.assert_array_equal(whole[key], resumed[key], err_msg=key)


@pytest.mark.sampled(2)
def test_its_weights_can_be_used(trained, capsys):
    name, out, _ = trained
    (verb, *arguments), pattern = USES[name]
    assert command.main([name, verb, "--out", str(out), *arguments]) == 0
    assert re.search(pattern, text := capsys.readouterr().out, re.MULTILINE), text


@pytest.mark.sampled(4)
@some(FEW[:1])
def test_its_weights_can_be_used_in_a_new_process(trained):
    name, out, _ = trained
    (verb, *arguments), pattern = USES[name]
    text = fresh(name, verb, "--out", out, *arguments)
    assert re.search(pattern, text, re.MULTILINE), text


@pytest.mark.parametrize("name", command.names())
def test_without_weights(name, tmp_path, capsys):
    verb, *arguments = USES[name][0]
    assert command.main([name, verb, "--out", str(tmp_path), *arguments]) == 1
    assert f"there are no weights; train first: python -m models {name}" in capsys.readouterr().err
