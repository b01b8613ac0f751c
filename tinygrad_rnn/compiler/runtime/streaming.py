"""One step per call: the inference loop for T = 1, whose arena, packed parameters and state are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...kernels.loops.task_codes import CHANGED as CHANGED
from ...kernels.loops.task_codes import (
    STEP_PHASE,
    STEP_TURNS,
    GuardedStep,
    Result,
    Span,
    State,
    Turn,
    Watched,
    integers_of,
)
from ...kernels.loops.task_codes import SUSPECT as SUSPECT
from .executable import Executable

WHOLE = 32768  # bytes of parameters that are compared whole before each step
LINES = 64  # cache lines of larger ones that are: more would cost more than the step


class StepKernel:
    """Step that runs in place, over arrays that are prepared once.

    Parameters
    ----------
    executable : Executable
    bases : list of arrays
        Values of the executable's bases.
    batch : int
    inputs : list of flat arrays, optional
        Those of another kernel, that this one reads, too.
    carried : list of (int, int)
        Outputs that become inputs, by number, when the next step begins: until then, those are what this one was given.

    Attributes
    ----------
    inputs : list of arrays
        Views to write a step's inputs to, one row for each batch row.
    states : list of arrays
        Views of the present state; write to them to set it.
    outputs : list of arrays
        Views of the last step's outputs.
    flat_inputs : list of flat arrays
    every : int
        In so many steps watched arrays are compared as a whole.
    address : int
        Of its table, until it is refreshed.
    addresses : array
        Of the loop's arrays, as the loop finds them.
    """

    def __init__(
        self,
        executable: Executable,
        bases: list[np.ndarray],
        batch: int,
        inputs: Sequence[np.ndarray] = (),
        carried: Sequence[tuple[int, int]] = (),
    ):
        from ...kernels.loops import guarded_step

        bound = executable.binding("inference", 1, batch)
        traced, dtype = executable.plan.traced, executable.dtype
        self._bound, self._kernels, self._batch = bound, guarded_step, batch
        self._run = guarded_step.step_entry()
        panel = executable.inference[0].sizes.panel
        new_inputs = [batch * x.width for x in traced.inputs[len(inputs) :]]
        # with room behind them for the last vector of a loop that writes there, when they have changed places
        inputs = [*inputs, *(np.zeros(n + panel, dtype)[:n] for n in new_inputs)]
        states = [np.zeros(batch * s.width, dtype) for s in traced.states]
        results = [np.empty(size, dtype) for size in bound.results]
        self._own = arrays = [np.zeros(bound.arena, dtype), *inputs, *states, *results]
        self._last = [np.empty(shape, dtype).ravel() for shape in bound.copies]  # what only whole calls write to
        self._last += [np.empty(size, dtype) for size in bound.w]
        self.flat_inputs = inputs
        self.inputs = [array.reshape(batch, *shape) for array, shape in zip(inputs, traced.shapes.inputs)]
        self.outputs = [view.of(arrays)[0] for view in bound.outputs]
        self._after = [view.of(arrays)[0] for view in bound.finals]
        self._carried = [(self.outputs[i], self.inputs[j]) for i, j in carried]
        at = [y.ctypes.data for y in self.outputs]
        # arrays of which a step writes one and reads the other, in turns; others are copied
        exchanged = [
            (new, old)
            for new, old in self._carried
            if new.shape == old.shape and new.strides == old.strides and at.count(new.ctypes.data) == 1
        ]
        self._counterparts = {a.ctypes.data: b for pair in exchanged for a, b in (pair, pair[::-1])}
        self._turned = np.zeros(1, np.int64)  # 1: they have changed places
        # the first step writes to the second of two slots, and reads from the one before it
        self.states = [v._replace(offset=v.offset - v.strides[0]).of(arrays)[0] for v in bound.finals]
        self.refresh(bases, [])

    def refresh(self, bases: list[np.ndarray], watched: list[np.ndarray]) -> None:
        """Pack the parameters again; the state is kept.

        Parameters
        ----------
        bases : list of arrays
        watched : list of arrays
            Contiguous, of float32 or float64: what the bases are or were computed from. No step is run once one of
            them is another than now.
        """
        kept = [s.copy() for s in self.states]
        self._straighten()
        self._arrays = [*self._own, *bases, *self._last]
        loop, self.addresses = self._bound.launch.prepare(self._arrays)
        # the tasks before the loop have copied the initial state, of zeros, over it
        for state, value in zip(self.states, kept):
            state[...] = value
        size = sum(a.nbytes for a in watched)
        self.every = 1 if size <= WHOLE else -(-size // (64 * LINES))
        self._watched, self._copies = watched, [a.copy() for a in watched]
        results = [view for view in (*self.outputs, *self._after) if view.size]
        copied = [pair for pair in self._carried if pair[0].ctypes.data not in self._counterparts]
        states = [(new, now) for new, now in (*zip(self._after, self.states), *copied) if now.size]
        step = GuardedStep(
            loop=loop,
            addresses=self.addresses.ctypes.data,
            rows=self._batch,
            itemsize=self._own[0].itemsize,
            phase=0,
            every=self.every,
            watched=len(watched),
            results=len(results),
            states=len(states),
            late=bool(self._carried),
        )
        records = [
            step,
            *(Watched(_words(a), _words(copy)) for a, copy in zip(watched, self._copies)),
            *(Result(span_of(view), *rows_of(view)) for view in results),
            *(State(span_of(new), span_of(now), rows_of(new)[0], *rows_of(now)) for new, now in states),
        ]
        self._table = np.array(integers_of(records), np.int64)
        self.address = self._table.ctypes.data
        self.exchange_in([])

    # ---- what changes places

    def exchange_in(self, tables: Sequence[np.ndarray]) -> None:
        """Have what changes places do so in these tables of addresses, too, besides those of this step."""
        if not self._counterparts:
            return
        turns = [Turn(self._turned.ctypes.data, 1)]
        self._turning = [self.addresses, self._table, *tables]  # kept alive
        for table in self._turning:
            for i, word in enumerate(table.ravel().tolist()):
                if word in self._counterparts:
                    turns.append(
                        Turn(table.ctypes.data + i * table.itemsize, word ^ self._counterparts[word].ctypes.data)
                    )
        self._turns = np.array(turns, np.int64)
        self._table[STEP_TURNS.address], self._table[STEP_TURNS.size] = self._turns.ctypes.data, len(turns)

    def present(self, array: np.ndarray) -> np.ndarray:
        """Where values of an input or an output are now, as arrays change places."""
        return self._counterparts.get(array.ctypes.data, array) if self._turned[0] else array

    def _straighten(self) -> None:
        """Bring what has changed places back, in the arrays."""
        if self._turned[0]:
            for new, old in self._carried:
                if new.ctypes.data in self._counterparts:
                    values = new.copy()
                    new[...], old[...] = old, values
            self._turned[0] = 0

    def repack(self) -> None:
        """Pack the bases again: the arrays are the same, with other values, and so is what is watched."""
        kept = [s.copy() for s in self.states]
        self._bound.launch.prepare(self._arrays)
        for state, value in zip(self.states, kept):
            state[...] = value
        for array, copy in zip(self._watched, self._copies):
            copy[...] = array

    def run(self, watch: bool = True, check_finite: bool = False) -> int:
        """One step, from `inputs` and `states` to `outputs` and new `states`.

        Parameters
        ----------
        watch : bool
            False: run it in any case.
        check_finite : bool
            Whether to look for NaN and infinity in the results.

        Returns
        -------
        int
            CHANGED: it was not run, as :meth:`has_changed`. SUSPECT: outputs or new states hold NaN or infinity, and
            `states` are still those before; :meth:`advance` makes them the new ones. Else DONE.

        What is `carried` advances before the step, whatever came of the last one.
        """
        return self._run(self.address, watch, check_finite)

    def bound(self) -> tuple[Callable[[int, bool, bool], int], int]:
        """What :meth:`run` calls, and its first argument until a refresh, where a method costs too much."""
        return self._run, self.address

    def advance(self) -> None:
        """Make the new states the present ones."""
        self._kernels.advance_states(self.address)

    def has_changed(self) -> bool:
        """Whether a watched array is another than it was.

        Small ones are looked at whole. Of large ones one line of `every` is, so a change of a few numbers may go
        unnoticed for so many steps.
        """
        return self._kernels.has_changed(self.address)

    def noticed_late(self) -> bool:
        """Whether the change that has just been noticed may have been there at the step before."""
        before = (self._table[STEP_PHASE] - 1) % self.every  # what that step has looked at
        return self.every > 1 and not self._kernels.differs(self.address, before)


def _words(array: np.ndarray) -> Span:
    """The span of an array in words of four bytes."""
    return Span(array.ctypes.data, array.nbytes // 4)


def span_of(view: np.ndarray) -> Span:
    """The span of rows, from the first element to the last."""
    ld, width = rows_of(view)
    return Span(view.ctypes.data, (len(view) - 1) * ld + width)


def rows_of(view: np.ndarray) -> tuple[int, int]:
    """From one row to the next, and elements of a row."""
    return view.strides[0] // view.itemsize, view[0].size
