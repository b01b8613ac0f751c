"""A cotangent of zero stays zero, whatever the derivative: eager, twice, and in compiled loops."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.recurrent import scan

INF, NAN = np.inf, np.nan

# name -> (function, an input at which it has no finite derivative)
INFINITE = {
    "sqrt": (tr.sqrt, 0.0),
    "sqrt below zero": (tr.sqrt, -1.0),
    "log": (tr.log, 0.0),
    "log below zero": (tr.log, -1.0),
    "log1p": (tr.log1p, -1.0),
    "exp": (tr.exp, 1e4),
    "expm1": (tr.expm1, 1e4),
    "reciprocal": (lambda x: 1.0 / x, 0.0),
    "quotient of itself": (lambda x: x / x, 0.0),
    "divided by zero": (lambda x: x / (x - 2.0), 2.0),
    "root as a power": (lambda x: x**0.5, 0.0),
    "third root": (lambda x: x ** (1 / 3), 0.0),
    "inverse square": (lambda x: x**-2, 0.0),
    "inverse fifth power": (lambda x: x**-5, 0.0),
    "power of itself": (lambda x: tr.power(x, x - 1.0), 0.0),
    "root of a square": (lambda x: tr.sqrt(x * x), 0.0),
    "log2": (tr.log2, 0.0),
    "log10": (tr.log10, 0.0),
    "exp2": (tr.exp2, 1e5),
    "sinh": (tr.sinh, 1e4),
    "cosh": (tr.cosh, -1e4),
    "arcsin": (lambda x: tr.arcsin(x / 3), 3.0),
    "arccos": (lambda x: tr.arccos(x / 3), -3.0),
    "arccosh": (lambda x: tr.arccosh(x + 1), 0.0),
    "arctanh": (lambda x: tr.arctanh(x / 3), 3.0),
    "arcsinh": (tr.arcsinh, INF),
    "angle": (lambda x: tr.arctan2(x, 2 * x), 0.0),
    "hypot": (lambda x: tr.hypot(x, 2 * x), 0.0),
    "logaddexp": (lambda x: tr.logaddexp(x, 2 * x), -INF),
    "logaddexp of infinity": (lambda x: tr.logaddexp(x, x + 1), INF),
    "log of a sigmoid": (lambda x: tr.log(tr.sigmoid(x)), -1e4),
}
ON_THE_TAPE = {"arcsin", "arccos", "arccosh", "arctanh", "arcsinh", "angle", "hypot"}  # without a lowering
# the same for rows
OF_ROWS = {
    "norm": (lambda x: tr.norm(x, axis=-1, keepdims=True), [0.0, 0.0, 0.0]),
    "root of a sum of squares": (lambda x: tr.sqrt((x * x).sum(-1, keepdims=True)), [0.0, 0.0, 0.0]),
    "std": (lambda x: tr.std(x, -1, keepdims=True), [1.1, 1.1, 1.1]),
    "root of a variance": (lambda x: tr.sqrt(tr.var(x, -1, keepdims=True)), [1.1, 1.1, 1.1]),
    "logsumexp": (lambda x: tr.logsumexp(x, -1, keepdims=True), [-INF, -INF, -INF]),
    "softmax": (lambda x: tr.softmax(x, -1)[:, :1], [-INF, -INF, -INF]),
    "log_softmax": (lambda x: tr.log_softmax(x, -1)[:, :1], [-INF, -INF, -INF]),
    "quotient of sums": (lambda x: x.max(-1, keepdims=True) / x.sum(-1, keepdims=True), [0.0, 0.0, 0.0]),
}
GOOD = [0.7, 1.3, 2.1]
by_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def silent(function):
    def call(*args, **kwargs):
        with np.errstate(all="ignore"):
            return function(*args, **kwargs)

    return call


@silent
def first_and_second(f, x, taken):
    """Gradients of both orders of a sum in which `f` counts only where `taken`."""
    x = tr.tensor(x, requires_grad=True)
    y = tr.where(taken, f(x), 0.0)
    (first,) = tr.grad(y.sum(), x, create_graph=True)
    (second,) = tr.grad((first * np.linspace(1, 2, first.size).reshape(first.shape)).sum(), x)
    return first.numpy(), second.numpy()


@by_dtype
@pytest.mark.parametrize("name", INFINITE)
def test_of_elements(name, dtype):
    f, bad = INFINITE[name]
    x = np.array([bad, GOOD[0], bad, GOOD[1]], dtype)
    alone = first_and_second(f, np.array([GOOD[0], GOOD[1]], dtype), True)
    for order, g in enumerate(first_and_second(f, x, np.array([False, True, False, True]))):
        assert g[[0, 2]].tolist() == [0.0, 0.0]
        assert np.isfinite(g).all()
        if order == 0:
            np.testing.assert_allclose(g[[1, 3]], alone[0], rtol=1e-6)


@by_dtype
@pytest.mark.parametrize("name", OF_ROWS)
def test_of_rows(name, dtype):
    f, bad = OF_ROWS[name]
    x = np.array([bad, GOOD, bad], dtype)
    for g in first_and_second(f, x, np.array([[False], [True], [False]])):
        assert not g[[0, 2]].any()
        assert np.isfinite(g).all()
    assert first_and_second(f, x, np.array([[False], [True], [False]]))[0][1].any()


class Taken(nn.Cell):
    """Sums what a function makes of rows that are taken."""

    def __init__(self, f, width):
        self.f, self.width = f, width
        self.w = nn.Parameter(np.zeros(width))

    @property
    def dtype(self):
        return np.dtype(np.float64)

    def initial_state(self, batch_size):
        return tr.zeros((batch_size, self.width), np.float64)

    def step(self, x, h):
        x, taken = x
        h = h + tr.where(taken > 0, self.f(x + self.w), 0.0)
        return h, h


@silent
def gradients_of_loop(f, x, taken, mode):
    cell = Taken(f, x.shape[-1])
    x = tr.tensor(x, requires_grad=True)
    ys, _ = scan(cell, (x, taken), mode=mode)
    return [g.numpy() for g in tr.grad((ys * ys).sum(), [x, cell.w])]


@pytest.mark.sampled(24)
@pytest.mark.parametrize("name", [name for name in (*INFINITE, *OF_ROWS) if name not in ON_THE_TAPE])
def test_in_loops(name):
    f, bad = {**INFINITE, **OF_ROWS}[name]
    bad = np.broadcast_to(bad, 3) if name in OF_ROWS else np.array([bad, GOOD[0], bad])
    x = np.stack([[bad, GOOD], [GOOD, bad]])
    keep = [0.0, 0.0, 0.0] if name in OF_ROWS else [0.0, 1.0, 0.0]
    taken = np.stack([[keep, np.ones(3)], [np.ones(3), keep]])
    found = [gradients_of_loop(f, x, taken, mode) for mode in ("compiled", "eager")]
    for a, b in zip(*found):
        assert np.isfinite(a).all()
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-300)
    assert not found[0][0][taken == 0].any()


def test_lengths_and_deviations_have_the_gradient_zero_at_zero():
    x = tr.tensor(np.zeros(3), requires_grad=True)
    for f in (tr.norm, tr.std, lambda x: tr.std(x + 5.1), lambda x: tr.std(x, ddof=1), lambda x: tr.norm(x, 1)):
        for g in tr.grad(f(x), x, create_graph=True):
            assert g.tolist() == [0.0, 0.0, 0.0]
            assert tr.grad(g.sum(), x)[0].tolist() == [0.0, 0.0, 0.0]
    one = tr.tensor(np.array([4.0]), requires_grad=True)
    assert tr.grad(tr.std(one), one)[0].tolist() == [0.0]
    rows = tr.tensor(np.array([[2.0, 2.0], [1.0, 3.0]]), requires_grad=True)
    np.testing.assert_allclose(tr.grad(tr.std(rows, 1).sum(), rows)[0], [[0.0, 0.0], [-0.5, 0.5]], rtol=1e-14)


def test_an_infinite_derivative_that_counts_is_not_hidden():
    x = tr.tensor(np.array([0.0, 4.0]), requires_grad=True)
    with np.errstate(divide="ignore"):
        assert tr.grad(tr.sqrt(x).sum(), x)[0].tolist() == [INF, 0.25]
        assert tr.grad(tr.log(x).sum(), x)[0].tolist() == [INF, 0.25]
        assert tr.grad((1.0 / x).sum(), x)[0].tolist() == [-INF, -1 / 16]


def test_minus_infinities_alone():
    """Their sum of exponentials is zero; none of them has a part in it."""
    x = tr.tensor(np.full((2, 3), -INF), requires_grad=True)
    y = tr.logsumexp(x, 1)
    assert y.tolist() == [-INF, -INF]
    (g,) = tr.grad(y.sum(), x, create_graph=True)
    assert g.tolist() == [[0.0] * 3] * 2
    assert tr.grad(g.sum(), x)[0].tolist() == [[0.0] * 3] * 2
