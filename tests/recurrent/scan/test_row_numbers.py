"""Numbers of rows, (B,), which NumPy would spread over features where there are as many: refused in all modes."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import CompileError, ShapeError
from tinygrad_rnn.recurrent import scan

T, N = 3, 4
RNG = np.random.default_rng(0)
ignored = pytest.mark.filterwarnings("ignore:.*runs eagerly")


class C(nn.Cell):
    hidden_size = N

    def __init__(self, step):
        self.w, self.v = (nn.Parameter(RNG.normal(size=s).astype(np.float32)) for s in ((2, N), (N,)))
        self._step = step

    def step(self, x, h):
        h = self._step(self, *x, h) if isinstance(x, tuple) else self._step(self, x, h)
        return h, h


def _inputs(batch):
    spans = RNG.uniform(0.1, 2, (T, batch)).astype(np.float32)
    return RNG.normal(size=(T, batch, 2)).astype(np.float32), spans


SPREAD = {
    "directly": lambda c, x, dt, h: h + dt * tr.tanh(x @ c.w),
    "from the right": lambda c, x, dt, h: h + tr.tanh(x @ c.w) * dt,
    "decay": lambda c, x, dt, h: h * tr.exp(-dt) + x @ c.w,
    "divided": lambda c, x, dt, h: (h + x @ c.w) / (1 + dt),
    "where": lambda c, x, dt, h: tr.where(dt > 1, h, x @ c.w),
    "column": lambda c, x, dt, h: h + x[:, 0] * (x @ c.w),
    "sum": lambda c, x, dt, h: (h + x @ c.w) * h.sum(-1),
    "detached": lambda c, x, dt, h: (h + x @ c.w) * dt.detach(),
    "halves": lambda c, x, dt, h: tr.split(tr.concat([h, x @ c.w], -1), 2, -1)[1] * dt,
    "augmented": lambda c, x, dt, h: _augmented(h + x @ c.w, dt),
    "with a parameter of units": lambda c, x, dt, h: h + (dt * c.v) * (x @ c.w),
}


def _augmented(h, dt):
    h *= dt
    return h


@ignored
@pytest.mark.parametrize("mode", ["eager", "auto", "compiled"])
@pytest.mark.parametrize("name", SPREAD)
def test_numbers_of_rows_are_not_spread_over_features(name, mode):
    cell = C(SPREAD[name])
    for batch in (3, N):  # one that NumPy refuses, and one that it takes
        for _ in range(2):
            with pytest.raises((ShapeError, CompileError) if mode == "compiled" else ShapeError) as error:
                scan(cell, _inputs(batch), mode=mode)
        if batch == N:
            assert r"write v[:, None] for a number per row" in str(error.value)
            assert "C.step: " in str(error.value)
    with tr.no_grad(), pytest.raises((ShapeError, CompileError)):
        scan(cell, _inputs(N), mode=mode)
    lengths = np.array([2, 0, 3, 1])
    with pytest.raises((ShapeError, CompileError)):
        scan(cell, _inputs(N), mode=mode, lengths=lengths)


@ignored
@pytest.mark.parametrize("mode", ["eager", "auto"])
def test_one_row_is_right(mode):
    x, spans = _inputs(1)
    cell = C(SPREAD["directly"])
    right = C(lambda c, x, dt, h: h + dt[:, None] * tr.tanh(x @ c.w))
    right.load_state_dict(cell.state_dict())
    found, wanted = scan(cell, (x, spans), mode=mode)[1], scan(right, (x, spans), mode=mode)[1]
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-5)


@ignored
@pytest.mark.parametrize("mode", ["eager", "auto"])
def test_a_stream(mode):
    x, spans = _inputs(N)
    with pytest.raises(ShapeError, match=r"write v\[:, None\]"):
        nn.Recurrent(C(SPREAD["directly"]), mode=mode).stepper(N, (x[0], spans[0]))(x=(x[0], spans[0]))


RIGHT = {
    "column": lambda c, x, dt, h: h + dt[:, None] * tr.tanh(x @ c.w),
    "last axis": lambda c, x, dt, h: h * tr.exp(-dt)[..., None] + x @ c.w,
    "reshape": lambda c, x, dt, h: h + dt.reshape(-1, 1) * tr.tanh(x @ c.w),
    "expand": lambda c, x, dt, h: h + tr.expand_dims(dt, 1) * (x @ c.w),
    "numbers alone": lambda c, x, dt, h: h + (dt * x[:, 0] + x.sum(-1))[:, None] * c.v,
    "units": lambda c, x, dt, h: (h + x @ c.w) * c.v,
    "centred over the batch": lambda c, x, dt, h: tr.tanh(h + x @ c.w) - (x @ c.w).mean(0),
    "largest of the batch": lambda c, x, dt, h: tr.tanh(h + x @ c.w) / (1 + abs(x @ c.w).max(axis=0)),
    "outer and transposed": lambda c, x, dt, h: h + (c.v[:, None] * dt).T,
    "of the transposed": lambda c, x, dt, h: (h.T * dt).T + x @ c.w,
    "normalised": lambda c, x, dt, h: h + (x @ c.w) * (dt / dt.sum())[:, None],
}


@pytest.mark.sampled(4)
@ignored
@pytest.mark.parametrize("mode", ["eager", "auto"])
@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("batch", [1, 2, N])
def test_what_is_right_for_batches_of_any_size_is_taken(name, mode, batch):
    x, spans = _inputs(batch)
    cell = C(RIGHT[name])
    found = scan(cell, (x, spans), mode=mode)[0]
    assert found.shape == (T, batch, N)
    h = np.zeros((batch, N), np.float32)
    for t in range(T):
        h = cell.step((tr.tensor(x[t]), tr.tensor(spans[t])), tr.tensor(h))[1].numpy()
        np.testing.assert_allclose(found[t].numpy(), h, rtol=1e-4, atol=1e-5)


def test_layers_with_as_many_features_as_rows():
    for layer in (nn.LSTM(N, N, mode="eager"), nn.GRU(N, N, mode="eager")):
        y, _ = layer(RNG.normal(size=(T, N, N)).astype(np.float32))
        assert y.shape == (T, N, N)


@pytest.mark.parametrize(
    "index",
    [
        np.array([1, 2, 3, 0]),
        [3, 2, 1, 0],
        (Ellipsis, np.array([0, 1, 2, 3])),
        np.array([True, True, True, True]),
        None,
    ],
    ids=["rows", "list", "features", "mask", "new axis"],
)
@ignored
def test_what_is_indexed_is_followed_without_comparing(index):
    cell = C(lambda c, x, h: h + (x @ c.w)[index].reshape(N, N))
    x, _ = _inputs(N)
    found = [scan(cell, x, mode=mode)[0].numpy() for mode in ("eager", "auto")]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)
