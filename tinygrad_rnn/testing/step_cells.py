"""Cells written as one function of plain maths, and random sequences and states for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn as tr

from .. import nn
from ..core import tree

Weights = Callable[[int, int], dict[str, tuple[int, ...]]]


class Shape:
    """The shape of one array of a tree, without time and batch."""

    def __init__(self, *sizes: int, dtype: str | None = None):
        self.sizes, self.dtype = sizes, dtype


def one_input(I: int, H: int) -> Any:
    """One sequence of I features."""
    return Shape(I)


def one_state(I: int, H: int) -> Any:
    """One state of H features."""
    return Shape(H)


def pair(I: int, H: int) -> Any:
    """Two states of H features."""
    return Shape(H), Shape(H)


class StepCell(NamedTuple):
    """A cell that is one function.

    Attributes
    ----------
    name : str
    step : callable
        ``step(lib, p, x, state) -> (output, state)``; `lib` has the functions (this package, PyTorch, JAX or NumPy),
        `p` holds the weights.
    weights : callable
        ``weights(I, H)``: shapes by name.
    state : callable
        ``state(I, H)``: a tree of shapes without the batch; default one state (H,).
    inputs : callable
        ``inputs(I, H)``: a tree of shapes without time and batch; default one input (I,).
    begin : callable, optional
        ``begin(p, batch_size)``, called at the beginning of a sequence.
    """

    name: str
    step: Callable[[Any, Any, Any, Any], tuple[Any, Any]]
    weights: Weights
    state: Callable[[int, int], Any] = one_state
    inputs: Callable[[int, int], Any] = one_input
    begin: Callable[[Any, int], None] | None = None

    @property
    def n_states(self) -> int:
        """The number of arrays in its state."""
        return len(tree.flatten(self.state(1, 1))[0])

    def cell(self, I: int = 3, H: int = 5, dtype: Any = "float64", seed: int = 0) -> FunctionCell:
        """The cell for layers of this package, with random weights."""
        return FunctionCell(self, I, H, dtype, seed)

    def sequences(self, T, B, I=3, H=5, dtype="float64", seed=1, requires_grad=True) -> Any:
        """Random inputs of `T` steps."""
        return draw(self.inputs(I, H), (T, B), dtype, seed, requires_grad)

    def states(self, B, I=3, H=5, dtype="float64", seed=2, requires_grad=True) -> Any:
        """A random state."""
        return draw(self.state(I, H), (B,), dtype, seed, requires_grad)


def draw(shapes: Any, lead: tuple[int, ...], dtype: Any, seed: int, requires_grad: bool = True) -> Any:
    """Random tensors in a tree of shapes; bool ones where a shape says so."""
    rng = np.random.default_rng(seed)

    def one(s):
        if s.dtype == "bool":
            return tr.tensor(rng.random((*lead, *s.sizes)) < 0.7)
        values = rng.uniform(-1, 1, (*lead, *s.sizes))
        return tr.tensor(values, dtype=dtype, requires_grad=requires_grad)

    return tree.map(one, shapes)


class FunctionCell(nn.Cell):
    """The cell of a :class:`StepCell`."""

    def __init__(self, case: StepCell, I: int, H: int, dtype: Any = "float64", seed: int = 0):
        self.case, self.sizes, self.kind = case, (I, H), dtype
        self.input_size = I if case.inputs is one_input else None
        rng = np.random.default_rng(seed)
        for name, shape in case.weights(I, H).items():
            bound = 1.0 if len(shape) < 2 else 1.5 / np.sqrt(shape[0])
            setattr(self, name, nn.Parameter(rng.uniform(-bound, bound, shape).astype(dtype)))

    @property
    def dtype(self):
        return next((p.dtype for p in self.parameters()), np.dtype(self.kind))

    def initial_state(self, batch_size):
        shapes = self.case.state(*self.sizes)
        return tree.map(lambda s: tr.zeros((batch_size, *s.sizes), self.dtype), shapes)

    def begin_sequence(self, batch_size):
        if self.case.begin is not None:
            self.case.begin(self, batch_size)

    def step(self, x, state):
        return self.case.step(tr, self, x, state)


def columns(z: Any, n: int) -> list:
    """`z` (B, n * H) as `n` blocks (B, H)."""
    size = z.shape[1] // n
    return [z[:, i * size : (i + 1) * size] for i in range(n)]


def gates(n: int, **more: int) -> Weights:
    """Shapes of w, u and b for `n` gates; each of `more` is a vector of so many times H."""
    return lambda I, H: {
        "w": (I, n * H),
        "u": (H, n * H),
        "b": (n * H,),
        **{name: (k * H,) for name, k in more.items()},
    }
