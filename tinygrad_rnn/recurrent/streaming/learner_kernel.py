"""The kernel of a learner: its guards, packed parameters, and gradients where they belong."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import compiler, config
from ...compiler import CHANGED
from ...core import Tensor
from ...core.backward import backward, depositing
from ...core.node import clock
from ...errors import ShapeError
from ..cell import Cell
from ..scan.anomaly import quietly
from ..scan.open_sequence import OpenSequence
from ..scan.program import Program
from .cell_stepper import LATE
from .step_guards import StepGuards

Array = np.ndarray


class LearnerKernel:
    """Steps of a diagonal cell with derivatives, and gradients of what they give: a native call each.

    Parameters
    ----------
    cell : Cell
    batch : int
    program : Program
        Of the cell.
    step : DiagonalStep
        The same, with its derivatives.
    by_first : bool
        Whether gradients reach the first state.
    name : str
        In errors.
    check_settings : callable
        Raises if the cell is not what the program was traced of; called when anything has changed but values.

    Raises
    ------
    CompileError
        If there is no kernel.
    """

    def __init__(
        self,
        cell: Cell,
        batch: int,
        program: Program,
        step: Any,
        by_first: bool,
        name: str,
        check_settings: Callable[[], None],
    ):
        self.cell, self.batch, self.program, self.name = cell, batch, program, name
        self._check_settings = check_settings
        wanted = {uid for uid, source in program.sources if source.get().requires_grad}
        self._programs = compiler.InfluencePrograms(step, wanted, by_first)
        self.kernel = compiler.InfluenceKernel(self._programs, name, batch)
        # of what is computed from parameters in ways that no loop has, gradients go on along the tape
        self._on_tape = any(s.leaf is None for s in self._programs.bases.values())
        self._draws = bool(program.traced.mask_probabilities)
        self._moved = True  # whether tables of the kernel have moved since gradients were bound
        self._made: dict[int, Tensor] = {}  # gradients of ours, by uid of what they are of
        self._counter = [0]  # of writes to these
        self._bound_arrays: dict[int, Array] = {}
        self._unbind()

    def begin(self, sequence: OpenSequence, first: list[Tensor]) -> None:
        """A new sequence begins, from the state `first`."""
        self.sequence, self._first = sequence, first
        self._refresh()

    def load(self, states: Sequence[Array], influence: Any) -> None:
        """Go on from a state and its derivatives."""
        self.kernel.load(states, influence)

    def store(self, influence: Any) -> list[Array]:
        """The present state, and its derivatives, to where `influence` has them."""
        return self.kernel.store(influence)

    @property
    def states(self) -> list[Array]:
        return self.kernel.states

    @property
    def nbytes(self) -> int:
        return self.kernel.nbytes

    # ---- parameters

    def _refresh(self) -> None:
        """Pack the parameters as they are now; the stream goes on."""
        program, on_tape = self.program, self._on_tape
        with self.sequence.active(), quietly():
            # before parameters are packed: a change in between fails these guards at the next step
            self.guards = StepGuards(self.cell, self.sequence, program.sources, program.guards)
            with config.enable_grad() if on_tape else config.no_grad():
                values = {uid: source.get() for uid, source in program.sources}
                if not program.fits(values, self.batch):
                    raise ShapeError(f"{self.name}: parameters changed their shapes or dtypes; make a new RTRL")
                self._ends = dict(values)
                if on_tape:
                    program.compute_bases(self._ends)
            with config.no_grad():
                self.kernel.refresh(values, self.guards.arrays)
        self._values, self._moved = values, True
        self._hold = self.guards.hold
        self._run, self._address = self.kernel.step.bound()
        self._inputs, self._outputs, self._cotangents = self.kernel.inputs, self.kernel.outputs, self.kernel.cotangents
        self._unbind()

    def _unbind(self) -> None:
        """Parameters may be others now: the next gradients find out where they go."""
        self._bound: list[tuple[Tensor, Tensor]] = []
        self._roots: list[tuple[Tensor, Array]] = []
        self._scratch: list[Array] = []
        self._goes_on = False  # whether gradients go on along the tape

    def _repack(self) -> None:
        """Pack the parameters again after a change: of values alone, at most times."""
        if self._on_tape or not self.guards.follow():
            self._check_settings()
            self._refresh()
            return
        with self.sequence.active(), quietly(), config.no_grad():
            self.kernel.repack(self._values)

    # ---- a step

    def step(self, inputs: Sequence[Array]) -> list[Array]:
        """The outputs of one step, which last until the next."""
        for target, x in zip(self._inputs, inputs):
            target[...] = x
        holds = self._hold()
        if not holds:
            self._repack()
        if self._draws:
            self._draw(len(inputs), holds)
            holds = False  # it has been looked at
        if self._run(self._address, holds, False) == CHANGED:
            self._follow()
            self._run(self._address, False, False)
        return self._outputs

    def _draw(self, count: int, watch: bool) -> None:
        """Draw the masks of a step, which come after `count` inputs."""
        kernel = self.kernel
        if watch and kernel.step.has_changed():  # before masks are drawn
            self._follow()
        for target, mask in zip(kernel.inputs[count:], self.program.draw(1, self.batch)):
            target[...] = mask[0]

    def _follow(self) -> None:
        """Pack the parameters again after a write that only the kernel has noticed."""
        run = self.kernel.step
        if run.noticed_late():
            warnings.warn(LATE.format(self.name, run.every - 1), RuntimeWarning, stacklevel=6)
        self._repack()

    # ---- gradients

    def set_cotangents(self, cotangents: Sequence[Array]) -> None:
        """Write the gradients by the last outputs to where the kernel reads them."""
        for target, g in zip(self.kernel.cotangents, cotangents):
            target[...] = g

    def gradients_are_finite(self) -> bool:
        """Whether those of the cotangents that were set are; nothing is added."""
        return self.kernel.gradients_are_finite()

    def pull(self, cotangents: Sequence[Array]) -> list[Array]:
        """Add gradients by parameters; returns those by the inputs of the step."""
        for target, g in zip(self._cotangents, cotangents):
            target[...] = g
        t: Tensor | None = None
        grad: Tensor | None
        with depositing:  # others may add to the same gradients
            for t, grad in self._bound:
                if t.grad is not grad or t._hooks or not t.requires_grad:
                    t = None
                    break
            if t is None:
                grad = None  # nobody but us may hold what is to be used again
                self._bind()
            for array in self._scratch:
                array[...] = 0.0
            self._add(self._add_table)
            self._counter[0] = next(clock)
        if self._goes_on:
            self._go_on()
        return self.kernel.by_input

    def _bind(self) -> None:
        """Find where gradients are added to: to arrays of our own in ``grad``, or where the tape goes on from."""
        before, made = self._bound_arrays, {}
        self._unbind()
        arrays: dict[int, Array] = {}
        for uid in self._programs.bases:
            t = self._ends[uid]
            if t.requires_grad and t.is_leaf and not t._hooks:
                grad = made[uid] = self._own_gradient(uid, t)
                self._bound.append((t, grad))
                arrays[uid] = grad.data
                continue
            array = arrays[uid] = np.zeros(t.shape, self.program.traced.dtype)
            self._scratch.append(array)
            if t.requires_grad:
                self._roots.append((t, array))
        self._made = made
        self._goes_on = bool(self._roots or self._programs.by_state)
        if self._moved or any(before.get(uid) is not array for uid, array in arrays.items()):
            self.kernel.bind(arrays)
        self._add, self._add_table = self.kernel.bound()
        self._bound_arrays, self._moved = arrays, False

    def _own_gradient(self, uid: int, t: Tensor) -> Tensor:
        """The gradient of a leaf as a tensor to write to; others who hold it so far see no change."""
        grad, dtype = t.grad, self.program.traced.dtype
        mine = [self._made.pop(uid, None)]
        if grad is not None and grad is mine[0]:
            return grad
        if grad is None and mine[0] is not None and _references(mine) == _ALONE:
            values = [mine[0].data]
            if _references(values) == _ALONE + 2:  # those of the tensor and of what is bound
                values[0][...] = 0.0
                t.grad = mine[0]
                return mine[0]
        if grad is not None and not isinstance(grad, Tensor):
            raise TypeError(f"grad: got {type(grad).__name__}, wanted a Tensor or None")
        array = np.zeros(t.shape, dtype) if grad is None else np.array(grad.data, dtype, order="C")
        own = Tensor(array, False, None, self._counter)
        t.grad = own
        return own

    def _go_on(self) -> None:
        """Carry gradients on along the tape: by computed values, and by the first state."""
        pairs = [(t, array) for t, array in self._roots]
        pairs += [(t, g) for t, g in zip(self._first, self.kernel.by_state) if t.requires_grad]
        if pairs:
            seeds = [g.reshape(t.shape).copy() for t, g in pairs]
            backward([t for t, _ in pairs], seeds, Tensor, create_graph=False, retain_graph=True)


def _references(holder: list) -> int:
    return sys.getrefcount(holder[0])


_ALONE = _references([object()])  # of what nothing but a list holds
