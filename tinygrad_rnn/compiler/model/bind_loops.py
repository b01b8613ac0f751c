"""Rules for loops: those of regions, and those of recurrent layers with their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...config import get_num_threads
from ...errors import CompileError
from ...kernels.loops.task_codes import (
    HEADER,
    IN_ORDER,
    Clear,
    Matrix,
    Missing,
    MoveRows,
    Section,
    Span,
    Task,
    Vector,
)
from ...kernels.stages.stage_codes import IntegerOp, SegmentsStage
from ..ir.symbol import BATCH, Symbol
from .bind import span
from .binder import Binder
from .program import Loop
from .region_loop import RegionLoop

NOTHING = np.zeros(0, np.int64)
WIDE = 1 << 22  # bytes of one value of all rows, from which on a region takes some of them at a time
BLOCK = 96  # rows for each thread


class Results(tuple):
    """Results of a loop, with the arrays of its call, which its gradient reads.

    Attributes
    ----------
    arrays : list of ndarray
    valid : Valid or None
        Which steps count, if not all do.
    """

    def __new__(cls, results: Sequence[np.ndarray], arrays: list[np.ndarray], valid: Valid | None = None) -> Results:
        self = super().__new__(cls, results)
        self.arrays, self.valid = arrays, valid
        return self

    arrays: list[np.ndarray]
    valid: Valid | None


class Valid(NamedTuple):
    """The steps of a loop that count, found anew at each run.

    Tables are bound for as many segments as there can be, so that they serve all batches of the program's shapes.

    Attributes
    ----------
    table : int64 array
        The row table.
    slots, segments : int
        The time and the batch of the loop's tables.
    """

    table: np.ndarray
    slots: int
    segments: int


def bind_region(binder: Binder, loop: RegionLoop) -> None:
    """Bind a region: a loop over rows, in one step or in several."""
    executable, rows = loop.executable, loop.region.rows
    if loop.region.dtype != binder.dtype:
        raise CompileError(f"floats: got {loop.region.dtype} and {binder.dtype}, wanted one dtype")
    widest = max(s.size // rows for s in loop.region.values)
    block = rows_at_once(rows, widest * loop.region.dtype.itemsize, get_num_threads())
    bound = executable.binding("inference", rows // block, block)
    arrays = [binder.memory.new(bound.arena, binder.step)]
    arrays += [binder.contiguous(binder.operand(s)).reshape(-1) for s in loop.inputs]
    copies, results = [], []
    for i, s in enumerate(loop.outputs):
        if bound.copies:
            out = binder.result(s)
            copies.append(out.reshape(-1))
        else:
            results.append(binder.memory.new(bound.results[i], binder.last[s.uid]))
    arrays += results
    for s, view, shape in zip(loop.bases, loop.views, loop.shapes):
        arrays.append(binder.contiguous(view.of(binder.contiguous(binder.operand(s)))).reshape(shape))
    packed = [binder.memory.new(size, binder.step) for size in bound.w]
    binder.stages.launch(bound.launch, [*arrays, *copies, *packed])
    if not bound.copies:
        for s, view in zip(loop.outputs, bound.outputs):
            binder.place(s, view.of(arrays).reshape(s.shape))  # a view: rows are its first axes


def rows_at_once(rows: int, width: int, threads: int) -> int:
    """Rows of a step of a region's loop: all, unless what it computes of them leaves the cache.

    Such as logits of many classes: then nobody ever has all of them, but for those that are results.

    Parameters
    ----------
    rows : int
    width : int
        Bytes of a row of its widest value.
    threads : int
        That may share a step.
    """
    if rows * width <= WIDE:
        return rows
    return next((n for n in range(min(BLOCK * threads, rows), BLOCK // 4, -1) if rows % n == 0), rows)


# ---- recurrent layers


def bind_loop(binder: Binder, s: Symbol) -> None:
    """Bind the loop of a recurrent layer."""
    loop: Loop = s.static["loop"]
    binder.at[s.uid] = (_bind_all if loop.steps is None else _bind_valid)(binder, s, loop)


def bind_loop_gradient(binder: Binder, s: Symbol) -> None:
    """Bind the backward loop of a recurrent layer, and what comes after it."""
    lead = s.args[0]
    loop: Loop = lead.static["loop"]
    whole = loop.steps is None
    found = (_bind_gradient if whole else _bind_valid_gradient)(binder, s, loop, binder.at[lead.uid])
    found += [None] * (len(lead.operands) - len(found))  # lengths and masks
    results = []
    for a, g in zip(lead.operands, found):
        results.append(np.zeros(a.shape, binder.dtype) if g is None else g.reshape(a.shape))
    binder.at[s.uid] = tuple(results)


def _bind_all(binder: Binder, s: Symbol, loop: Loop) -> Results:
    """A loop over all steps."""
    run, layout, until, n = loop.run, loop.layout, binder.last[s.uid], loop.inputs
    bound = run.executable.binding("training" if loop.saves else "inference", loop.time, loop.batch)
    operands = [binder.operand(a) for a in s.args]
    given = [binder.contiguous(layout.to_time_major(a)) for a in operands[:n]]
    given += [binder.contiguous(a) for a in operands[n:]]
    for a in given:  # the gradient reads them, too
        binder.memory.keep(a, until)
    flat = [a.reshape(-1) for a in given]
    m = n + loop.states
    copies = [binder.array(shape, until) for shape in bound.copies]
    arrays = [binder.memory.new(bound.arena, until), *flat[:m]]
    arrays += [binder.memory.new(size, until) for size in bound.results]
    arrays += given[m:]
    packed = [binder.memory.new(size, binder.step) for size in bound.w]
    binder.stages.launch(bound.launch, [*arrays, *[c.reshape(-1) for c in copies], *packed])
    count = len(copies) - loop.states
    ys = copies[:count] or [view.of(arrays) for view in bound.outputs]
    finals = copies[count:] if layout.layer_axis else [f[0] for f in copies[count:]]
    return Results([*map(layout.from_time_major, ys), *finals], arrays)


def _bind_gradient(binder: Binder, s: Symbol, loop: Loop, results: Results) -> list[Any]:
    """Cotangents of inputs, states and bases of a loop over all steps; None where nothing flows."""
    run, layout, until = loop.run, loop.layout, binder.last[s.uid]
    n, m, forward = loop.inputs, loop.states, results.arrays
    bound = run.executable.binding("backward", loop.time, loop.batch)
    seeds = _seeds(binder, s, loop, bound.seeds, layout.to_time_major)
    grads = binder.memory.new(bound.grads, until)
    arrays = [binder.memory.new(bound.arena, binder.step), *seeds]
    arrays += [binder.memory.new(size, until) for size in bound.results]
    arrays += [grads, forward[0], *forward[1 : 1 + n], *forward[1 + n + m :], *_captures(binder, s)]
    copies = [binder.array(shape, until) for shape in bound.copies]
    packed = [binder.memory.new(size, binder.step) for size in bound.w]
    binder.stages.launch(bound.launch, [*arrays, *[c.reshape(-1) for c in copies], *packed])
    found: list[Any] = [None] * n
    rest = list(copies)
    for i, view in bound.wanted:
        found[i] = layout.from_time_major(rest.pop(0) if view is None else view.of(arrays))
    return [*found, *rest, *_gradients_of_bases(run, bound, grads)]


def _seeds(binder: Binder, s: Symbol, loop: Loop, sizes: Sequence[int], bring: Any) -> list[np.ndarray]:
    """Gradients of outputs and final states, flat; zeros where there is none."""
    cotangents = dict(zip(s.static["indices"], s.args[1:]))
    seeds = []
    for i, size in enumerate(sizes):
        if i in cotangents:
            g = binder.operand(cotangents[i])
            seeds.append(binder.contiguous(bring(g) if i < loop.outputs else g).reshape(-1))
        else:
            seeds.append(np.zeros(size, binder.dtype))  # of its own: nothing writes to it
    return seeds


def _captures(binder: Binder, s: Symbol) -> list[np.ndarray]:
    """What only the backward loop reads."""
    first = 1 + len(s.static["indices"])
    return [binder.contiguous(binder.operand(a)) for a in s.args[first:]]


def _gradients_of_bases(run: Any, bound: Any, grads: np.ndarray) -> list[Any]:
    by_uid = {uid: np.ndarray(shape, dtype, grads, at) for uid, shape, dtype, at in bound.bases}
    return [by_uid.get(b.uid) for b in run.bases]


# ---- where not all steps count


def _bind_valid(binder: Binder, s: Symbol, loop: Loop) -> Results:
    """A loop over the steps that count."""
    run, layout, until, n = loop.run, loop.layout, binder.last[s.uid], loop.inputs
    m, k = n + loop.states, n + loop.states + loop.reset_states
    end = k + len(run.bases)
    valid = _bind_segments(binder, loop, s.args[end:], until)
    executable, with_reset_states = run.executable, loop.reset_states > 0
    kind = "training" if loop.saves else "inference"
    bound = executable.binding(kind, valid.slots, valid.segments, with_reset_states)
    given = [binder.contiguous(binder.operand(a)) for a in s.args[:end]]
    for a in given[k:]:  # the gradient reads them, too
        binder.memory.keep(a, until)
    flat = [a.reshape(-1) for a in given]
    bases = [_of_segments(binder, b, valid, until) if by_row else b for b, by_row in zip(given[k:], executable.per_row)]
    shapes = executable.plan.traced.shapes
    ys = [binder.array((*loop.lead, *shape), until) for shape in shapes.outputs]
    finals = [binder.array((1, loop.batch, *shape), until) for shape in shapes.states]
    arrays = [binder.memory.new(bound.arena, until)]
    arrays += [binder.memory.new(size, until) for size in bound.packed]
    arrays += flat[n:m]
    arrays += [binder.memory.new(size, until) for size in bound.results]
    arrays += bases
    called = [*arrays, *flat[:n], *flat[m:k], *[a.reshape(-1) for a in (*ys, *finals)]]
    _launch(binder, bound, loop, valid, [*called, *[binder.memory.new(size, binder.step) for size in bound.w]])
    return Results([*ys, *(finals if layout.layer_axis else [f[0] for f in finals])], arrays, valid)


def _bind_valid_gradient(binder: Binder, s: Symbol, loop: Loop, results: Results) -> list[Any]:
    """Cotangents of inputs, states, states after a reset and bases; None where nothing flows."""
    run, until, n, m = loop.run, binder.last[s.uid], loop.inputs, loop.states
    valid: Any = results.valid
    executable, traced, forward = run.executable, run.executable.plan.traced, results.arrays
    bound = executable.binding("backward", valid.slots, valid.segments, loop.reset_states > 0)
    sizes = [loop.time * loop.batch * y.width for y in traced.outputs] + [loop.batch * x.width for x in traced.states]
    seeds = _seeds(binder, s, loop, sizes, lambda g: g)
    grads = binder.memory.new(bound.grads, until)
    arrays = [binder.memory.new(bound.arena, binder.step)]
    arrays += [binder.memory.new(size, binder.step) for size in bound.packed]
    arrays += seeds[loop.outputs :]
    arrays += [binder.memory.new(size, until) for size in bound.results]
    arrays += [grads, forward[0], *forward[1 : 1 + n], *forward[1 + n + m :], *_captures(binder, s)]
    if any(x.shape[:1] == (BATCH,) for x in executable.backward_captures):
        raise CompileError(f"{executable.title}: its gradient reads what is computed of a mask for each row")
    after = [_states_after(binder, view, arrays, valid) for view in bound.next_states]
    of_inputs = [binder.array((*loop.lead, *traced.shapes.inputs[i]), until) for i, _ in bound.wanted]
    begun = traced.shapes.states * (1 + (loop.reset_states > 0))
    of_states = [binder.array((loop.batch, *shape), until) for shape in begun]
    for g in of_states:  # tasks add to them
        binder.stages.clear(g.reshape(-1))
    called = [*arrays, *after, *seeds[: loop.outputs], *[g.reshape(-1) for g in (*of_inputs, *of_states)]]
    _launch(binder, bound, loop, valid, [*called, *[binder.memory.new(size, binder.step) for size in bound.w]])
    found: list[Any] = [None] * n
    for (i, _), g in zip(bound.wanted, of_inputs):
        found[i] = g
    of_bases = _gradients_of_bases(run, bound, grads)
    for i, by_row in enumerate(executable.per_row):
        if by_row and of_bases[i] is not None:
            of_bases[i] = _of_rows(binder, of_bases[i], loop.batch, valid, until)
    return [*found, *of_states, *of_bases]


def _bind_segments(binder: Binder, loop: Loop, values: Sequence[Symbol], until: int) -> Valid:
    """The stage that finds which steps count, from lengths, mask and resets."""
    reader, layout, time, batch = loop.steps, loop.layout, loop.time, loop.batch
    given = dict(zip(reader.names, values))
    if "lengths" in given and not (reader.in_range or given["lengths"].uid in binder.checked):
        raise CompileError(f"{reader.owner}: lengths that are computed of floats, which are in range or not")
    lengths = binder.integers(given["lengths"]) if "lengths" in given else np.full(batch, time, np.int64)
    masks = [_time_major(binder, given.get(name), reader.batch_first) for name in ("mask", "resets")]
    if lengths is None:
        raise CompileError(f"{reader.owner}: lengths of 64 bits without a sign")
    cut = "resets" in given  # then no row has more segments than steps
    slots, segments = (1, time * batch) if cut else (time, batch)
    table = np.zeros(HEADER + 7 * segments + 3 * batch + time + 1 + 4 * time * batch, np.int64)
    mask, resets = (span(a) if a.size else Span(0, 0) for a in masks)
    reverse, batch_first = layout.reverse, layout.batch_first
    record = SegmentsStage(span(lengths), mask, resets, span(table), time, reverse, batch_first, segments)
    binder.stages.segments(record, lengths, *masks, table)
    return Valid(table, slots, segments)


def _time_major(binder: Binder, s: Symbol | None, batch_first: bool) -> np.ndarray:
    """A mask as integers (T, B), in order."""
    if s is None:
        return NOTHING
    found = binder.whole(s)
    found = found.T if batch_first else found
    if found.flags.c_contiguous:
        return found
    out = np.empty(found.shape, np.int64)
    binder.stages.integers(IntegerOp.COPY, [found], out, out.dtype)
    return out


def _launch(binder: Binder, bound: Any, loop: Loop, valid: Valid, arrays: list[np.ndarray]) -> None:
    """Launch a loop over the steps that count."""
    dims = np.zeros(len(bound.head) + loop.time + 1, np.int64)
    dims[: len(bound.head)] = bound.head
    binder.stages.steps(valid.table, dims, len(bound.head))
    lengths = valid.table[HEADER : HEADER + valid.segments]  # of segments, in the first section
    binder.stages.launch(bound.launch, arrays, dims, valid.table, lengths)


def _move(
    binder: Binder, source: Matrix, target: Matrix, move: tuple, columns: int, arrays: list, table: np.ndarray
) -> None:
    origin, destination, missing = move
    tasks: list[Task] = [MoveRows(source, target, origin, destination, columns, missing)]
    if missing == Missing.ADD:
        tasks.insert(0, Clear(Vector(1, 0), arrays[1].size))
    binder.stages.tasks([[task] for task in tasks], arrays, table)


def _of_segments(binder: Binder, rows: np.ndarray, valid: Valid, until: int) -> np.ndarray:
    """What is given for each row of the batch, for each segment."""
    width = rows.size // len(rows)
    out = binder.array((valid.segments, *rows.shape[1:]), until)
    move = (Section.BATCH_ROW, IN_ORDER, Missing.ZERO)
    _move(binder, Matrix(0, 0, width), Matrix(1, 0, width), move, width, [rows, out], valid.table)
    return out


def _of_rows(binder: Binder, grads: np.ndarray, batch: int, valid: Valid, until: int) -> np.ndarray:
    """The sums over the segments of each row."""
    width = grads.size // len(grads)
    out = binder.array((batch, *grads.shape[1:]), until)
    move = (IN_ORDER, Section.BATCH_ROW, Missing.ADD)
    _move(binder, Matrix(0, 0, width), Matrix(1, 0, width), move, width, [grads, out], valid.table)
    return out


def _states_after(binder: Binder, view: Any, arrays: list[np.ndarray], valid: Valid) -> np.ndarray:
    """The states after each row of each step, which products read beside the row."""
    rows = view.of(arrays)
    out = binder.array(rows.shape, binder.step)
    move, ld = (Section.NEXT_STATE, IN_ORDER, Missing.ZERO), rows.shape[1]
    _move(binder, Matrix(0, 0, ld), Matrix(1, 0, ld), move, ld, [rows, out], valid.table)
    return out.reshape(-1)
