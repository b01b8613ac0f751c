"""Draws inside of steps: of the right distributions, and the same numbers on the tape and in compiled loops."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import CompileError, DTypeError

from ...compiler.agreement import agree

T, B, F = 4, 3, 5


class Draws(nn.Cell):
    """All kinds of draws, beside dropout, with gradients through them and past them."""

    input_size = hidden_size = F

    def __init__(self, dtype="float64"):
        self.w = nn.Parameter(np.random.default_rng(0).normal(size=(F, F)).astype(dtype))
        self.drop = nn.Dropout(0.3)

    def step(self, x, h):
        random, dtype = tr.random, h.dtype
        z = tr.tanh(self.drop(x) @ self.w + h)
        spread = z + random.normal(z.shape, std=tr.exp(z), dtype=dtype)
        gate = random.straight_through(random.bernoulli(tr.sigmoid(z)), tr.sigmoid(z))
        chosen = tr.one_hot(random.categorical(z), F, dtype) * random.uniform((z.shape[0], 1), 1.0, 2.0, dtype=dtype)
        h = 0.3 * gate * spread + chosen * z + 0.1 * random.gumbel(z.shape, dtype=dtype)
        return h, h


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "how", [{}, {"lengths": [4, 0, 2]}, {"reverse": True, "checkpoint_every": 2}], ids=lambda how: "-".join(how)
)
def test_both_modes_draw_the_same(how):
    x = tr.tensor(np.random.default_rng(1).normal(size=(T, B, F)), requires_grad=True)
    h = tr.tensor(np.random.default_rng(2).normal(size=(B, F)), requires_grad=True)
    agree(Draws(), x, h, **how)


def test_streams_threads_and_functions():
    x, cell = np.random.default_rng(1).normal(size=(T, B, F)), Draws()

    def run(mode):
        tr.seed(1)
        return nn.Recurrent(cell, mode=mode)(x)[0].numpy()

    wanted = run("eager")
    before = tr.get_num_threads()
    try:
        for threads in (1, 2):
            tr.set_num_threads(threads)
            np.testing.assert_allclose(run("compiled"), wanted, rtol=1e-12)
    finally:
        tr.set_num_threads(before)
    tr.seed(1)
    step = nn.Recurrent(cell, mode="compiled").stepper(B)
    np.testing.assert_allclose([step(row) for row in x], wanted, rtol=1e-12)
    layer = nn.Recurrent(cell)
    compiled = tr.compile(lambda x: layer(x)[0], fallback="error")
    for _ in range(2):
        tr.seed(1)
        np.testing.assert_allclose(compiled(tr.tensor(x)).numpy(), wanted, rtol=1e-12)


def test_distributions():
    tr.seed(0)
    n, random = 200_000, tr.random
    u, z, g = (f((n,), dtype="float64").numpy() for f in (random.uniform, random.normal, random.gumbel))
    assert 0 < u.min() < u.max() < 1
    np.testing.assert_allclose([u.mean(), u.var()], [0.5, 1 / 12], atol=0.005)
    np.testing.assert_allclose([z.mean(), z.var(), (z**3).mean(), (z**4).mean()], [0, 1, 0, 3], atol=0.06)
    np.testing.assert_allclose([g.mean(), g.var()], [np.euler_gamma, np.pi**2 / 6], atol=0.02)
    p = np.tile([0.1, 0.5, 1.0, 0.0], (n // 4, 1))
    np.testing.assert_allclose(random.bernoulli(tr.tensor(p)).numpy().mean(0), p[0], atol=0.01)
    shares = np.bincount(random.categorical(tr.tensor(np.log(np.tile([0.2, 0.7, 0.1], (n, 1))))).numpy()) / n
    np.testing.assert_allclose(shares, [0.2, 0.7, 0.1], atol=0.01)
    assert random.uniform((2,), 3.0, 4.0).numpy().min() > 3
    assert random.normal((2, 3)).dtype == tr.get_default_dtype()


def test_gradients_go_straight_through():
    tr.seed(0)
    p = tr.tensor([0.2, 0.7], requires_grad=True)
    hard = tr.random.bernoulli(p)
    y = tr.random.straight_through(hard, p)
    np.testing.assert_array_equal(y.numpy(), hard.numpy())
    (y * np.array([2.0, 3.0], np.float32)).sum().backward()
    assert p.grad.tolist() == [2, 3]


def test_bad_draws():
    with pytest.raises(DTypeError, match="uniform: dtype: got int64"):
        tr.random.uniform((2,), dtype="int64")

    class Wide(nn.Cell):
        input_size = hidden_size = F

        def step(self, x, h):
            return x + tr.random.normal(x.shape, dtype="float64").astype(x.dtype), h

    with pytest.raises(CompileError, match=r"a draw of float64 .*wanted dtype=float32"):
        nn.Recurrent(Wide(), mode="compiled")(np.zeros((T, B, F), np.float32))
