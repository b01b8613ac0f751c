"""Binding of backward loops, and of what comes after them: their tables for one T and one batch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...kernels.loops.task_codes import Task, Vector
from ..codegen.array_names import ARENA, FORWARD_ARENA, GRADS, INPUT_PACKED, PACKED, PRODUCTS, Role, next_step
from ..codegen.bound_layout import BoundLayout
from ..codegen.layout import Layout
from ..ir import verify
from ..ir.symbol import BATCH
from ..schedule.buffers import Buffer, Place
from ..schedule.plan import Plan
from .bind_forward import BoundForward
from .binding import RowMoves, View, clear, copy_task, head, initial_rows, locator, rows_of, view_of
from .epilogue import Epilogue
from .launch import LaunchPlan
from .verify import verify_epilogue


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
    locate = locator(reverse, bound.offsets)
    n, m = len(t.inputs), len(t.states)
    names = [ARENA, *(Role.OUTPUT_GRAD.of(i) for i in range(len(t.outputs))), *(Role.STATE.of(i) for i in range(m))]
    wanted = [i for i in range(n) if plan.wanted_inputs[i]]
    small = forward.single_call
    w, arena = bound.weights + epilogue.packing.size, bound.arena + epilogue.temp_size
    names += [*(Role.INPUT_GRAD.of(i) for i in wanted if not small), GRADS, FORWARD_ARENA]
    # in the order of `Executable._backward`; without initial states, which have been copied into the forward arena
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
        # padded, as products write whole panels
        ld = sizes.input_grad_ld(plan.input_buffers.get(i), x.width)
        size = time * batch * ld + sizes.panel
        view = view_of(reverse, 0 if small else names.index(name), (time, batch, *t.shapes.inputs[i]), 0, ld)
        if small:
            suballocated[name] = Vector(ARENA, arena)
            arena += size
            copied.append((name, view, Role.CALLER_INPUT_GRAD.of(i)))
            shapes.append(view.shape)
        else:
            results.append(size)
        gradients.append((i, None if small or moves else view))
    for i, (b, shape) in enumerate(zip(plan.carries, t.shapes.states)):
        # after T steps back the gradient of the initial state is in this slot of the two
        view = rows_of(reverse, names, b, bound.offsets, time & 1, (1, batch, *shape), {})
        copied.append((names[view.array], view, Role.CALLER_STATE_GRAD.of(i)))
        shapes.append(view.shape[1:])
    phases, read = _bind_epilogue(reverse, epilogue, bound, forward.offsets, time, batch, moves is not None)
    next_states = [_all_rows(reverse, names, b, forward.offsets, time, batch) for b in read]
    names += [next_step(b.name) for b in read]
    if moves is None:
        begin = initial_rows(locate, plan.carries, plan, batch)
        names += [name for _, _, name in copied]
        phases.append([copy_task(*c) for c in copied])
    else:
        begin = moves.gather(locate)
        names += moves.names
        phases.append(moves.scatter(locate))
    if w:
        names.append(PACKED)
    grads = epilogue.grads_size
    cleared = clear((PACKED, bound.weights + epilogue.packing.size), (ARENA, bound.zeros), (GRADS, grads))
    before = [*cleared, *begin, *bound.tasks, *epilogue.packing.tasks]
    packed = [time * batch * y.width for y in t.outputs]
    return BoundBackward(
        launch=LaunchPlan(reverse, bound.dims, time, batch, before, phases, names, {*kept, *captures}, suballocated),
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
        head=head(bound, time),
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


def _all_rows(
    layout: Layout, names: list[str], buffer: Buffer, offsets: dict[Buffer, int], time: int, batch: int
) -> View:
    """All rows of `buffer` with their padding, whatever step they belong to."""
    where, at, ld = locator(layout, offsets)(buffer)
    if not buffer.result and buffer.owner != layout.schedule.prefix:
        where = FORWARD_ARENA
    item = layout.dtype.itemsize
    rows = layout.sizes.elements(buffer, time, batch) // ld
    return View(names.index(where), (rows, ld), layout.dtype, at * item, (ld * item, item))
