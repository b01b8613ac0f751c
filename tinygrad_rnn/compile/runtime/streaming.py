"""One step per call: the inference loop for T = 1, with its arena, its packed parameters and its state kept."""

from __future__ import annotations

import itertools

import numpy as np

from .executable import Executable

CHANGED, DONE, SUSPECT = range(3)  # what a step tells, as in the kernels
WHOLE = 32768  # bytes of parameters that are compared whole before each step
LINES = 64  # cache lines of larger ones that are: more would cost more than the step


class StepKernel:
    """A step that runs in place.

    Parameters
    ----------
    executable : Executable
    bases : list of arrays
        Values of the executable's bases.
    batch : int

    Attributes
    ----------
    inputs : list of arrays
        Views to write a step's inputs to, one row for each batch row.
    states : list of arrays
        Views of the present state; write to them to set it.
    outputs : list of arrays
        Views of the last step's outputs.
    every : int
        In so many steps watched arrays are compared as a whole.
    """

    def __init__(self, executable: Executable, bases: list[np.ndarray], batch: int):
        from ...kernels.loops import guarded_step

        bound = executable.binding("inference", 1, batch)
        traced, dtype = executable.plan.traced, executable.dtype
        self._bound, self._kernels, self._batch = bound, guarded_step, batch
        inputs = [np.zeros(batch * x.width, dtype) for x in traced.inputs]
        states = [np.zeros(batch * s.width, dtype) for s in traced.states]
        results = [np.empty(size, dtype) for size in bound.results]
        self._own = arrays = [np.zeros(bound.arena, dtype), *inputs, *states, *results]
        self._last = [np.empty(shape, dtype).ravel() for shape in bound.copies]  # what only whole calls write to
        self._last += [np.empty(size, dtype) for size in bound.w]
        self.inputs = [array.reshape(batch, *x.shape[1:]) for array, x in zip(inputs, traced.inputs)]
        self.outputs = [view.of(arrays)[0] for view in bound.outputs]
        self._after = [view.of(arrays)[0] for view in bound.finals]
        self.states = [v._replace(offset=v.offset - v.strides[0]).of(arrays)[0] for v in bound.finals]
        self.refresh(bases, [])

    def refresh(self, bases: list[np.ndarray], watched: list[np.ndarray]) -> None:
        """Pack the parameters anew; the state is kept.

        Parameters
        ----------
        bases : list of arrays
        watched : list of arrays
            Contiguous, of float32 or float64: what the bases are or were computed from. No step is run once one of
            them is another than now.
        """
        kept = [s.copy() for s in self.states]
        self._arrays = [*self._own, *bases, *self._last]
        loop, self._places = self._bound.call.prepare(self._arrays)
        for state, value in zip(self.states, kept):
            state[...] = value
        size = sum(a.nbytes for a in watched)
        self.every = 1 if size <= WHOLE else -(-size // (64 * LINES))
        self._watched, self._copies = watched, [a.copy() for a in watched]
        results = [*self.outputs, *self._after]
        item, places = self._own[0].itemsize, self._places.ctypes.data
        numbers = [loop, places, self._batch, item, 0, self.every, len(watched), len(results), len(self.states), 0]
        pairs = [(a.ctypes.data, a.nbytes // 4) for both in zip(watched, self._copies) for a in both]
        for view in results:
            pairs += [_span(view), _rows(view)]
        for after, before in zip(self._after, self.states):
            pairs += [_span(after), _span(before), _rows(after)]
        self._step = np.array([*numbers, *itertools.chain.from_iterable(pairs)], np.int64)

    def run(self, watch: bool = True, look: bool = False) -> int:
        """One step, from `inputs` and `states` to `outputs` and new `states`.

        Parameters
        ----------
        watch : bool
            False: run it in any case.
        look : bool
            Whether to look at the results.

        Returns
        -------
        int
            CHANGED: it was not run, as :meth:`has_changed`. SUSPECT: outputs or new states hold NaN or infinity, and
            `states` are still those before; :meth:`go_on` makes them the new ones. Else DONE.
        """
        return self._kernels.run_step(self._step, watch, look)

    def go_on(self) -> None:
        """Make the new states the present ones."""
        self._kernels.go_on(self._step)

    def has_changed(self) -> bool:
        """Whether a watched array is another than it was.

        Small ones are looked at whole. Of large ones one line of `every` is, so a change of a few numbers may go
        unnoticed for so many steps.
        """
        return self._kernels.has_changed(self._step)

    def noticed_late(self) -> bool:
        """Whether the change that has just been noticed may have been there at the step before."""
        before = (self._step[self._kernels.PHASE] - 1) % self.every  # what that step has looked at
        return self.every > 1 and not self._kernels.differs(self._step, before)


def _span(view: np.ndarray) -> tuple[int, int]:
    """Address of rows, and the elements from the first to the last."""
    ld, width = _rows(view)
    return view.ctypes.data, (len(view) - 1) * ld + width


def _rows(view: np.ndarray) -> tuple[int, int]:
    """From one row to the next, and elements of a row."""
    return view.strides[0] // view.itemsize, view[0].size
