"""One step per call: the inference loop for T = 1, with its arena, its packed parameters and its state kept."""

from __future__ import annotations

import numpy as np

from .runtime import Executable

WHOLE = 32768  # bytes of parameters that are compared whole before each step
LINES = 64  # cache lines of larger ones that are: more would cost more than the step


class Stepper:
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
        from ..kernels.watch import work_unless

        bound = executable.binding("inference", 1, batch)
        traced, dtype = executable.plan.traced, executable.dtype
        self._bound, self._work = bound, work_unless
        inputs = [np.zeros(batch * x.width, dtype) for x in traced.inputs]
        states = [np.zeros(batch * s.width, dtype) for s in traced.states]
        results = [np.empty(size, dtype) for size in bound.results]
        self._own = arrays = [np.zeros(bound.arena, dtype), *inputs, *states, *results]
        self._last = [np.empty(shape, dtype).ravel() for shape in bound.copies]  # what only whole calls write to
        self._last += [np.empty(size, dtype) for size in bound.w]
        self.inputs = [array.reshape(batch, *x.shape[1:]) for array, x in zip(inputs, traced.inputs)]
        self.outputs = [view.of(arrays)[0] for view in bound.outputs]
        self.states, self._moves = [], []
        for view in bound.finals:
            after = view.of(arrays)[0]
            before = view._replace(offset=view.offset - view.strides[0]).of(arrays)[0]
            self.states.append(before)
            self._moves.append((before, after))
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
        self._copies = [a.copy() for a in watched]
        pairs = [(a, a.nbytes // 4) for pair in zip(watched, self._copies) for a in pair]
        self._table = np.array([n for a, words in pairs for n in (a.ctypes.data, words)], np.int64)
        size = sum(a.nbytes for a in watched)
        self._phase, self.every = 0, 1 if size <= WHOLE else -(-size // (64 * LINES))
        self._watched = watched
        self._arrays = [*self._own, *bases, *self._last]
        _, self._arguments = self._bound.call.prepare(self._arrays)
        for state, value in zip(self.states, kept):
            state[...] = value

    def run(self, watch: bool = True) -> bool:
        """One step, from `inputs` and `states` to `outputs` and new `states`.

        Parameters
        ----------
        watch : bool
            False: run it in any case.

        Returns
        -------
        bool
            False if it was not run, as a watched array has changed. Small ones are looked at whole. Of large ones one
            line of `every` is, so a change of a few numbers may go unnoticed for so many steps.
        """
        table = self._table if watch else self._table[:0]
        if self.every > 1:
            self._phase = (self._phase + 1) % self.every
        if not self._work(*self._arguments, table, self._phase, self.every):
            return False
        for before, after in self._moves:
            before[...] = after
        return True

    def noticed_late(self) -> bool:
        """Whether the change that kept :meth:`run` from running may have been there at the step before."""
        from ..kernels.watch import differs

        before = (self._phase - 1) % self.every  # what that step has looked at
        return self.every > 1 and not differs(self._table, before, self.every)
