"""Verified tracing of a step: traced twice, with its code watched, and compared with the tape.

A trace freezes whatever the step reads besides tensors: a counter, the time, a random number, the number of rows. Two
traces with different batch sizes differ where that matters, and so does a run on the tape.
"""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ... import compiler, config
from ...core import Tensor, tree
from ...core.symbolic_number import SymbolicNumber
from ...errors import CompileError
from ...modules.module import Module
from ..cell import Cell
from .arguments import Arguments
from .attribute_path import AttributePath, as_constant, locate
from .dry_run import isolated_dry_run, rng_state, rolling_back_draws
from .facts import static_attributes
from .numbers import NumberInput, as_symbols
from .outer_state import OuterState

# primes, as sizes of layers seldom are
STAND_INS = (211, 223, 227, 229, 233, 239, 241, 251, 257, 263, 269, 271, 277, 281, 283, 293, 307, 311, 313, 317)
CHANGES = (
    "the step is not the same twice{}: it depends on what a compiled loop would freeze, such as a random number, a "
    "counter, the time or the number of rows; carry what changes in the state, or make it an input (one value a step) "
    "or an attribute set in begin_sequence() (one a sequence)"
)
DRAWS = (
    "step draws random numbers, which a compiled loop would draw once: use tr.random or nn.Dropout; or draw them for "
    "all steps before, and make them an input of the cell (one draw a step); or draw them in begin_sequence() and keep "
    "them as a tensor attribute (one draw a sequence)"
)


class StepTrace(NamedTuple):
    """One trace of a step, the places of what it reads, of what it froze, and the form of its outputs."""

    traced: compiler.StepProgram
    sources: list[tuple[int, AttributePath | NumberInput]]
    outputs: tree.Structure
    read: list[AttributePath | None]


class Frozen(Exception):
    """The step does more than compute with some numbers: they are no inputs of its program.

    Attributes
    ----------
    places : list of AttributePath
    """

    def __init__(self, places: list[AttributePath]):
        super().__init__("a number decides what the step does")
        self.places = places


def trace_twice(
    cell: Cell, arguments: Arguments, codes: compiler.Codes, numbers: Sequence[AttributePath] = ()
) -> StepTrace:
    """A trace that two runs with different batch sizes agree on; `codes` is filled with the code that ran.

    Parameters
    ----------
    numbers : sequence of AttributePath
        Where the cell keeps the numbers that are inputs of the program.

    Raises
    ------
    CompileError
        If the step cannot be traced, or would be frozen.
    Frozen
        If not all numbers can be inputs.
    """
    stand_ins = _stand_ins(cell, arguments)
    # twice, with other batch sizes, as what another thread draws or changes looks like the step's doing
    for last in (False, True):
        try:
            with rolling_back_draws():
                one, other = (_trace_once(cell, arguments, codes, n, numbers) for n in itertools.islice(stand_ins, 2))
        except _Drew:
            if last:
                raise
            continue
        where = compiler.difference(_lines(one), _lines(other))
        if where is None:
            leaked = one.traced.leaked or other.traced.leaked
            return one._replace(traced=dataclasses.replace(one.traced, leaked=leaked))
    raise CompileError(CHANGES.format(f", at {where}" if where else ""))


class _Drew(CompileError):
    """Random numbers were drawn during a trace, by the step or by another thread."""


def _stand_ins(cell: Cell, arguments: Arguments) -> Iterator[int]:
    """Batch sizes for traces: numbers that no axis of the cell's tensors has."""
    arrays = [t.data for t in (*arguments.inputs, *arguments.states)]
    arrays += [v if isinstance(v, np.ndarray) else v.data for v in _arrays_of(cell)]
    taken = {n for a in arrays for n in a.shape} | {cell.input_size, cell.hidden_size, cell.output_size}
    return itertools.cycle([n for n in STAND_INS if n not in taken] or list(STAND_INS))


def _arrays_of(cell: Cell) -> list[Any]:
    return [v for module in cell.modules() for v in vars(module).values() if isinstance(v, Tensor | np.ndarray)]


def _trace_once(
    cell: Cell, arguments: Arguments, codes: compiler.Codes, stand_in: int, numbers: Sequence[AttributePath]
) -> StepTrace:
    """One trace with `stand_in` rows, in a dry run; it must leave no trace in the cell or around it."""
    outputs: Any = None

    def step(xs: list, ss: list) -> tuple[list, list]:
        nonlocal outputs
        result = cell.step(tree.unflatten(arguments.structure, xs), tree.unflatten(arguments.state_structure, ss))
        if type(result) is not tuple or len(result) != 2:
            raise CompileError("step: wanted the pair (output, next_state)")
        ys, outputs = tree.flatten(result[0])
        new, treedef = tree.flatten(result[1])
        if treedef != arguments.state_structure:
            wanted = tree.describe(arguments.state_structure)
            raise CompileError(f"step: next_state: got {tree.describe(treedef)}, wanted {wanted}")
        return ys, new

    with isolated_dry_run(cell) as before:
        cell.begin_sequence(stand_in)
        before.restore_non_tensors()
        static, random, outer = static_attributes(cell), rng_state(cell), OuterState(cell)
        with _symbols(numbers):
            traced = compiler.trace_step(
                step,
                [(x.shape[2:], x.dtype) for x in arguments.inputs],
                [(s.shape[1:], s.dtype) for s in arguments.states],
                arguments.dtype or cell.dtype,
                lambda tensor: locate(cell, tensor) is not None,
                stand_in=stand_in,
                watch=lambda trace: compiler.watching(trace, codes),
            )
        if rng_state(cell) != random or outer.drew():
            raise _Drew(DRAWS)
        if static_attributes(cell) != static or holds_symbols(cell):
            raise CompileError("step writes to the cell's attributes: carry what changes in the state")
        if outer.changed():
            raise CompileError("step writes to a global or to what one holds: carry what changes in the state")
        if any(_mentions(v, stand_in) for v in _set_for_sequence(cell, before)):
            traced = dataclasses.replace(traced, leaked=True)
        sources = [(c.symbol.uid, _source(cell, c, numbers, traced.dtype)) for c in traced.captured.values()]
        read = [locate(cell, tensor) for tensor in traced.read]
    return StepTrace(traced, sources, outputs, read)


@contextmanager
def _symbols(numbers: Sequence[AttributePath]) -> Iterator[None]:
    """Context in which a cell has symbols for numbers; errors that these cause become Frozen."""
    with as_symbols(numbers) as trace:
        try:
            yield
        except Exception as error:
            if trace.refused:
                raise Frozen([numbers[i] for i in trace.refused]) from error
            raise
        if trace.refused:  # the step has caught the error
            raise Frozen([numbers[i] for i in trace.refused])


def _source(cell: Cell, captured: Any, numbers: Sequence[AttributePath], dtype: np.dtype) -> Any:
    """The path by which calls find what the step has read."""
    if type(captured.source) is SymbolicNumber:
        return NumberInput(captured.source, numbers, dtype)
    return locate(cell, captured.tensor) or as_constant(captured.tensor)


def _set_for_sequence(cell: Cell, before: Any) -> list[Any]:
    """Values that ``begin_sequence`` has set and that are no tensors: they may hold the batch size unseen."""
    known = {id(module): attributes for module, attributes in before.attributes}
    found = []
    for module in cell.modules():
        old = known.get(id(module), {})
        found += [v for k, v in vars(module).items() if old.get(k) is not v and not isinstance(v, Tensor)]
    return found


def _mentions(value: Any, n: int) -> bool:
    if isinstance(value, dict):
        return any(_mentions(v, n) for v in value.values())
    if isinstance(value, list | tuple | set):
        return any(_mentions(v, n) for v in value)
    if isinstance(value, np.ndarray):
        return n in value.shape
    return isinstance(value, int | float | np.number) and value == n


def holds_symbols(cell: Module) -> bool:
    """Whether a traced value was left in an attribute."""
    return any(isinstance(v, compiler.Symbol) for module in cell.modules() for v in vars(module).values())


def _lines(trace: StepTrace) -> list:
    sources = dict(trace.sources)
    return compiler.canonical(trace.traced, lambda uid, tensor: Read(sources[uid], tensor))


class Read:
    """A tensor that a program reads, equal to one of the same path, identity or values."""

    def __init__(self, source: AttributePath | NumberInput, tensor: Tensor):
        self.source, self.tensor = source, tensor

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Read):
            return False
        a, b = self.source, other.source
        if isinstance(a, NumberInput) or isinstance(b, NumberInput):
            return isinstance(a, NumberInput) and a.same(b)
        if a.attributes is b.attributes and a[1:] == b[1:]:
            return True
        if self.tensor is other.tensor:
            return True
        one, two = self.tensor.data, other.tensor.data
        return one.shape == two.shape and one.dtype == two.dtype and one.tobytes() == two.tobytes()

    __hash__ = None  # type: ignore[assignment]


# ---- comparison with the tape


def find_difference(program: Any, cell: Cell, arguments: Arguments, batches: tuple[int, ...] = (1, 2)) -> str | None:
    """The difference between the program's results and the tape's for random rows, in words; or None."""
    for batch in batches:
        for seed in (1, 2):  # a second seed, in case rounding decides, as at a threshold
            why = _difference(program, cell, arguments, batch, seed)
            if why is None:
                break
        else:
            rows = "row" if batch == 1 else "rows"
            return (
                f"traced, the step does not give what it gives on the tape for {batch} {rows} ({why}): it decides by "
                "something that a traced step does not show, such as the type of a tensor or the number of rows"
            )
    return None


def _difference(program: Any, cell: Cell, arguments: Arguments, batch: int, seed: int) -> str | None:
    """The difference for one batch of random rows, in words; None if there is none."""
    rng = np.random.default_rng(seed)

    def row(shape: tuple, dtype: np.dtype) -> np.ndarray:
        if dtype.kind in "iu":
            return rng.integers(0, 2 if seed > 1 else 4, (batch, *shape))
        return rng.random((batch, *shape)) < 0.5 if dtype.kind == "b" else rng.uniform(-1, 1, (batch, *shape))

    xs = [row(x.shape[2:], x.dtype).astype(x.dtype) for x in arguments.inputs]
    ss = [row(s.shape[1:], s.dtype).astype(s.dtype) for s in arguments.states]
    with isolated_dry_run(cell, seed) as before, config.no_grad(), np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            cell.begin_sequence(batch)
            before.restore_non_tensors()
            tensors = program.base_tensors(batch)
            wanted = _on_the_tape(cell, arguments, xs, ss, seed)
        except Exception:  # the step rejects such values: there is nothing to compare
            return None
        if tensors is None:
            return None
        try:
            config.grad_mode.generator = np.random.default_rng(seed)
            inputs = [Tensor(x[None]) for x in xs] + [Tensor(mask) for mask in program.draw(1, batch)]
            bases = {s.uid: t for s, t in zip(program.bases, tensors)}
            found, holds = compiler.replay_checked(program.traced, inputs, [Tensor(s) for s in ss], bases)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        if not holds:  # a call with such rows runs on the tape
            return None
        n = program.traced.visible
        arrays = [t.data[0] for t in found[:n]] + [t.data for t in found[n:]]
        if all(close(a, b, 0.0) for a, b in zip(arrays, wanted)) and len(arrays) == len(wanted):
            return None
        # a step may magnify rounding: what a nudge of its arguments changes is tolerated, too
        eps = 1e-6 if any(a.dtype == np.float32 for a in arrays) else 1e-14
        near = _on_the_tape(cell, arguments, [_nudge(x, eps) for x in xs], [_nudge(s, eps) for s in ss], seed)
        for a, b, c in zip(arrays, wanted, near):
            if a.shape != b.shape or a.dtype != b.dtype:
                return f"got {a.dtype}{list(a.shape)}, wanted {b.dtype}{list(b.shape)}"
            if not close(a, b, 1e3 * np.abs(1.0 * b - c)):
                i = np.argmax(np.abs(np.nan_to_num(1.0 * a - b)))
                return f"got {a.ravel()[i]:.6g}, wanted {b.ravel()[i]:.6g}"
    return None


def _on_the_tape(cell: Cell, arguments: Arguments, xs: list, ss: list, seed: int) -> list[np.ndarray]:
    config.grad_mode.generator = np.random.default_rng(seed)
    x = tree.unflatten(arguments.structure, [Tensor(a) for a in xs])
    y, new = cell.step(x, tree.unflatten(arguments.state_structure, [Tensor(a) for a in ss]))
    return [t.data for t in (*tree.flatten(y)[0], *tree.flatten(new)[0])]


def _nudge(array: np.ndarray, eps: float) -> np.ndarray:
    return (array * (1 + eps)).astype(array.dtype) if array.dtype.kind == "f" else array


def close(a: np.ndarray, b: np.ndarray, more: Any) -> bool:
    """Whether arrays agree but for rounding; `more` is tolerated in addition."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b)) or bool(np.any(more))
    eps = 1e-3 if a.dtype == np.float32 else 1e-8
    scale = np.max(np.abs(b[np.isfinite(b)]), initial=0.0)
    tolerance = eps * (np.abs(b) + 0.1 * scale) + more
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return bool(np.all(same | (np.abs(a - b) <= tolerance)))
