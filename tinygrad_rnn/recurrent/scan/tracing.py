"""Tracing a cell's step so that nothing is frozen in silence: it is watched, traced twice and held against the tape."""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ... import compile as compiler
from ... import config
from ...compile.frontend.watch import Codes, watching
from ...compile.ir.canonical import canonical, difference
from ...core import Tensor, tree
from ...errors import CompileError
from ..cell import Cell
from .arguments import Arguments
from .outside import Outside
from .settings import Source, drawn, find, held, putting_back, read_settings, rehearsal

STAND_INS = (211, 223, 227, 229, 233, 239, 241, 251, 257, 263, 269, 271, 277, 281, 283, 293, 307, 311, 313, 317)
CHANGES = (
    "the step is not the same twice{}: it depends on what a compiled loop would freeze, such as a random number, a "
    "counter, the time or the number of rows; carry what changes in the state, or make it an input (one value a step) "
    "or an attribute set in begin_sequence() (one a sequence)"
)
DRAWS = (
    "step draws random numbers, which a compiled loop would draw once: use nn.Dropout; or draw them for all steps "
    "before, and make them an input of the cell (one draw a step); or draw them in begin_sequence() and keep them as a "
    "tensor attribute (one draw a sequence)"
)


class Trial(NamedTuple):
    """One trace of a step."""

    traced: compiler.StepProgram
    sources: list[tuple[int, Source]]
    outputs: tree.Structure


def trace_twice(cell: Cell, arguments: Arguments, codes: Codes) -> Trial:
    """The trace of a step that gives the same program each time, whatever number stands for the size of the batch.

    `codes` is filled with the code that ran.

    Raises
    ------
    CompileError
        If the step cannot be traced, or would be frozen.
    """
    stand_ins = _stand_ins(cell, arguments)
    for last in (False, True):
        try:
            with putting_back():
                one, other = (_trace_once(cell, arguments, codes, n) for n in itertools.islice(stand_ins, 2))
        except _Drew:
            if last:
                raise
            continue
        where = difference(_lines(one), _lines(other))
        if where is None:
            leaked = one.traced.leaked or other.traced.leaked
            return one._replace(traced=dataclasses.replace(one.traced, leaked=leaked))
    raise CompileError(CHANGES.format(f", at {where}" if where else ""))


class _Drew(CompileError):
    """Random numbers were drawn; it may have been another thread."""


def _stand_ins(cell: Cell, arguments: Arguments) -> Iterator[int]:
    """Numbers of rows that no tensor of the cell has."""
    arrays = [t.data for t in (*arguments.inputs, *arguments.states)]
    arrays += [v if isinstance(v, np.ndarray) else v.data for v in _arrays_of(cell)]
    taken = {n for a in arrays for n in a.shape} | {cell.input_size, cell.hidden_size, cell.output_size}
    return itertools.cycle([n for n in STAND_INS if n not in taken] or list(STAND_INS))


def _arrays_of(cell: Cell) -> list[Any]:
    return [v for module in cell.modules() for v in vars(module).values() if isinstance(v, Tensor | np.ndarray)]


def _trace_once(cell: Cell, arguments: Arguments, codes: Codes, stand_in: int) -> Trial:
    outputs: Any = None

    def step(xs: list, ss: list) -> tuple[list, list]:
        nonlocal outputs
        result = cell.step(tree.unflatten(arguments.structure, xs), tree.unflatten(arguments.state_structure, ss))
        if type(result) is not tuple or len(result) != 2:
            raise CompileError("step: wanted the pair (output, next_state)")
        ys, outputs = tree.flatten(result[0])
        new, its = tree.flatten(result[1])
        if its != arguments.state_structure:
            wanted = tree.describe(arguments.state_structure)
            raise CompileError(f"step: next_state: got {tree.describe(its)}, wanted {wanted}")
        return ys, new

    with rehearsal(cell) as before:
        cell.begin_sequence(stand_in)
        before.restore_plain()
        settings, random, outside = read_settings(cell), drawn(cell), Outside(cell)
        traced = compiler.trace_step(
            step,
            [(x.shape[2:], x.dtype) for x in arguments.inputs],
            [(s.shape[1:], s.dtype) for s in arguments.states],
            arguments.dtype or cell.dtype,
            lambda tensor: find(cell, tensor) is not None,
            stand_in=stand_in,
            watch=lambda trace: watching(trace, codes),
        )
        if drawn(cell) != random or outside.drew():
            raise _Drew(DRAWS)
        if read_settings(cell) != settings or _holds_symbols(cell):
            raise CompileError("step writes to the cell's attributes: carry what changes in the state")
        if outside.changed():
            raise CompileError("step writes to a global or to what one holds: carry what changes in the state")
        if any(_mentions(v, stand_in) for v in _made(cell, before)):
            traced = dataclasses.replace(traced, leaked=True)
        sources = [(uid, find(cell, tensor) or held(tensor)) for uid, tensor in traced.invariants.items()]
    return Trial(traced, sources, outputs)


def _made(cell: Cell, before: Any) -> list[Any]:
    """What ``begin_sequence`` has set that may hold the number of rows where the trace does not see it."""
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


def _holds_symbols(cell: Cell) -> bool:
    return any(isinstance(v, compiler.Symbol) for module in cell.modules() for v in vars(module).values())


def _lines(trial: Trial) -> list:
    sources = dict(trial.sources)
    return canonical(trial.traced, lambda uid, tensor: _Read(sources[uid], tensor))


class _Read:
    """A tensor that a program reads: the same place, the same tensor, or the same values."""

    def __init__(self, source: Source, tensor: Tensor):
        self.source, self.tensor = source, tensor

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Read):
            return False
        mine, its = self.source, other.source
        if mine.attributes is its.attributes and mine[1:] == its[1:]:
            return True
        a, b = self.tensor, other.tensor
        if a is b:
            return True
        one, two = a.data, b.data
        return one.shape == two.shape and one.dtype == two.dtype and one.tobytes() == two.tobytes()

    __hash__ = None  # type: ignore[assignment]


# ---- against the tape


def differs(program: Any, cell: Cell, arguments: Arguments, batches: tuple[int, ...] = (1, 2)) -> str | None:
    """How a program does not do what the step does on the tape, for some random rows; None if it does."""
    for batch in batches:
        for seed in (1, 2):  # a second chance where rounding decides, as in a step with thresholds
            why = _differs(program, cell, arguments, batch, seed)
            if why is None:
                break
        else:
            rows = "row" if batch == 1 else "rows"
            return (
                f"traced, the step does not give what it gives on the tape for {batch} {rows} ({why}): it decides by "
                "something that a traced step does not show, such as the type of a tensor or the number of rows"
            )
    return None


def _differs(program: Any, cell: Cell, arguments: Arguments, batch: int, seed: int) -> str | None:
    rng = np.random.default_rng(seed)

    def row(shape: tuple, dtype: np.dtype) -> np.ndarray:
        if dtype.kind in "iu":
            return rng.integers(0, 4, (batch, *shape))
        return rng.random((batch, *shape)) < 0.5 if dtype.kind == "b" else rng.uniform(-1, 1, (batch, *shape))

    xs = [row(x.shape[2:], x.dtype).astype(x.dtype) for x in arguments.inputs]
    ss = [row(s.shape[1:], s.dtype).astype(s.dtype) for s in arguments.states]
    with rehearsal(cell, seed) as before, config.no_grad(), np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            cell.begin_sequence(batch)
            before.restore_plain()
            tensors = program.base_tensors(batch)
            wanted = _on_the_tape(cell, arguments, xs, ss, seed)
        except Exception:  # the step does not take such values: nothing can be said
            return None
        if tensors is None:
            return None
        try:
            config.grad_mode.generator = np.random.default_rng(seed)
            inputs = [Tensor(x[None]) for x in xs] + [Tensor(mask) for mask in program.draw(1, batch)]
            bases = {s.uid: t for s, t in zip(program.bases, tensors)}
            found = compiler.replay(program.traced, inputs, [Tensor(s) for s in ss], bases)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        n = len(program.traced.outputs)
        arrays = [t.data[0] for t in found[:n]] + [t.data for t in found[n:]]
        if all(_close(a, b, 0.0) for a, b in zip(arrays, wanted)) and len(arrays) == len(wanted):
            return None
        eps = 1e-6 if any(a.dtype == np.float32 for a in arrays) else 1e-14
        near = _on_the_tape(cell, arguments, [_nudge(x, eps) for x in xs], [_nudge(s, eps) for s in ss], seed)
        for a, b, c in zip(arrays, wanted, near):
            if a.shape != b.shape or a.dtype != b.dtype:
                return f"got {a.dtype}{list(a.shape)}, wanted {b.dtype}{list(b.shape)}"
            if not _close(a, b, 1e3 * np.abs(b - c)):
                i = np.argmax(np.abs(np.nan_to_num(a - b)))
                return f"got {a.ravel()[i]:.6g}, wanted {b.ravel()[i]:.6g}"
    return None


def _on_the_tape(cell: Cell, arguments: Arguments, xs: list, ss: list, seed: int) -> list[np.ndarray]:
    config.grad_mode.generator = np.random.default_rng(seed)
    x = tree.unflatten(arguments.structure, [Tensor(a) for a in xs])
    y, new = cell.step(x, tree.unflatten(arguments.state_structure, [Tensor(a) for a in ss]))
    return [t.data for t in (*tree.flatten(y)[0], *tree.flatten(new)[0])]


def _nudge(array: np.ndarray, eps: float) -> np.ndarray:
    return (array * (1 + eps)).astype(array.dtype) if array.dtype.kind == "f" else array


def _close(a: np.ndarray, b: np.ndarray, more: Any) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    eps = 1e-3 if a.dtype == np.float32 else 1e-8
    scale = np.max(np.abs(b[np.isfinite(b)]), initial=0.0)
    tolerance = eps * (np.abs(b) + 0.1 * scale) + more
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return bool(np.all(same | (np.abs(a - b) <= tolerance)))
