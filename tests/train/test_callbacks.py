"""Checkpoints on disk while a training runs, and lines about its epochs."""

import io

import pytest

from tinygrad_rnn import optim
from tinygrad_rnn.train import PrintEpochs, SaveCheckpoint, Trainer

from .models import Line, batches, data, mse


def trainer(*callbacks, seed=0):
    model = Line(seed=seed)
    return Trainer(model, optim.Adam(model.parameters(), lr=0.05), mse, callbacks=callbacks, progress=False)


class Interrupt:
    def __init__(self, at):
        self.at = at

    def on_step_end(self, trainer):
        if trainer.steps == self.at:
            raise KeyboardInterrupt


def test_an_interrupted_run_goes_on_from_its_last_checkpoint(tmp_path):
    path = tmp_path / "run.safetensors"
    whole = trainer().fit(batches(*data()), epochs=4)
    with pytest.raises(KeyboardInterrupt):
        trainer(SaveCheckpoint(path, seconds=0), Interrupt(at=8)).fit(batches(*data()), epochs=4)
    resumed = trainer(seed=7)
    resumed.load(path)
    assert resumed.steps == 8
    assert resumed.fit(batches(*data()), epochs=4)["loss"] == whole["loss"]


def test_without_time_there_is_one_checkpoint_at_the_end(tmp_path):
    path = tmp_path / "run.safetensors"
    written = []

    class Watch:
        def on_step_end(self, trainer):
            written.append(path.exists())

    trainer(SaveCheckpoint(path, seconds=1e6), Watch()).fit(batches(*data()), epochs=2)
    assert not any(written)
    again = trainer(seed=3)
    again.load(path)
    assert again.epoch == 2


def test_negative_time():
    with pytest.raises(ValueError, match="seconds: got -1, wanted at least 0"):
        SaveCheckpoint("x", seconds=-1)


def test_lines():
    file = io.StringIO()
    history = trainer(PrintEpochs(0, file)).fit(batches(*data()), batches(*data()), epochs=2)
    lines = file.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[1].startswith(f"epoch 2: loss {history['loss'][1]:.4g}, val_loss {history['val_loss'][1]:.4g}, ")
    seldom = io.StringIO()
    trainer(PrintEpochs(1e6, seldom)).fit(batches(*data()), epochs=3)
    assert seldom.getvalue() == ""
