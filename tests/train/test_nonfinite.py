"""What is not finite is found before it does harm: in losses, gradients and checkpoints."""

import math

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.errors import AnomalyError, DataError, NonFiniteError
from tinygrad_rnn.train import SaveCheckpoint, Trainer, TruncatedBPTT

from .models import Line, Recurrent, batches, data, mse, streams


def make(loss=mse, **options):
    model = Line()
    return Trainer(model, optim.Adam(model.parameters(), lr=0.05), loss, progress=False, **options)


def poisoned(*numbers):
    """Batches, some of which hold NaN."""
    out = batches(*data())
    for number in numbers:
        x, y = out[number]
        out[number] = np.where(np.arange(x.size).reshape(x.shape) == 3, np.nan, x), y
    return out


def weights(trainer):
    return [p.data.copy() for p in trainer.model.parameters()]


def test_nan_stops_the_training_and_spares_the_checkpoint(tmp_path):
    path = tmp_path / "c"
    trainer = make(callbacks=[SaveCheckpoint(path, seconds=0)])
    with pytest.raises(FloatingPointError, match=r"inputs: got nan at \(1, 1\) in batch 3 \(from 0\) of epoch 1"):
        trainer.fit(poisoned(3), epochs=2)
    assert trainer.steps == 3
    again = make()
    again.load(path)
    assert again.steps == 3
    assert all(np.isfinite(p).all() for p in weights(again))


def square_root(w):
    """A loss of the root of each product with the batch."""
    return lambda batch: tr.sqrt(w * tr.tensor(batch)).sum()


@pytest.mark.parametrize(
    "options", [{}, {"clip_norm": 1.0}, {"clip_value": 1.0}, {"clip_norm": 1.0, "clip_value": 0.5}]
)
def test_gradients_are_looked_at_with_and_without_clipping(options):
    w = tr.tensor([1.0, 1.0], requires_grad=True)
    trainer = Trainer(None, optim.SGD([w], lr=0.1), step=square_root(w), progress=False, **options)
    good, bad = np.array([1.0, 4.0], np.float32), np.array([1e-45, np.inf], np.float32)
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match=r"batch 1 \(from 0\) of epoch 1"):
        trainer.fit([good, bad])
    assert np.isfinite(w.numpy()).all()
    assert trainer.steps == 1


def test_an_optimizer_with_a_step_of_its_own():
    class Twice(optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            super().step()

    w = tr.tensor([1.0, 1.0], requires_grad=True)
    trainer = Trainer(None, Twice([w], lr=0.1), step=square_root(w), progress=False)
    good, bad = np.array([1.0, 4.0], np.float32), np.array([1e-45, np.inf], np.float32)
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match=r"batch 1 \(from 0\) of epoch 1"):
        trainer.fit([good, bad])
    assert np.isfinite(w.numpy()).all()


class Scaled(nn.Module):
    def __init__(self):
        self.layer = nn.Linear(2, 1)
        self.depth = nn.Parameter(np.zeros(1, np.float32))

    def forward(self, x):
        return self.layer(x) + (self.depth**2).sum() ** 0.5 * 0 + tr.power(self.depth, 0.5)


def test_the_parameter_is_named():
    model = Scaled()
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), nn.mse_loss, progress=False)
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match=r"gradients: got NaN or inf.*look at depth"):
        trainer.fit(batches(*data()))


@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.5}, {"clip_value": 0.1}])
def test_skipping(options, tmp_path):
    """As if the batch had not been there, but for the count; a run that goes on skips the same."""
    trainer = make(nonfinite="skip", **options)
    with pytest.warns(RuntimeWarning, match=r"skipped: inputs: got nan .* in batch 1 \(from 0\) of epoch") as warned:
        trainer.fit(poisoned(1, 3), epochs=2)
    assert len(warned) == 2  # one for each epoch
    clean = make(**options)
    clean.fit([b for i, b in enumerate(batches(*data())) if i not in (1, 3)], epochs=2)
    for p, q in zip(weights(trainer), weights(clean)):
        np.testing.assert_array_equal(p, q)
    assert trainer.history["skipped"] == [2, 2]
    assert trainer.history["loss"] == clean.history["loss"]
    assert trainer.history.get("grad_norm") == clean.history.get("grad_norm")
    assert (trainer.steps, clean.steps) == (6, 6)
    first, resumed = make(nonfinite="skip", **options), make(nonfinite="skip", **options)
    with pytest.warns(RuntimeWarning):
        first.fit(poisoned(1, 3), epochs=2, max_steps=2)
    first.save(tmp_path / "a")
    resumed.load(tmp_path / "a")
    with pytest.warns(RuntimeWarning):
        resumed.fit(poisoned(1, 3), epochs=2)
    for p, q in zip(weights(trainer), weights(resumed)):
        np.testing.assert_array_equal(p, q)
    assert resumed.history["skipped"] == [2, 2]


def test_skipping_all_is_an_error():
    trainer = make(nonfinite="skip")
    with (
        pytest.warns(RuntimeWarning),
        pytest.raises(NonFiniteError, match="all 5 batches of epoch 1 were skipped"),
    ):
        trainer.fit(poisoned(*range(5)), epochs=None, max_steps=3)


def test_skipping_within_a_stream_keeps_its_state():
    """A window with NaN does not reach the next through the state."""
    x, y = streams(24)
    x[9, 1, 0] = np.nan
    model = Recurrent()
    trainer = Trainer(model, optim.Adam(model.parameters()), mse, nonfinite="skip", progress=False)
    with pytest.warns(RuntimeWarning, match="in batch 2"):
        trainer.fit(TruncatedBPTT(x, y, 4), epochs=2)
    assert trainer.history["skipped"] == [1, 1]
    assert all(np.isfinite(p).all() for p in weights(trainer))


def test_ignoring(tmp_path):
    """Then NaN goes through, but not over a good checkpoint."""
    path = tmp_path / "c"
    trainer = make(nonfinite="ignore", callbacks=[SaveCheckpoint(path, seconds=0)])
    with pytest.warns(RuntimeWarning, match=r"no checkpoint after update [45]: .*got nan at .*, wanted finite weights"):
        trainer.fit(poisoned(3))
    assert math.isnan(trainer.history["loss"][0])
    again = make()
    again.load(path)
    assert again.steps == 3
    with pytest.raises(NonFiniteError, match="wanted finite weights in a checkpoint"):
        trainer.save(path)
    assert "skipped" not in trainer.history


@pytest.mark.parametrize("nonfinite", ["stop", "skip"])
def test_what_detect_anomaly_finds_is_treated_alike(nonfinite):
    def loss(y, t):
        return mse(y, t) + (tr.log(t * 0.0) * 0 if trainer.steps == 2 else t * 0).sum()

    trainer = make(loss, nonfinite=nonfinite)
    with tr.detect_anomaly(), np.errstate(all="ignore"):
        if nonfinite == "stop":
            with pytest.raises(AnomalyError, match=r"batch 2 \(from 0\) of epoch 1") as error:
                trainer.fit(batches(*data()))
            assert error.value.op == "log"
            assert trainer.steps == 2
        else:
            with (
                pytest.warns(RuntimeWarning, match=r"skipped: log: .*batch [02] \(from 0\)"),
                pytest.raises(NonFiniteError),
            ):
                trainer.fit(batches(*data()), max_steps=3, epochs=None)  # it never gets further than two updates


def test_options():
    with pytest.raises(ValueError, match="nonfinite: got 'warn', wanted one of 'stop', 'skip', 'ignore'"):
        make(nonfinite="warn")
    assert issubclass(NonFiniteError, FloatingPointError)
    trainer = make()
    with pytest.raises(DataError, match="targets: got inf"):
        trainer.fit([(x, np.where(y == y[0], np.inf, y)) for x, y in batches(*data())])
