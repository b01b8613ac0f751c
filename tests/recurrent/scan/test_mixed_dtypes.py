"""Where float dtypes are mixed, the error says whose they are."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import DTypeError


class Mixed(nn.Cell):
    input_size = hidden_size = 3

    def __init__(self):
        self.inp, self.W = nn.Linear(3, 3, dtype="float32"), nn.Parameter(np.eye(3))

    def step(self, x, h):
        h = tr.tanh(self.inp(x) + h @ self.W)
        return h, h


class State(nn.Cell):
    input_size = hidden_size = 3

    def __init__(self):
        self.inp = nn.Linear(6, 3, dtype="float64")

    def initial_state(self, batch_size):
        return {"c": tr.zeros((batch_size, 3), "float64"), "h": tr.zeros((batch_size, 3))}

    def step(self, x, state):
        h = tr.tanh(self.inp(tr.concat([x, state["h"]], axis=-1)))
        return h, {"c": state["c"], "h": h}


@pytest.mark.parametrize("mode", ["auto", "compiled", "eager"])
@pytest.mark.parametrize("cell", [Mixed, State])
def test_mixed_dtypes_are_named(mode, cell):
    words = {
        Mixed: r"parameter W .*float64, parameter inp.weight .*float32.*to\(",
        State: "parameter inp.weight .*float64, state 1 float32.*self.dtype",
    }
    with pytest.raises(DTypeError, match=words[cell]):
        nn.Recurrent(cell(), mode=mode)(np.zeros((2, 1, 3)))


class Done(nn.Cell):
    """A flag comes first in its state."""

    input_size = hidden_size = 2

    def __init__(self):
        self.w = nn.Parameter(np.array([1.0, 2.0]))

    def initial_state(self, batch_size):
        return {"done": tr.zeros((batch_size, 2), "bool"), "h": tr.zeros((batch_size, 2), self.dtype)}

    def step(self, x, state):
        h = tr.where(state["done"], state["h"], tr.tanh(x * self.w + state["h"]))
        return h, {"done": tr.logical_or(state["done"], h > 0.5), "h": h}


def test_a_flag_may_come_first_in_the_state():
    x = np.random.default_rng(0).normal(size=(4, 3, 2))
    found = nn.Recurrent(Done(), mode="compiled")(x)[0].numpy()
    np.testing.assert_allclose(found, nn.Recurrent(Done(), mode="eager")(x)[0].numpy(), rtol=1e-14)
