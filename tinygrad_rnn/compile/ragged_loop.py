"""Running a plan over sequences of different lengths: the same loops, between a gathering and a scattering of rows.

The tables of a loop are bound for a number of rows and of segments that is rounded up, so that a few of them serve all
batches; how many rows there are this time goes into the table of steps, and into the jobs after the loop.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import threads
from .binding import Backward, Forward, View, bind_backward, table
from .layout import Layout
from .plan import row_constants
from .ragged import Ragged, rounded
from .runtime import BINDINGS, Executable, building


class RaggedForward(NamedTuple):
    """A forward loop, and where all rows of its states and outputs lie."""

    loop: Forward
    slots: int  # rows for each segment that it is bound for
    states: list[View]  # (rows, width)
    kept: list[bool]  # whether a state is kept for all steps; else for two
    outputs: list[tuple[View, int]]  # (rows * ld,), ld
    late: list[bool]  # whether an output lies where the next step finds its state


class RaggedBackward(NamedTuple):
    """The backward loop, and where all rows of its carries and of the gradients of inputs lie."""

    loop: Backward
    slots: int
    carries: list[View]  # (2 * batch, width)
    inputs: list[tuple[View, int] | None]  # (rows * ld,), ld


class Context(NamedTuple):
    """What the backward loop needs of a forward one."""

    ragged: Ragged
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

    def _binding(self, kind: str, ragged: Ragged) -> Any:
        slots = rounded(max(1, -(-ragged.rows // ragged.batch)))
        key = (kind, slots, ragged.batch)
        found = self._bound.get(key)
        if found is None:
            with building:
                if len(self._bound) >= BINDINGS:
                    self._bound.clear()
                make = self._bind_backward if kind == "backward" else self._bind_forward
                found = self._bound[key] = make(kind, slots, ragged.batch)
        return found

    def _bind_forward(self, kind: str, slots: int, batch: int) -> RaggedForward:
        executable, plan = self.executable, self.executable.plan
        if kind == "training":
            layout, states, outputs = executable.training[0], plan.states, plan.outputs
        else:
            layout, states, outputs = executable.inference
        loop: Forward = executable.binding(kind, slots, batch)

        def view(b, width: int = 0) -> View:
            return table(layout, loop.names, b, loop.offsets, slots, batch, width)

        return RaggedForward(
            loop,
            slots,
            [view(b, s.width) for b, s in zip(states, plan.traced.states)],
            [b.kind == "history" for b in states],
            [_flat(view(b)) for b in outputs],
            [b.kind == "history" for b in outputs],
        )

    def _bind_backward(self, kind: str, slots: int, batch: int) -> RaggedBackward:
        executable, plan = self.executable, self.executable.plan
        _, layout, after = executable.training
        forward: Forward = executable.binding("training", slots, batch)
        loop = bind_backward(layout, after, plan, forward, executable.derived, slots, batch, True)
        item = layout.dtype.itemsize
        carries: list[View] = []
        inputs: list[tuple[View, int] | None] = []
        for v, s in zip(loop.states, plan.traced.states):
            start = v.offset - (slots & 1) * batch * v.strides[0]
            carries.append(View(v.array, (2 * batch, s.width), v.dtype, start, (v.strides[0], item)))
        for x in loop.inputs:
            size = x.strides[1] // item if x else 0
            inputs.append((x._replace(shape=(slots * batch * size,), strides=(item,)), size) if x else None)
        return RaggedBackward(loop, slots, carries, inputs)

    # ---- running

    def forward(self, ragged: Ragged, inputs: list, states: list, bases: list, train: bool) -> tuple[list, list, Any]:
        """Outputs, final states, and what the backward loop needs.

        Parameters
        ----------
        inputs : lists of arrays, (T, B, ...)
            Or (B, T, ...): as `ragged` was made for.
        states : list of arrays, (ragged.batch, ...)
            What each segment begins with.
        bases : list of arrays
            Values of the executable's bases, with rows for those of the caller's batch.

        Returns
        -------
        outputs : list of arrays (T, B, ...)
        states : list of arrays (ragged.batch, ...)
            What each segment ends with.
        context : Context or None
        """
        executable = self.executable
        bound: RaggedForward = self._binding("training" if train else "inference", ragged)
        loop, empty = bound.loop, executable.pool.empty
        arrays: list[Any] = [empty(loop.arena), executable.pool.zeros(loop.w)]
        arrays += [ragged.pack(x, empty, bound.slots) for x in inputs]
        arrays += [s.reshape(-1) for s in states]
        arrays += [empty(size) for size in loop.results]
        arrays += [b[ragged.owner] if by_row else b for b, by_row in zip(bases, self.by_row)]
        rows = [v.of(arrays) for v in bound.states]

        def begin() -> None:
            for state, target, kept in zip(states, rows, bound.kept):
                state = state.reshape(ragged.batch, -1)
                if kept:
                    target[ragged.begins] = state
                else:
                    target.reshape(2, ragged.batch, -1)[:] = state

        layout = executable.training[0] if train else executable.inference[0]
        self._loop(layout, loop, bound.slots, ragged, arrays, begin)
        ys = [
            self._unpack(ragged, v.of(arrays), ld, late, shape)
            for (v, ld), late, shape in zip(bound.outputs, bound.late, self._outputs)
        ]
        finals = []
        for target, kept, shape in zip(rows, bound.kept, self._states):
            at = ragged.rows if kept else (ragged.time & 1) * ragged.batch
            finals.append(target[at : at + ragged.batch].reshape(ragged.batch, *shape))
        arrays[1] = None  # packed parameters take as much memory as the parameters
        return ys, finals, Context(ragged, arrays) if train else None

    def backward(self, context: Context, output_grads: list, state_grads: list) -> tuple[list, list, dict]:
        """Cotangents of inputs (T, B, ...), of segments' first states, and of invariants by uid.

        Those of outputs are (T, B, ...), those of states for what each segment ends with.
        """
        executable, (ragged, given) = self.executable, context
        bound: RaggedBackward = self._binding("backward", ragged)
        loop, pool = bound.loop, executable.pool
        n, m = len(self._inputs), len(self._states)
        arrays = [pool.empty(loop.arena), pool.zeros(loop.w)]
        arrays += [ragged.pack(g, pool.empty, bound.slots) for g in output_grads]
        arrays += [g.reshape(-1) for g in state_grads]
        arrays += [pool.empty(size) for size in loop.results]
        arrays.append(pool.zeros(loop.grads_size))
        arrays.append(given[0])
        arrays += given[2 : 2 + n]
        arrays += given[2 + n + m :]
        arrays += executable.derive(given[len(given) - len(executable.bases) :])
        for v in loop.late:
            arrays.append(np.take(v.of(arrays), ragged.late_rows(), axis=0, mode="clip").reshape(-1))
        self._loop(executable.training[1], loop, bound.slots, ragged, arrays)
        loop.after.run(arrays, ragged.rows)
        inputs = [
            None if v is None else self._unpack(ragged, v[0].of(arrays), v[1], False, shape)
            for v, shape in zip(bound.inputs, self._inputs)
        ]
        ends = (ragged.lengths & 1) * ragged.batch + np.arange(ragged.batch)
        states = [v.of(arrays)[ends].reshape(ragged.batch, *shape) for v, shape in zip(bound.carries, self._states)]
        grads = {uid: view.of(arrays) for uid, view in loop.grads}
        for s, by_row in zip(executable.bases, self.by_row):
            if by_row and s.uid in grads:
                (grads[s.uid],) = ragged.begin_vjp(grads[s.uid], False)
        return inputs, states, grads

    def _loop(self, layout: Layout, loop: Any, slots: int, ragged: Ragged, arrays: list, begin: Any = None) -> None:
        ws = arrays[0]
        ws[: loop.zeros] = 0
        loop.prepare.run(arrays)
        if begin is not None:
            begin()
        d = np.concatenate([loop.d[: len(loop.d) - slots - 1], ragged.offsets])
        d[0] = ragged.time
        function = layout.function
        given = (d, layout.numbers, arrays[1], ws, *[arrays[i] for i in loop.alone])
        if ragged.rows * layout.multiplications < 2 * threads.WORTH:
            function(0, ragged.batch, *given)
        else:
            work = np.concatenate([[0], np.cumsum(ragged.lengths)]) * layout.multiplications
            threads.run_weighted(lambda b0, b1: function(b0, b1, *given), work)

    def _unpack(self, ragged: Ragged, rows: np.ndarray, ld: int, late: bool, shape: tuple) -> np.ndarray:
        """An array of the caller's with rows of `shape` from flat rows of `ld` elements."""
        out = ragged.unpack(rows, ld, late, self.executable.pool.empty(len(ragged.now) * ld))
        whole = out.reshape(*ragged.lead, ld)
        return whole[:, :, : shape[0]] if shape else whole[:, :, 0]


def _flat(view: View) -> tuple[View, int]:
    """A view of whole rows as one of their elements, and how many there are in a row."""
    rows, ld = view.shape
    return view._replace(shape=(rows * ld,), strides=view.strides[1:]), ld
