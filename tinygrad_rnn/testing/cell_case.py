"""Random cases of a cell under test; functions that run a cell over one, and compare results."""

from __future__ import annotations

import copy
import functools
import inspect
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import ops
from ..config import get_default_dtype, no_grad, set_default_dtype
from ..core import Tensor, grad, is_float, tensor, tree
from ..errors import CellCheckError, CompileError
from ..modules.module import Module
from ..recurrent import Cell, Recurrent
from ..recurrent.scan.dry_run import dry_run

LARGE = 64  # up to so many elements are drawn one by one, so that they shrink
Results = dict[str, np.ndarray]
Runner = Callable[[Cell, Any, Any], tuple[Any, Any]]  # (cell, xs, state) -> (outputs, final state)


class Subject:
    """The source of the cells under test: an instance to copy, or a factory.

    Parameters
    ----------
    source : Cell or callable
    example : nest of arrays, (B, ...), optional
        An input of one step.
    """

    def __init__(self, source: Any, example: Any = None):
        self.source, self.sized = source, False
        if not isinstance(source, Cell):
            required = _required_arguments(source)
            self.sized = required == 2
            if required not in (0, 2):
                raise TypeError(
                    f"cell: got a callable with {required} required arguments, wanted none, or two: input_size and "
                    "hidden_size"
                )
        self._bases: dict[tuple, tuple[Cell, list[np.ndarray]]] = {}
        self._made: dict[tuple, Cell] = {}
        cell = self.base(self.smallest)
        if example is None and cell.input_size is None:
            name = type(cell).__name__
            raise ValueError(f"example: {name} sets no input_size; pass example=, an input of one step, (B, ...)")
        self.example = None if example is None else tree.map(np.asarray, example)
        # without parameters, the default dtype is the cell's
        self.bare = not any(is_float(p.dtype) for p in cell.parameters())

    @property
    def smallest(self) -> tuple:
        return (1, 1) if self.sized else ()

    def new(self, sizes: tuple) -> Cell:
        """Another cell: a copy of the instance, or one from the factory."""
        if isinstance(self.source, Cell):
            return copy.deepcopy(self.source)
        cell = self.source(*sizes)
        if not isinstance(cell, Cell):
            raise TypeError(f"cell: the callable made a {type(cell).__name__}, wanted an nn.Cell")
        return cell

    def base(self, sizes: tuple) -> Cell:
        """The cell of these sizes with its parameters as they were made."""
        if sizes not in self._bases:
            cell = self.new(sizes)
            self._bases[sizes] = cell, [p.data.astype(np.float64) for p in cell.parameters()]
        return self._bases[sizes][0]

    @functools.cached_property
    def reason(self) -> str:
        """The reason why the cell does not compile; empty if it does (or does not run at all)."""
        cell = self.cell(self.smallest, np.float64, 0)
        xs = tree.map(lambda x: np.broadcast_to(x[:1], (1, *x[:1].shape)), self.inputs_of(cell))
        try:
            with no_grad(), dry_run(cell):
                Recurrent(cell, mode="compiled")(xs)
        except CompileError as error:
            return str(error)
        except Exception:  # other checks report it
            return ""
        return ""

    def inputs_of(self, cell: Cell) -> Any:
        """An input of one step: the example, or zeros."""
        return np.zeros((1, cell.input_size or 0)) if self.example is None else self.example

    def cell(self, sizes: tuple, dtype: Any, seed: int) -> Cell:
        """A copy in `dtype`, its parameters moved a little at random, as zeros hide mistakes.

        It is one object for each sizes and dtype, so that it compiles once.
        """
        base, key = self.base(sizes), (sizes, np.dtype(dtype))
        if key not in self._made:
            self._made[key] = copy.deepcopy(base)
            self._made[key].to(dtype)
        cell, rng = self._made[key], np.random.default_rng(seed)
        cell.train(base.training)
        for parameter, value in zip(cell.parameters(), self._bases[sizes][1]):
            scale = 0.3 * max(0.3, float(np.sqrt(np.mean(value**2)))) if value.size else 0.0
            parameter.data[...] = value + scale * rng.uniform(-1, 1, value.shape)
            parameter.touch()
        return cell


def _required_arguments(source: Any) -> int:
    if not callable(source) or isinstance(source, Module):
        raise TypeError(f"cell: got {type(source).__name__}, wanted an nn.Cell, or a callable that makes one")
    parameters = inspect.signature(source).parameters.values()
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return sum(p.default is p.empty and p.kind not in variable for p in parameters)


class Case:
    """One random case: cell, inputs and state.

    Attributes
    ----------
    cell : Cell
        In float64.
    xs : nest of arrays, (T, B, ...)
    state : nest of arrays, (B, ...), or None
        The state before the first step; None: the cell's own.
    draw : callable
        Draws from a strategy whatever else a check needs.
    """

    def __init__(self, subject: Subject, draw: Callable, max_time: int, max_batch: int):
        from hypothesis import strategies as st

        self.subject, self.draw = subject, draw
        self.sizes = draw(st.tuples(st.integers(1, 3), st.integers(1, 3))) if subject.sized else ()
        self.time, self.batch = draw(st.integers(1, max_time)), draw(st.integers(1, max_batch))
        self.seed, self.given = draw(st.integers(0, 99)), draw(st.booleans())
        self.cell = subject.cell(self.sizes, np.float64, self.seed)
        self.weight = 0  # how far the values are from the simplest ones
        self.xs = self._inputs(self.time)
        self.extra = ""  # choices of a check, in words

    def _inputs(self, time: int) -> Any:
        example = self.subject.inputs_of(self.cell)
        return tree.map(lambda x: self._values(x, (time, self.batch, *x.shape[1:])), example)

    def _values(self, like: np.ndarray, shape: tuple) -> np.ndarray:
        """Random numbers, neither zero nor equal (steps may have kinks there); integers as in the example."""
        from hypothesis import strategies as st

        rng, size = np.random.default_rng(self.seed), int(np.prod(shape))
        if like.dtype.kind == "b":
            return rng.random(shape) < 0.5
        if like.dtype.kind in "iu":
            return rng.choice(np.unique(like), shape)
        if size > LARGE:
            return rng.uniform(-1, 1, shape)
        grid = np.array(self.draw(st.lists(st.integers(-4, 4), min_size=size, max_size=size)))
        self.weight += int(np.abs(grid).sum())
        return 0.25 * grid.reshape(shape) + rng.uniform(-0.1, 0.1, shape)

    @functools.cached_property
    def state(self) -> Any:
        """The state before the first step: None, or one that two steps lead to, so that the cell may meet it."""
        if not self.given:
            return None
        xs = tree.map(lambda x: np.concatenate([x, -x if is_float(x.dtype) else x])[:2], self.xs)
        with no_grad(), dry_run(self.cell):
            _, state = Recurrent(self.cell, mode="eager")(xs)
        return tree.map(lambda s: s.data.copy(), state)

    def evaluated(self) -> Case:
        """This case with the cell in evaluation mode, where layers such as dropout do nothing."""
        self.cell.eval()
        return self

    @property
    def cost(self) -> tuple:
        """The order of cases: those of lower cost are easier to read."""
        return self.time * self.batch, *self.sizes, self.weight, self.given, self.seed

    def __str__(self) -> str:
        shapes = ", ".join(str(x.shape) for x in tree.flatten(self.xs)[0])
        start = "a given state" if self.given else "the initial state"
        return f"T={self.time}, B={self.batch}, input {shapes}, from {start}{self.extra}"


# ---- running


@contextmanager
def default_dtype(dtype: Any) -> Iterator[None]:
    """Context with another default dtype; None changes nothing."""
    before = get_default_dtype()
    set_default_dtype(dtype or before)
    try:
        yield
    finally:
        set_default_dtype(before)


def named(values: Any, name: str) -> list[tuple[str, Any]]:
    """Names, such as ``state[0]`` or ``state['c']``, and leaves of a nest, in ``tree.flatten`` order."""
    if isinstance(values, dict):
        pairs = [(f"{name}[{key!r}]", values[key]) for key in sorted(values, key=str)]
    elif isinstance(values, tuple | list):
        pairs = [(f"{name}[{i}]", value) for i, value in enumerate(values)]
    else:
        return [] if values is None else [(name, values)]
    return [leaf for key, value in pairs for leaf in named(value, key)]


def whole(mode: str = "eager", **options: Any) -> Runner:
    """A runner over the whole sequence at once."""
    return lambda cell, xs, state: Recurrent(cell, mode=mode)(xs, state, **options)


def projection(leaves: list[tuple[str, Tensor]]) -> Any:
    """A random projection of all tensors to one number, with a weight for each element."""
    total: Any = 0.0
    for name, y in leaves:
        if not is_float(y.dtype):
            continue
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        weights = rng.uniform(0.5, 1.5, y.shape) * rng.choice([-1.0, 1.0], y.shape)
        total = total + (y * weights).sum()
    return total


def evaluate(case: Case, run: Runner, cell: Cell | None = None, dtype: Any = np.float64) -> Results:
    """Outputs, final state, and gradients of a projection of both by all inputs, states and parameters."""
    cell = cell or case.cell

    def leaf(x):
        return tensor(x, dtype=dtype, requires_grad=True) if is_float(x.dtype) else tensor(x)

    xs = tree.map(leaf, case.xs)
    state = None if case.state is None else tree.map(leaf, case.state)
    with default_dtype(dtype if case.subject.bare else None):
        ys, final = run(cell, xs, state)
    found = [*named(ys, "output"), *named(final, "final state")]
    results = {name: y.data.copy() for name, y in found}
    wanted = [*named(xs, "input"), *named(state, "initial state"), *cell.named_parameters()]
    wanted = [(name, t) for name, t in wanted if t.requires_grad]
    loss = projection(found)
    if wanted and isinstance(loss, Tensor) and loss.requires_grad:
        gradients = grad(loss, [t for _, t in wanted], allow_unused=True)
        for (name, t), g in zip(wanted, gradients):
            results[f"gradient of {name}"] = np.zeros(t.shape, t.dtype) if g is None else g.data.copy()
    return results


def rows_of(values: Any, rows: Any, axis: int) -> Any:
    """The rows of the batch at `rows` (a slice or indices) of every leaf."""
    index = (slice(None),) * axis + (rows,)
    return tree.map(lambda x: x[index], values)


def joined(parts: list, axis: int) -> Any:
    """Nests of tensors, concatenated leaf by leaf along an axis."""
    return tree.map(lambda *xs: ops.concat(list(xs), axis=axis), *parts) if tree.flatten(parts[0])[0] else parts[0]


# ---- comparing


def require_equal(
    got: Results, wanted: Results, here: str, there: str, rtol: float = 1e-8, atol: float = 1e-10
) -> None:
    """Raise for the entry that is off by most: ``got ... here, expected ... there``.

    An entry may be off by ``atol + rtol * m``, m being the largest of its array (at least 1).
    """
    for name, want in wanted.items():
        value = got[name]
        if value.shape != want.shape:
            raise CellCheckError(f"{name}: got shape {value.shape} {here}, expected {want.shape} {there}")
        with np.errstate(invalid="ignore"):
            finite = np.isfinite(want)
            scale = max(1.0, float(np.abs(want[finite]).max(initial=0.0)))
            bad = ~(
                (np.abs(value - want) <= atol + rtol * scale) | (value == want) | (np.isnan(value) & np.isnan(want))
            )
            off = np.where(bad, np.nan_to_num(np.abs(value - want), nan=np.inf), -1.0)
        if bad.any():
            at = tuple(int(i) for i in np.unravel_index(int(np.argmax(off)), off.shape))
            raise CellCheckError(
                f"{name}{place(name, at)}: got {value[at]:.8g} {here}, expected {want[at]:.8g} {there} "
                f"({int(bad.sum())} of {bad.size} entries differ)"
            )


def place(name: str, at: tuple) -> str:
    """An index in words: `at` of the array called `name`."""
    axes: tuple = ()
    if name.startswith(("output", "gradient of input", "input")):
        axes = ("time", "row")
    elif name.startswith(("final state", "gradient of initial state", "initial state")):
        axes = ("row",)
    if not axes or len(at) < len(axes):
        return f" at {at}" if at else ""
    words = [f"{axis} {i}" for axis, i in zip(axes, at)]
    rest = at[len(axes) :]
    if rest:
        words.append(f"feature {rest[0] if len(rest) == 1 else rest}")
    return " at " + ", ".join(words)
