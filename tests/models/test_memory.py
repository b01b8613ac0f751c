"""models/memory: its sequences, scores, and who is tried at which length."""

import json

import numpy as np
import pytest

from models import __main__ as command
from models import memory


def test_the_adding_problem():
    inputs, sums = memory.adding(200, 9, np.random.default_rng(0))
    assert inputs.shape == (9, 200, 2)
    marks = inputs[:, :, 1]
    assert set(np.unique(marks)) == {0, 1}
    assert (marks[:4].sum(0) == 1).all()  # one in each half
    assert (marks[4:].sum(0) == 1).all()
    np.testing.assert_allclose((inputs[:, :, 0] * marks).sum(0), sums[:, 0], rtol=1e-6)
    assert 0.1 < sums.var() < 0.25  # 1/6


def test_the_copy_task():
    inputs, symbols = memory.copying(100, 7, np.random.default_rng(0))
    assert inputs.shape == (5 + 7 + 5, 100, 10)
    assert (inputs.sum(-1) == 1).all()
    ids = inputs.argmax(-1)
    assert (ids[:5] == symbols).all()
    assert (ids[12] == 9).all()  # the signal
    assert (np.delete(ids[5:], 7, axis=0) == 8).all()  # blanks


def test_scores():
    rng = np.random.default_rng(0)
    sums = rng.random((50, 1))
    outputs = np.stack([np.zeros_like(sums), sums])
    assert memory.sum_score(outputs, sums) == 1
    assert memory.sum_score(np.full((3, 50, 1), sums.mean()), sums) == pytest.approx(0)
    _, symbols = memory.copying(30, 2, rng)
    logits = np.concatenate([np.zeros((7, 30, 8)), np.eye(8)[symbols]])
    assert memory.copy_score(logits, symbols) == 1
    logits[-1, :15] = -logits[-1, :15]
    assert memory.copy_score(logits, symbols) == pytest.approx(0.9)


@pytest.mark.slow
def test_a_cell_is_tried_until_it_fails(tmp_path, capsys, monkeypatch):
    can = {("adding", "rnn"): 4, ("adding", "gru"): 9, ("copy", "rnn"): 9, ("copy", "gru"): 0}
    tried = []

    def learn(run, name, cell, gap):
        tried.append((name, cell, gap))
        settings = {"task": name, "hidden_size": 4, "cell": cell}
        return memory.Memory(**settings), settings, 1.0 if gap <= can[name, cell] else 0.0

    monkeypatch.setattr(memory, "learn", learn)
    metrics = memory.main(["--cells", "rnn", "gru", "--gaps", "4", "9", "16", "--out", str(tmp_path)])
    assert metrics["adding_rnn"] == 4
    assert (metrics["adding_gru"], metrics["copy_rnn"], metrics["copy_gru"]) == (9, 9, 0)
    assert ("adding", "rnn", 16) not in tried
    assert ("copy", "gru", 9) not in tried
    capsys.readouterr()
    memory.main(["recall", "--task", "copy", "--out", str(tmp_path)])  # the cell that went farthest
    assert "it says" in capsys.readouterr().out
    assert command.main(["memory", "recall", "--task", "copy", "--gap", "3", "--out", str(tmp_path)]) == 0
    assert "over 3 steps" in capsys.readouterr().out


@pytest.mark.slow
def test_one_cell(tmp_path):
    arguments = ["--epochs", "1", "--sequences", "100", "--gaps", "3", "--tasks", "adding", "--hidden-size", "4"]
    metrics = memory.main([*arguments, "--cell", "gru", "--out", str(tmp_path)])
    assert set(metrics["scores"]["adding"]) == {"gru"}
    assert set(json.loads((tmp_path / "metrics.json").read_text())["losses"]) == {"checkpoint-adding-gru-3"}


def test_gradients_end_at_one():
    args = memory.main._parse(["--gaps", "6", "--hidden-size", "5"])
    norms = memory.untrained_flow(args, "rnn")
    assert norms.shape == (7,)
    assert norms[-1] == 1
    assert norms[0] < norms[-1]  # a tanh unit forgets


@pytest.mark.parametrize("arguments", [["--gaps", "1"], ["--cells", "elephant"], ["--tasks", "cooking"]])
def test_bad_options(arguments, capsys):
    with pytest.raises(SystemExit):
        memory.main(arguments)
    assert f"argument {arguments[0]}:" in capsys.readouterr().err


@pytest.mark.slow
def test_an_lstm_solves_what_an_rnn_does_not(tmp_path):
    metrics = memory.main(["--cells", "rnn", "gru", "--gaps", "50", "--tasks", "adding", "--out", str(tmp_path)])
    assert metrics["adding_gru"] == 50
    assert metrics["adding_rnn"] == 0
