"""Random sequences and states for cells, and the driver on the tape."""

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import recurrent
from tinygrad_rnn.core import tree


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
    """The driver on the tape; the compiled loop is held against this one elsewhere."""
    return recurrent.scan(cell, xs, state, mode="eager", reverse=reverse)


def leaves(*nests):
    return [x for n in nests for x in tree.flatten(n)[0]]
