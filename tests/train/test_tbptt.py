"""Truncated BPTT against loops written by hand."""

from itertools import pairwise

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.errors import CheckpointError, DataError, DTypeError, ShapeError
from tinygrad_rnn.train import Trainer, TruncatedBPTT

from .models import Recurrent, mse, streams


def fit(data, epochs=2, nested=False, **options):
    model = Recurrent(nested=nested)
    trainer = Trainer(model, optim.Adam(model.parameters(), lr=0.02), mse, progress=False, **options)
    trainer.fit(data, epochs=epochs)
    return trainer


def assert_same_weights(model, other):
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        np.testing.assert_allclose(p.data, q.data, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("steps", [22, 20, 5, 1])
@pytest.mark.parametrize("k", [1, 4, 5, 40])
@pytest.mark.parametrize("nested", [False, True])
def test_chunks(steps, k, nested):
    """k1 == k2: the textbook loop with a detached state."""
    x, y = streams(steps)
    model = Recurrent()
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(2):
        state, total, count = None, 0.0, 0
        for t in range(0, steps, k):
            out, state = model(tr.tensor(x[t : t + k]), state if state is None else state.detach())
            loss = mse(out, tr.tensor(y[t : t + k]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total, count = total + loss.item(), count + 1
        losses.append(total / count)
    trainer = fit(TruncatedBPTT(x, y, k), nested=nested)
    assert_same_weights(trainer.model, model)
    np.testing.assert_allclose(trainer.history["loss"], losses, rtol=1e-12)


@pytest.mark.parametrize("steps", [22, 20, 5])
@pytest.mark.parametrize(("k1", "k2"), [(1, 2), (1, 7), (2, 3), (3, 6), (4, 6), (4, 5), (5, 50), (2, 2)])
def test_going_further_back(steps, k1, k2):
    """k2 > k1: at every update, run again from the state kept k2 steps back, one time step at a time."""
    x, y = streams(steps)
    model = Recurrent()
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    for _ in range(2):
        kept = {0: None}  # states by time, off the graph, from the latest run over that time
        start = 0
        for first in range(0, steps, k1):
            stop = min(first + k1, steps)
            start = max(0, first + k1 - k2)
            state, out = kept[start], []
            for t in range(start, stop):
                piece, state = model(tr.tensor(x[t : t + 1]), state)
                kept[t + 1] = state.detach()
                if t >= first:
                    out.append(piece)
            loss = mse(tr.concat(out), tr.tensor(y[first:stop]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    trainer = fit(TruncatedBPTT(x, y, k1, k2))
    assert_same_weights(trainer.model, model)


def test_gradients_reach_back_exactly_k2_steps():
    """With frozen weights, the gradient of a window is that of a run from k2 steps back."""
    x, y = streams(12)
    k1, k2 = 3, 7
    model = Recurrent()
    optimizer = optim.SGD(model.parameters(), lr=0.0)
    gradients = []

    class Spy:
        def on_step_end(self, trainer):
            gradients.append(model.w_h.grad.data.copy())

    Trainer(model, optimizer, mse, progress=False, callbacks=[Spy()]).fit(TruncatedBPTT(x, y, k1, k2))
    for i, first in enumerate(range(0, 12, k1)):
        start = max(0, first + k1 - k2)
        state = model(tr.tensor(x[:start]))[1].detach() if start else None
        out, _ = model(tr.tensor(x[start : first + k1]), state)
        (g,) = tr.grad(mse(out[first - start :], tr.tensor(y[first : first + k1])), [model.w_h])
        np.testing.assert_allclose(gradients[i], g.data, rtol=1e-11)


def test_every_time_step_counts_once():
    for steps in (1, 7, 12):
        for k1, k2 in ((1, 1), (3, 3), (3, 5), (5, 20)):
            windows = list(TruncatedBPTT(np.zeros((steps, 1)), np.zeros((steps, 1)), k1, k2))
            assert len(windows) == len(TruncatedBPTT(np.zeros((steps, 1)), np.zeros((steps, 1)), k1, k2))
            covered = [t for w in windows for t in range(w.first, w.stop)]
            assert covered == list(range(steps))
            for w, following in pairwise(windows):
                assert w.carry == following.start
                assert w.start <= w.first
                assert w.first + k1 - w.start <= k2


class Tagger(nn.Module):
    """A layer of the library and a head, as users have them."""

    def __init__(self, mode):
        tr.seed(0)
        self.layer, self.head = nn.LSTM(2, 3, dtype="float64", mode=mode), nn.Linear(3, 1, dtype="float64")
        self.steps = 0

    def forward(self, x, state=None, resets=None):
        self.steps += x.shape[0]
        ys, state = self.layer(x, state, resets=resets)
        return self.head(ys), state


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("k1", "k2"), [(4, 4), (2, 5), (3, 9)])
@pytest.mark.parametrize("with_resets", [False, True])
def test_compiled_layers(k1, k2, with_resets):
    """The same on both roads, for k2 / k1 times the steps."""
    x, y = streams(22)
    resets = np.random.default_rng(0).random((22, 3)) < 0.2 if with_resets else None
    found = []
    for mode in ("eager", "compiled"):
        model = Tagger(mode)
        trainer = Trainer(model, optim.Adam(model.parameters(), lr=0.02), mse, progress=False)
        trainer.fit(TruncatedBPTT(x, y, k1, k2, resets), epochs=2)
        assert model.steps <= 2 * (22 * k2 / k1 + k2)
        found.append([p.numpy() for p in model.parameters()] + [trainer.history["loss"]])
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_resets_part_streams():
    """A stream with a reset is two streams, as long as no gradient goes back over it anyway."""
    x, y = streams(12)
    resets = np.zeros((12, 3), bool)
    resets[8] = True
    found = []
    for parts in (slice(0, 12),), (slice(0, 8), slice(8, 12)):
        model = Tagger("eager")
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        for part in parts:
            data = TruncatedBPTT(x[part], y[part], 4, None, resets if len(parts) == 1 else None)
            for window in data:
                optimizer.zero_grad()
                data.loss(model, mse, window, tr.tensor).backward()
                optimizer.step()
        found.append([p.numpy() for p in model.parameters()])
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_validation_weighs_time_steps_and_leaves_the_state_alone():
    x, y = streams(22)
    held_out = TruncatedBPTT(*streams(13, seed=7), k1=4)
    plain = fit(TruncatedBPTT(x, y, 3, 5))
    model = Recurrent()
    trainer = Trainer(model, optim.Adam(model.parameters(), lr=0.02), mse, progress=False)
    history = trainer.fit(TruncatedBPTT(x, y, 3, 5), validation=held_out, epochs=2)
    assert_same_weights(model, plain.model)
    vx, vy = streams(13, seed=7)
    with tr.no_grad():
        whole = mse(model(tr.tensor(vx))[0], tr.tensor(vy)).item()
    assert history["val_loss"][-1] == pytest.approx(whole, rel=1e-12)


def test_nonfinite_data_is_named():
    x, y = streams(22)
    x[9, 1, 0] = np.nan
    with pytest.raises(DataError, match=r"inputs: got nan at \(1, 1, 0\) in batch 2"):
        fit(TruncatedBPTT(x, y, 4, 6))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda x, y: TruncatedBPTT(x, y, 0), ValueError, "k1: got 0"),
        (lambda x, y: TruncatedBPTT(x, y, 4, 3), ValueError, "k2: got 3, wanted at least k1 = 4"),
        (lambda x, y: TruncatedBPTT(x, y, 2.5), ValueError, "k1: got 2.5, wanted a whole number"),
        (lambda x, y: TruncatedBPTT(x, y, 4, "5"), ValueError, "k2: got '5', wanted a whole number"),
        (
            lambda x, y: TruncatedBPTT(x, y, 4, None, x > 0),
            ShapeError,
            r"resets: got shape \(22, 3, 2\), wanted \(22, 3\)",
        ),
        (lambda x, y: TruncatedBPTT(x, y, 4, None, x[..., 0]), DTypeError, "resets: got float64, wanted bool"),
        (lambda x, y: TruncatedBPTT(x[0, 0], y, 4), ShapeError, r"inputs: got shape \(2,\)"),
        (lambda x, y: TruncatedBPTT(x[:0], y[:0], 4), ShapeError, r"inputs: got shape \(0, 3, 2\)"),
        (lambda x, y: TruncatedBPTT(x, y[1:], 4), ShapeError, "targets: got 21 time steps, wanted 22"),
    ],
)
def test_bad_arguments(make, error, words):
    with pytest.raises(error, match=words):
        make(*streams())


def test_a_model_without_a_state_is_refused():
    w = tr.tensor([[1.0], [1.0]], requires_grad=True)
    trainer = Trainer(lambda x, state: x @ w, optim.SGD([w]), mse, progress=False)
    with pytest.raises(TypeError, match=r"model: got Tensor as its result, wanted \(predictions, state\)"):
        trainer.fit(TruncatedBPTT(*streams(), k1=3))


def test_states_of_other_streams_are_refused():
    data = TruncatedBPTT(*streams(), k1=3)
    with pytest.raises(CheckpointError, match="got k1=4, wanted 3"):
        data.load_state_dict(TruncatedBPTT(*streams(), k1=4).state_dict())
