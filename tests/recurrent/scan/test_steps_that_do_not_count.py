"""Steps in which no row counts contribute nothing: not even NaN, whatever the state is."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn

from ..layers.test_regularisers import WRAPPED, B, I, T

BAD = [np.nan, np.inf, -np.inf]


class Reciprocal(nn.Cell):
    """A cell that is infinite at zero, where it multiplies a parameter."""

    def __init__(self, dtype="float64"):
        self.input_size, self.hidden_size = I, I
        self.gain = nn.Parameter(np.ones(I, dtype))
        self.scale = nn.Parameter(np.ones(I, dtype))

    def begin_sequence(self, batch_size):
        self.doubled = self.scale * 2

    def step(self, x, h):
        h = self.gain * (1.0 / (x * h)) * self.doubled
        return h, h


def run(cell, mode, x, state, **options):
    """Outputs, states and all gradients."""
    tr.seed(1)
    x = tr.tensor(x, requires_grad=True)
    leaves = [tr.tensor(s, requires_grad=True) for s in state]
    h0 = leaves[0] if len(leaves) == 1 else tuple(leaves)
    y, h = nn.Recurrent(cell, mode)(x, h0, **options)
    finals = h if isinstance(h, tuple) else (h,)
    loss = y.sum() + sum((tr.where(np.isfinite(f.numpy()), f, 0.0) * 2).sum() for f in finals)
    grads = tr.grad(loss, [x, *leaves, *cell.parameters()])
    return [v.numpy() for v in (y, *finals, *grads)], len(leaves)


@pytest.mark.sampled(9)
@pytest.mark.parametrize("mode", ["eager", "compiled"])
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("options", [{"lengths": [0] * B}, {"mask": np.zeros((T, B), bool)}])
@pytest.mark.parametrize("name", [*WRAPPED, "reciprocal"])
def test_nothing_counts(name, options, bad, mode):
    cell = Reciprocal() if name == "reciprocal" else WRAPPED[name]("float64")
    state = cell.initial_state(B)
    shapes = [s.shape for s in (state if isinstance(state, tuple) else (state,))]
    states = [np.full(shape, bad) for shape in shapes]
    x = np.zeros((T, B, I))
    (y, *rest), n = run(cell, mode, x, states, **options)
    assert (y == 0).all()
    for final, given in zip(rest[:n], states, strict=False):
        np.testing.assert_array_equal(final, given)
    for gradient in rest[n:]:
        assert (gradient == 0).all()


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_gradients_pass_steps_that_do_not_count(mode):
    cell = nn.Zoneout(nn.RNNCell(I, I, dtype="float64"), 0.3)
    h0 = tr.tensor(np.full((B, I), -0.0), requires_grad=True)
    x = tr.tensor(np.ones((T, B, I)), requires_grad=True)
    _, h = nn.Recurrent(cell, mode)(x, h0, lengths=[0] * B)
    assert np.signbit(h.numpy()).all()
    (g,) = tr.grad((h * np.arange(1.0, I + 1)).sum(), [h0], create_graph=True)
    np.testing.assert_array_equal(g.numpy(), np.broadcast_to(np.arange(1.0, I + 1), (B, I)))
    h.sum().backward()
    for p in (x, *cell.parameters()):
        assert (p.grad.numpy() == 0).all()


@pytest.mark.parametrize("mode", ["eager", "compiled"])
@pytest.mark.parametrize("options", [{"lengths": [0] * B}, {"mask": np.zeros((T, B), bool)}])
def test_zeros_can_be_differentiated_again(options, mode):
    cell = nn.GRUCell(I, I, dtype="float64")
    x = tr.tensor(np.ones((T, B, I)), requires_grad=True)
    y, h = nn.Recurrent(cell, mode)(x, **options)
    loss = (y * y).sum() + (h * h).sum()
    grads = tr.grad(loss, [x, *cell.parameters()], create_graph=True)
    again = tr.grad(sum((g * g).sum() for g in grads), [x, *cell.parameters()])
    for g in (*grads, *again):
        assert (g.numpy() == 0).all()


def test_a_gap_between_steps_that_count():
    """Steps in the middle, where loops and tape agree."""
    mask = np.zeros((T, B), bool)
    mask[[0, -1]] = True
    found = []
    for mode in ("eager", "compiled"):
        rng = np.random.default_rng(0)
        cell = nn.Zoneout(nn.RNNCell(I, I, dtype="float64"), 0.3)
        for p in cell.parameters():
            p.data[...] = rng.normal(size=p.shape)
        found.append(run(cell, mode, rng.normal(size=(T, B, I)), [rng.normal(size=(B, I))], mask=mask)[0])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)
