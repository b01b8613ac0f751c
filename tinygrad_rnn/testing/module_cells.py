"""Cells as users write them: classes with modules inside, and states and inputs of many kinds."""

from __future__ import annotations

import numpy as np

import tinygrad_rnn as tr

from .. import nn


class MGU(nn.Cell):
    """A user's cell with products of joined values and an output that is not the state."""

    def __init__(self, input_size, hidden_size, dtype=None):
        self.input_size, self.hidden_size = input_size, hidden_size
        self.gate = nn.Linear(input_size + hidden_size, hidden_size, dtype=dtype)
        self.new = nn.Linear(input_size + hidden_size, hidden_size, dtype=dtype)
        self.out = nn.Linear(hidden_size, 2, dtype=dtype)

    def step(self, x, h):
        f = tr.sigmoid(self.gate(tr.concat([x, h], axis=-1)))
        n = tr.tanh(self.new(tr.concat([x, f * h], axis=-1)))
        h = (1 - f) * h + f * n
        return self.out(h), h


class Peephole(nn.Cell):
    """State in a dict, outputs in a pair, recurrent vectors."""

    def __init__(self, input_size, hidden_size, dtype=None):
        self.input_size, self.hidden_size = input_size, hidden_size
        self.weight = nn.Linear(input_size + hidden_size, 4 * hidden_size, dtype=dtype)
        self.peep = nn.Parameter(np.linspace(-0.5, 0.5, 3 * hidden_size).astype(dtype or np.float32))

    def initial_state(self, batch_size):
        shape = (batch_size, self.hidden_size)
        return {"h": tr.zeros(shape, self.dtype), "c": tr.ones(shape, self.dtype)}

    def step(self, x, state):
        h, c = state["h"], state["c"]
        i, f, g, o = tr.split(self.weight(tr.concat([x, h], axis=-1)), 4, axis=-1)
        pi, pf, po = tr.split(self.peep, 3)
        c = tr.sigmoid(f + pf * c) * c + tr.sigmoid(i + pi * c) * tr.tanh(g)
        h = tr.sigmoid(o + po * c) * tr.tanh(c)
        return (h, c.sum(axis=-1)), {"c": c, "h": h}


class LearnedStart(nn.Cell):
    """An initial state that is a parameter, and layer normalisation in the step."""

    def __init__(self, input_size, hidden_size, dtype=None):
        self.input_size, self.hidden_size = input_size, hidden_size
        self.first = nn.Parameter(np.linspace(-1, 1, hidden_size).astype(dtype or np.float32))
        self.weight = nn.Linear(input_size + hidden_size, hidden_size, dtype=dtype)
        self.norm = nn.LayerNorm(hidden_size, eps=0.1, dtype=dtype)

    def initial_state(self, batch_size):
        return tr.broadcast_to(self.first, (batch_size, self.hidden_size))

    def step(self, x, h):
        h = tr.tanh(self.norm(self.weight(tr.concat([x, h], axis=-1))))
        return h, h


class FastWeights(nn.Cell):
    """A matrix-valued state that is written by outer products."""

    def __init__(self, input_size, hidden_size, dtype=None):
        self.input_size, self.hidden_size = input_size, hidden_size
        self.kvq = nn.Linear(input_size, 3 * hidden_size, dtype=dtype)

    def initial_state(self, batch_size):
        return (tr.zeros((batch_size, self.hidden_size, self.hidden_size), self.dtype),)

    def step(self, x, state):
        (m,) = state
        k, v, q = tr.split(tr.tanh(self.kvq(x)), 3, axis=-1)
        m = 0.9 * m + tr.outer(k, v)
        return (tr.expand_dims(q, 1) @ m)[:, 0], (m,)


class Stateless(nn.Cell):
    """No state at all."""

    def __init__(self, input_size, hidden_size, dtype=None):
        self.input_size = input_size
        self.weight = nn.Linear(input_size, hidden_size, dtype=dtype)

    def initial_state(self, batch_size):
        return None

    def step(self, x, state):
        return tr.tanh(self.weight(x)), None


class TwoInputs(nn.Cell):
    """Two sequences as input, one of them with a matrix at each step."""

    def __init__(self, input_size, hidden_size, dtype=None):
        self.hidden_size = hidden_size
        self.weight = nn.Linear(input_size + hidden_size, hidden_size, dtype=dtype)

    def step(self, x, h):
        h = tr.tanh(self.weight(tr.concat([x["a"], h], axis=-1)) + x["b"].sum(axis=1))
        return h, h


class Timed(nn.Cell):
    """A cell that takes a pair, with the parts of its input by names."""

    def __init__(self, inner):
        self.inner, self.hidden_size = inner, inner.hidden_size

    def step(self, x, h):
        return self.inner.step((x["x"], tr.exp(x["time"])), h)
