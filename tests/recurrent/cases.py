"""One row for each cell; every test of cells runs over all rows. To cover a new cell, add a row."""

from typing import NamedTuple

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn, recurrent
from tinygrad_rnn.core import tree


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


class Case(NamedTuple):
    name: str
    make: object  # (input_size, hidden_size, dtype) -> cell
    inputs: object = None  # (T, B, I, H) -> nest of shapes; default: one sequence (T, B, I)

    def shapes(self, T, B, I, H):
        return (T, B, I) if self.inputs is None else self.inputs(T, B, I, H)


def cell_of(kind, **options):
    return lambda i, h, dtype: kind(i, h, dtype=dtype, **options)


CASES = [
    Case("rnn-tanh", cell_of(nn.RNNCell)),
    Case("rnn-relu", cell_of(nn.RNNCell, nonlinearity="relu", init="torch")),
    Case("rnn-sigmoid-nobias", cell_of(nn.RNNCell, nonlinearity="sigmoid", bias=False)),
    Case("lstm", cell_of(nn.LSTMCell)),
    Case("lstm-nobias", cell_of(nn.LSTMCell, bias=False)),
    Case("lstm-projected", lambda i, h, dtype: nn.LSTMCell(i, h + 1, proj_size=h, dtype=dtype)),
    Case("gru", cell_of(nn.GRUCell)),
    Case("gru-before", cell_of(nn.GRUCell, reset_after=False)),
    Case("gru-before-nobias", cell_of(nn.GRUCell, reset_after=False, bias=False)),
    Case("peephole-lstm", cell_of(nn.PeepholeLSTMCell)),
    Case("cifg", cell_of(nn.CIFGCell)),
    Case("mgu", cell_of(nn.MGUCell)),
    Case("ugrnn", cell_of(nn.UGRNNCell)),
    Case("fastgrnn", cell_of(nn.FastGRNNCell)),
    Case("layernorm-lstm", cell_of(nn.LayerNormLSTMCell, eps=0.1)),
    Case("layernorm-gru-nobias", cell_of(nn.LayerNormGRUCell, eps=0.1, bias=False)),
    Case("indrnn", cell_of(nn.IndRNNCell, max_steps=3, init="torch")),
    Case("mingru", cell_of(nn.MinGRUCell)),
    Case("minlstm", cell_of(nn.MinLSTMCell)),
    Case("lru", cell_of(nn.LRUCell)),
    Case(
        "stacked",
        lambda i, h, dtype: nn.Stacked([nn.LSTMCell(i, h, dtype=dtype), nn.GRUCell(h, h + 1, dtype=dtype)]),
    ),
    Case("own-mgu", cell_of(MGU)),
    Case("own-peephole", cell_of(Peephole)),
    Case("learned-start", cell_of(LearnedStart)),
    Case("fast-weights", cell_of(FastWeights)),
    Case("stateless", cell_of(Stateless)),
    Case("two-inputs", cell_of(TwoInputs), lambda T, B, I, H: {"a": (T, B, I), "b": (T, B, 2, H)}),
]
NOT_COMPILED = {"fast-weights", "two-inputs"}  # matrices in the state or the input
COMPILED = [case for case in CASES if case.name not in NOT_COMPILED]


def is_shape(value):
    return isinstance(value, tuple) and all(isinstance(n, int) for n in value)


def draw(shapes, dtype=np.float64, seed=0, requires_grad=True):
    """Random tensors in a nest of shapes."""
    rng = np.random.default_rng(seed)

    def walk(s):
        if is_shape(s):
            return tr.tensor(rng.standard_normal(s), dtype=dtype, requires_grad=requires_grad)
        return {k: walk(v) for k, v in s.items()}

    return walk(shapes)


def draw_state(cell, batch, seed=1):
    """A random state that fits the cell."""
    rng = np.random.default_rng(seed)
    return tree.map(
        lambda s: tr.tensor(rng.standard_normal(s.shape), dtype=s.dtype, requires_grad=True),
        cell.initial_state(batch),
    )


def scan(cell, xs, state=None, reverse=False):
    """The driver on the tape; the compiled road is held against this one elsewhere."""
    return recurrent.scan(cell, xs, state, mode="eager", reverse=reverse)


def leaves(*nests):
    return [x for n in nests for x in tree.flatten(n)[0]]
