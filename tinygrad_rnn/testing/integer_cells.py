"""Random recurrent cells of integers, truth values, look-ups and inner loops, beside floats.

Examples
--------
>>> import numpy as np
>>> from tinygrad_rnn.testing.integer_cells import random_integer_cell
>>> cell = random_integer_cell(np.random.default_rng(1))
>>> x, state = cell.example_inputs(1, 2), cell.initial_state(2)
>>> y, new = cell.step({k: v[0] for k, v in x.items()}, state)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_rnn as tr

from .. import nn

WIDTH, ROWS = 3, 5  # features of all values, unless others are asked for, and rows of the table
INTEGERS: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: (a % 7) * (b % 5),
    "remainder": lambda a, b: a % b,
    "quotient": lambda a, b: a // b,
    "by a number": lambda a, b: a // 3 - a % -4,
    "larger": tr.maximum,
    "smaller": lambda a, b: tr.minimum(a, -b),
    "size": lambda a, b: abs(a),
    "sum": lambda a, b: a + b.sum(axis=-1, keepdims=True),
    "most": lambda a, b: tr.max(a, axis=-1, keepdims=True) - b,
    "turned": lambda a, b: tr.flip(a, -1) + b[:, [1 % b.shape[1], 0, *range(2, b.shape[1])][: b.shape[1]]],
    "joined": lambda a, b: tr.concat([a, b[:, :1]], axis=-1)[:, 1:],
    "bits": lambda a, b: (a & 13) - (6 | b),
    "other bits": lambda a, b: (a ^ -10) + ~b,
    "bits of two": lambda a, b: (a & b) - (a | b) % 7 + (a ^ b),
    "shifted by a value": lambda a, b: (a << (b & 7)) - (a >> b % 70) + (1 << abs(b) % 9),
    "made inside": lambda a, b: 3 * tr.ones_like(a) - tr.concat([tr.zeros_like(b[:, :1]), b[:, 1:]], axis=-1),
    "powers of two": lambda a, b: (a % 7 - 3) ** (b % 5),
    "bits of truth values": lambda a, b: (a > b) + ((a < 3) ^ (b > 0)) * 2 + (a == b),
    "shifted": lambda a, b: (a << 3) - (b >> 2),
    "powers": lambda a, b: a**2 - (b % 9) ** 3,
    "in order": lambda a, b: tr.sort(a, axis=-1) - tr.sort(b, axis=-1, descending=True),
    "places": lambda a, b: tr.argsort(a % 3, axis=-1) * 4 + tr.argsort(b, axis=-1, descending=True),
    "largest few": lambda a, b: tr.topk(a, 1)[0] + tr.topk(b % 5, b.shape[1])[1],
    "running sums": lambda a, b: tr.cumsum(a, axis=-1) - b,
    "running products": lambda a, b: tr.cumprod(a % 4 - 1, axis=-1) + b,
    "differences": lambda a, b: tr.diff(tr.concat([a, b[:, :1]], axis=-1), axis=-1),
    "counts": lambda a, b: (a > b).sum(axis=-1, keepdims=True) - (a % 2 == b % 2).sum(axis=-1)[:, None],
    "running counts": lambda a, b: tr.cumsum(a > b, axis=-1) + tr.any(a > 2, axis=-1, keepdims=True),
}
TO_INTEGERS = {
    "cut": lambda f: (4 * f).astype("int64"),
    "largest": lambda f: tr.argmax(f, axis=-1, keepdims=True) + tr.argmin(f, axis=-1)[:, None] * np.arange(f.shape[1]),
    "signs": lambda f: (f > 0).astype("int64"),
    "places": lambda f: tr.argsort(f, axis=-1) + tr.topk(f, 1)[1],
    "counts": lambda f: (f > 0).sum(axis=-1, keepdims=True) + tr.cumsum(f < 0.2, axis=-1),
}
LOOK_UPS: dict[str, Callable[..., Any]] = {
    "rows": lambda c, f, i: f + c.table[i[:, 0] % ROWS],
    "many rows": lambda c, f, i: f * tr.embedding(c.table, i % ROWS).sum(axis=1),
    "part": lambda c, f, i: f + tr.embedding(c.table[1:4], i[:, -1] % 3),
    "of a transpose": lambda c, f, i: f * tr.take(c.table.T, i[:, 0] % c.width, axis=0)[:, :1],
    "from the end": lambda c, f, i: tr.take(c.table, i[:, -1] % ROWS - ROWS, axis=0) - f,
    "along": lambda c, f, i: tr.take_along_axis(f, i % c.width, axis=-1),
    "along a matrix": lambda c, f, i: tr.take_along_axis(f[:, :, None] * c.v, (i % c.width)[:, None, :], axis=1)[:, 0],
    "one hot": lambda c, f, i: (tr.one_hot(i % c.width, c.width, f.dtype) * f[:, :, None]).sum(axis=1),
    "number": lambda c, f, i: f + i * c.v,
    "a column": lambda c, f, i: f + c.table[i % ROWS, -1],
    "two axes": lambda c, f, i: f * c.table[i % ROWS, tr.flip(i, -1) % c.width],
    "around an axis": lambda c, f, i: f + c.cube[i[:, 0] % 2, :, i[:, -1] % c.width],
    "the first and a part": lambda c, f, i: f - c.cube[i % 2 - 2, -1:].sum(axis=(1, 2)),
    "beside a constant": lambda c, f, i: f + (c.cube[i % 2, [[-1]], ::-1] * f[:, :, None]).sum(axis=1),
}
FLOATS: dict[str, Callable[..., Any]] = {
    "product": lambda c, f, g: tr.tanh(f @ c.w + g),
    "times": lambda c, f, g: f * g,
    "remainder": lambda c, f, g: f % (0.7 * abs(g) + 0.5),  # f and g may be one: no ties
    "quotient": lambda c, f, g: (f // (abs(g) + 0.5)) * c.v,
    "twice": lambda c, f, g: tr.repeat(2, lambda s: 0.5 * tr.tanh(s @ c.w + g), f),
    "two of them": lambda c, f, g: tr.repeat(3, lambda s: (0.9 * s[1], tr.sin(s[0] * c.v)), (f, g))[1],
    "in order": lambda c, f, g: tr.sort(f, axis=-1) * tr.sort(g * c.v, axis=-1, descending=True),
    "largest": lambda c, f, g: tr.topk(f, 1)[0] * c.v + tr.topk(g, g.shape[1])[0],
    "middle": lambda c, f, g: f - tr.median(g * c.v, axis=-1, keepdims=True),
    "running products": lambda c, f, g: tr.cumprod(f + c.v, axis=-1) * tr.cumprod(tr.relu(g), axis=1),
    "running sums": lambda c, f, g: tr.cumsum(f * c.v, axis=-1) + tr.diff(tr.concat([g, f[:, :1]], axis=-1), axis=-1),
    "share": lambda c, f, g: f * (g > c.v).astype(f.dtype).mean(axis=-1, keepdims=True) + (f > g).sum(axis=1)[:, None],
    "angles": lambda c, f, g: tr.arctan2(f, abs(g) + 0.5) * c.v + tr.hypot(f, g * c.v - 0.3),
    "inverse": lambda c, f, g: (
        tr.arcsinh(f) + tr.arctan(g * c.v) - tr.arccosh(1.5 + abs(f)) + tr.arcsin(0.5 * tr.sin(g))
    ),
    "beside nothing": lambda c, f, g: tr.concat([f[:, :0], g * c.v], axis=-1) + f[:, 1:1].sum(axis=-1, keepdims=True),
    "powers": lambda c, f, g: f**3 - g**2 * c.v,
}
CHOICES = {
    "by integers": lambda i, j, f, g: tr.where(i > j, f, g),
    "by equality": lambda i, j, f, g: tr.where(i % 3 == j % 3, f, g),
    "by floats": lambda i, j, f, g: tr.where((f > g) & (i != 2), f, -g),
}


class IntegerCell(nn.Cell):
    """A cell of random operations; its state is floats, integers and truth values.

    Parameters
    ----------
    program : list of tuple
        Kind, name, and numbers of floats and integers among those that there are.
    seed : int
        Of parameters and inputs.
    width : int
        Features of all values.
    dtype : float32 or float64
    """

    def __init__(self, program: list[tuple], seed: int, width: int = WIDTH, dtype: Any = np.float64):
        self.program, self.seed, self.width = program, seed, width
        rng = np.random.default_rng(seed)
        self.hidden_size = width
        shapes = {"w": (width, width), "table": (ROWS, width), "v": (width,), "cube": (2, width, width)}
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(rng.uniform(-1, 1, shape).astype(dtype)))

    def example_inputs(self, time: int, batch: int) -> dict[str, tr.Tensor]:
        """Random inputs: floats, of which gradients are wanted, and integers."""
        rng, shape = np.random.default_rng(self.seed + 1), (time, batch, self.width)
        return {
            "f": tr.tensor(rng.uniform(-1, 1, shape).astype(self.dtype), requires_grad=True),
            "i": tr.tensor(rng.integers(-9, 10, shape)),
        }

    def initial_state(self, batch_size: int):
        shape = batch_size, self.width
        return {"f": tr.zeros(shape, self.dtype), "i": tr.zeros(shape, "int64"), "t": tr.zeros(shape, "bool")}

    def step(self, x, state):
        floats, integers = [x["f"], state["f"]], [x["i"], state["i"]]
        floats.append(tr.where(state["t"], x["f"], state["f"]))
        for kind, name, *at in self.program:
            f, g = (floats[k % len(floats)] for k in at[:2])
            i, j = (integers[k % len(integers)] for k in at[2:])
            if kind == "integers":
                integers.append(INTEGERS[name](i, j) % 101)
            elif kind == "to integers":
                integers.append(TO_INTEGERS[name](f) + i % 2)
            elif kind == "look-ups":
                floats.append(tr.tanh(LOOK_UPS[name](self, f, i)))
            elif kind == "floats":
                floats.append(FLOATS[name](self, f, g))
            else:
                floats.append(CHOICES[name](i, j, f, g))
        f, i = tr.tanh(floats[-1] + floats[-2]), integers[-1] + 0 * integers[-2]
        return (f, i, i > 2), {"f": f, "i": i, "t": tr.logical_xor(state["t"], f > 0)}


KINDS: dict[str, Any] = {
    "integers": INTEGERS,
    "to integers": TO_INTEGERS,
    "look-ups": LOOK_UPS,
    "floats": FLOATS,
    "choices": CHOICES,
}


def random_integer_cell(
    rng: np.random.Generator, most: int = 6, width: int = WIDTH, dtype: Any = np.float64
) -> IntegerCell:
    """A random cell of at most so many operations, determined by the state of the generator.

    Parameters
    ----------
    most : int
    width : int
        Features of all values.
    dtype : float32 or float64
    """
    program = []
    for _ in range(int(rng.integers(2, most + 1))):
        kind = str(rng.choice([*KINDS]))
        program.append((kind, str(rng.choice([*KINDS[kind]])), *map(int, rng.integers(0, 9, 4))))
    return IntegerCell(program, int(rng.integers(2**16)), width, dtype)
