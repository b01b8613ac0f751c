"""Streaming: one step per call, for data that arrive one at a time."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ... import compile as compiler
from ... import config, ops
from ...checks import whole_number
from ...compile.runtime.streaming import CHANGED, SUSPECT
from ...config import grad_mode
from ...core import Tensor, is_float, tree
from ...errors import CompileError, DTypeError, ShapeError
from ..cell import Cell
from ..scan.anomaly import look_at_loop, quietly, watched_step
from ..scan.arguments import Arguments
from ..scan.compiled import Program, program_of
from ..scan.driver import as_input, as_state, check_state
from ..scan.eager import StepRunner
from ..scan.guards import NOTHING
from ..scan.sequence import Sequence
from ..scan.valid_steps import read_mask
from .watch import Watch

LATE = (
    "{}: a part of a parameter was written to through its data, and up to {} steps may have run with what was there "
    "before; call parameter.touch() after such a write"
)


class Stepper:
    """Runs cells one step per call, each on the output of the one before; made by ``layer.stepper(batch_size)``.

    State and packed parameters are kept between calls, and the kernel allocates nothing. T calls give exactly what
    one call of the layer over T steps gives (if it draws noise, in evaluation mode). No gradients are recorded. Steps
    that do not compile run eagerly.

    Parameters
    ----------
    cells : list of Cell
    batch_size : int
    example : Tensor or array or nest of such, (B, ...), optional
        An input of one step; needed where the first cell has no ``input_size``.
    mode : {"auto", "compiled", "eager"}
    stacked : bool
        States are those of a layer of several cells: one for all, with a first axis for the cells.

    Notes
    -----
    Parameters may change while a stream goes on: whatever an optimiser, ``load_state_dict``, ``copy_`` or another
    attribute of a cell changes, the next step runs with it. So it does after writes to ``parameter.data``, which leave
    no trace: parameters are compared with what they were. Of cells with more than 32 KiB of them, 64 cache lines spread
    over all of them are compared at each step, others at the next one: a parameter that is written to as a whole is
    noticed at once, but a write to a small part of one may be only when its turn comes. A warning says so then; call
    ``parameter.touch()`` after such a write, and it is noticed at once.
    Whatever ``begin_sequence`` computes is computed anew when parameters have changed.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> step = nn.GRU(3, 4).stepper(batch_size=2)
    >>> step(np.zeros((2, 3), np.float32)).shape
    (2, 4)
    """

    def __init__(
        self, cells: list[Cell], batch_size: int, example: Any = None, mode: str = "auto", stacked: bool = False
    ):
        self.batch_size, self._stacked = whole_number("batch_size", batch_size, error=ShapeError), stacked
        self._links: list[_Link] = []
        for cell in cells:
            if example is None:
                if cell.input_size is None:
                    raise ShapeError(f"{cell._title}: sets no input_size; pass example=, an input of one step")
                example = ops.zeros((self.batch_size, cell.input_size), cell.dtype)
            link = _Link(cell, self.batch_size, example, mode)
            self._links.append(link)
            if cell is not cells[-1]:
                example = link.example_output()

    def __call__(self, x: Any, resets: Any = None) -> Any:
        """One step.

        Parameters
        ----------
        x : array or Tensor, (B, ...), or a nest of such
        resets : bools (B,), optional
            Which rows begin anew before the step, with the cells' initial states; the others go on.

        Returns
        -------
        array or nest of arrays, (B, ...)
            The output; Tensors if `x` held Tensors.

        Raises
        ------
        ShapeError, DTypeError
            If `x` or `resets` do not fit, or parameters have other shapes or dtypes than before.
        """
        y = x
        if resets is not None:
            rows = read_mask(self._links[0].cell._title, "resets", resets, (self.batch_size,), "(B,)")
            for link in self._links:
                link.begin_anew(rows)
        for link in self._links:
            y = link.run(y)
        if type(x) is not np.ndarray and any(isinstance(leaf, Tensor) for leaf in tree.flatten(x)[0]):
            return tree.map(Tensor, y)
        return y

    @property
    def state(self) -> Any:
        """A copy of the present state as a nest of arrays: what the layer returns, and takes, as its own."""
        states = [link.state() for link in self._links]
        if self._stacked:
            return tree.map(lambda *s: np.stack(s), *states)
        return states[0] if len(states) == 1 else states

    def reset(self, state: Any = None) -> None:
        """Begin a new sequence, from `state` (a layer's, or as :attr:`state` gives it) or from the initial states."""
        count = len(self._links)
        given: list = [None] * count
        if state is not None:
            given = self._parts(state) if self._stacked else [state] if count == 1 else list(state)
        if len(given) != count:
            raise ShapeError(f"state: got {len(given)} states, wanted {count}, one for each cell")
        for link, s in zip(self._links, given):
            link.reset(s)

    def _parts(self, state: Any) -> list:
        """The state of each cell, of that of a layer."""
        first, count = self._links[0], len(self._links)
        leaves = tree.leaves_like(first.state_structure, state)
        name = first.cell._title
        if leaves is None:
            got, wanted = tree.flatten(state)[1], first.state_structure
            raise ShapeError(f"{name}: state: got {tree.in_words(got)}, wanted {tree.in_words(wanted)}")
        columns = []
        for s, t in zip(leaves, tree.flatten(first.cell.initial_state(self.batch_size))[0]):
            s = as_state(s, t.dtype, f"{name}: state")
            if s.shape != (count, *t.shape):
                raise ShapeError(f"{name}: state: got shape {s.shape}, wanted {(count, *t.shape)} as the layer's")
            columns.append([Tensor(part) for part in s.data])
        return [tree.unflatten(first.state_structure, [column[i] for column in columns]) for i in range(count)]

    def refresh(self) -> None:
        """Take over what has changed; the state is kept. Steps do so by themselves."""
        for link in self._links:
            link.refresh()


class _Link:
    """One cell of a stepper."""

    def __init__(self, cell: Cell, batch: int, example: Any, mode: str):
        self.cell, self.batch = cell, batch
        leaves, self.structure = tree.flatten(example)
        self.rows = []
        for x in leaves:
            x = as_input(x, cell.dtype, f"{cell._title}: example")
            if not x.shape or x.shape[0] != batch:
                raise ShapeError(f"{cell._title}: example: got shape {x.shape}, wanted ({batch}, ...)")
            self.rows.append(ops.expand_dims(x, 0).detach())
        self.shapes = [x.shape[1:] for x in self.rows]
        self.mode = mode
        self.program: Program | None = None
        _, self.state_structure = tree.flatten(cell.initial_state(batch))
        self.reset(None)

    # ---- what is packed

    def _compile(self, states: list[Tensor]) -> None:
        """Take the program for the cell as it is now: in training it may be another than in evaluation."""
        cell = self.cell
        try:
            found = program_of(cell, Arguments(self.rows, self.structure, states, self.state_structure), self.mode)
        except (ShapeError, DTypeError) as error:
            raise error if self.program is None else self._refuse() from error
        if found is None or found[0] is self.program:
            self.program = None if found is None else self.program
            return
        self.program, tensors = found
        count = len(self.program.traced.inputs) + len(states) + len(tensors)
        with config.no_grad():
            try:
                loop = self.program.loop(cell._title, False, [False] * count)
            except CompileError as error:
                self._give_up(error)
                return
            self.kernel = compiler.Stepper(loop.executable, self._bases(), self.batch)

    def _give_up(self, error: CompileError) -> None:
        """Run eagerly, as there is no loop."""
        if self.mode == "compiled":
            raise CompileError(f"{self.cell._title}: {error}") from error
        warnings.warn(f"{self.cell._title} runs eagerly: {error}", RuntimeWarning, stacklevel=7)
        self.program, self.mode = None, "eager"

    def _bases(self) -> list[np.ndarray]:
        """What the loop reads, of parameters as they are now."""
        assert self.program is not None
        tensors = self.program.base_tensors(self.batch)
        if tensors is None:
            raise self._refuse()
        dtype = self.program.traced.dtype
        return [np.ascontiguousarray(t.data, dtype).reshape(-1) for t in tensors]

    def _refuse(self) -> ShapeError:
        return ShapeError(f"{self.cell._title}: stepper: parameters changed their shapes or dtypes; make a new stepper")

    def refresh(self) -> None:
        """Compute and pack anew what comes from parameters; the state is kept."""
        states = self._states()
        self.sequence.begin()
        self._go_on(states)

    def _go_on(self, states: list[np.ndarray]) -> None:
        """From these states, with the cell as it is now."""
        with self.sequence.going_on(), quietly():
            if self.mode != "eager":
                self._compile([Tensor(s) for s in states])
            sources, guards = (self.program.sources, self.program.guards) if self.program else ([], NOTHING)
            self.watch = Watch(self.cell, self.sequence, sources, guards)
            if self.program is None:
                leaves = [Tensor(np.array(s)) for s in states]
                self.runner = StepRunner(self.cell, self.structure, self.state_structure, leaves)
                return
            with config.no_grad():
                self.kernel.refresh(self._bases(), self.watch.arrays)
        for target, s in zip(self.kernel.states, states):
            target[...] = s

    # ---- the state

    def _states(self) -> list[np.ndarray]:
        """Copies of the tensors of the state."""
        states = [s.data for s in self.runner.leaves] if self.program is None else self.kernel.states
        return [s.copy() for s in states]

    def state(self) -> Any:
        return tree.unflatten(self.state_structure, self._states())

    def reset(self, state: Any) -> None:
        self.sequence, self.t = Sequence(self.cell, self.batch), 0
        with config.no_grad():
            states, _ = check_state(self.cell, state, self.batch)
        self._go_on([s.data for s in states])

    def begin_anew(self, rows: np.ndarray) -> None:
        """Put the state of some rows back to the initial one."""
        with config.no_grad():
            wanted, _ = tree.flatten(self.cell.initial_state(self.batch))
        for target, s in zip(self.runner.leaves if self.program is None else self.kernel.states, wanted):
            (target.data if isinstance(target, Tensor) else target)[rows] = s.data[rows]

    # ---- a step

    def example_output(self) -> Any:
        kept, x = self.state(), tree.unflatten(self.structure, [r.data[0] for r in self.rows])
        y = self.run(x)
        self.reset(kept)
        return y

    def run(self, x: Any) -> Any:
        leaves = [x] if self.structure is tree.LEAF else self._leaves(x)
        for i, shape in enumerate(self.shapes):
            leaf = leaves[i]
            if type(leaf) is not np.ndarray or leaf.shape != shape or leaf.dtype.kind != "f":
                leaves[i] = self._checked(leaf, self.rows[i])
        if self.program is None or not self.watch.holds():
            return self._run_anew(leaves)
        return self._run_loop(leaves)

    def _run_anew(self, leaves: list) -> Any:
        """One step with the cell as it is now: eagerly, or after what has changed is taken over."""
        if self.program is not None or (self.sequence.keeps and not (self.watch.holds() and self.watch.same_values())):
            self.refresh()
        if self.program is not None:
            return self._run_loop(leaves, False)
        return self._run_eagerly(leaves) if grad_mode.anomaly is None else watched_step(self, leaves)

    def _run_loop(self, leaves: list, watch: bool = True) -> Any:
        """One step of the loop, unless (to be watched) parameters are no longer what is packed."""
        program: Any = self.program
        kernel, random, look = self.kernel, None, grad_mode.anomaly is not None
        for target, leaf in zip(kernel.inputs, leaves):
            target[...] = leaf
        if program.traced.drawn:
            if watch and kernel.has_changed():  # before anything is drawn
                return self._take_over(leaves)
            watch, random = False, config.generator().bit_generator.state if look else None
            for target, mask in zip(kernel.inputs[len(self.rows) :], program.draw(1, self.batch)):
                target[...] = mask[0]
        told = kernel.run(watch, look)
        if told == CHANGED:
            return self._take_over(leaves)
        if told == SUSPECT:
            look_at_loop(self, random)
        if program.output_structure is tree.LEAF:
            return kernel.outputs[0].copy()
        return tree.unflatten(program.output_structure, [y.copy() for y in kernel.outputs])

    def _take_over(self, leaves: list) -> Any:
        """One step after a write that only the loop has noticed."""
        if self.kernel.noticed_late():
            warnings.warn(LATE.format(self.cell._title, self.kernel.every - 1), RuntimeWarning, stacklevel=5)
        return self._run_anew(leaves)

    def _run_eagerly(self, leaves: list) -> Any:
        runner = self.runner
        with config.no_grad(), self.sequence.going_on():
            ys = runner.step(self.t, [Tensor(np.array(x, row.dtype)) for x, row in zip(leaves, self.rows)])
        self.t += 1
        runner.leaves = [Tensor(s.data.copy()) for s in runner.leaves]  # the cell's own, which may change
        return tree.unflatten(runner.output_structure, [y.data.copy() for y in ys])

    # ---- checks

    def _leaves(self, x: Any) -> list:
        leaves = tree.leaves_like(self.structure, x)
        if leaves is None:
            got = tree.flatten(x)[1]
            raise ShapeError(f"{self.cell._title}: x: got {tree.describe(got)}, wanted {tree.describe(self.structure)}")
        return leaves

    def _checked(self, x: Any, row: Tensor) -> np.ndarray:
        """The values of an input of one step, which fit."""
        name = f"{self.cell._title}: x"
        if isinstance(x, tree.CONTAINERS) and not tree.holds_numbers(x):
            raise ShapeError(f"{name}: got {tree.describe(tree.flatten(x)[1])}, wanted one array")
        array = x.data if isinstance(x, Tensor) else as_input(x, row.dtype, name).data
        if array.shape != row.shape[1:]:
            raise ShapeError(f"{name}: got shape {array.shape}, wanted {row.shape[1:]}")
        if is_float(array.dtype) and not is_float(row.dtype):
            raise DTypeError(f"{name}: got {array.dtype}, wanted {row.dtype} as the example")
        return array
