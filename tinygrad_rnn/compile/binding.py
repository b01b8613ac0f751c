"""Bindings: the tables of a plan's loops for one T and one batch, made once and used by every call of that size."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .after import After
from .jobs import Jobs
from .layout import Layout
from .places import Buffer, Place
from .plan import Plan

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
    """A forward loop. Its arrays: arena, w, inputs, states, results, parameters."""

    d: np.ndarray
    w: int  # elements
    arena: int
    zeros: int  # of the arena, cleared at its beginning
    results: list[int]  # elements of the arrays that are handed out
    prepare: Jobs
    alone: list[int]  # arrays that the loop takes besides w and arena
    outputs: list[View]  # (T, B, ...)
    finals: list[View]  # (1, B, ...)
    work: int  # multiply-adds
    names: list[str]
    offsets: dict[Buffer, int]
    leave: Jobs | None = None  # of sequences of different lengths


class Backward(NamedTuple):
    """The backward loop and what comes after it.

    Its arrays: arena, w, gradients of outputs and of final states, results, grads, the forward loop's arena, inputs
    and results, parameters, what is derived from them.
    """

    d: np.ndarray
    w: int
    arena: int
    zeros: int
    results: list[int]
    prepare: Jobs
    alone: list[int]
    work: int
    after: Jobs
    grads_size: int
    inputs: list[View | None]
    states: list[View]
    grads: list[tuple[int, View]]  # uid of a base
    late: list[View]  # of sequences of different lengths: states after a step that products read, (rows, ld)
    leave: Jobs | None = None  # likewise


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
    names = ["arena", "w", *(f"x{i}" for i in range(len(t.inputs))), *(f"s{i}" for i in range(len(t.states)))]
    names += [*(b.name for b in results), *bases]
    known = [*names, *moves.names] if moves else names

    def view(b: Buffer, slot: int, slots: int, shape: tuple) -> View:
        return _rows(layout, names, b, bound.offsets, slot, (slots, batch, *shape[1:]))

    return Forward(
        bound.d,
        bound.w,
        bound.arena,
        bound.zeros,
        [sizes.elements(b, time, batch) + sizes.panel for b in results],
        Jobs([[*bound.jobs, *begin]], known, sizes),
        [names.index(b.name) for b in layout.alone],
        [view(b, int(b.kind == "history"), time, y.shape) for b, y in zip(outputs, t.outputs)],
        [view(b, time if b.kind == "history" else time & 1, 1, s.shape) for b, s in zip(states, t.states)],
        time * batch * layout.multiplications,
        names,
        bound.offsets,
        Jobs([moves.leave(places)], known, sizes) if moves else None,
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
    for i, key in enumerate(reverse.emitter.ints):
        if key[0] == "at" and key[1] in forward.offsets:
            bound.d[i + 2] = forward.offsets[key[1]] + reverse.inside(key)
    places = _places(reverse, bound.offsets)
    if moves is None:
        begin = [_begin(places, f"s{i}", b, s.width, batch) for i, (b, s) in enumerate(zip(plan.carries, t.states))]
    else:
        begin = moves.enter(places)
    n, m = len(t.inputs), len(t.states)
    names = ["arena", "w", *(f"g{i}" for i in range(len(t.outputs))), *(f"s{i}" for i in range(m))]
    wanted = [i for i in range(n) if plan.wanted_inputs[i]]
    names += [*(f"dx{i}" for i in wanted), "grads", "fw", *forward.names[2 : 2 + n], *forward.names[2 + n + m :]]
    names += derived

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

    inside = {"wx": ("w", bound.w), "temp": ("arena", bound.arena)}
    inputs: list[View | None] = [None] * n
    results = []
    for i in wanted:
        x = t.inputs[i]
        ld = sizes.row([x.width])
        results.append(time * batch * ld + sizes.panel)
        inputs[i] = _view(reverse, names.index(f"dx{i}"), (time, batch, *x.shape[1:]), 0, ld)
    states = [
        _rows(reverse, names, b, bound.offsets, time & 1, (1, batch, *s.shape[1:]))
        for b, s in zip(plan.carries, t.states)
    ]
    item = reverse.dtype.itemsize
    grads = []
    for uid, shape in after.shapes.items():
        start = after.grad_at[uid]
        stop = min((o for o in after.grad_at.values() if o > start), default=after.grads_size)
        full = (batch, *shape[1:]) if int(np.prod(shape, dtype=int)) != stop - start else shape
        strides = np.empty(full, reverse.dtype).strides
        grads.append((uid, View(names.index("grads"), full, reverse.dtype, start * item, strides)))
    phases = after.bind(time, batch, at)
    copies = [table(reverse, names, b, forward.offsets, time, batch) for b in late]
    names += [f"late_{b.name}" for b in late]
    if moves is not None:
        names += moves.names
    return Backward(
        bound.d,
        bound.w + after.packing.size,
        bound.arena + after.temp_size,
        bound.zeros,
        results,
        Jobs([begin + bound.jobs + after.packing.jobs], names, sizes, inside),
        [names.index(name) for name in ("fw", *(b.name for b in reverse.alone))],
        time * batch * reverse.multiplications,
        Jobs(phases, names, sizes, inside),
        after.grads_size,
        inputs,
        [v._replace(shape=v.shape[1:], strides=v.strides[1:]) for v in states],
        grads,
        copies,
        Jobs([moves.leave(places)], names, sizes) if moves else None,
    )


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
    from ..kernels.jobs import ROWS

    target, at, ld = places(buffer)
    return (ROWS, source, target, 0, width, batch, width, at, ld)


def _rows(
    layout: Layout, names: list[str], buffer: Buffer, offsets: dict[Buffer, int], slot: int, shape: tuple
) -> View:
    """Rows of `buffer` from `slot` on."""
    name, at = (buffer.name, 0) if buffer.result else ("arena", offsets[buffer])
    ld = layout.sizes.ld(buffer)
    return _view(layout, names.index(name), shape, at + slot * shape[1] * ld, ld)


def _view(layout: Layout, index: int, shape: tuple, start: int, ld: int) -> View:
    """Rows of `ld` elements, from element `start`, as (slots, batch, ...)."""
    item = layout.dtype.itemsize
    strides = (shape[1] * ld * item, ld * item, item)[: len(shape)]
    return View(index, shape, layout.dtype, start * item, strides)
