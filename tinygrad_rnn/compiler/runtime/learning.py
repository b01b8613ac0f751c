"""RTRL in two native calls: a step with its influence, and gradients of what it gave."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ...core import Tensor
from ...kernels.loops.task_codes import DONE, NOTHING, GradientPart, GradientStep, integers_of
from ..autodiff.influence import Influence
from ..autodiff.influence_programs import InfluencePrograms, Operand
from ..ir.interpret import compute, order
from ..ir.program import StepProgram, bases
from ..ir.symbol import Symbol
from ..schedule.plan import Plan
from .executable import Executable
from .streaming import StepKernel, rows_of, span_of


class _Loop:
    """One of the two programs with its executable, and the arrays of its bases."""

    def __init__(self, program: StepProgram, originals: Mapping[int, Symbol], title: str):
        self.bases = [originals[s.uid] for s in bases(program)]
        self._dtype = program.dtype
        self.executable = Executable(Plan(program, (False,) * len(program.inputs), set()), title)
        self.executable.prepare(False)

    def base_arrays(self, known: Mapping[int, Tensor]) -> list[np.ndarray]:
        """The values of the bases, flat."""
        self.arrays = [np.ascontiguousarray(known[s.uid].data, self._dtype).reshape(-1) for s in self.bases]
        # what is computed, or copied as it lies otherwise in memory
        self._others = [
            (s.uid, a)
            for s, a in zip(self.bases, self.arrays)
            if s.leaf is None or a.ctypes.data != known[s.uid].data.ctypes.data
        ]
        return self.arrays

    def update(self, known: Mapping[int, Tensor]) -> None:
        """Write the present values to the arrays that :meth:`base_arrays` gave."""
        for uid, array in self._others:
            array.reshape(known[uid].shape)[...] = known[uid].data


class InfluenceKernel:
    """A diagonal step that carries its influence along, over arrays that are prepared once.

    After a step, the arrays that it has read are still there, as gradients of its outputs need them; the next one
    begins with copying what it gave in their place.

    Parameters
    ----------
    programs : InfluencePrograms
    title : str
    batch : int

    Attributes
    ----------
    inputs : list of arrays, (B, ...)
        To write the inputs and masks of a step to.
    outputs : list of arrays, (B, ...)
        Of the last step.
    states : list of arrays, (B, n)
        After the last step.
    cotangents : list of arrays, (B, ...)
        To write those of the outputs to.
    by_state, by_input : lists of arrays
        After gradients were added: those by the tensors of the first state, and by the inputs that need them, of
        this step alone.
    """

    def __init__(self, programs: InfluencePrograms, title: str, batch: int):
        self.programs, self._batch = programs, batch
        t = programs.step.traced
        self._ahead, self._back = (
            _Loop(program, originals, title)
            for program, originals in zip((programs.advance, programs.pull), programs.originals)
        )
        self._constants = programs.step.trace.added(t)  # which derivative rules read
        given = t.invariants.keys() | self._constants.keys()
        self._order = order([*self._ahead.bases, *self._back.bases], given)
        self._shapes = t.shapes
        self._n_inputs, self._n_outputs, self._n_states = len(t.inputs), len(t.outputs), len(t.states)
        self._step: StepKernel | None = None

    def _make(self, ahead: list[np.ndarray], back: list[np.ndarray]) -> None:
        n, m = self._n_inputs, self._n_outputs
        count = self._n_states + len(self.programs.carried)
        carried = [(m + i, n + i) for i in range(count)]
        step = self._step = StepKernel(self._ahead.executable, ahead, self._batch, carried=carried)
        pull = self._pull = StepKernel(self._back.executable, back, self._batch, inputs=step.flat_inputs)
        # views, as rows lie in order
        shaped = lambda arrays, shapes: [a.reshape(self._batch, *shape) for a, shape in zip(arrays, shapes)]
        self.inputs = shaped(step.inputs, self._shapes.inputs)
        self.outputs = shaped(step.outputs, self._shapes.outputs)
        self.cotangents = shaped(pull.inputs[n + count :], self._shapes.outputs)
        wanted = [x for x, g in zip(self.inputs, self.programs.step.read.inputs) if g is not None]
        self.by_input = [self._rows(o).reshape(x.shape) for o, x in zip(self.programs.by_input, wanted)]
        self._old, self._new = step.inputs[n : n + count], step.outputs[m : m + count]

    # ---- parameters

    def refresh(self, values: Mapping[int, Tensor], watched: list[np.ndarray]) -> None:
        """Pack the parameters again; all that is carried is kept.

        Parameters
        ----------
        values : dict
            uid of an invariant of the step -> its present tensor.
        watched : list of arrays
            As in :meth:`.StepKernel.refresh`.
        """
        known = self._compute(values)
        ahead, back = (loop.base_arrays(known) for loop in (self._ahead, self._back))
        if self._step is None:
            self._make(ahead, back)
        assert self._step is not None
        self._step.refresh(ahead, watched)
        self._pull.refresh(back, [])
        self._step.exchange_in([self._pull.addresses])

    def repack(self, values: Mapping[int, Tensor]) -> None:
        """Pack the parameters again, of which nothing but values has changed."""
        known = self._compute(values)
        for loop, kernel in ((self._ahead, self.step), (self._back, self._pull)):
            loop.update(known)
            kernel.repack()

    def _compute(self, values: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """The values of all that does not vary, by uid."""
        known = {**values, **self._constants}
        compute(self._order, known)
        return known

    @property
    def step(self) -> StepKernel:
        assert self._step is not None
        return self._step

    # ---- the state and its derivatives

    @property
    def states(self) -> list[np.ndarray]:
        return [self.step.present(new) for new in self._new[: self._n_states]]

    @property
    def by_state(self) -> list[np.ndarray]:
        return [self._rows(operand) for operand in self.programs.by_state]

    def load(self, states: Sequence[np.ndarray], influence: Influence) -> None:
        """Go on from a state and its derivatives."""
        values = [*states]
        for c in self.programs.carried:
            if c.part is None:
                values.append(influence.by_first[c.k, c.l])
            else:
                value = influence.by_part[c.part.key][c.k]
                values.append(value.swapaxes(1, 2) if c.transposed else value)
        for old, new, value in zip(self._old, self._new, values):
            old[...] = new[...] = value.reshape(old.shape)

    def store(self, influence: Influence) -> list[np.ndarray]:
        """Copies of the states; and of their derivatives, to where `influence` has them."""
        for c, new in zip(self.programs.carried, self._new[self._n_states :]):
            row = self.step.present(new).reshape(self._batch, *c.shape)
            if c.part is None:
                influence.by_first[c.k, c.l] = row
            else:
                influence.by_part[c.part.key][c.k] = row.swapaxes(1, 2) if c.transposed else row
        return [s.copy() for s in self.states]

    @property
    def nbytes(self) -> int:
        """Memory of the derivatives."""
        return sum(a.nbytes for a in self._old[self._n_states :])

    # ---- gradients

    def bind(self, targets: Mapping[int, np.ndarray]) -> None:
        """Set the arrays that gradients are added to, by uid: C-contiguous ones, which the caller keeps."""
        from ...kernels.loops import gradient_step

        self._add = gradient_step.gradient_entry()
        records: list = [GradientStep(self._pull.address, 1, len(self.programs.gradients))]
        for p in self.programs.gradients:
            left, right = self._rows(p.left), None if p.right is None else self._rows(p.right)
            target = targets[p.base].reshape(-1)[p.at :]
            records.append(
                GradientPart(
                    span_of(left),
                    rows_of(left)[0],
                    NOTHING if right is None else span_of(right),
                    0 if right is None else rows_of(right)[0],
                    span_of(target[:, None]),
                    p.ld,
                    p.rows,
                    p.columns,
                )
            )
        self._table = np.array(integers_of(records), np.int64)
        self.step.exchange_in([self._pull.addresses, self._table])

    def _rows(self, operand: Operand) -> np.ndarray:
        if operand.output:
            return self._pull.outputs[operand.number]
        return self.step.present(self._pull.inputs[operand.number])

    def bound(self) -> tuple[Callable[[int], None], int]:
        """What adds the gradients of `cotangents` to where they were bound, and its argument until they move."""
        return self._add, self._table.ctypes.data

    def gradients_are_finite(self) -> bool:
        """Whether those that are given for each row hold neither NaN nor infinity; nothing is added."""
        return self._pull.run(False, True) == DONE
