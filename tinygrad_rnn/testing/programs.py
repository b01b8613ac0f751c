"""A Hypothesis strategy that writes recurrent cells out of the operations that compile; needs ``hypothesis``.

Values are kept tame, so that rounding errors stay small and results can be compared.

Examples
--------
>>> from hypothesis import given
>>> from tinygrad_rnn.testing.programs import random_cells
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

from .. import nn, ops
from ..core import Tensor

LIMIT = 4.0  # values that may be larger are brought back by tanh

# Operations by kind: name -> (function, largest magnitude of the result)
UNARY: dict[str, tuple[Any, float]] = {
    "tanh": (ops.tanh, 1.0),
    "sigmoid": (ops.sigmoid, 1.0),
    "sin": (ops.sin, 1.0),
    "cos": (ops.cos, 1.0),
    "erf": (ops.erf, 1.0),
    "relu": (ops.relu, LIMIT),
    "abs": (ops.abs, LIMIT),
    "negative": (lambda a: -a, LIMIT),
    "softplus": (ops.softplus, LIMIT + 1),
    "exp": (lambda a: ops.exp(0.3 * a), 4.0),
    "expm1": (lambda a: ops.expm1(-ops.abs(a)), 1.0),
    "log": (lambda a: ops.log(1.5 + ops.abs(a)), 2.0),
    "log1p": (lambda a: ops.log1p(a * a), 3.0),
    "sqrt": (lambda a: ops.sqrt(0.5 + a * a), LIMIT + 1),
    "half": (lambda a: 0.5 * a, LIMIT / 2),
    "shift": (lambda a: a - 0.75, LIMIT + 1),
    "reciprocal": (lambda a: 1 / (1.25 + a * a), 1.0),
    "square": (lambda a: (0.5 * a) ** 2, LIMIT),
    "cube": (lambda a: (0.4 * a) ** 3, LIMIT),
    "inverse_square": (lambda a: (1.5 + ops.sigmoid(a)) ** -2, 1.0),
    "fractional_power": (lambda a: (0.5 + ops.abs(a)) ** 1.3, 8.0),
    "silu": (ops.silu, LIMIT),
    "clip": (lambda a: ops.clip(a, -0.8, 0.9), 0.9),
    "floor": (lambda a: ops.floor(3.1 * a) * 0.1, 2.0),
    "sign": (ops.sign, 1.0),
    "detach": (lambda a: a.detach(), LIMIT),
    "scaled_ones": (lambda a: a * 0.5 + ops.ones_like(a), LIMIT),
}
BINARY: dict[str, tuple[Any, float]] = {
    "add": (lambda a, b: a + b, 2 * LIMIT),
    "subtract": (lambda a, b: a - b, 2 * LIMIT),
    "multiply": (lambda a, b: a * b, LIMIT * LIMIT),
    "divide": (lambda a, b: a / (1.5 + b * b), LIMIT),
    "maximum": (ops.maximum, LIMIT),
    "minimum": (ops.minimum, LIMIT),
    "power": (lambda a, b: (0.5 + ops.abs(a)) ** ops.tanh(b), 5.0),
}
ALONG: dict[str, tuple[Any, float]] = {
    "softmax": (lambda a: ops.softmax(a, -1), 1.0),
    "log_softmax": (lambda a: ops.log_softmax(a, -1), 2 * LIMIT + 2),
    "centre": (lambda a: a - a.mean(axis=-1, keepdims=True), 2 * LIMIT),
    "normalise": (
        lambda a: (a - a.mean(-1, keepdims=True)) / ops.sqrt(a.var(-1, keepdims=True) + 0.1),
        3.0,
    ),
}
REDUCE: dict[str, tuple[Any, float]] = {
    "sum": (lambda a: 0.3 * a.sum(axis=-1, keepdims=True), 2 * LIMIT),
    "mean": (lambda a: a.mean(axis=-1)[:, None], LIMIT),
    "max": (lambda a: a.max(axis=-1, keepdims=True), LIMIT),
    "min": (lambda a: ops.expand_dims(a.min(axis=-1), 1), LIMIT),
    "logsumexp": (lambda a: ops.logsumexp(a, axis=-1, keepdims=True), LIMIT + 2),
    "column": (lambda a: a[:, 0].reshape((-1, 1)), LIMIT),
}
COMPARE: dict[str, Any] = {
    "less": lambda a, b: a < b,
    "greater_equal": lambda a, b: a >= b,
    "either": lambda a, b: (a > 0.3) | (b < -0.1),
    "both": lambda a, b: (a > -0.5) & ~(b > 0.5),
    "differs": lambda a, b: (a > 0) ^ (b > 0),
}
SMOOTH_KINKS = {"relu", "abs", "maximum", "minimum", "max", "min", "clip", "floor", "sign", "detach", "expm1", "log"}
SMOOTH_KINKS |= {"fractional_power", "power", "where", "masked"}


class Value(NamedTuple):
    """What is known of one value while a program is written: its place in the list, width and magnitude."""

    at: int
    width: int
    bound: float


class RandomCell(nn.Cell):
    """A cell that runs a list of instructions.

    Attributes
    ----------
    program : tuple of (name, arguments, ...)
        Arguments are places in the list of values, which begins with inputs and states.
    smooth : bool
        Whether finite differences are meaningful: nothing is compared, rounded or detached.
    """

    def __init__(self, inputs, states, program, outputs, new_states, shapes, constants, dtype, seed):
        self.inputs, self.states, self.program = tuple(inputs), tuple(states), tuple(program)
        self.outputs, self.new_states, self.constants = tuple(outputs), tuple(new_states), tuple(constants)
        rng = np.random.default_rng(seed)
        for name, shape in shapes.items():
            bound = 1.5 / np.sqrt(shape[0]) if len(shape) == 2 and shape[0] > 1 else 1.0
            setattr(self, name, nn.Parameter(rng.uniform(-bound, bound, shape).astype(dtype)))
        self.kind, self.seed = np.dtype(dtype).name, seed

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.kind)

    @property
    def smooth(self) -> bool:
        return not any(name in SMOOTH_KINKS for name, *_ in self.program)

    def example_inputs(self, time: int, batch: int, requires_grad: bool = True) -> dict[str, Tensor]:
        """Random sequences that fit the cell."""
        rng = np.random.default_rng(self.seed + 1)
        return {
            f"x{i}": Tensor(rng.uniform(-1, 1, (time, batch, n)).astype(self.dtype), requires_grad)
            for i, n in enumerate(self.inputs)
        }

    def example_state(self, batch: int, requires_grad: bool = True) -> list[Tensor]:
        """A random state that fits the cell."""
        rng = np.random.default_rng(self.seed + 2)
        return [Tensor(rng.uniform(-1, 1, (batch, n)).astype(self.dtype), requires_grad) for n in self.states]

    def initial_state(self, batch_size: int) -> list[Tensor]:
        return [ops.zeros((batch_size, n), self.dtype) for n in self.states]

    def begin_sequence(self, batch_size: int) -> None:
        for i, n in enumerate(self.constants):
            rng = np.random.default_rng(self.seed + 3 + i)
            noise = rng.uniform(0, 1, (batch_size, n)).astype(self.dtype)
            setattr(self, f"constant{i}", Tensor(noise, i % 2 == 0))

    def step(self, x, state):
        values = [*(x[f"x{i}"] for i in range(len(self.inputs))), *state]
        for instruction in self.program:
            values.append(self._run(values, *instruction))
        return tuple(values[i] for i in self.outputs), [values[i] for i in self.new_states]

    def _run(self, values: list, name: str, *args) -> Any:
        if name in UNARY:
            return UNARY[name][0](values[args[0]])
        if name in ALONG:
            return ALONG[name][0](values[args[0]])
        if name in REDUCE:
            return REDUCE[name][0](values[args[0]])
        if name in BINARY:
            return BINARY[name][0](values[args[0]], values[args[1]])
        if name == "matmul":
            return values[args[0]] @ getattr(self, args[1])
        if name == "matmul_transposed":
            return values[args[0]] @ getattr(self, args[1]).T
        if name == "matmul_computed":  # computed from parameters before the loop
            w = getattr(self, args[1])
            return values[args[0]] @ (w * 0.5 + ops.tanh(w))
        if name == "vector_product":
            return (values[args[0]] @ getattr(self, args[1]))[:, None]
        if name in ("vector_add", "vector_multiply", "vector_power"):
            a, v = values[args[0]], getattr(self, args[1])
            return a + v if name == "vector_add" else a * v if name == "vector_multiply" else (1.2 + a * a) ** v
        if name == "slice":
            return values[args[0]][:, slice(*args[1])]
        if name == "concat":
            return ops.concat([values[i] for i in args], axis=-1)
        if name == "spread":
            return ops.broadcast_to(values[args[0]], (values[args[0]].shape[0], *args[1]))
        if name == "where":
            c, compare, a, b = args
            return ops.where(COMPARE[compare](values[c], values[a]), values[a], values[b])
        if name == "masked":
            compare, a, b = args
            return values[a] * COMPARE[compare](values[a], values[b])
        assert name == "constant", name
        return values[args[0]] * getattr(self, args[1])

    def describe(self) -> str:
        """The program, a line for each instruction."""
        names = [f"x{i}" for i in range(len(self.inputs))] + [f"s{i}" for i in range(len(self.states))]
        lines = [f"inputs {self.inputs}, states {self.states}, constants {self.constants}"]
        for i, (name, *args) in enumerate(self.program):
            names.append(f"v{i}")
            lines.append(f"v{i} = {name}({', '.join(names[a] if isinstance(a, int) else str(a) for a in args)})")
        lines.append(f"return {[names[i] for i in self.outputs]}, {[names[i] for i in self.new_states]}")
        return "\n".join(lines)

    extra_repr = describe


class _Hypothesis:
    """Choices that Hypothesis makes, and makes smaller where a test fails."""

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
    """Choices that a random generator makes."""

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
    """Writes one program; `choose` makes every choice."""

    def __init__(self, choose):
        self.choose, self.pick = choose, choose.pick
        self.values: list[Value] = []
        self.program: list[tuple] = []
        self.shapes: dict[str, tuple] = {}
        self.constants: list[int] = []

    def size(self, most: int = 6) -> int:
        return self.choose.integer(1, most)

    def add(self, width: int, bound: float, *instruction) -> Value:
        value = Value(len(self.values), width, bound)
        self.program.append(instruction)
        self.values.append(value)
        return self.add(width, 1.0, "tanh", value.at) if bound > LIMIT else value

    def parameter(self, shape: tuple) -> str:
        """A parameter of this shape: an old one, or a new one."""
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
        """`v`, brought to a width."""
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

    def instruction(self) -> None:
        kinds = ["product", "product", "unary", "unary", "binary", "binary", "vector", "along", "reduce"]
        kind = self.pick([*kinds, "slice", "concat", "where", "masked", "constant", "vector_product"])
        a = self.pick(self.values)
        if kind == "product":
            self.product(a, self.size())
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
    """Cells with one to three states, one or two inputs, shared and computed matrices, and random wiring.

    Parameters
    ----------
    max_instructions : int
        How long programs are; some more are added to keep values tame and to give states their widths.
    dtype : float32 or float64
    """
    return _write(_Hypothesis(draw), max_instructions, dtype)


def random_cell(rng: np.random.Generator, max_instructions: int = 10, dtype: Any = np.float64) -> RandomCell:
    """One such cell, without Hypothesis: the same for the same state of the generator."""
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
