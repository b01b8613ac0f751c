"""One cell of a stepper: its kernel, its packed parameters and its state, kept from step to step."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ... import compiler, config, ops
from ...compiler import CHANGED, SUSPECT
from ...config import grad_mode
from ...core import Tensor, is_float, tree
from ...errors import CompileError, DTypeError, InexactIntegersError, ShapeError
from ..as_tensors import as_input, example_of_step
from ..cell import Cell, check_state, title_of
from ..scan.anomaly import check_kernel_step, checked_eager_step, quietly
from ..scan.arguments import Arguments
from ..scan.compiled import program_of
from ..scan.eager import StepRunner
from ..scan.guards import NOTHING
from ..scan.loop import raise_out_of_range
from ..scan.open_sequence import OpenSequence
from ..scan.program import Program
from .step_guards import StepGuards

LATE = (
    "{}: a part of a parameter was written to through its data, and up to {} steps may have run with what was there "
    "before; call parameter.touch() after such a write"
)


class CellStepper:
    """Runs one cell a step at a time: in its kernel if it compiles, else on the tape.

    Parameters
    ----------
    cell : Cell
    batch : int
    example : nest of tensors or arrays, (B, ...)
        An input of one step.
    mode : {"auto", "compiled", "eager"}

    Attributes
    ----------
    program : Program or None
        None: the cell runs on the tape.
    kernel : StepKernel
        Of the program: packed parameters and the state.
    runner : StepRunner
        Without a program: runs the step on the tape, and keeps the state.
    guards : StepGuards
        Whether the cell is still what was packed.
    sequence : OpenSequence
    """

    def __init__(self, cell: Cell, batch: int, example: Any, mode: str):
        self.cell, self.batch = cell, batch
        rows, self.structure = example_of_step(example, batch, cell.dtype, title_of(cell))
        self.rows = [ops.expand_dims(x, 0).detach() for x in rows]
        self.shapes = [x.shape[1:] for x in self.rows]
        self.mode = mode
        self.program: Program | None = None
        _, self.state_structure = tree.flatten(cell.initial_state(batch))
        self.reset(None)

    # ---- packing

    def _compile(self, states: list[Tensor]) -> None:
        """Find the program for the cell as it is now, in training or evaluation, and make its kernel."""
        cell = self.cell
        try:
            found = program_of(cell, Arguments(self.rows, self.structure, states, self.state_structure), self.mode)
        except (ShapeError, DTypeError) as error:  # at a later program, parameters must have changed their shapes
            raise error if self.program is None else self._refuse() from error
        if found is None or found[0] is self.program:  # nothing to compile, or the kernel that is there will do
            self.program = None if found is None else self.program
            return
        self.program, tensors = found
        count = len(self.program.traced.inputs) + len(states) + len(tensors)
        with config.no_grad():
            try:
                loop = self.program.loop(title_of(cell), False, [False] * count)
            except CompileError as error:
                self._give_up(error)
                return
            self.kernel = compiler.StepKernel(loop.executable, self._bases(), self.batch)

    def _give_up(self, error: CompileError) -> None:
        """Run eagerly from now on, as no code can be generated."""
        if self.mode == "compiled":
            raise CompileError(f"{title_of(self.cell)}: {error}") from error
        warnings.warn(f"{title_of(self.cell)} runs eagerly: {error}", RuntimeWarning, stacklevel=7)
        self.program, self.mode = None, "eager"

    def _bases(self) -> list[np.ndarray]:
        """The present values of the bases, flat, as the kernel packs them."""
        assert self.program is not None
        tensors = self.program.base_tensors(self.batch)
        if tensors is None:
            raise self._refuse()
        dtype = self.program.traced.dtype
        return [np.ascontiguousarray(t.data, dtype).reshape(-1) for t in tensors]

    def _refuse(self) -> ShapeError:
        return ShapeError(
            f"{title_of(self.cell)}: stepper: parameters changed their shapes or dtypes; make a new stepper"
        )

    def refresh(self) -> None:
        """Compute and pack everything again that depends on parameters; the state is kept."""
        states = self.state_arrays()
        self.sequence.begin()
        self._pack(states)

    def _pack(self, states: list[np.ndarray]) -> None:
        """Compile and pack the cell as it is now; the stream goes on from these states."""
        with self.sequence.active(), quietly():
            if self.mode != "eager":
                self._compile([Tensor(s) for s in states])
            sources, guards = (self.program.sources, self.program.guards) if self.program else ([], NOTHING)
            # before parameters are packed: a change in between fails these guards at the next step
            self.guards = StepGuards(self.cell, self.sequence, sources, guards)
            if self.program is None:
                leaves = [Tensor(np.array(s)) for s in states]
                self.runner = StepRunner(self.cell, self.structure, self.state_structure, leaves)
                return
            with config.no_grad():
                self.kernel.refresh(self._bases(), self.guards.arrays)
        for target, s in zip(self.kernel.states, states):
            target[...] = s

    # ---- the state

    def state_arrays(self) -> list[np.ndarray]:
        """Copies of the tensors of the state."""
        if self.program is None:
            return [s.data.copy() for s in self.runner.leaves]
        return [s.astype(d) for s, d in zip(self.kernel.states, self.program.traced.shapes.state_dtypes)]

    def state(self) -> Any:
        """A copy of the present state."""
        return tree.unflatten(self.state_structure, self.state_arrays())

    def reset(self, state: Any) -> None:
        """Begin a new sequence from `state`; None: the initial state."""
        self.sequence, self.t = OpenSequence(self.cell, self.batch), 0
        with config.no_grad():
            states, _ = check_state(self.cell, state, self.batch)
        self._pack([s.data for s in states])

    def reset_rows(self, rows: np.ndarray) -> None:
        """Set the state of some rows, a bool array (B,), to the initial one."""
        with config.no_grad():
            wanted, _ = tree.flatten(self.cell.initial_state(self.batch))
        for target, s in zip(self.runner.leaves if self.program is None else self.kernel.states, wanted):
            (target.data if isinstance(target, Tensor) else target)[rows] = s.data[rows]

    # ---- a step

    def example_output(self) -> Any:
        """The output for the example, as that of the cell that is next; the state is kept."""
        kept, x = self.state(), tree.unflatten(self.structure, [r.data[0] for r in self.rows])
        y = self.run(x)
        self.reset(kept)
        return y

    def run(self, x: Any) -> Any:
        """The output of one step, as new arrays; the state moves on."""
        leaves = [x] if self.structure is tree.LEAF else self._leaves(x)
        for i, shape in enumerate(self.shapes):
            leaf = leaves[i]
            if type(leaf) is not np.ndarray or leaf.shape != shape or leaf.dtype.kind != "f":
                leaves[i] = self._checked(leaf, self.rows[i])
        if self.program is None or not self.guards.hold():
            return self._run_refreshed(leaves)
        return self._run_kernel(leaves)

    def _run_refreshed(self, leaves: list) -> Any:
        """One step after the cell is packed again; on the tape, if it does not compile."""
        if self.program is not None or (
            self.sequence.sets_attributes and not (self.guards.hold() and self.guards.same_values())
        ):
            self.refresh()
        if self.program is not None:
            return self._run_kernel(leaves, False)
        return self.run_eagerly(leaves) if grad_mode.anomaly is None else checked_eager_step(self, leaves)

    def _run_kernel(self, leaves: list, watch: bool = True) -> Any:
        """One step of the kernel; with `watch`, only if parameters are still what was packed."""
        program: Any = self.program
        kernel, random, look = self.kernel, None, grad_mode.anomaly is not None
        for target, leaf in zip(kernel.inputs, leaves):
            target[...] = leaf
        if program.traced.mask_probabilities:
            if watch and kernel.has_changed():  # before masks are drawn: the step that is run instead draws its own
                return self._take_over(leaves)
            watch, random = False, config.generator().bit_generator.state if look else None
            for target, mask in zip(kernel.inputs[len(self.rows) :], program.draw(1, self.batch)):
                target[...] = mask[0]
        kept = self.state_arrays() if program.traced.checks else []
        status = kernel.run(watch, look)
        if status == CHANGED:
            return self._take_over(leaves)
        if status == SUSPECT:
            check_kernel_step(self, random)
        if kept:
            try:
                checks, title = program.traced.checks, title_of(self.cell)
                raise_out_of_range(checks, kernel.outputs[-1][None], False, title, self.t)
            except InexactIntegersError as error:
                self._give_up(error)
                self._pack(kept)
                return self.run_eagerly(leaves)
            except IndexError:
                self._pack(kept)  # of a step that fails nothing stays
                raise
        self.t += 1
        if program.traced.cast_results:
            ys = [y.astype(d) for y, d in zip(kernel.outputs, program.traced.shapes.output_dtypes)]
            return tree.unflatten(program.output_structure, ys)
        if program.output_structure is tree.LEAF:
            return kernel.outputs[0].copy()
        outputs = kernel.outputs[: program.traced.visible]
        return tree.unflatten(program.output_structure, [y.copy() for y in outputs])

    def _take_over(self, leaves: list) -> Any:
        """One step after a write to a parameter that only the kernel has noticed."""
        if self.kernel.noticed_late():
            warnings.warn(LATE.format(title_of(self.cell), self.kernel.every - 1), RuntimeWarning, stacklevel=5)
        return self._run_refreshed(leaves)

    def run_eagerly(self, leaves: list) -> Any:
        """The output of one step on the tape."""
        runner = self.runner
        with config.no_grad(), self.sequence.active():
            ys = runner.step(self.t, [Tensor(np.array(x, row.dtype)) for x, row in zip(leaves, self.rows)])
        self.t += 1
        runner.leaves = [
            Tensor(s.data.copy()) for s in runner.leaves
        ]  # the step may have returned a tensor of the cell's own, which changes
        return tree.unflatten(runner.output_structure, [y.data.copy() for y in ys])

    # ---- checks

    def _leaves(self, x: Any) -> list:
        leaves = tree.leaves_like(self.structure, x)
        if leaves is None:
            got = tree.flatten(x)[1]
            raise ShapeError(
                f"{title_of(self.cell)}: x: got {tree.describe(got)}, wanted {tree.describe(self.structure)}"
            )
        return leaves

    def _checked(self, x: Any, row: Tensor) -> np.ndarray:
        """The values of an input of one step, checked to fit the example."""
        name = f"{title_of(self.cell)}: x"
        if isinstance(x, tree.CONTAINERS) and not tree.holds_numbers(x):
            raise ShapeError(f"{name}: got {tree.describe(tree.flatten(x)[1])}, wanted one array")
        array = x.data if isinstance(x, Tensor) else as_input(x, row.dtype, name).data
        if array.shape != row.shape[1:]:
            raise ShapeError(f"{name}: got shape {array.shape}, wanted {row.shape[1:]}")
        if is_float(array.dtype) and not is_float(row.dtype):
            raise DTypeError(f"{name}: got {array.dtype}, wanted {row.dtype} as the example")
        return array
