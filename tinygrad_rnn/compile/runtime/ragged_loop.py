"""Running a plan over sequences of different lengths: the same loops, between bringing rows there and back.

The tables of a loop are bound for a number of rows and of segments that is rounded up, so that a few of them serve all
batches; how many rows there are this time, and where they lie, is in the table of a :class:`Ragged`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...kernels.build.uninterrupted import making
from ..ir.program import row_constants
from .binding import Backward, Forward, Moves, Places, bind_backward, bind_forward
from .executable import BINDINGS, Executable
from .memory import no_room
from .segments import Ragged, rounded


class RaggedForward(NamedTuple):
    """A forward loop, and the arrays that are packed and handed out."""

    loop: Forward
    slots: int  # rows for each segment that it is bound for
    head: np.ndarray  # of the table of steps, up to where the rows before each step follow
    packed: list[int]  # elements of each packed input


class RaggedBackward(NamedTuple):
    """The backward loop, likewise."""

    loop: Backward
    slots: int
    head: np.ndarray
    packed: list[int]  # elements of each packed gradient of an output


class Context(NamedTuple):
    """What the backward loop needs of a forward one."""

    ragged: Ragged
    fresh: bool
    arrays: list


class RaggedExecutable:
    """An executable for sequences of different lengths.

    All arrays are contiguous and of the plan's dtype, which the caller has checked.
    """

    def __init__(self, executable: Executable):
        self.executable = executable
        traced = executable.plan.traced
        rows = row_constants(traced)
        self.by_row = [s.uid in rows for s in executable.bases]
        self._inputs = [x.shape[1:] for x in traced.inputs]
        self._outputs = [y.shape[1:] for y in traced.outputs]
        self._states = [s.shape[1:] for s in traced.states]
        self._bound: dict[tuple, Any] = {}

    # ---- tables

    def _binding(self, kind: str, ragged: Ragged, fresh: bool) -> Any:
        slots = rounded(-(-ragged.rows // ragged.batch) or 1)
        key = (kind, slots, ragged.batch, fresh)
        found = self._bound.get(key)
        if found is None:
            with making:
                if len(self._bound) >= BINDINGS:
                    self._bound.clear()
                make = self._bind_backward if kind == "backward" else self._bind_forward
                found = self._bound[key] = make(kind, slots, ragged.batch, fresh)
        return found

    def _bind_forward(self, kind: str, slots: int, batch: int, fresh: bool) -> RaggedForward:
        from ...kernels.loops.segments import BEGINS, CARRIED, FINAL, FRESH, LATE, NOW, OWNER, SOURCE, TURN
        from ...kernels.loops.tasks import MOVE, SKIP, ZERO

        executable, plan = self.executable, self.executable.plan
        traced = plan.traced
        if kind == "training":
            layout, states, outputs = executable.training[0], plan.states, plan.outputs
        else:
            layout, states, outputs = executable.inference
        inputs, ys = [x.width for x in traced.inputs], [y.width for y in traced.outputs]

        def enter(places: Places) -> list[tuple]:
            """Inputs step by step; what each segment begins with, before its first step."""
            jobs: list[tuple] = [
                (MOVE, f"cx{i}", f"x{i}", 0, n, SOURCE, -1, 0, n, n, ZERO) for i, n in enumerate(inputs)
            ]
            for i, (b, s) in enumerate(zip(states, traced.states)):
                target, at, ld = places(b)
                spots = [(BEGINS, at)] if b.kind == "history" else [(-1, at), (-1, at + batch * ld)]
                for source, rows in [(f"s{i}", CARRIED), (f"n{i}", FRESH)] if fresh else [(f"s{i}", OWNER)]:
                    jobs += [(MOVE, source, target, 0, s.width, rows, to, k, ld, s.width, SKIP) for to, k in spots]
            return jobs

        def leave(places: Places) -> list[tuple]:
            """Outputs to their places, zero where steps do not count; the last states of rows."""
            jobs: list[tuple] = []
            for i, (b, n) in enumerate(zip(outputs, ys)):
                source, at, ld = places(b)
                rows = LATE if b.kind == "history" else NOW
                jobs.append((MOVE, source, f"cy{i}", at, ld, rows, -1, 0, n, n, ZERO))
            for i, (b, s) in enumerate(zip(states, traced.states)):
                source, at, ld = places(b)
                rows = FINAL if b.kind == "history" else TURN
                jobs.append((MOVE, source, f"ce{i}", at, ld, rows, -1, 0, s.width, s.width, ZERO))
            return jobs

        names = [f"cx{i}" for i in range(len(inputs))] + [f"n{i}" for i in range(len(states) if fresh else 0)]
        names += [f"cy{i}" for i in range(len(ys))] + [f"ce{i}" for i in range(len(states))]
        loop = bind_forward(layout, plan, states, outputs, executable.names, slots, batch, Moves(names, enter, leave))
        return RaggedForward(loop, slots, _head(loop.call.d, slots), [slots * batch * n for n in inputs])

    def _bind_backward(self, kind: str, slots: int, batch: int, fresh: bool) -> RaggedBackward:
        from ...kernels.loops.segments import CARRIED, CLOSES, ENDS, FRESH, NOW, OWNER, SOURCE
        from ...kernels.loops.tasks import MOVE, PLUS, ZERO

        executable, plan = self.executable, self.executable.plan
        _, layout, after = executable.training
        traced, sizes = plan.traced, layout.sizes
        widths = [y.width for y in traced.outputs]
        wanted = [i for i, want in enumerate(plan.wanted_inputs) if want]
        states = list(enumerate(zip(plan.carries, traced.states)))

        def enter(places: Places) -> list[tuple]:
            """Gradients of outputs step by step; those of final states to the segments that end with them."""
            jobs: list[tuple] = [
                (MOVE, f"cg{i}", f"g{i}", 0, n, SOURCE, -1, 0, n, n, ZERO) for i, n in enumerate(widths)
            ]
            for i, (b, s) in states:
                target, at, ld = places(b)
                jobs.append((MOVE, f"s{i}", target, 0, s.width, CLOSES, -1, at, ld, s.width, ZERO))
            return jobs

        def leave(places: Places) -> list[tuple]:
            """Gradients of inputs to their places; those of states to what the segments began with."""
            jobs: list[tuple] = []
            for i in wanted:
                n = traced.inputs[i].width
                jobs.append((MOVE, f"dx{i}", f"cdx{i}", 0, sizes.row([n]), NOW, -1, 0, n, n, ZERO))
            for i, (b, s) in states:
                source, at, ld = places(b)
                for target, rows in [(f"cs{i}", CARRIED), (f"cn{i}", FRESH)] if fresh else [(f"cs{i}", OWNER)]:
                    jobs.append((MOVE, source, target, at, ld, ENDS, rows, 0, s.width, s.width, PLUS))
            return jobs

        names = [f"cg{i}" for i in range(len(widths))] + [f"cdx{i}" for i in wanted]
        names += [f"cs{i}" for i, _ in states] + [f"cn{i}" for i, _ in states if fresh]
        forward: RaggedForward | None = self._bound.get(("training", slots, batch, fresh))
        if forward is None:  # cleared in between
            forward = self._bind_forward("training", slots, batch, fresh)
        loop = bind_backward(
            layout, after, plan, forward.loop, executable.derived, slots, batch, Moves(names, enter, leave)
        )
        return RaggedBackward(loop, slots, _head(loop.call.d, slots), [slots * batch * n for n in widths])

    # ---- memory

    def _no_room(self, kind: str, time: int, batch: int) -> MemoryError:
        executable = self.executable
        width = sum(map(_size, (*self._inputs, *self._outputs, *self._states)))
        size = time * batch * width * executable.dtype.itemsize
        return no_room(executable.title, time, batch, f"its {kind} loop", size)

    def _size_of(self, ragged: Ragged) -> tuple[int, int]:
        """T and B of the caller."""
        batch = len(ragged.last)
        return ragged.lead[0] * ragged.lead[1] // batch, batch

    # ---- running

    def forward(
        self, ragged: Ragged, inputs: list, states: list, fresh: list | None, bases: list, train: bool
    ) -> tuple[list, list, Any]:
        """Outputs, final states, and what the backward loop needs.

        Parameters
        ----------
        inputs : list of arrays, (T, B, ...)
            Or (B, T, ...): as `ragged` was made for.
        states : list of arrays, (B, ...)
            What rows begin with.
        fresh : list of arrays, (B, ...), or None
            What they begin anew with, if it is something else.
        bases : list of arrays
            Values of the executable's bases, with rows for those of the caller's batch.

        Returns
        -------
        outputs : list of arrays (T, B, ...)
        states : list of arrays (B, ...)
        context : Context or None
        """
        kind, (time, batch) = "training" if train else "inference", self._size_of(ragged)
        self.executable.check_room(kind, time, batch)
        try:
            return self._forward(ragged, inputs, states, fresh, bases, train)
        except MemoryError as error:
            raise self._no_room(kind, time, batch) from error

    def _forward(self, ragged: Ragged, inputs: list, states: list, fresh: list | None, bases: list, train: bool) -> Any:
        executable = self.executable
        bound: RaggedForward = self._binding("training" if train else "inference", ragged, fresh is not None)
        loop, pool, (first, second) = bound.loop, executable.pool, ragged.lead
        arrays = [pool.empty(loop.arena)]
        arrays += [pool.empty(size) for size in bound.packed]
        arrays += [s.reshape(-1) for s in states]
        arrays += [pool.empty(size) for size in loop.results]
        arrays += [b[ragged.owner] if by_row else b for b, by_row in zip(bases, self.by_row)]
        ys = [pool.empty(first * second * _size(shape)) for shape in self._outputs]
        finals = [np.empty(s.shape, s.dtype) for s in states]
        more = [x.reshape(-1) for x in inputs]
        more += [s.reshape(-1) for s in fresh or ()]
        given = [*arrays, *more, *ys, *[s.reshape(-1) for s in finals], *map(pool.empty, loop.w)]
        self._run(bound, ragged, given)
        outputs = [y.reshape(first, second, *shape) for y, shape in zip(ys, self._outputs)]
        if not train:
            return outputs, finals, None
        return outputs, finals, Context(ragged, fresh is not None, arrays)

    def backward(self, context: Context, output_grads: list, state_grads: list) -> tuple[list, list, list, dict]:
        """Cotangents of inputs (T, B, ...), of states, of those that rows begin anew with, and of invariants by uid.

        Those of outputs are (T, B, ...), those of final states (B, ...).
        """
        try:
            return self._backward(context, output_grads, state_grads)
        except MemoryError as error:
            raise self._no_room("backward", *self._size_of(context.ragged)) from error

    def _backward(self, context: Context, output_grads: list, state_grads: list) -> Any:
        executable, (ragged, fresh, given) = self.executable, context
        bound: RaggedBackward = self._binding("backward", ragged, fresh)
        loop, pool, (first, second) = bound.loop, executable.pool, ragged.lead
        n, m = len(self._inputs), len(self._states)
        arrays = [pool.empty(loop.arena)]
        arrays += [pool.empty(size) for size in bound.packed]
        arrays += [g.reshape(-1) for g in state_grads]
        arrays += [pool.empty(size) for size in loop.results]
        arrays.append(pool.empty(loop.grads))
        arrays.append(given[0])
        arrays += given[1 : 1 + n]
        arrays += given[1 + n + m :]
        arrays += executable.derive(given[len(given) - len(executable.bases) :])
        for v in loop.late:
            arrays.append(np.take(v.of(arrays), ragged.late_rows(), axis=0, mode="clip").reshape(-1))
        inputs: list[Any] = [None] * n
        for i, _ in loop.wanted:
            inputs[i] = pool.empty(first * second * _size(self._inputs[i]))
        states = [np.zeros(g.shape, g.dtype) for g in state_grads]
        anew = [np.zeros(g.shape, g.dtype) for g in state_grads] if fresh else []
        arrays += [g.reshape(-1) for g in output_grads]
        arrays += [x for x in inputs if x is not None]
        arrays += [s.reshape(-1) for s in (*states, *anew)]
        arrays += map(pool.empty, loop.w)
        self._run(bound, ragged, arrays)
        grads = {uid: np.ndarray(shape, dtype, arrays[loop.grads_at], at) for uid, shape, dtype, at in loop.bases}
        for s, by_row in zip(executable.bases, self.by_row):
            if by_row and s.uid in grads:
                rows = grads[s.uid]
                grads[s.uid] = np.zeros((len(ragged.last), *rows.shape[1:]), rows.dtype)
                np.add.at(grads[s.uid], ragged.owner, rows)
        shaped = [None if x is None else x.reshape(first, second, *shape) for x, shape in zip(inputs, self._inputs)]
        return shaped, states, anew, grads

    def _run(self, bound: Any, ragged: Ragged, arrays: list) -> None:
        d = np.concatenate((bound.head, ragged.offsets))
        d[0] = ragged.time
        bound.loop.call.run(arrays, d, ragged.table, ragged.lengths)


def _size(shape: tuple) -> int:
    return shape[0] if shape else 1


def _head(d: np.ndarray, slots: int) -> np.ndarray:
    return d[: len(d) - slots - 1].copy()
