"""Streaming: one step per call, for data that arrive one at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import compile as compiler
from .. import config, ops
from ..core import Tensor, as_tensor
from ..errors import ShapeError
from . import nest
from .cell import Cell
from .compiled import Program, program_of
from .steps import read_mask


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

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> step = nn.GRU(3, 4).stepper(batch_size=2)
    >>> step(np.zeros((2, 3), np.float32)).shape
    (2, 4)
    """

    def __init__(self, cells: list[Cell], batch_size: int, example: Any = None, mode: str = "auto"):
        if not isinstance(batch_size, int | np.integer) or batch_size < 1:
            raise ShapeError(f"batch_size: got {batch_size!r}, wanted a whole number, at least 1")
        self.batch_size = int(batch_size)
        self._links: list[_Link] = []
        for cell in cells:
            if example is None:
                if cell.input_size is None:
                    raise ShapeError(f"{cell._title}: sets no input_size; pass example=, an input of one step")
                example = ops.zeros((self.batch_size, cell.input_size), cell.dtype)
            link = _Link(cell, self.batch_size, example, mode)
            self._links.append(link)
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
        """
        first = x
        if resets is not None:
            rows = read_mask(self._links[0].cell._title, "resets", resets, (self.batch_size,), "(B,)")
            for link in self._links:
                link.begin_anew(rows)
        for link in self._links:
            x = link.run(x)
        if isinstance(first, Tensor) or not isinstance(first, np.ndarray):
            leaves, _ = nest.flatten(first)
            if any(isinstance(leaf, Tensor) for leaf in leaves):
                return nest.map(Tensor, x)
        return x

    @property
    def state(self) -> Any:
        """A copy of the present state (of several cells: a list of theirs), as a nest of arrays."""
        states = [link.state() for link in self._links]
        return states[0] if len(states) == 1 else states

    def reset(self, state: Any = None) -> None:
        """Begin a new sequence, from `state` (as :attr:`state` gives it) or from the cells' initial states."""
        given = [None] * len(self._links) if state is None else [state] if len(self._links) == 1 else list(state)
        if len(given) != len(self._links):
            raise ShapeError(f"state: got {len(given)} states, wanted {len(self._links)}, one for each cell")
        for link, s in zip(self._links, given):
            link.reset(s)

    def refresh(self) -> None:
        """Take over parameters that have changed; the state is kept."""
        for link in self._links:
            link.refresh()


class _Link:
    """One cell of a stepper."""

    def __init__(self, cell: Cell, batch: int, example: Any, mode: str):
        self.cell, self.batch = cell, batch
        leaves, self.structure = nest.flatten(example)
        self.rows = []
        for x in leaves:
            shape = tuple(getattr(x, "shape", ()))
            if not shape or shape[0] != batch:
                raise ShapeError(f"example: got shape {shape}, wanted ({batch}, ...)")
            self.rows.append(ops.expand_dims(as_tensor(x), 0).detach())
        self.mode = mode
        self.program: Program | None = None
        _, self.state_structure = nest.flatten(cell.initial_state(batch))
        self.reset(None)

    def _compile(self, states: list[Tensor]) -> None:
        """Take the program for the cell as it is now: in training it may be another than in evaluation."""
        cell = self.cell
        found = program_of(cell, self.rows, self.structure, states, self.state_structure, self.mode)
        if found is None or found[0] is self.program:
            return
        self.program, tensors = found
        with config.no_grad():
            args = (*self.program.traced.inputs, *states, *tensors)
            loop = self.program.loop(cell._title, False, args)
            self.kernel = compiler.Stepper(loop.executable, self._bases(), self.batch)

    def _bases(self) -> list[np.ndarray]:
        assert self.program is not None
        tensors = self.program.base_tensors(self.batch)
        if tensors is None:
            name = self.cell._title
            raise ShapeError(f"{name}: stepper: parameters changed their shapes or dtypes; make a new stepper")
        dtype = self.program.traced.trace.dtype
        return [np.ascontiguousarray(t.data, dtype).reshape(-1) for t in tensors]

    def example_output(self) -> Any:
        kept, x = self.state(), nest.unflatten(self.structure, [r.data[0] for r in self.rows])
        y = self.run(x)
        self.reset(kept)
        return y

    def refresh(self) -> None:
        if self.program is None:
            return
        before, bases = self.kernel, self._bases()
        self._compile([Tensor(s) for s in before.states])  # another module may have taken a part's place
        with config.no_grad():
            self.kernel.refresh(bases if self.kernel is before else self._bases())
        if self.kernel is not before:
            for target, s in zip(self.kernel.states, before.states):
                target[...] = s

    def state(self) -> Any:
        if self.program is None:
            return nest.map(lambda s: s.data.copy(), self._state)
        return nest.unflatten(self.state_structure, [s.copy() for s in self.kernel.states])

    def reset(self, state: Any) -> None:
        self.cell.begin_sequence(self.batch)
        wanted, _ = nest.flatten(self.cell.initial_state(self.batch))
        leaves, its = nest.flatten(state) if state is not None else (wanted, self.state_structure)
        name = self.cell._title
        if its != self.state_structure:
            raise ShapeError(f"{name}: state: got {nest.describe(its)}, wanted {nest.describe(self.state_structure)}")
        for s, t in zip(leaves, wanted):
            if tuple(s.shape) != t.shape:
                raise ShapeError(f"{name}: state: got shape {tuple(s.shape)}, wanted {t.shape}")
        if self.mode != "eager":
            self._compile(wanted)
        if self.program is None:
            self._state = nest.unflatten(
                self.state_structure, [as_tensor(s, t.dtype).detach() for s, t in zip(leaves, wanted)]
            )
            return
        self.refresh()  # a new sequence may have new constants
        for target, s in zip(self.kernel.states, leaves):
            target[...] = s.data if isinstance(s, Tensor) else s

    def begin_anew(self, rows: np.ndarray) -> None:
        """Put the state of some rows back to the initial one."""
        wanted, _ = nest.flatten(self.cell.initial_state(self.batch))
        if self.program is not None:
            for target, s in zip(self.kernel.states, wanted):
                target[rows] = s.data[rows]
            return
        states, _ = nest.flatten(self._state)
        kept = [s.data.copy() for s in states]
        for target, s in zip(kept, wanted):
            target[rows] = s.data[rows]
        self._state = nest.unflatten(self.state_structure, [Tensor(s) for s in kept])

    def run(self, x: Any) -> Any:
        leaves: Any = (x,)
        if self.structure is not nest.LEAF:
            leaves, its = nest.flatten(x)
            if its != self.structure:
                raise ShapeError(f"x: got {nest.describe(its)}, wanted {nest.describe(self.structure)}")
        for leaf, row in zip(leaves, self.rows):
            if leaf.shape != row.data.shape[1:]:
                name = self.cell._title
                raise ShapeError(f"{name}: x: got shape {tuple(leaf.shape)}, wanted {row.data.shape[1:]}")
        if self.program is None:
            return self._run_eagerly(leaves)
        kernel = self.kernel
        for target, leaf in zip(kernel.inputs, leaves):
            target[...] = leaf.data if isinstance(leaf, Tensor) else leaf
        if self.program.traced.drawn:
            for target, mask in zip(kernel.inputs[len(self.rows) :], self.program.draw(1, self.batch)):
                target[...] = mask[0]
        kernel.run()
        if self.program.output_structure is nest.LEAF:
            return kernel.outputs[0].copy()
        return nest.unflatten(self.program.output_structure, [y.copy() for y in kernel.outputs])

    def _run_eagerly(self, leaves) -> Any:
        with config.no_grad():
            tensors = [as_tensor(x, row.dtype) for x, row in zip(leaves, self.rows)]
            y, self._state = self.cell.step(nest.unflatten(self.structure, tensors), self._state)
        return nest.map(lambda t: t.data, y)
