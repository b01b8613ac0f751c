"""One step per call: the inference loop for T = 1, with its arena, its packed parameters and its state kept."""

from __future__ import annotations

import numpy as np

from .runtime import Executable


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
    """

    def __init__(self, executable: Executable, bases: list[np.ndarray], batch: int):
        bound = executable.binding("inference", 1, batch)
        traced, dtype = executable.plan.traced, executable.dtype
        self._bound = bound
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
        self.refresh(bases)

    def refresh(self, bases: list[np.ndarray]) -> None:
        """Pack the parameters anew; the state is kept."""
        kept = [s.copy() for s in self.states]
        self._arrays = [*self._own, *bases, *self._last]
        self._function, self._arguments = self._bound.call.prepare(self._arrays)
        for state, value in zip(self.states, kept):
            state[...] = value

    def run(self) -> None:
        """One step: from `inputs` and `states` to `outputs` and new `states`."""
        self._function(*self._arguments)
        for before, after in self._moves:
            before[...] = after
