"""A step that reads the size of the batch gives, in `mode="auto"`, what the tape gives, for any batch."""

import copy
import functools
import math

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import CompileError

from .frozen import Cell, agree, compiles, sequence

TABLE = {1: 0.5, 4: 0.25}


def swallowed(cell, x, h):
    try:
        n = float(len(x))
    except Exception:
        n = 100.0
    return x * cell.w / n


SIZES = {
    "len": lambda c, x, h: x * c.w / len(x),
    "size": lambda c, x, h: x * c.w / x.size,
    "int": lambda c, x, h: x * c.w / int(x.shape[0]),
    "float": lambda c, x, h: x * c.w / float(x.shape[0]),
    "numpy.sqrt": lambda c, x, h: x * c.w / float(np.sqrt(x.shape[0])),
    "math.sqrt": lambda c, x, h: x * c.w / math.sqrt(x.shape[0]),
    "math.log": lambda c, x, h: x * c.w * math.log(x.shape[0] + 1),
    "numpy.prod": lambda c, x, h: x * c.w / float(np.prod(x.shape)),
    "numpy.prod of ints": lambda c, x, h: x * c.w / int(np.prod(x.shape, dtype=int)),
    "math.prod": lambda c, x, h: x * c.w / math.prod(x.shape),
    "asarray": lambda c, x, h: x * c.w / np.asarray(x.shape)[0],
    "asarray of ints": lambda c, x, h: x * c.w / float(np.asarray(x.shape, int)[0]),
    "array compared": lambda c, x, h: x * c.w * (1.0 if np.asarray(x.shape)[0] == 1 else 2.0),
    "array_equal": lambda c, x, h: x * c.w * (1.0 if np.array_equal(x.shape, (4, 2)) else 2.0),
    "range": lambda c, x, h: x * c.w * sum(1.0 for _ in range(x.shape[0])),
    "min": lambda c, x, h: x * c.w * min(x.shape[0], 2),
    "max": lambda c, x, h: x * c.w * max(2, x.shape[0]),
    "f-string": lambda c, x, h: x * c.w * len(f"{x.shape[0] * 1000}"),
    "str": lambda c, x, h: x * c.w * (3.0 if str(x.shape[0]) == "4" else 1.0),
    "repr": lambda c, x, h: x * c.w * (3.0 if repr(x.shape) == "(4, 2)" else 1.0),
    "percent": lambda c, x, h: x * c.w * (3.0 if "%d" % x.shape[0] == "4" else 1.0),  # noqa: UP031
    "dict": lambda c, x, h: x * c.w * TABLE.get(x.shape[0], 1.0),
    "dict of shapes": lambda c, x, h: x * c.w * {(4, 2): 3.0}.get(x.shape, 1.0),
    "set": lambda c, x, h: x * c.w * (3.0 if x.shape[0] in {4, 5} else 1.0),
    "list": lambda c, x, h: x * c.w * (3.0 if x.shape[0] in [4, 5] else 1.0),
    "hash": lambda c, x, h: x * c.w * (hash(x.shape) % 3),
    "==": lambda c, x, h: x * c.w * (1.0 if x.shape[0] == 1 else 2.0),
    "!=": lambda c, x, h: x * c.w * (1.0 if x.shape[0] != 1 else 2.0),
    ">": lambda c, x, h: x * c.w * (1.0 if x.shape[0] > 1 else 2.0),
    "<=": lambda c, x, h: x * c.w * (1.0 if x.shape[0] <= 1 else 2.0),
    "< 1000": lambda c, x, h: x * c.w * (1.0 if x.shape[0] < 3 else 2.0),
    "other way round": lambda c, x, h: x * c.w * (1.0 if x.shape[0] > 3 else 2.0),
    "shapes": lambda c, x, h: x * c.w * (1.0 if x.shape == (4, 2) else 2.0),
    "match": lambda c, x, h: x * c.w * matched(x.shape),
    "times a list": lambda c, x, h: x * c.w * sum([1.0] * x.shape[0]),
    "times a text": lambda c, x, h: x * c.w * len("a" * x.shape[0]),
    "bit_length": lambda c, x, h: x * c.w * x.shape[0].bit_length(),
    "round": lambda c, x, h: x * c.w * round(x.shape[0]),
    "divmod": lambda c, x, h: x * c.w * divmod(x.shape[0], 3)[1],
    "bool": lambda c, x, h: x * c.w * (1.0 if x.shape[0] else 2.0),
    "positive": lambda c, x, h: x * c.w * (1.0 if x.shape[0] > 0 else 2.0),
    "slice of ones": lambda c, x, h: x * c.w * float(np.ones(5)[: x.shape[0]].sum()),
    "index": lambda c, x, h: x * c.w * [1.0, 2.0, 3.0, 4.0, 5.0, 6.0][x.shape[0]],
    "broadcast_to": lambda c, x, h: x * c.w + np.broadcast_to(np.float32(2.0), x.shape),
    "broadcast_to, its size": lambda c, x, h: x * c.w / np.broadcast_to(np.float32(2.0), x.shape).size,
    "numpy.zeros": lambda c, x, h: x * c.w + np.zeros(h.shape, np.float32),
    "numpy.ones": lambda c, x, h: x * c.w + np.ones(h.shape, np.float32),
    "numpy.full": lambda c, x, h: x * c.w + np.full(h.shape, 2.0, np.float32),
    "numpy.zeros, its rows": lambda c, x, h: x * c.w * (1.0 if len(np.zeros(h.shape)) == 4 else 2.0),
    "numpy.zeros, its shape": lambda c, x, h: x * c.w / np.zeros(h.shape).shape[0],
    "numpy.ones, their sum": lambda c, x, h: x * c.w / float(np.ones(h.shape[0]).sum()),
    "numpy.linspace": lambda c, x, h: x * c.w * float(np.linspace(0, 1, x.shape[0] + 1)[1]),
    "numpy.eye": lambda c, x, h: x * c.w * float(np.eye(h.shape[0]).mean()),
    "tr.zeros": lambda c, x, h: x * c.w + tr.zeros(h.shape),
    "tr.ones": lambda c, x, h: x * c.w + tr.ones(h.shape),
    "tr.full": lambda c, x, h: x * c.w + tr.full(h.shape, 3.0),
    "tr.zeros_like": lambda c, x, h: x * c.w + tr.zeros_like(h),
    "tr.zeros, their rows": lambda c, x, h: x * c.w * (1.0 if tr.zeros(h.shape).shape[0] == 4 else 2.0),
    "tr.zeros, their size": lambda c, x, h: x * c.w / tr.zeros(h.shape).size,
    "tr.zeros, their length": lambda c, x, h: x * c.w / len(tr.zeros(h.shape)),
    "isinstance int": lambda c, x, h: x * c.w * (1.0 if isinstance(x.shape[0], int) else 2.0),
    "type int": lambda c, x, h: x * c.w * (1.0 if type(x.shape[0]) is int else 2.0),
    "same shape": lambda c, x, h: x * c.w * (1.0 if x.shape == h.shape else 2.0),
    "shape of a parameter": lambda c, x, h: x * c.w * (1.0 if x.shape == c.w.shape else 2.0),
    "first rows": lambda c, x, h: x * c.w * (1.0 if x[:2].shape[0] == 2 else 2.0),
    "swallowed": swallowed,
    "lru_cache": lambda c, x, h: x * c.w * cached(x.shape[0]),
    "mean of rows": lambda c, x, h: x * c.w + x.mean(axis=0),
    "np.size": lambda c, x, h: x * c.w / np.size(x),
    "sized": lambda c, x, h: x * c.w * (1.0 if x.shape[0] * 1.0 == 4.0 else 2.0),
    "sorted": lambda c, x, h: x * c.w * sorted([3, x.shape[0]])[0],
    "enumerate": lambda c, x, h: x * c.w * sum(i for i, _ in enumerate(x)),
    "copied": lambda c, x, h: x * c.w / copy.copy(x.shape)[0],
    "complex": lambda c, x, h: x * c.w * abs(complex(x.shape[0])),
    "unpacked": lambda c, x, h: x * c.w / (lambda b, f: b)(*x.shape),
    "operator": lambda c, x, h: x * c.w / __import__("operator").index(x.shape[0]),
}


def matched(shape):
    match shape:
        case (1, _):
            return 1.0
        case _:
            return 2.0


@functools.cache
def cached(n):
    return float(n)


@pytest.mark.sampled(24)
@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("order", [(1, 4), (4, 1), (5, 4)])
def test_the_size_of_the_batch(name, order):
    agree(Cell(SIZES[name]), *order)


@pytest.mark.parametrize(
    "name",
    ["tr.zeros", "tr.ones", "tr.full", "tr.zeros_like", "numpy.zeros", "numpy.ones", "numpy.full", "same shape"]
    + ["positive", "bool", "isinstance int"],
)
def test_harmless_questions_compile(name):
    compiles(Cell(SIZES[name]))


@pytest.mark.sampled(4)
@pytest.mark.parametrize("width", [1, 2, 101, 211, 223, 227, 1009])
def test_any_width(width):
    class Wide(nn.Cell):
        input_size = hidden_size = width

        def __init__(self):
            self.u = nn.Parameter(np.random.default_rng(0).uniform(-0.1, 0.1, (width, width)).astype(np.float32))
            self.b = nn.Parameter(np.arange(width, dtype=np.float32) / width)

        def step(self, x, h):
            h = tr.tanh(x @ self.u + h * self.b + tr.zeros(width))
            return h, h

    agree(Wide(), 1, 3)
    compiles(Wide())


class Shifting(nn.Cell):
    """Keeps the number of rows in places of all kinds."""

    input_size = hidden_size = 2

    def begin_sequence(self, batch_size):
        self.n, self.pair, self.box = batch_size, (batch_size, tr.ones(2)), {"n": [batch_size]}
        self.rows, self.mask = np.ones((batch_size, 1), np.float32), tr.ones((batch_size, 2))

    def step(self, x, h):
        y = (
            x * self.mask / self.n
            + self.pair[1] * self.pair[0]
            + self.box["n"][0] * (2.0 if len(self.rows) == 4 else 1)
        )
        return y * self.rows.shape[0] + self.mask.shape[1], y


def test_numbers_of_rows_kept_by_begin_sequence():
    agree(Shifting(), 4, 1, 3)


def test_columns_of_a_constant_with_a_row_for_each_batch_row():
    class Columns(Shifting):
        def begin_sequence(self, batch_size):
            self.mask = tr.tensor(np.arange(3.0 * batch_size, dtype=np.float32).reshape(batch_size, 3))

        def step(self, x, h):
            y = x * self.mask[:, 1:] + self.mask[:, :1] + h * self.mask[0:, 2:]
            return y, tr.concat([y[:, :1] * self.mask[:, 0:1], x[:, 1:]], axis=-1)

    agree(Columns(), 4, 1, 3)


# ---- texts and lengths: refused, as they could decide something; but for those that are never made


@pytest.mark.parametrize("shown", [lambda h: f"{h.shape}", lambda h: str(h.shape[0]), lambda h: "%s" % (h.shape,)])  # noqa: UP031
def test_texts_of_a_shape_are_refused(shown):
    with pytest.raises(CompileError, match=r"the size of the batch in a text at .*test_frozen_sizes.py:"):
        nn.Recurrent(Cell(lambda c, x, h: x * c.w if shown(h) else x), mode="compiled")(sequence(2))


def test_lengths_are_refused():
    with pytest.raises(CompileError, match=r"len\(\) of a tensor .*test_frozen_sizes.py:"):
        nn.Recurrent(Cell(lambda c, x, h: x * c.w if len(x) == x.shape[0] else x), mode="compiled")(sequence(2))


def test_checks_of_shapes_compile():
    def function(c, x, h):
        assert h.shape == x.shape, f"got {h.shape}, wanted {x.shape}"
        if x.shape[0] != h.shape[0] or x.shape[1] != 2:
            raise ValueError(f"got {x.shape}")
        return x * c.w

    compiles(Cell(function))
    agree(Cell(function), 1, 3)
