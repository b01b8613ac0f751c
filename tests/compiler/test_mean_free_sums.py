"""What is left out of a sum over features because its mean is zero, and what is not."""

import functools
import operator

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.compiler.frontend.trace import Trace, recording
from tinygrad_rnn.compiler.ir.symbol import BATCH
from tinygrad_rnn.compiler.ir.walk import reachable

WIDTH = 6


def mean(*parts):
    total = functools.reduce(operator.add, (p.sum(axis=1, keepdims=True) for p in parts))
    return total * (1 / (WIDTH * len(parts)))


def centred(x):
    return x - mean(x)


LEFT_OUT = {
    "alone": lambda u, s, x, y: centred(x),
    "times a number for the row": lambda u, s, x, y: u + s * centred(x),
    "negative": lambda u, s, x, y: u * u - s * centred(x) * 2.0,
    "twice": lambda u, s, x, y: -(s * centred(x) + u) - s * centred(x),
    "of a sum": lambda u, s, x, y: u + centred(x + y) * s,
    "in two pieces": lambda u, s, x, y: u + s * (x - mean(x, y)) + s * (y - mean(x, y)),
}
KEPT = {
    "a different factor for each feature": lambda u, s, x, y: u + u * centred(x),
    "squares": lambda u, s, x, y: centred(x) * centred(x),
    "not the mean": lambda u, s, x, y: u + s * (x - 2.0 * mean(x)),
    "the mean of something else": lambda u, s, x, y: u + s * (x - mean(y)),
    "one of two pieces": lambda u, s, x, y: u + s * (x - mean(x, y)),
    "pieces with different factors": lambda u, s, x, y: u + s * (x - mean(x, y)) + s * s * (y - mean(x, y)),
    "a piece twice": lambda u, s, x, y: u + 2.0 * (x - mean(x, y)) + (y - mean(x, y)) + (y - mean(x, y)),
    "the mean itself": lambda u, s, x, y: mean(x) - x - x,
}


def summed(function):
    """The program of a sum over features: its symbols, and the differences among them."""
    trace = Trace(np.float64, lambda tensor: True, {})
    u, x, y = (trace.leaf("input", i, (BATCH, WIDTH), np.float64, True) for i in range(3))
    s = trace.leaf("input", 3, (BATCH, 1), np.float64, True)
    with recording(trace):
        total = function(u, s, x, y).sum(axis=1)
        found = reachable([total], lambda symbol: symbol.operands)
    return [symbol for symbol in found if symbol.operation == "subtract"]


@pytest.mark.parametrize("name", LEFT_OUT)
def test_left_out(name):
    assert not summed(LEFT_OUT[name])


@pytest.mark.parametrize("name", KEPT)
def test_kept(name):
    assert summed(KEPT[name])


def test_a_number_is_not_another_values_name():
    assert summed(lambda u, s, x, y: u + s * (x - mean(x, y)) + float(s.uid) * (y - mean(x, y)))


class Sums(nn.Cell):
    def initial_state(self, batch_size):
        return None

    def step(self, inputs, state):
        u, s, x, y = inputs
        return [f(u, s, x, y).sum(axis=-1, keepdims=True) for f in (*LEFT_OUT.values(), *KEPT.values())], None

    @property
    def dtype(self):
        return np.dtype("float64")


def test_sums_are_those_of_the_tape():
    rng = np.random.default_rng(0)
    inputs = [tr.tensor(rng.standard_normal((2, 3, n))) for n in (WIDTH, 1, WIDTH, WIDTH)]
    found, _ = tr.recurrent.scan(Sums(), inputs, mode="compiled")
    wanted, _ = tr.recurrent.scan(Sums(), inputs, mode="eager")
    for name, a, b in zip((*LEFT_OUT, *KEPT), found, wanted):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-13, err_msg=name)


def test_the_gradient_of_a_normalisation_takes_one_pass_for_its_sums():
    cell = nn.LayerNormLSTMCell(3, 4)
    backward = nn.Recurrent(cell, mode="compiled").explain().cells[0].step.backward
    assert backward.source.count("in range(0, width") == 3, backward.sweeps  # loops over features
