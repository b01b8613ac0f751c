"""Many training steps in one native call, for which rows and random masks are drawn before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import config
from ..compiler.model.bind import Stages
from ..compiler.model.program import Draw
from ..optim import Schedule
from .native_step import NativeStep

MOST = 4096  # steps of one call
ROOM = 1 << 25  # bytes of the random masks of one call


class ManySteps:
    """Many steps in one native call, each on the next rows of arrays.

    Parameters
    ----------
    step : NativeStep
    sources : list of (array, int)
        One for each input of the program, as the user holds them, with the axis along which examples lie.
    data : list of arrays, (N, ...)
        The same, examples first, contiguous and of the dtypes of the program.
    rows : int
        Of a batch.
    schedule : Schedule or None
        Makes a step after each update.
    """

    def __init__(
        self,
        step: NativeStep,
        sources: list[tuple[np.ndarray, int]],
        data: list[np.ndarray],
        rows: int,
        schedule: Schedule | None = None,
    ):
        native = step.native
        self.step, self.sources, self.data, self.rows, self.schedule = step, sources, data, rows, schedule
        self.copies = [
            (np.moveaxis(a, axis, 0), b) for (a, axis), b in zip(sources, data) if not np.may_share_memory(a, b)
        ]
        self.position = np.zeros(1, np.int64)
        before, after = Stages(native.dtype), Stages(native.dtype)
        self._draws = [_Masks(draw, native.dtype) for draw in native.program.draws]
        self.most = min(MOST, max(1, ROOM // (1 + sum(masks.bytes for masks in self._draws))))
        self.order = np.zeros(self.most * rows, np.int64)
        self.losses, self.norms = np.zeros(self.most, native.dtype), np.zeros(self.most)
        for a, s, (_, axis) in zip(data, step.program.inputs, sources):
            _feed(before, a, native.at[s.uid], axis, rows, self.order, self.position)
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
            after.note(step.measured, self.norms, self.position)
        after.record(native.outputs[0].reshape(-1), self.losses, self.position)
        self.stages = native.stages.between(before, after)

    def read(self, order: list[np.ndarray]) -> None:
        """Read rows of the data, which may have been written to; raises what the tape raises at bad values."""
        rows = np.concatenate(order)
        for source, copy in self.copies:
            copy[rows] = source[rows]
        given = [a if a.dtype.kind == "f" else a.take(rows, axis) for a, axis in self.sources]  # numbers are not tested
        self.step.runner.check(given, self.step.native.given)

    def run(self, order: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Update once for each array of rows that were read; losses and norms of gradients.

        There are fewer if something is not finite before one of these updates, see :meth:`NativeStep.check`, and if the
        schedule ends.
        """
        preview = None if self.schedule is None else self.schedule.preview(len(order))
        count, step = len(order if preview is None else preview), self.step
        self.order[: count * self.rows] = np.concatenate(order[:count])
        self.position[0] = step.status[0] = 0
        step.refresh()
        if self.options:
            step.foresee([table[:count] for table in self.options], preview)
        step.native.refresh()
        bits = config.generator().bit_generator
        state = bits.state if self._draws else None
        self._draw(count, self._draws)
        try:
            self.stages.run_steps(count, step.status)
        finally:  # Ctrl-C waits for the native call, which has counted its steps
            done = int(self.position[0])
            if state is not None and done < count:  # masks are drawn for batches that come up, and no others
                bits.state = state
                self._draw(min(done + int(step.status[0] != 0), count), self._draws)
            step.settle(done)
        return self.losses[:done].astype(np.float64), self.norms[:done]

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


def many_steps(
    step: NativeStep, arrays: list[tuple[np.ndarray, int]], rows: int, schedule: Schedule | None = None
) -> ManySteps | None:
    """What runs many steps on rows of arrays, one for each input of the program; None if it cannot be.

    Parameters
    ----------
    arrays : list of (array, int)
        With the axis along which the examples lie.
    rows : int
        Of a batch.
    schedule : Schedule, optional
        Makes a step after each update.
    """
    native, inputs = step.native, step.program.inputs
    if native.copies or len(arrays) != len(inputs):
        return None
    data: list[Any] = []
    for (a, axis), s in zip(arrays, inputs):
        kind, shape = native.at[s.uid].dtype, list(a.shape)
        same = a.dtype.kind == "f" if s.dtype == native.dtype else a.dtype == s.dtype
        shape[axis] = rows
        if not same or tuple(shape) != s.shape or kind not in (native.dtype, np.int64):
            return None
        data.append((a, axis, kind))
    moved = [np.ascontiguousarray(np.moveaxis(a, axis, 0), kind) for a, axis, kind in data]
    return ManySteps(step, arrays, moved, rows, schedule)
