"""Bindings: the tables of a plan's loops for one T and one batch, which all calls of that size use."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ...kernels.loops.task_codes import Clear, CopyRows, Matrix, Task, Vector
from ..codegen.array_names import ARENA, FORWARD_ARENA, GRADS, INPUT_PACKED, PACKED, PRODUCTS, Role, next_step
from ..codegen.bound_layout import BoundLayout
from ..codegen.layout import Layout
from ..ir import verify
from ..ir.symbol import BATCH
from ..schedule.buffers import Buffer, BufferKind, Place
from ..schedule.plan import Plan
from . import threads
from .epilogue import Epilogue
from .launch import LaunchPlan
from .verify import verify_epilogue

Locate = Callable[[Buffer], Matrix]  # the rows of a buffer


class View(NamedTuple):
    """Rows of a buffer as an array; offset and strides are bytes in array number `array` of a call."""

    array: int
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int
    strides: tuple[int, ...]

    def of(self, arrays: list) -> np.ndarray:
        _, shape, dtype, offset, strides = self
        return np.ndarray(shape, dtype, arrays[self.array], offset, strides)


class RowMoves(NamedTuple):
    """Tasks that gather rows of segments from the caller's arrays, and scatter them back.

    Attributes
    ----------
    names : list of str
        Of the caller's arrays; they come last.
    gather, scatter : callable
        ``gather(locate)`` gives the tasks before the loop, ``scatter(locate)`` those after it; ``locate`` gives the
        rows of each buffer of the loop.
    """

    names: list[str]
    gather: Callable[[Locate], list[Task]]
    scatter: Callable[[Locate], list[Task]]


class BoundForward(NamedTuple):
    """A forward loop bound to one T and one batch.

    Its arrays: arena, inputs, states, results, captures, those that tasks copy to, w.

    Of a small loop, results are part of the arena, and so is w if nothing is kept. Tasks copy results to arrays of the
    caller's own, as they do with final states of all loops: so what is handed out keeps nothing else alive.
    """

    launch: LaunchPlan
    w: list[int]  # elements, if it is an array of its own
    arena: int
    results: list[int]  # elements of the arrays that are handed out
    outputs: list[View]  # (T, B, ...)
    finals: list[View]  # (1, B, ...)
    copies: list[tuple]  # shapes of the arrays that tasks copy to: outputs of a small loop, final states
    names: list[str]
    offsets: dict[Buffer, int]
    suballocated: dict[str, Vector]  # what is part of the arena
    single_call: bool  # a small loop
    packed: list[int]  # elements of the inputs, where rows are moved
    head: np.ndarray  # the loop's integers up to those of its steps
    largest: int  # elements of the largest array of its own


class BoundBackward(NamedTuple):
    """A backward loop, and what comes after it, bound to one T and one batch.

    Its arrays: arena, gradients of outputs and of final states, results, grads, the forward loop's arena, inputs
    and results, captures, those of the backward loop alone, those that tasks copy to (of a small loop, gradients of
    inputs; those of states), and w.
    """

    launch: LaunchPlan
    w: list[int]
    arena: int
    seeds: list[int]  # elements of the gradients of outputs and of final states
    results: list[int]
    grads: int  # elements
    inputs: int  # of the loop
    wanted: list[tuple[int, View | None]]  # inputs that get a gradient, and where it is if tasks do not copy or move it
    copies: list[tuple]  # shapes
    bases: list[tuple[int, tuple, np.dtype, int]]  # uid, and where in the array of gradients its own is, in bytes
    next_states: list[View]  # with segments: states after a step that products read, (rows, ld)
    packed: list[int]  # elements of the gradients of outputs, where rows are moved
    head: np.ndarray  # the loop's integers up to those of its steps
    largest: int  # elements of the largest array of its own


def bind_forward(
    layout: Layout,
    plan: Plan,
    states: list[Buffer],
    outputs: list[Buffer],
    captures: list[str],
    time: int,
    batch: int,
    moves: RowMoves | None = None,
) -> BoundForward:
    """A forward loop bound to one T and one batch.

    Parameters
    ----------
    states, outputs : lists of Buffer
        Those of its schedule.
    captures : list of str
        Names of the arrays of parameters, and of what is computed from parameters.
    moves : RowMoves, optional
        Not all steps count.
    """
    t, sizes = plan.traced, layout.sizes
    bound = layout.bind(time, batch)
    locate = _locator(layout, bound.offsets)
    results = [b for b in dict.fromkeys([*outputs, *states]) if b.result]
    work = time * batch * layout.multiplications
    # One jitted call does everything: then an array more costs more than a copy out of the arena.
    small = moves is None and work < 2 * threads.WORTH
    w, arena, suballocated = bound.weights, bound.arena, {}
    if small:
        for b in results:
            suballocated[b.name] = Vector(ARENA, arena)
            arena += sizes.elements(b, time, batch) + sizes.panel
        results = []
        if layout.name == "inference":  # the backward loop keeps the arena of the other
            suballocated[PACKED] = Vector(ARENA, arena)
            w, arena = 0, arena + w
    names = [
        ARENA,
        *(Role.INPUT.of(i) for i in range(len(t.inputs))),
        *(Role.STATE.of(i) for i in range(len(t.states))),
    ]
    names += [*(b.name for b in results), *captures]

    def view(b: Buffer, slot: int, slots: int, shape: tuple) -> View:
        return _rows(layout, names, b, bound.offsets, slot, (slots, batch, *shape[1:]), suballocated)

    # a history holds the state before each step too, so outputs begin in its second slot; a ring holds the last two
    ys = [view(b, int(b.kind is BufferKind.STATES), time, y.shape) for b, y in zip(outputs, t.outputs)]
    finals = [view(b, time if b.kind is BufferKind.STATES else time & 1, 1, s.shape) for b, s in zip(states, t.states)]
    if moves is None:
        begin = _initial_rows(locate, states, plan, batch)
        copied = [(Role.CALLER_OUTPUT.of(i), v) for i, v in enumerate(ys)] if small else []
        copied += [(Role.CALLER_FINAL.of(i), v) for i, v in enumerate(finals)]
        shapes, end = [v.shape for _, v in copied], [_copy(names[v.array], v, name) for name, v in copied]
        more = [name for name, _ in copied]
    else:
        begin = moves.gather(locate)
        shapes, end, more = [], moves.scatter(locate), moves.names
    before = [*_clear((PACKED, bound.weights), (ARENA, bound.zeros)), *bound.tasks, *begin]
    packed = [time * batch * x.width for x in t.inputs]
    sizes_of_results = [sizes.elements(b, time, batch) + sizes.panel for b in results]
    called = [*names, *more, *([PACKED] if w else [])]
    return BoundForward(
        launch=LaunchPlan(layout, bound.dims, batch, work, before, [end], called, {*captures}, suballocated),
        w=[w] if w else [],
        arena=arena,
        results=sizes_of_results,
        outputs=ys,
        finals=finals,
        copies=shapes,
        names=names,
        offsets=bound.offsets,
        suballocated=suballocated,
        single_call=small,
        packed=packed,
        head=_head(bound, time),
        largest=max(arena, w, *packed, *sizes_of_results),
    )


def bind_backward(
    reverse: Layout,
    epilogue: Epilogue,
    plan: Plan,
    forward: BoundForward,
    captures: list[str],
    time: int,
    batch: int,
    moves: RowMoves | None = None,
) -> BoundBackward:
    """The backward loop of `forward`, bound to the same sizes; `captures` are those that it alone reads.

    If sequences are of different lengths (`moves`), the state after a step does not lie where the step's other rows
    do; where products read it, it is copied to there, to the last of the loop's arrays.
    """
    t, sizes = plan.traced, reverse.sizes
    bound = reverse.bind(time, batch)
    epilogue.place_grads(batch)
    _address_forward(reverse, bound, forward.offsets)
    locate = _locator(reverse, bound.offsets)
    n, m = len(t.inputs), len(t.states)
    names = [ARENA, *(Role.OUTPUT_GRAD.of(i) for i in range(len(t.outputs))), *(Role.STATE.of(i) for i in range(m))]
    wanted = [i for i in range(n) if plan.wanted_inputs[i]]
    small = forward.single_call
    w, arena = bound.weights + epilogue.packing.size, bound.arena + epilogue.temp_size
    names += [*(Role.INPUT_GRAD.of(i) for i in wanted if not small), GRADS, FORWARD_ARENA]
    names += [*forward.names[1 : 1 + n], *(kept := forward.names[1 + n + m :]), *captures]

    suballocated = {name: Vector(FORWARD_ARENA, offset) for name, (_, offset) in forward.suballocated.items()}
    suballocated[PRODUCTS] = Vector(ARENA, bound.arena)  # behind the loop's buffers
    if small:
        suballocated |= {PACKED: Vector(ARENA, arena), INPUT_PACKED: Vector(ARENA, arena + bound.weights)}
        w, arena = 0, arena + w
    else:
        suballocated[INPUT_PACKED] = Vector(PACKED, bound.weights)
    gradients: list[tuple[int, View | None]] = []
    results, copied, shapes = [], [], []
    for i in wanted:
        x, name = t.inputs[i], Role.INPUT_GRAD.of(i)
        ld = sizes.row([x.width])
        size = time * batch * ld + sizes.panel
        view = _view(reverse, 0 if small else names.index(name), (time, batch, *x.shape[1:]), 0, ld)
        if small:
            suballocated[name] = Vector(ARENA, arena)
            arena += size
            copied.append((name, view, Role.CALLER_INPUT_GRAD.of(i)))
            shapes.append(view.shape)
        else:
            results.append(size)
        gradients.append((i, None if small or moves else view))
    for i, (b, s) in enumerate(zip(plan.carries, t.states)):
        # after T steps back the gradient of the initial state is in this slot of the two
        view = _rows(reverse, names, b, bound.offsets, time & 1, (1, batch, *s.shape[1:]), {})
        copied.append((names[view.array], view, Role.CALLER_STATE_GRAD.of(i)))
        shapes.append(view.shape[1:])
    phases, read = _bind_epilogue(reverse, epilogue, bound, forward.offsets, time, batch, moves is not None)
    next_states = [_all_rows(reverse, names, b, forward.offsets, time, batch) for b in read]
    names += [next_step(b.name) for b in read]
    if moves is None:
        begin = _initial_rows(locate, plan.carries, plan, batch)
        names += [name for _, _, name in copied]
        phases.append([_copy(*c) for c in copied])
    else:
        begin = moves.gather(locate)
        names += moves.names
        phases.append(moves.scatter(locate))
    if w:
        names.append(PACKED)
    grads = epilogue.grads_size
    cleared = _clear((PACKED, bound.weights + epilogue.packing.size), (ARENA, bound.zeros), (GRADS, grads))
    before = [*cleared, *begin, *bound.tasks, *epilogue.packing.tasks]
    work = time * batch * reverse.multiplications
    packed = [time * batch * y.width for y in t.outputs]
    return BoundBackward(
        launch=LaunchPlan(reverse, bound.dims, batch, work, before, phases, names, {*kept, *captures}, suballocated),
        w=[w] if w else [],
        arena=arena,
        seeds=packed + [batch * s.width for s in t.states],
        results=results,
        grads=grads,
        inputs=n,
        wanted=gradients,
        copies=shapes,
        bases=_gradients_of_bases(reverse, epilogue, batch),
        next_states=next_states,
        packed=packed,
        head=_head(bound, time),
        largest=max(arena, w, grads, *packed, *results),
    )


def _address_forward(reverse: Layout, bound: BoundLayout, offsets: dict[Buffer, int]) -> None:
    """Write offsets of the forward loop's buffers to the integers of the backward loop."""
    for i, key in enumerate(reverse.book.ints):
        if key[0] == "at" and key[1] in offsets:
            bound.dims[i + 2] = offsets[key[1]] + reverse.offset_in_row(key)


def _bind_epilogue(
    reverse: Layout,
    epilogue: Epilogue,
    bound: BoundLayout,
    forward: dict[Buffer, int],
    time: int,
    batch: int,
    segmented: bool,
) -> tuple[list[list[Task]], list[Buffer]]:
    """Phases of tasks after the backward loop, and the states of next steps that they read copies of."""
    sizes, read = reverse.sizes, []

    def locate(place: Place) -> tuple[str, int]:
        b = place.buffer
        row = sizes.part_at(b, place.part) + place.start
        if place.next_step and segmented:
            if b not in read:
                read.append(b)
            return next_step(b.name), row
        row += batch * sizes.ld(b) if place.next_step else 0  # the rows of the next step follow at once
        if b.standalone:
            return b.name, row
        return (ARENA, bound.offsets[b] + row) if b in bound.offsets else (FORWARD_ARENA, forward[b] + row)

    phases = epilogue.bind(time, batch, locate)
    if verify.enabled:
        verify_epilogue(epilogue, phases, bound.offsets, forward, time, batch, segmented)
    return phases, read


def _gradients_of_bases(reverse: Layout, epilogue: Epilogue, batch: int) -> list[tuple[int, tuple, np.dtype, int]]:
    """For each base: uid, shape, dtype, and where its gradient begins, in bytes."""
    found = []
    for uid, shape in epilogue.shapes.items():
        full = (batch, *shape[1:]) if shape[:1] == (BATCH,) else shape
        found.append((uid, full, reverse.dtype, epilogue.grad_at[uid] * reverse.dtype.itemsize))
    return found


def _head(bound: BoundLayout, time: int) -> np.ndarray:
    """The loop's integers without the rows before each step, which differ from batch to batch of segments."""
    return bound.dims[: -time - 1].copy()


def _clear(*arrays: tuple[str, int]) -> list[Task]:
    """The tasks that set the first elements of arrays to zero."""
    return [Clear(Vector(name, 0), size) for name, size in arrays if size]


def _copy(source: str, view: View, target: str) -> Task:
    """The task that copies the rows of a view, which lie in `source`, to an array without padding."""
    item, (slots, batch, *width) = view.dtype.itemsize, view.shape
    n = width[0] if width else 1
    rows = Matrix(source, view.offset // item, view.strides[1] // item)
    return CopyRows(rows, Matrix(target, 0, n), slots * batch, n)


def _initial_rows(locate: Locate, buffers: list[Buffer], plan: Plan, batch: int) -> list[Task]:
    """The tasks that copy initial values to the first slot of each state or carry."""
    return [
        CopyRows(Matrix(Role.STATE.of(i), 0, s.width), locate(b), batch, s.width)
        for i, (b, s) in enumerate(zip(buffers, plan.traced.states))
    ]


def _all_rows(
    layout: Layout, names: list[str], buffer: Buffer, offsets: dict[Buffer, int], time: int, batch: int
) -> View:
    """All rows of `buffer` with their padding, whatever step they belong to."""
    where, at, ld = _locator(layout, offsets)(buffer)
    if not buffer.result and buffer.owner != layout.schedule.prefix:
        where = FORWARD_ARENA
    item = layout.dtype.itemsize
    rows = layout.sizes.elements(buffer, time, batch) // ld
    return View(names.index(where), (rows, ld), layout.dtype, at * item, (ld * item, item))


def _locator(layout: Layout, offsets: dict[Buffer, int]) -> Locate:
    """A function that gives the rows of a buffer: those of a result in its own array, others in the arena."""
    return lambda b: Matrix(b.name if b.result else ARENA, 0 if b.result else offsets[b], layout.sizes.ld(b))


def _rows(
    layout: Layout,
    names: list[str],
    buffer: Buffer,
    offsets: dict[Buffer, int],
    slot: int,
    shape: tuple,
    inside: dict[str, Vector],
) -> View:
    """Rows of `buffer` from `slot` on."""
    name, at = inside.get(buffer.name, Vector(buffer.name, 0)) if buffer.result else (ARENA, offsets[buffer])
    ld = layout.sizes.ld(buffer)
    return _view(layout, names.index(name), shape, at + slot * shape[1] * ld, ld)


def _view(layout: Layout, index: int, shape: tuple, start: int, ld: int) -> View:
    """Rows of `ld` elements, from element `start`, as (slots, batch, ...)."""
    item = layout.dtype.itemsize
    strides = (shape[1] * ld * item, ld * item, item)[: len(shape)]
    return View(index, shape, layout.dtype, start * item, strides)
