"""Masks of regularisers where not all steps count: loops and tape draw the same, and padding stays without effect."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn

from ...differences import project
from ..sequences import draw, leaves
from .test_regularisers import WRAPPED, B, I, T

LENGTHS = np.array([2, T, 0])
OPTIONS = {
    "lengths": {"lengths": LENGTHS},
    "mask": {"mask": np.random.default_rng(0).random((T, B)) < 0.6},
    "resets": {"resets": np.random.default_rng(1).random((T, B)) < 0.3},
    "all": {"lengths": LENGTHS, "resets": np.random.default_rng(2).random((T, B)) < 0.4},
}


@pytest.mark.sampled(9)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("name", WRAPPED)
@pytest.mark.parametrize("reverse", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_loops_equal_the_tape(name, reverse, options):
    cell = WRAPPED[name]("float64")
    x = draw((T, B, I))
    found = []
    for mode in ("eager", "compiled"):
        tr.seed(1)
        results = leaves(*nn.Recurrent(cell, mode, reverse=reverse)(x, **options))
        grads = tr.grad(project(results), [x, *cell.parameters()])
        found.append([v.numpy() for v in (*results, *grads)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)
