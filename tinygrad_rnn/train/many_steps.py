"""Many training steps in one native call, for which rows and random masks are drawn before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import config
from ..compiler.model.bind import Stages
from ..compiler.model.program import Draw
from ..core import tree
from ..optim import Schedule
from .native_step import NativeStep
from .row_sources import Batches, Carry, Rows, Source

MOST = 4096  # steps of one call
ROOM = 1 << 25  # bytes of the random masks of one call


class ManySteps:
    """Many steps in one native call, each on the next rows of arrays.

    Parameters
    ----------
    step : NativeStep
    sources : list of Source
        One for each input of the program but those that are carried, which are the first ones.
    data : list of arrays, (N, ...)
        Their arrays, rows first, contiguous and of the dtypes of the program.
    rows : list of int
        Of a batch, in each group.
    carry : Carry
        What a step hands to the next one.
    capture : Capture
        What the program is of.
    schedule : Schedule or None
        Makes a step after each update.
    """

    def __init__(
        self,
        step: NativeStep,
        sources: list[Source],
        data: list[np.ndarray],
        rows: list[int],
        carry: Carry,
        capture: Any,
        schedule: Schedule | None = None,
    ):
        native, count = step.native, len(carry.outputs)
        self.step, self.sources, self.data, self.schedule = step, sources, data, schedule
        self.copies = [
            (np.moveaxis(s.array, s.axis, 0), a, s.group)
            for s, a in zip(sources, data)
            if not np.may_share_memory(s.array, a)
        ]
        self.carry, self.capture = carry, capture
        self.done = 0  # batches of the last call
        self.carried = [native.at[s.uid] for s in step.program.inputs[:count]]
        self.position = np.zeros(1, np.int64)
        before, after = Stages(native.dtype), Stages(native.dtype)
        self._draws = [_Masks(draw, native.dtype) for draw in native.program.draws]
        self.most = min(MOST, max(1, ROOM // (1 + sum(masks.bytes for masks in self._draws))))
        self.orders = [np.zeros(self.most * n, np.int64) for n in rows]
        self.losses, self.norms = np.zeros(self.most, native.dtype), np.zeros(self.most)
        for a, s, (_, axis, group) in zip(data, step.program.inputs[count:], sources):
            _feed(before, a, native.at[s.uid], axis, rows[group], self.orders[group], self.position)
        self.options: list[np.ndarray] = []  # of each update, a row for each step, if they change
        if schedule is not None or not step.looks_ahead(self.most):
            self.options = [np.zeros((self.most, update.numbers.size)) for update in step.updates]
        for table, update in zip(self.options, step.updates):
            before.options(table, update.numbers, self.position)
        in_order = np.arange(self.most)
        for masks in self._draws:
            masks.make_room(self.most)
            for s, room in zip(masks.draw.symbols, masks.rooms):
                before.feed(room, native.at[s.uid].reshape(1, -1), in_order, self.position)
        if step.clipping[0] is not None:
            with after.last_of_group():
                after.note(step.measured, self.norms, self.position)
        after.record(native.outputs[0].reshape(-1), self.losses, self.position)
        _carry(after, [native.outputs[i] for i in carry.outputs], self.carried)
        self.stages = native.stages.between(before, after)

    def reads(self, sources: Sequence[Source]) -> bool:
        """Whether these are the arrays that it reads, and not others in their place."""
        return len(sources) == len(self.sources) and all(a.array is b.array for a, b in zip(sources, self.sources))

    def read(self, order: Batches, state: Sequence[np.ndarray]) -> None:
        """Read rows of the data, which may have been written to; raises what the tape raises at bad values."""
        rows = order.rows
        for source, copy, group in self.copies:
            copy[rows[group]] = source[rows[group]]
        given = [s.array if s.array.dtype.kind == "f" else s.array.take(rows[s.group], s.axis) for s in self.sources]
        self.step.runner.check([*state, *given], self.step.native.given)  # floats are not tested

    def run(self, order: Batches, state: Sequence[np.ndarray]) -> tuple[list[float], list[float | None]]:
        """Run a batch for each rows that were read, from a state on; losses, and norms of each update.

        There are fewer if something is not finite before one of these updates, see :meth:`NativeStep.check`, and if the
        schedule ends.
        """
        self.done = 0
        count, step, preview = order.length, self.step, None
        if self.schedule is not None:
            updates = int(self._updates_of(count)[-1]) + 1
            preview = self.schedule.preview(updates)
            if preview is not None and len(preview) < updates:
                count = min(count, step.accumulation.batches(len(preview)))
        for rows, taken in zip(self.orders, order.rows):
            used = taken.size // order.length * count
            rows[:used] = taken[:used]
        for target, a in zip(self.carried, state):
            target[...] = a
        self.position[0] = step.status[0] = 0
        step.refresh()
        if self.options:
            self._foresee(count, preview)
        step.native.refresh()
        bits = config.generator().bit_generator
        drawn = bits.state if self._draws else None
        self._draw(count, self._draws)
        try:
            step.run(self.stages, count)
        finally:  # Ctrl-C waits for the native call, which has counted its steps
            done = self.done = int(self.position[0])
            if drawn is not None and done < count:  # masks are drawn for batches that come up, and no others
                bits.state = drawn
                self._draw(min(done + int(step.status[0] != 0), count), self._draws)
            step.settle(done)
        return self.losses[:done].tolist(), step.norms(self.norms[:done].tolist())

    def _foresee(self, count: int, preview: Any) -> None:
        """Write the options of the next updates; for each batch those of the update that it is part of."""
        step, of_batch = self.step, self._updates_of(count)
        tables = [np.empty((int(of_batch[-1]) + 1, table.shape[1])) for table in self.options]
        step.foresee(tables, preview)
        for table, options in zip(self.options, tables):
            table[:count] = options[of_batch]

    def _updates_of(self, count: int) -> np.ndarray:
        """For each of the next batches, which update from here on it is part of."""
        accumulation = self.step.accumulation
        return (accumulation.waiting + np.arange(count)) // accumulation.every

    def handed_on(self) -> Any:
        """The state that the last step that was finished has handed on."""
        return self._nest(self.carried)

    def handed_on_in_vain(self) -> Any:
        """The one of the step that was not, as something was not finite in it."""
        return self._nest([self.step.native.outputs[i] for i in self.carry.outputs])

    def _nest(self, arrays: Sequence[np.ndarray]) -> Any:
        if not arrays:
            return None
        results = [self.capture.results[i] for i in self.carry.outputs]
        leaves = [self.capture.wrapped(s, np.array(a, s.dtype)) for s, a in zip(results, arrays)]
        return tree.unflatten(self.carry.structure, leaves)

    @staticmethod
    def _draw(count: int, draws: Sequence[_Masks]) -> None:
        """Draw the masks of so many steps, in the order in which these draw them one by one."""
        for k in range(count if draws else 0):
            for masks in draws:
                masks.put(k)


class _Masks:
    """Random masks that are drawn together, with room for those of many steps."""

    def __init__(self, draw: Draw, dtype: np.dtype):
        self.draw, self.dtype = draw, dtype
        self.sizes = [s.size for s in draw.symbols]
        self.bytes = sum(self.sizes) * dtype.itemsize
        self.rooms: list[np.ndarray] = []

    def make_room(self, steps: int) -> None:
        self.rooms = [np.zeros((steps, size), self.dtype) for size in self.sizes]

    def put(self, step: int) -> None:
        """Draw those of one step."""
        for room, mask in zip(self.rooms, self.draw.draw()):
            room[step] = np.reshape(mask, -1)


def _feed(
    stages: Stages, data: np.ndarray, target: np.ndarray, axis: int, rows: int, order: np.ndarray, position: np.ndarray
) -> None:
    """Stages that write the next rows of `data` to an input, in which they lie along an axis."""
    if axis == 0:
        stages.feed(data, target, order, position)
        return
    room = np.empty((rows, *data.shape[1:]), data.dtype)
    stages.feed(data, room, order, position)
    view = np.moveaxis(room, 0, axis)
    if data.dtype == stages.dtype:
        stages.copy(view, target)
    else:
        stages.copy_integers(view, target)


def _carry(stages: Stages, results: list[np.ndarray], inputs: list[np.ndarray]) -> None:
    """Stages that make results the inputs of the next step, in whose memory other results may lie."""
    rooms = [np.empty(a.shape, a.dtype) for a in results]
    for sources, targets in ((results, rooms), (rooms, inputs)):
        for a, b in zip(sources, targets):
            if a.dtype == stages.dtype:
                stages.copy(a, b)
            else:
                stages.copy_integers(a, b)


def many_steps(
    step: NativeStep,
    sources: list[Source],
    rows: Rows,
    carry: Carry,
    capture: Any,
    schedule: Schedule | None = None,
) -> ManySteps | None:
    """What runs many steps on rows of arrays, one for each input of the program; None if it cannot be.

    Parameters
    ----------
    sources : list of Source
    rows : Rows
        Of one batch of the kind.
    carry : Carry
    capture : Capture
        What the program is of.
    schedule : Schedule, optional
        Makes a step after each update.
    """
    native, inputs, counts = step.native, step.program.inputs[len(carry.outputs) :], [r.size for r in rows]
    if native.copies or len(sources) != len(inputs):
        return None
    for i, s in zip(carry.outputs, step.program.inputs):
        kinds = native.outputs[i].dtype, native.at[s.uid].dtype
        if kinds[0] != kinds[1] or kinds[0] not in (native.dtype, np.int64) or native.outputs[i].shape != s.shape:
            return None
    data: list[Any] = []
    for (a, axis, group), s in zip(sources, inputs):
        kind, shape = native.at[s.uid].dtype, list(a.shape)
        same = a.dtype.kind == "f" if s.dtype == native.dtype else a.dtype == s.dtype
        shape[axis] = counts[group]
        if not same or tuple(shape) != s.shape or kind not in (native.dtype, np.int64):
            return None
        data.append((a, axis, kind))
    rooms: dict[tuple, np.ndarray] = {}  # one for an array of which several inputs are made
    for a, axis, kind in data:
        if (id(a), axis, kind) not in rooms:
            rooms[id(a), axis, kind] = np.ascontiguousarray(np.moveaxis(a, axis, 0), kind)
    moved = [rooms[id(a), axis, kind] for a, axis, kind in data]
    return ManySteps(step, sources, moved, counts, carry, capture, schedule)
