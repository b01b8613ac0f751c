"""One step per call: the inference loop for T = 1, with its arena, its packed parameters and its state kept."""

from __future__ import annotations

import numpy as np

from .runtime import Executable


class Stepper:
    """A step that runs in place.

    Parameters
    ----------
    executable : Executable
    bases : dict
        Arrays of the invariants that the loop reads, as ``b{uid}``.
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

    def __init__(self, executable: Executable, bases: dict[str, np.ndarray], batch: int):
        bound = executable._binding("inference", 1, batch)
        layout, _, _ = executable.inference
        traced, dtype = executable.plan.traced, executable.dtype
        self._bound, self._batch = bound, batch
        arrays = dict(bases)
        arrays |= {f"x{i}": np.zeros(batch * x.width, dtype) for i, x in enumerate(traced.inputs)}
        arrays |= {f"s{i}": np.zeros(batch * s.width, dtype) for i, s in enumerate(traced.states)}
        arrays |= {name: np.empty(size, dtype) for name, size in bound.results}
        arrays["arena"] = np.zeros(bound.arena, dtype)
        self._arrays = arrays
        self.inputs = [arrays[f"x{i}"].reshape(batch, *x.shape[1:]) for i, x in enumerate(traced.inputs)]
        self.outputs = [view.of(arrays)[0] for view in bound.outputs]
        self.states, self._moves = [], []
        for view in bound.finals:
            after = view.of(arrays)[0]
            before = view._replace(start=view.start - batch * view.ld).of(arrays)[0]
            self.states.append(before)
            self._moves.append((before, after))
        others = [arrays[name] for name in bound.alone]
        self._call = (0, batch, bound.d, layout.numbers, arrays["arena"], *others)
        self._function = layout.function
        self.refresh(bases)

    def refresh(self, bases: dict[str, np.ndarray]) -> None:
        """Pack the parameters anew; the state is kept."""
        kept = [s.copy() for s in self.states]
        self._arrays.update(bases)
        self._arrays["arena"][: self._bound.zeros] = 0
        self._bound.prepare.run(self._arrays)
        for state, value in zip(self.states, kept):
            state[...] = value

    def run(self) -> None:
        """One step: from `inputs` and `states` to `outputs` and new `states`."""
        self._function(*self._call)
        for before, after in self._moves:
            before[...] = after
