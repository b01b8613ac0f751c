"""Random cells of integers, look-ups and inner loops: the tape and compiled loops give the same."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import ShapeError
from tinygrad_rnn.testing.integer_cells import random_integer_cell

from .agreement import agree

SEEDS = [pytest.param(seed, marks=() if seed < 4 else pytest.mark.slow) for seed in range(24)]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("seed", SEEDS)
def test_random_cells(seed):
    cell = random_integer_cell(np.random.default_rng(seed), width=(3, 1, 9, 4, 7)[seed % 5])
    how = {"lengths": [4, 0, 2]} if seed % 3 == 1 else {}
    with np.errstate(divide="ignore"):
        agree(cell, cell.example_inputs(4, 3), None, tol=1e-10, **how)


class Deep(nn.Cell):
    """A step of several repetitions, of one tensor or of a pair."""

    input_size = hidden_size = 3

    def __init__(self, n):
        self.n, self.w = n, nn.Parameter(np.random.default_rng(0).normal(size=(3, 3)))

    def step(self, x, h):
        u = x @ self.w
        h = tr.repeat(self.n, lambda s: s + 0.1 * tr.tanh(u - s @ self.w), h)
        h, u = tr.repeat(2, lambda s: (s[1] * 0.5, s[0]), (h, u))
        return h + u, h


@pytest.mark.sampled(3)
@pytest.mark.parametrize("n", [0, 1, 4])
def test_repetitions(n):
    x = tr.tensor(np.random.default_rng(1).normal(size=(4, 2, 3)), requires_grad=True)
    h = tr.tensor(np.random.default_rng(2).normal(size=(2, 3)), requires_grad=True)
    agree(Deep(n), x, h)


def test_a_state_that_changes_is_told():
    with pytest.raises(ShapeError, match=r"repeat: f: returned float64\[3\] in repetition 0, wanted float64\[2\]"):
        tr.repeat(2, lambda s: tr.zeros(3, "float64"), tr.zeros(2, "float64"))
    with pytest.raises(ShapeError, match="repeat: f: returned a pair of tensors"):
        tr.repeat(2, lambda s: (s, s), tr.zeros(2))
    with pytest.raises((TypeError, ValueError), match="repeat: n: got -1"):
        tr.repeat(-1, lambda s: s, tr.zeros(2))
    assert tr.repeat(0, lambda s: None, 5.0 * tr.ones(2)).tolist() == [5, 5]
