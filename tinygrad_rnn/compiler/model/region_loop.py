"""Region loops: a region becomes the step of a loop of one time step, and is compiled as such."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...config import grad_mode
from ...core import Op, Tensor, apply
from ...errors import CompileError, VerificationError
from ...ops import astype, broadcast_to, concat, where
from ...ops.index import scatter_add
from ...ops.join import CONCAT
from ..frontend.trace_step import trace_step
from ..ir.interpret import order
from ..ir.program_ops import BROADCAST, GETITEM, TRANSPOSE, is_ours
from ..ir.symbol import BATCH, Symbol
from ..runtime.executable import Executable, check_available
from ..schedule.plan import Plan
from .program import ASTYPE
from .regions import Region
from .rows import Access, columns, matrix_of, stored


class View(NamedTuple):
    """What a loop reads of a base: transposes and slices of it, such as a row of a transposed matrix."""

    shape: tuple[int, ...]  # of the base, in the loop
    steps: tuple[tuple[Op, dict[str, Any]], ...]

    def of(self, base: np.ndarray) -> np.ndarray:
        """The view of an array, which is in order."""
        found = base.reshape(self.shape)
        for op, static in self.steps:
            found = op.forward(found, **static)
        return found


class RegionLoop(NamedTuple):
    """A compiled region.

    All arrays of a call are in order and of the region's dtype; truth values are zeros and ones.

    Attributes
    ----------
    region : Region
    executable : Executable
        Its inference loop, run as ``forward(inputs, [], bases, 1, region.rows, train=False)``, takes inputs
        (1, rows, n) and bases of `shapes`, and gives the outputs (1, rows, n).
    inputs, bases, outputs : tuples of Symbol
        The values of the program whose memory these are.
    shapes : tuple of shapes
        Of the bases.
    views : tuple of View
        What the loop reads of each base.
    """

    region: Region
    executable: Executable
    inputs: tuple[Symbol, ...]
    bases: tuple[Symbol, ...]
    shapes: tuple[tuple[int, ...], ...]
    outputs: tuple[Symbol, ...]
    views: tuple[View, ...]

    def run(self, arrays: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        """Outputs by uid, given the arrays of inputs and bases by uid, in their own shapes and dtypes."""
        dtype, rows = self.region.dtype, self.region.rows
        inputs = [np.array(arrays[s.uid], dtype, order="C").reshape(1, rows, -1) for s in self.inputs]
        bases = []
        for s, view, shape in zip(self.bases, self.views, self.shapes):
            bases.append(np.ascontiguousarray(view.of(np.array(arrays[s.uid], dtype, order="C"))).reshape(shape))
        outputs, _, _ = self.executable.forward(inputs, [], bases, 1, rows, train=False)
        return {s.uid: y.reshape(s.shape).astype(s.dtype) for s, y in zip(self.outputs, outputs)}


def compile_region(region: Region, title: str = "Region") -> RegionLoop:
    """The loop of a region, with its code.

    Raises
    ------
    CompileError
        If steps cannot do what the region does: then its values are to be computed one by one.
    """
    check_available()
    bases = {}
    for s in region.bases:
        dtype = region.dtype if s.dtype.kind in "iu" else s.dtype
        # the trace looks at shapes and dtypes only
        bases[s.uid] = Tensor(np.empty(_base_shape(region, s), dtype))
    widths = [((s.size // region.rows,), s.dtype) for s in region.inputs]
    sizes = {n for s in (*region.values, *region.inputs, *region.bases) for n in (*s.shape, s.size // region.rows)}
    # a size of the region that is equal to it would be taken for that of the batch
    stand_in = next(n for n in range(211, 211 + len(sizes) + 1) if n not in sizes)

    def step(inputs: list, states: list) -> tuple[list, list]:
        values: dict[int, Any] = {s.uid: _as_float(x, region.dtype) for s, x in zip(region.inputs, inputs)}
        zero, single = grad_mode.tracer.zero((BATCH, 1)), set()
        for s in region.numbers:  # of each row, so that loops compute them, and not what runs before
            for a in map(stored, s.operands):
                if a.uid not in values:
                    values[a.uid] = where(zero == 0, bases[a.uid], 0.0)
            op: Any = s.op
            args = [values[stored(a).uid] if isinstance(a, Symbol) else a for a in s.args]
            values[s.uid] = apply(op, tuple(args), s.static)
            single |= {s.uid, *[stored(a).uid for a in s.operands]}
        for s in region.values:
            values[s.uid] = _value(region, s, values, {uid: t for uid, t in bases.items() if uid not in single})
        return [_number(values[s.uid], region.dtype) for s in region.outputs], []

    traced = trace_step(step, widths, [], region.dtype, stand_in=stand_in)
    executable = Executable(Plan(traced, (False,) * len(widths), set()), title)
    of_tensor = {id(tensor): uid for uid, tensor in bases.items()}
    held = {c.symbol.uid: of_tensor[id(c.source)] for c in traced.captured.values() if id(c.source) in of_tensor}
    of_base = {s.uid: s for s in region.bases}
    found, views = [], []
    for s in executable.bases:
        base, steps = s, list[tuple[Op, dict[str, Any]]]()
        while base.uid not in held:
            if base.op not in (GETITEM, TRANSPOSE):
                what = base.operation or base.name
                raise CompileError(f"{what}: a value that is computed from what is the same for all rows")
            steps.insert(0, (base.op, base.static))
            (base,) = base.args
        found.append(of_base[held[base.uid]])
        views.append(View(bases[held[base.uid]].shape, tuple(steps)))
    shapes = tuple([s.shape for s in executable.bases])
    executable.prepare(train=False)
    return RegionLoop(region, executable, region.inputs, tuple(found), shapes, region.outputs, tuple(views))


def _base_shape(region: Region, base: Symbol) -> tuple[int, ...]:
    """The shape of a base in the step: a matrix's own, or that of a row."""
    for s in region.values:
        for a, (how, of) in zip(s.args, region.accesses(s)):
            if of is base and how is Access.MATRIX:
                return matrix_of(a).shape
    return (base.size,)


def _value(region: Region, s: Symbol, values: dict[int, Any], bases: dict[int, Tensor]) -> Any:
    """A value of the region in its step: a row (B, n) of it, or a number for each row, (B, 1).

    What is given may be in both: the rows of it are among `values`, and all of it, for each row, among `bases`.
    """
    op: Any = s.op
    args: list[Any] = []
    for a, (how, of) in zip(s.args, region.accesses(s)):
        if how is Access.NUMBER:
            args.append(a)
        elif how is Access.ROWS or of.uid not in bases:
            args.append(values[of.uid])
        else:
            args.append(_view(a, bases[of.uid]) if how is Access.MATRIX else bases[of.uid])
    width = s.size // region.rows
    if op is BROADCAST:
        (x,) = args
        zero = grad_mode.tracer.zero((BATCH, width))
        return broadcast_to(x, zero.shape) if x.ndim == 2 else where(zero == 0, x, 0.0)
    if op is CONCAT:
        return concat(args, axis=1)
    if op in (GETITEM, scatter_add.op):
        start, stop = columns(s) or (0, width)
        if op is GETITEM:
            return args[0][:, start:stop]
        ends = [grad_mode.tracer.zero((BATCH, n)) if n else None for n in (start, width - stop)]
        return concat([x for x in (ends[0], args[0], ends[1]) if x is not None], axis=1)
    if op is ASTYPE:
        return astype(args[0], s.dtype)
    if op.lowering.kind == "reduce" and is_ours(op):
        return apply(op, tuple(args), {"axis": (1,), "keepdims": True})
    found = apply(op, tuple(args), s.static)
    return found.reshape((BATCH, 1)) if found.ndim == 1 else found


def _view(a: Symbol, base: Tensor) -> Any:
    """A matrix as the program has it: its base, perhaps transposed."""
    count = 0
    while a.op is TRANSPOSE:
        a, count = a.args[0], count + (a.static["axes"] == (1, 0))
    return base.T if count % 2 else base


def _as_float(value: Any, dtype: np.dtype) -> Any:
    return astype(value, dtype) if value.dtype.kind in "iu" else value


def _number(value: Any, dtype: np.dtype) -> Any:
    return astype(value, dtype) if value.dtype.kind == "b" else value


def compile_plan(plan: Sequence[Region | Symbol]) -> list[RegionLoop | Symbol]:
    """The regions of a plan compiled; in place of those that cannot be, their values as single operations."""
    found: list[RegionLoop | Symbol] = []
    seen: set[int] = set()
    for stage in plan:
        parts: list[RegionLoop | Symbol] = [stage] if isinstance(stage, Symbol) else []
        if isinstance(stage, Region):
            try:
                parts = [compile_region(stage)]
            except VerificationError:
                raise
            except CompileError:
                parts = [*order(stage.values, {s.uid for s in (*stage.inputs, *stage.bases)})]
        for part in parts:
            if isinstance(part, RegionLoop):
                found.append(part)
            elif part.uid not in seen:
                seen.add(part.uid)
                found.append(part)
    return found
