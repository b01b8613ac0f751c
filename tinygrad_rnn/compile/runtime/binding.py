"""Bindings: the tables of a plan's loops for one T and one batch, made once and used by every call of that size."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..codegen.layout import Layout
from ..ir.symbol import BATCH
from ..schedule.buffers import Buffer, Place
from ..schedule.plan import Plan
from . import threads
from .epilogue import After
from .launch import LaunchPlan

Places = Callable[[Buffer], tuple[str, int, int]]  # array, offset, elements of a row


class View(NamedTuple):
    """Rows of a buffer as an array: where they lie in the array number `array` of a call's arrays, in bytes."""

    array: int
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int
    strides: tuple[int, ...]

    def of(self, arrays: list) -> np.ndarray:
        _, shape, dtype, offset, strides = self
        return np.ndarray(shape, dtype, arrays[self.array], offset, strides)


class Moves(NamedTuple):
    """Sequences of different lengths: rows are brought from the caller's arrays to the loop's, and back.

    Attributes
    ----------
    names : list of str
        Of the caller's arrays; they come last.
    enter, leave : callable
        ``enter(places)`` gives the jobs before the loop, ``leave(places)`` those after it; ``places`` says in which
        array, and from where on, the rows of each buffer lie.
    """

    names: list[str]
    enter: Callable[[Places], list[tuple]]
    leave: Callable[[Places], list[tuple]]


class Forward(NamedTuple):
    """A forward loop. Its arrays: arena, inputs, states, results, parameters, those that jobs copy to, w.

    Of a small loop, results are part of the arena, and so is w if nothing is kept. Jobs copy results to arrays of the
    caller's own, as they do with final states of all loops: so what is handed out keeps nothing else alive.
    """

    call: LaunchPlan
    w: list[int]  # elements, if it is an array of its own
    arena: int
    results: list[int]  # elements of the arrays that are handed out
    outputs: list[View]  # (T, B, ...)
    finals: list[View]  # (1, B, ...)
    copies: list[tuple]  # shapes of the arrays that jobs copy to: outputs of a small loop, final states
    names: list[str]
    offsets: dict[Buffer, int]
    inside: dict[str, tuple[str, int]]  # what is part of the arena
    small: bool
    packed: list[int]  # elements of the inputs, where rows are moved
    head: np.ndarray  # the loop's integers up to those of its steps
    largest: int  # elements of the largest array of its own


class Backward(NamedTuple):
    """The backward loop and what comes after it.

    Its arrays: arena, gradients of outputs and of final states, results, grads, the forward loop's arena, inputs
    and results, parameters, what is derived from them, those that jobs copy to (of a small loop, gradients of
    inputs; those of states), and w.
    """

    call: LaunchPlan
    w: list[int]
    arena: int
    given: list[int]  # elements of the gradients of outputs and of final states
    results: list[int]
    grads: int  # elements
    grads_at: int  # which array
    inputs: int  # of the loop
    wanted: list[tuple[int, View | None]]  # inputs that get a gradient, and where it is if jobs do not copy or move it
    copies: list[tuple]  # shapes
    bases: list[tuple[int, tuple, np.dtype, int]]  # uid, and where in the array of gradients its own is, in bytes
    late: list[View]  # of sequences of different lengths: states after a step that products read, (rows, ld)
    packed: list[int]  # elements of the gradients of outputs, where rows are moved
    head: np.ndarray  # the loop's integers up to those of its steps
    largest: int  # elements of the largest array of its own


def bind_forward(
    layout: Layout,
    plan: Plan,
    states: list[Buffer],
    outputs: list[Buffer],
    bases: list[str],
    time: int,
    batch: int,
    moves: Moves | None = None,
) -> Forward:
    """Tables of a forward loop; `states` and `outputs` are the buffers of its schedule, `bases` names."""
    t, sizes = plan.traced, layout.sizes
    bound = layout.bind(time, batch)
    places = _places(layout, bound.offsets)
    if moves is None:
        begin = [_begin(places, f"s{i}", b, s.width, batch) for i, (b, s) in enumerate(zip(states, t.states))]
    else:
        begin = moves.enter(places)
    results = [b for b in dict.fromkeys([*outputs, *states]) if b.result]
    work = time * batch * layout.multiplications
    small = moves is None and work < 2 * threads.WORTH
    w, arena, inside = bound.w, bound.arena, {}
    if small:
        for b in results:
            inside[b.name] = ("arena", arena)
            arena += sizes.elements(b, time, batch) + sizes.panel
        results = []
        if layout.name == "inference":  # the backward loop keeps the arena of the other
            inside["w"] = ("arena", arena)
            w, arena = 0, arena + w
    names = ["arena", *(f"x{i}" for i in range(len(t.inputs))), *(f"s{i}" for i in range(len(t.states)))]
    names += [*(b.name for b in results), *bases]

    def view(b: Buffer, slot: int, slots: int, shape: tuple) -> View:
        return _rows(layout, names, b, bound.offsets, slot, (slots, batch, *shape[1:]), inside)

    ys = [view(b, int(b.kind == "history"), time, y.shape) for b, y in zip(outputs, t.outputs)]
    finals = [view(b, time if b.kind == "history" else time & 1, 1, s.shape) for b, s in zip(states, t.states)]
    if moves is None:
        copied = [(f"cy{i}", v) for i, v in enumerate(ys)] if small else []
        copied += [(f"ce{i}", v) for i, v in enumerate(finals)]
        shapes, end = [v.shape for _, v in copied], [_copy(names[v.array], v, name) for name, v in copied]
        more = [name for name, _ in copied]
    else:
        shapes, end, more = [], moves.leave(places), moves.names
    before = [*_clear(w=bound.w, arena=bound.zeros), *bound.jobs, *begin]
    packed = [time * batch * x.width for x in t.inputs]
    sizes_of_results = [sizes.elements(b, time, batch) + sizes.panel for b in results]
    return Forward(
        LaunchPlan(layout, bound.d, batch, work, before, [end], [*names, *more, *(["w"] if w else [])], inside),
        [w] if w else [],
        arena,
        sizes_of_results,
        ys,
        finals,
        shapes,
        names,
        bound.offsets,
        inside,
        small,
        packed,
        bound.d[: -time - 1].copy(),
        max(arena, w, *packed, *sizes_of_results),
    )


def bind_backward(
    reverse: Layout,
    after: After,
    plan: Plan,
    forward: Forward,
    derived: list[str],
    time: int,
    batch: int,
    moves: Moves | None = None,
) -> Backward:
    """Tables of the backward loop that belongs to `forward`; `derived` are names of arrays.

    If sequences are of different lengths (`moves`), the state after a step does not lie where the step's other rows
    do; where products read it, it is copied to there, to the last of the loop's arrays.
    """
    t, sizes = plan.traced, reverse.sizes
    bound = reverse.bind(time, batch)
    after.place_grads(batch)
    for i, key in enumerate(reverse.book.ints):
        if key[0] == "at" and key[1] in forward.offsets:
            bound.d[i + 2] = forward.offsets[key[1]] + reverse.inside(key)
    places = _places(reverse, bound.offsets)
    if moves is None:
        begin = [_begin(places, f"s{i}", b, s.width, batch) for i, (b, s) in enumerate(zip(plan.carries, t.states))]
    else:
        begin = moves.enter(places)
    n, m = len(t.inputs), len(t.states)
    names = ["arena", *(f"g{i}" for i in range(len(t.outputs))), *(f"s{i}" for i in range(m))]
    wanted = [i for i in range(n) if plan.wanted_inputs[i]]
    small = forward.small
    w, arena = bound.w + after.packing.size, bound.arena + after.temp_size
    names += [*(f"dx{i}" for i in wanted if not small), "grads", "fw"]
    names += [*forward.names[1 : 1 + n], *forward.names[1 + n + m :], *derived]

    late: list[Buffer] = []

    def at(place: Place) -> tuple[str, int]:
        b = place.buffer
        row = sizes.part_at(b, place.part) + place.start
        if place.late and moves:
            if b not in late:
                late.append(b)
            return f"late_{b.name}", row
        row += batch * sizes.ld(b) if place.late else 0
        if b.alone:
            return b.name, row
        return ("arena", bound.offsets[b] + row) if b in bound.offsets else ("fw", forward.offsets[b] + row)

    inside = {name: ("fw", offset) for name, (_, offset) in forward.inside.items()}
    inside |= {"temp": ("arena", bound.arena)}
    if small:
        inside |= {"w": ("arena", arena), "wx": ("arena", arena + bound.w)}
        w, arena = 0, arena + w
    else:
        inside |= {"wx": ("w", bound.w)}
    gradients: list[tuple[int, View | None]] = []
    results, copied, shapes = [], [], []
    for i in wanted:
        x = t.inputs[i]
        ld = sizes.row([x.width])
        size = time * batch * ld + sizes.panel
        index = 0 if small else names.index(f"dx{i}")
        view = _view(reverse, index, (time, batch, *x.shape[1:]), 0, ld)
        if small:
            inside[f"dx{i}"] = ("arena", arena)
            arena += size
            copied.append((f"dx{i}", view, f"cdx{i}"))
            shapes.append(view.shape)
        else:
            results.append(size)
        gradients.append((i, None if small or moves else view))
    for i, (b, s) in enumerate(zip(plan.carries, t.states)):
        view = _rows(reverse, names, b, bound.offsets, time & 1, (1, batch, *s.shape[1:]), {})
        copied.append((names[view.array], view, f"cs{i}"))
        shapes.append(view.shape[1:])
    item = reverse.dtype.itemsize
    bases = []
    for uid, shape in after.shapes.items():
        start = after.grad_at[uid]
        full = (batch, *shape[1:]) if shape[:1] == (BATCH,) else shape
        bases.append((uid, full, reverse.dtype, start * item))
    phases = after.bind(time, batch, at)
    copies = [table(reverse, names, b, forward.offsets, time, batch) for b in late]
    names += [f"late_{b.name}" for b in late]
    if moves is None:
        names += [name for _, _, name in copied]
        phases.append([_copy(*c) for c in copied])
    else:
        names += moves.names
        phases.append(moves.leave(places))
    if w:
        names.append("w")
    grads = after.grads_size
    before = [
        *_clear(w=bound.w + after.packing.size, arena=bound.zeros, grads=grads),
        *begin,
        *bound.jobs,
        *after.packing.jobs,
    ]
    work = time * batch * reverse.multiplications
    packed = [time * batch * y.width for y in t.outputs]
    return Backward(
        LaunchPlan(reverse, bound.d, batch, work, before, phases, names, inside),
        [w] if w else [],
        arena,
        packed + [batch * s.width for s in t.states],
        results,
        grads,
        names.index("grads"),
        n,
        gradients,
        shapes,
        bases,
        copies,
        packed,
        bound.d[: -time - 1].copy(),
        max(arena, w, grads, *packed, *results),
    )


def _clear(**elements: int) -> list[tuple]:
    """The jobs that set the first elements of arrays to zero."""
    from ...kernels.loops.tasks import CLEAR

    return [(CLEAR, 0, name, 0, n) for name, n in elements.items() if n]


def _copy(source: str, view: View, target: str) -> tuple:
    """The job that copies the rows of a view, which lie in `source`, to an array without padding."""
    from ...kernels.loops.tasks import ROWS

    item, (slots, batch, *width) = view.dtype.itemsize, view.shape
    n = width[0] if width else 1
    return (ROWS, source, target, view.offset // item, view.strides[1] // item, slots * batch, n, 0, n)


def table(
    layout: Layout, names: list[str], buffer: Buffer, offsets: dict[Buffer, int], time: int, batch: int, width: int = 0
) -> View:
    """All rows of `buffer`, whatever step they belong to; their first columns, or all of them with their padding."""
    where, at, ld = _places(layout, offsets)(buffer)
    if not buffer.result and buffer.home != layout.schedule.prefix:
        where = "fw"
    item = layout.dtype.itemsize
    rows = layout.sizes.elements(buffer, time, batch) // ld
    return View(names.index(where), (rows, width or ld), layout.dtype, at * item, (ld * item, item))


def _places(layout: Layout, offsets: dict[Buffer, int]) -> Places:
    """For a buffer: the array in which its rows lie, from where on, and elements of a row."""
    return lambda b: ((b.name, 0) if b.result else ("arena", offsets[b])) + (layout.sizes.ld(b),)


def _begin(places: Places, source: str, buffer: Buffer, width: int, batch: int) -> tuple:
    """The job that copies initial values to the first slot of a state or a carry."""
    from ...kernels.loops.tasks import ROWS

    target, at, ld = places(buffer)
    return (ROWS, source, target, 0, width, batch, width, at, ld)


def _rows(
    layout: Layout, names: list[str], buffer: Buffer, offsets: dict[Buffer, int], slot: int, shape: tuple, inside: dict
) -> View:
    """Rows of `buffer` from `slot` on."""
    name, at = inside.get(buffer.name, (buffer.name, 0)) if buffer.result else ("arena", offsets[buffer])
    ld = layout.sizes.ld(buffer)
    return _view(layout, names.index(name), shape, at + slot * shape[1] * ld, ld)


def _view(layout: Layout, index: int, shape: tuple, start: int, ld: int) -> View:
    """Rows of `ld` elements, from element `start`, as (slots, batch, ...)."""
    item = layout.dtype.itemsize
    strides = (shape[1] * ld * item, ld * item, item)[: len(shape)]
    return View(index, shape, layout.dtype, start * item, strides)
