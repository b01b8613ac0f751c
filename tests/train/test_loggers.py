"""Logs of epochs, and lines beside a progress bar."""

import csv
import io
import os
import re
import sys
import types

import numpy as np
import pytest

from tinygrad_rnn import optim
from tinygrad_rnn.train import CSVLogger, PrintEpochs, TensorBoardLogger, Trainer

from .models import Line, batches, data, mse


def trainer(*callbacks, **options):
    model = Line()
    return Trainer(
        model,
        optim.Adam(model.parameters(), lr=0.05),
        mse,
        callbacks=callbacks,
        metrics={"worst": lambda y, t: abs(y - t).max()},
        **{"progress": False, **options},
    )


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def check(path, history, epochs):
    rows = rows_of(path)
    assert [row["epoch"] for row in rows] == [str(i + 1) for i in range(epochs)]
    for name, column in history.items():
        if len(column) == epochs:
            told = [float(row[name] or "nan") for row in rows]  # nothing, or NaN, before the column began
            assert told == pytest.approx(column, rel=0, abs=0, nan_ok=True)


def test_csv(tmp_path):
    path = tmp_path / "logs" / "log.csv"
    one = trainer(CSVLogger(path))
    seen = []
    one.callbacks.append(lambda trainer: seen.append(len(rows_of(path))))
    check(path if one.fit(batches(*data()), epochs=3) else None, one.history, 3)
    assert seen == [1, 2, 3]  # a row as soon as its epoch is over
    one.fit(batches(*data()), batches(*data()), epochs=5)  # with columns that were not there before
    rows = rows_of(path)
    assert [row["val_loss"] == "" for row in rows] == [True] * 3 + [False] * 2
    assert [float(row["val_worst"]) for row in rows[3:]] == one.history["val_worst"][3:]
    check(path, one.history, 5)
    one.save(tmp_path / "run")
    other = trainer(CSVLogger(tmp_path / "other.csv"))
    other.load(tmp_path / "run")
    other.fit(batches(*data()), batches(*data()), epochs=6)
    check(tmp_path / "other.csv", other.history, 6)


def test_csv_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    one = trainer(CSVLogger(tmp_path / "file" / "log.csv"))
    with pytest.raises(OSError, match="file"):
        one.fit(batches(*data()), epochs=3)
    assert one.steps == 0
    path = tmp_path / "log.csv"

    def break_it(trainer):
        path.unlink()
        path.mkdir()

    one = trainer(break_it, CSVLogger(path))
    with pytest.warns(RuntimeWarning, match="no row for epoch 1"):
        one.fit(batches(*data()), epochs=1)


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import struct

    one = trainer(TensorBoardLogger(tmp_path / "runs"))
    one.fit(batches(*data()), batches(*data()), epochs=3)
    (path,) = (tmp_path / "runs").iterdir()
    raw, found, at = path.read_bytes(), {}, 0
    while at < len(raw):
        (size,) = struct.unpack_from("<Q", raw, at)
        event = Event.FromString(raw[at + 12 : at + 12 + size])
        at += 16 + size
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
    assert {*found} == {*one.history}
    for name, points in found.items():
        assert [step for step, _ in points] == [1, 2, 3]
        np.testing.assert_allclose([value for _, value in points], one.history[name], rtol=1e-6)


def test_tensorboard_that_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "tinygrad_rnn\[tensorboard\]"'):
        TensorBoardLogger("runs")


class Screen(io.StringIO):
    """A terminal on which what is printed can be looked at."""

    def isatty(self):
        return True

    def fileno(self):
        return 2

    def lines(self):
        """What stands on the screen."""
        rows, at = [""], 0
        for part in re.split(r"(\r|\n|\x1b\[A)", self.getvalue()):
            if part == "\r":
                at = 0
            elif part == "\n":
                rows.append("")
                at = 0
            elif part:
                assert "\x1b" not in part
                rows[-1] = rows[-1][:at].ljust(at) + part + rows[-1][at + len(part) :]
                at += len(part)
        return [row.rstrip() for row in rows]


@pytest.mark.parametrize("columns", [40, 80])
def test_lines_of_epochs_stand_above_the_bar(monkeypatch, columns):
    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setattr("os.get_terminal_size", lambda fd=1: os.terminal_size((columns, 25)))
    one = trainer(PrintEpochs(0), progress=None)
    one.callbacks.append(lambda trainer: trainer.write("a line"))
    history = one.fit(batches(*data()), batches(*data()), epochs=3)
    lines = screen.lines()
    wanted = [f"epoch {i + 1}: loss {history['loss'][i]:.4g}, worst {history['worst'][i]:.4g}, " for i in range(3)]
    assert [line.startswith(text) for line, text in zip(lines[:6:2], wanted)] == [True] * 3
    assert lines[1:6:2] == ["a line"] * 3
    bar = lines[6]
    assert "15/15" in bar
    assert len(bar) <= columns
    assert lines[7:] == [""]


def test_no_bar_no_trouble(capsys):
    trainer(PrintEpochs(0), progress=None).fit(batches(*data()), epochs=2)
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize(("shell", "shown"), [("ZMQInteractiveShell", True), ("TerminalInteractiveShell", False)])
def test_notebooks_have_a_bar(monkeypatch, capsys, shell, shown):
    made = type(shell, (), {"config": {}})()
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: made))
    trainer(progress=None).fit(batches(*data()), epochs=2)
    assert ("10/10" in capsys.readouterr().err) is shown
