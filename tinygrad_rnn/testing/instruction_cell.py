"""The interpreter of random cells: a cell whose step runs a list of instructions, and their tables."""

from __future__ import annotations

from typing import Any

import numpy as np

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


class RandomCell(nn.Cell):
    """A cell whose step runs a list of instructions.

    Attributes
    ----------
    program : tuple of (name, arguments, ...)
        Arguments are indices in the list of values, which begins with inputs and states.
    smooth : bool
        Whether finite differences are meaningful: no instruction compares, rounds or detaches.
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
