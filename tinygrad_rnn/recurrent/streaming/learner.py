"""Forward-in-time learning of one cell: on the tape, or by a kernel where its step compiles."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import compiler, config
from ...config import grad_mode
from ...core import Tensor, tree
from ...core.backward import backward
from ...core.finding import all_finite
from ...errors import AnomalyError, CompileError, GraphError, ShapeError
from ..as_tensors import example_of_step
from ..cell import Cell, check_state
from ..scan.anomaly import StreamStep, not_finite, quietly
from ..scan.arguments import Arguments
from ..scan.compiled import trace_program
from ..scan.facts import static_attributes
from ..scan.loop import raise_out_of_range, reason_of
from ..scan.open_sequence import OpenSequence
from .learner_kernel import LearnerKernel

Array = np.ndarray


class CellLearner:
    """Learns one cell whose recurrence is diagonal, forward in time.

    Parameters
    ----------
    cell : Cell
    batch : int
    example : nest of tensors or arrays, (B, ...)
        An input of one step.
    mode : {"auto", "compiled", "eager"}
    name : str
        In errors.
    below : bool
        Whether gradients by the inputs of a step are needed.

    Attributes
    ----------
    structure : Structure
        Of an input.
    rows : list of Tensor
        Of the example.
    time : int
        Steps since the beginning.
    """

    def __init__(self, cell: Cell, batch: int, example: Any, mode: str, name: str, below: bool):
        self.cell, self.batch, self.name, self._mode, self._below = cell, batch, name, mode, below
        self.rows, self.structure = example_of_step(example, batch, cell.dtype, name)
        self._settings: Any = None  # of the cell, when its step was traced
        self._needs: Any = None  # which gradients were wanted then
        self._kernel: LearnerKernel | None = None

    # ---- the beginning

    def reset(self, state: Any = None) -> None:
        """Begin a new sequence, from `state` or from the cell's initial state."""
        cell, batch = self.cell, self.batch
        with config.enable_grad():
            self._first, self.state_structure = check_state(cell, state, batch)
        self._sequence = OpenSequence(cell, batch)
        with self._sequence.active():
            needs = [p.requires_grad for p in cell.parameters()], any(s.requires_grad for s in self._first)
            settings = static_attributes(cell)
            if (settings, needs) != (self._settings, self._needs) or not self.program.guards.hold():
                self._prepare()
                self._settings, self._needs = settings, needs
        self._states = [s.data for s in self._first]
        step = self._step
        self._influence = compiler.Influence(step.parts, len(self._first), batch, step.units, self._states[0].dtype)
        self._linearization: Any = None
        self.time = 0
        self._taken: StreamStep | None = None  # the last step, if it is looked after
        self._spoiled: AnomalyError | None = None  # why the derivatives that are carried along are not finite
        self._on_kernel = False
        if self._kernel is not None:
            self._kernel.begin(self._sequence, self._first)

    def _prepare(self) -> None:
        """Trace the step again, and compile it with its derivatives."""
        rows = [Tensor(x.data[None]) for x in self.rows]
        program = trace_program(self.cell, Arguments(rows, self.structure, self._first, self.state_structure))
        if isinstance(program, str):
            raise CompileError(f"{self.name}: {program}")
        self.program = program
        self._bases = self._base_tensors()
        wanted = {s.uid for s, t in zip(program.bases, self._bases) if t.requires_grad}
        inputs = [self._below] * len(rows)
        try:
            self._step = compiler.DiagonalStep(program.traced, wanted, self._name_of, inputs)
        except GraphError as error:
            raise GraphError(f"{self.name}: {error}") from None
        self._kernel = None if self._mode == "eager" else self._make_kernel()

    def _make_kernel(self) -> LearnerKernel | None:
        by_first = any(s.requires_grad for s in self._first)
        try:
            with compiler.making:
                return LearnerKernel(
                    self.cell, self.batch, self.program, self._step, by_first, self.name, self._check_settings
                )
        except CompileError as error:
            reason = reason_of(error)
            if self._mode == "compiled":
                raise CompileError(f"{self.name}: {reason}") from error
            warnings.warn(f"{self.name} runs eagerly: {reason}", RuntimeWarning, stacklevel=6)
            return None

    def _check_settings(self) -> None:
        """Raise if the step is not the one that was traced: derivatives that are carried along belong to that."""
        with self._sequence.active():
            now = static_attributes(self.cell)
        # another module may take a place, if all but its parameters is equal
        same = [(kind, *facts) for kind, _, *facts in now] == [(kind, *facts) for kind, _, *facts in self._settings]
        if not (same and self.program.guards.hold()):
            raise GraphError(
                f"{self.name}: got other attributes of the cell, or of what its step reads, than at the beginning of "
                "the sequence, wanted the same until reset(); reset(state) goes on from a state"
            )

    def _base_tensors(self) -> list[Tensor]:
        """The present tensors of the bases: parameters, and values computed from them."""
        with config.enable_grad(), self._sequence.active(), quietly():
            tensors = self.program.base_tensors(self.batch)
        if tensors is None:
            raise ShapeError(f"{self.name}: parameters changed their shapes or dtypes; make a new RTRL")
        return tensors

    def _name_of(self, base: Any) -> str:
        """The name of a base in messages: that of the parameter, if it is one."""
        known = {id(p): name for name, p in self.cell.named_parameters()}
        tensor = self._bases[[s.uid for s in self.program.bases].index(base.uid)]
        return known.get(id(tensor), f"a value of shape {tensor.shape} that is computed from parameters")

    # ---- what it holds

    @property
    def compiled(self) -> bool:
        """Whether steps run in a kernel."""
        return self._kernel is not None

    @property
    def states(self) -> list[Array]:
        """Copies of the tensors of the present state."""
        kernel = self._kernel
        return [s.copy() for s in (kernel.states if kernel is not None and self._on_kernel else self._states)]

    @property
    def nbytes(self) -> int:
        return self._influence.nbytes if self._kernel is None else self._kernel.nbytes

    def example_outputs(self) -> Any:
        """An output as that of a step, of zeros."""
        shapes = self.program.traced.shapes
        leaves = [np.zeros((self.batch, *s), d) for s, d in zip(shapes.outputs, shapes.output_dtypes)]
        return tree.unflatten(self.program.output_structure, leaves[: self.program.traced.visible])

    # ---- a step

    def step(self, inputs: Sequence[Array]) -> Sequence[Array]:
        """The outputs of one step, which last until the next; the state moves on."""
        self.time += 1
        kernel = self._kernel
        if kernel is not None:
            if grad_mode.anomaly is None:
                if not self._on_kernel:
                    self._hand_to(kernel)
                return kernel.step(inputs)
            if self._on_kernel:
                self._take_from(kernel)
        return self._step_on_tape([np.array(x, row.dtype) for x, row in zip(inputs, self.rows)])

    def _hand_to(self, kernel: LearnerKernel) -> None:
        """Let the kernel go on with the present state and its derivatives."""
        self._advance()
        kernel.load(self._states, self._influence)
        self._on_kernel = True

    def _take_from(self, kernel: LearnerKernel) -> None:
        """Go on with what the kernel has."""
        self._states = kernel.store(self._influence)
        self._linearization, self._on_kernel = None, False

    def _step_on_tape(self, inputs: list[Array]) -> list[Array]:
        # The derivatives are carried over the step before only now: pull() needs them as they were before it.
        self._check_settings()
        self._advance()
        self._taken = None
        if grad_mode.anomaly is not None:
            random, state = config.generator().bit_generator.state, (self._states, self.state_structure)
            x = inputs, self.structure
            self._taken = StreamStep(self.cell, self._sequence, x, state, random, self.time - 1)
        masks = [mask[0] for mask in self.program.draw(1, self.batch)]
        self._bases = self._base_tensors()
        bases = {s.uid: t.data for s, t in zip(self.program.bases, self._bases)}
        with config.no_grad(), quietly():
            found = self._step.run([*inputs, *masks], self._states, bases, self.batch)
        traced = self.program.traced
        if traced.checks:
            raise_out_of_range(traced.checks, found.outputs[-1][None], False, self.name, self.time - 1)
        self._linearization = found._replace(outputs=found.outputs[: traced.visible])
        self._states = self._linearization.new_states
        if self._taken is not None:
            self._look_at(self._taken)
        return self._linearization.outputs

    def _look_at(self, taken: StreamStep) -> None:
        """Check the last step; an error in its derivatives is kept until they are used."""
        linearization = self._linearization
        taken.check([*linearization.outputs, *linearization.new_states])
        if self._spoiled is None:
            factors = [a for _, *factors in itertools.chain(*linearization.direct) for a in factors]
            if not all(map(all_finite, [*itertools.chain(*linearization.jacobians), *factors])):
                try:
                    taken.find_rule(1, [np.ones_like(s) for s in self._states])
                except AnomalyError as error:
                    self._spoiled = error.with_traceback(None)

    def _advance(self) -> None:
        """Carry the derivatives over the step that was taken on the tape."""
        if self._linearization is not None:
            self._influence.advance(self._linearization)
            self._linearization = None

    # ---- gradients

    def pull(self, cotangents: Sequence[Array]) -> Sequence[Array]:
        """Add gradients by the cell's parameters, given those by the last outputs.

        Returns
        -------
        list of arrays
            Those by the inputs of the step, if they are needed; they last until the next.
        """
        look = grad_mode.anomaly is not None
        if self._on_kernel:
            kernel: Any = self._kernel
            if look:
                kernel.set_cotangents(cotangents)
                if not kernel.gradients_are_finite():
                    self._blame(cotangents)
            return kernel.pull(cotangents)
        with config.no_grad(), quietly():
            grads, first, by_input = self._step.pull(self._linearization, cotangents, self._influence)
        if look and not all(map(all_finite, [*grads.values(), *first, *by_input])):
            self._blame(cotangents)
        roots, seeds = [], []
        for s, t in zip(self.program.bases, self._bases):
            if t.requires_grad and s.uid in grads:  # a parameter, or the end of a graph that leads to some
                roots.append(t)
                seeds.append(grads[s.uid])
        for t, g in zip(self._first, first):
            if t.requires_grad:
                roots.append(t)
                seeds.append(g)
        if roots:
            backward(roots, seeds, Tensor, create_graph=False, retain_graph=True)
        return by_input

    def _blame(self, cotangents: Sequence[Array]) -> None:
        """Raise the error that says why gradients are not finite."""
        for i, g in enumerate(cotangents):
            if not all_finite(g):
                raise not_finite(f"{self.name}: gradient of output {i}", g, self.time - 1)
        influence, text = self._influence, f"{self.name}: gradients at time step {self.time - 1} are not finite"
        if self._on_kernel or all(map(all_finite, [*influence.by_part.values(), influence.by_first])):
            if self._taken is None or self._on_kernel:
                raise AnomalyError(f"{text}; the step was taken outside of detect_anomaly()")
            self._taken.find_rule(0, cotangents)
        elif self._spoiled is not None:
            raise self._spoiled
        raise AnomalyError(
            f"{text}: derivatives of the state by parameters, which are carried along from step to step, grow beyond "
            "all numbers; start again with reset(), or keep the recurrence stable"
        )
