"""Binding of forward loops: their tables for one T and one batch, which all calls of that size use."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...kernels.loops.task_codes import Vector
from ..codegen.array_names import ARENA, PACKED, Role
from ..codegen.layout import Layout
from ..schedule.buffers import Buffer, BufferKind
from ..schedule.plan import Plan
from .binding import RowMoves, View, clear, copy_task, head, initial_rows, locator, rows_of
from .launch import LaunchPlan

SMALL = 600_000  # multiply-adds: below, an array more costs more than a copy out of the arena


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
    locate = locator(layout, bound.offsets)
    results = [b for b in dict.fromkeys([*outputs, *states]) if b.result]
    work = time * batch * layout.multiplications
    small = moves is None and work < SMALL
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
        return rows_of(layout, names, b, bound.offsets, slot, (slots, batch, *shape), suballocated)

    # a history holds the state before each step too, so outputs begin in its second slot; a ring holds the last two
    ys = [view(b, int(b.kind is BufferKind.STATES), time, shape) for b, shape in zip(outputs, t.shapes.outputs)]
    last = [time if b.kind is BufferKind.STATES else time & 1 for b in states]
    finals = [view(b, at, 1, shape) for b, at, shape in zip(states, last, t.shapes.states)]
    if moves is None:
        begin = initial_rows(locate, states, plan, batch)
        copied = [(Role.CALLER_OUTPUT.of(i), v) for i, v in enumerate(ys)] if small else []
        copied += [(Role.CALLER_FINAL.of(i), v) for i, v in enumerate(finals)]
        shapes, end = [v.shape for _, v in copied], [copy_task(names[v.array], v, name) for name, v in copied]
        more = [name for name, _ in copied]
    else:
        begin = moves.gather(locate)
        shapes, end, more = [], moves.scatter(locate), moves.names
    before = [*clear((PACKED, bound.weights), (ARENA, bound.zeros)), *bound.tasks, *begin]
    packed = [time * batch * x.width for x in t.inputs]
    sizes_of_results = [sizes.elements(b, time, batch) + sizes.panel for b in results]
    called = [*names, *more, *([PACKED] if w else [])]
    return BoundForward(
        launch=LaunchPlan(layout, bound.dims, time, batch, before, [end], called, {*captures}, suballocated),
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
        head=head(bound, time),
        largest=max(arena, w, *packed, *sizes_of_results),
    )
