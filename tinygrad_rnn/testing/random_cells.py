"""Hypothesis strategy for random recurrent cells of operations that compile; needs ``hypothesis``.

Values are kept within bounds, so that rounding errors stay small and results can be compared.

Examples
--------
>>> from hypothesis import given
>>> from tinygrad_rnn.testing.random_cells import random_cells
>>> @given(random_cells())
... def test_one_step(cell):
...     cell.begin_sequence(2)
...     x, state = cell.example_inputs(1, 2), cell.initial_state(2)
...     cell.step({k: v[0] for k, v in x.items()}, state)
>>> test_one_step()
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from .instruction_cell import ALONG, BINARY, COMPARE, LIMIT, REDUCE, UNARY, RandomCell


class Value(NamedTuple):
    """A value of the program being written: its index, width and largest magnitude."""

    at: int
    width: int
    bound: float


class _Hypothesis:
    """Choices by Hypothesis, which shrinks them where a test fails."""

    def __init__(self, draw):
        self.draw = draw

    def pick(self, options) -> Any:
        return self.draw(st.sampled_from(list(options)))

    def integer(self, least: int, most: int) -> int:
        return self.draw(st.integers(least, most))

    def boolean(self) -> bool:
        return self.draw(st.booleans())

    def order(self, items: list) -> list:
        return self.draw(st.permutations(items))


class _Generator:
    """Choices by a random generator."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng

    def pick(self, options) -> Any:
        options = list(options)
        return options[self.integer(0, len(options) - 1)]

    def integer(self, least: int, most: int) -> int:
        return int(self.rng.integers(least, most + 1))

    def boolean(self) -> bool:
        return bool(self.rng.random() < 0.5)

    def order(self, items: list) -> list:
        return [items[i] for i in self.rng.permutation(len(items))]


class _Writer:
    """Writes one program by the choices of `choose`."""

    def __init__(self, choose):
        self.choose, self.pick = choose, choose.pick
        self.values: list[Value] = []
        self.program: list[tuple] = []
        self.shapes: dict[str, tuple] = {}
        self.constants: list[int] = []
        self.layers: list[tuple] = []  # widths of input and output, names of the weight and two biases

    def size(self, most: int = 6) -> int:
        return self.choose.integer(1, most)

    def add(self, width: int, bound: float, *instruction) -> Value:
        value = Value(len(self.values), width, bound)
        self.program.append(instruction)
        self.values.append(value)
        return self.add(width, 1.0, "tanh", value.at) if bound > LIMIT else value

    def parameter(self, shape: tuple) -> str:
        """The name of a parameter of this shape, an old or a new one."""
        same = [name for name, s in self.shapes.items() if s == shape]
        if same and self.choose.boolean():
            return self.pick(same)
        name = f"p{len(self.shapes)}"
        self.shapes[name] = shape
        return name

    def fitting(self, width: int) -> Value:
        """A value of this width, or one that broadcasts to it."""
        options = [v for v in self.values if v.width in (1, width)]
        return self.pick(options) if options else self.reach(self.pick(self.values), width)

    def reach(self, v: Value, width: int) -> Value:
        """A value of this width that is computed from `v`."""
        if v.width == width:
            return v
        if v.width == 1:
            return self.add(width, v.bound, "spread", v.at, (width,))
        if v.width > width and self.choose.boolean():
            start = self.choose.integer(0, v.width - width)
            return self.add(width, v.bound, "slice", v.at, (start, start + width))
        return self.product(v, width)

    def product(self, v: Value, width: int) -> Value:
        kind = self.pick(["matmul", "matmul", "matmul", "matmul_transposed", "matmul_computed"])
        shape = (width, v.width) if kind == "matmul_transposed" else (v.width, width)
        return self.add(width, 2 * v.bound * np.sqrt(v.width), kind, v.at, self.parameter(shape))

    def layer(self, a: Value) -> None:
        """An affine map with two biases, as recurrent cells have it: a new one, or one that is used again."""
        if not self.layers or self.choose.boolean():
            sizes = a.width, self.size()
            self.layers.append((*sizes, self.parameter(sizes), *(self.parameter(sizes[1:]) for _ in range(2))))
        width, out, weight, *biases = self.pick(self.layers)
        a = self.reach(a, width)
        value = self.add(out, 2 * a.bound * np.sqrt(width), "matmul", a.at, weight)
        for name in biases:
            value = self.add(out, value.bound + 1, "vector_add", value.at, name)

    def instruction(self) -> None:
        kinds = ["product", "product", "unary", "unary", "binary", "binary", "vector", "along", "reduce"]
        kind = self.pick([*kinds, "layer", "slice", "concat", "where", "masked", "constant", "vector_product"])
        a = self.pick(self.values)
        if kind == "product":
            self.product(a, self.size())
        elif kind == "layer":
            self.layer(a)
        elif kind == "unary":
            name = self.pick(UNARY)
            self.add(a.width, UNARY[name][1], name, a.at)
        elif kind == "binary":
            name, b = self.pick(BINARY), self.fitting(a.width)
            self.add(max(a.width, b.width), BINARY[name][1], name, *self.choose.order([a.at, b.at]))
        elif kind == "vector":
            name = self.pick(["vector_add", "vector_multiply", "vector_power"])
            shape = self.pick([(a.width,), (1, a.width), (1,), ()])
            self.add(a.width, 20.0 if name == "vector_power" else a.bound + 1, name, a.at, self.parameter(shape))
        elif kind == "along":
            name = self.pick(ALONG)
            self.add(a.width, ALONG[name][1], name, a.at)
        elif kind == "reduce":
            name = self.pick(REDUCE)
            self.add(1, REDUCE[name][1], name, a.at)
        elif kind == "slice":
            start = self.choose.integer(0, a.width - 1)
            stop = self.choose.integer(start + 1, a.width)
            self.add(stop - start, a.bound, "slice", a.at, (start, stop))
        elif kind == "concat":
            parts = [a, *(self.pick(self.values) for _ in range(self.choose.integer(1, 2)))]
            self.add(sum(p.width for p in parts), max(p.bound for p in parts), "concat", *(p.at for p in parts))
        elif kind == "where":
            b, c = self.fitting(a.width), self.fitting(a.width)
            self.add(a.width, LIMIT, "where", c.at, self.pick(COMPARE), a.at, b.at)
        elif kind == "masked":
            self.add(a.width, a.bound, "masked", self.pick(COMPARE), a.at, self.fitting(a.width).at)
        elif kind == "constant":
            self.constants.append(self.pick([a.width, 1]))
            self.add(a.width, a.bound, "constant", a.at, f"constant{len(self.constants) - 1}")
        else:
            self.add(1, 2 * a.bound, "vector_product", a.at, self.parameter((a.width,)))


@st.composite
def random_cells(draw, max_instructions: int = 10, dtype: Any = np.float64) -> RandomCell:
    """Strategy for cells of one to three states, one or two inputs, and randomly wired operations.

    Parameters
    ----------
    max_instructions : int
        Length of a program; more are added to keep values within bounds and to give states their widths.
    dtype : float32 or float64
    """
    return _write(_Hypothesis(draw), max_instructions, dtype)


def random_cell(rng: np.random.Generator, max_instructions: int = 10, dtype: Any = np.float64) -> RandomCell:
    """One random cell without Hypothesis, determined by the state of the generator."""
    return _write(_Generator(rng), max_instructions, dtype)


def _write(choose: Any, max_instructions: int, dtype: Any) -> RandomCell:
    writer = _Writer(choose)
    inputs = [writer.size(5) for _ in range(choose.integer(1, 2))]
    states = [writer.size() for _ in range(choose.integer(1, 3))]
    writer.values = [Value(i, n, 1.0) for i, n in enumerate([*inputs, *states])]
    for _ in range(choose.integer(2, max_instructions)):
        writer.instruction()
    new_states = [writer.reach(choose.pick(writer.values), n) for n in states]
    outputs = [choose.pick(writer.values) for _ in range(choose.integer(1, 3))]
    ends = [v.at for v in outputs], [v.at for v in new_states]
    return RandomCell(
        inputs, states, writer.program, *ends, writer.shapes, writer.constants, dtype, choose.integer(0, 2**16)
    )
