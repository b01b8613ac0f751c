"""The stepper: layers run one step per call, for data that arrive one at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import ops
from ...checks import MOST_ELEMENTS, whole_number
from ...core import Tensor, tree
from ...errors import ShapeError
from ..as_tensors import as_state
from ..cell import Cell, title_of
from ..scan.valid_steps import read_mask
from .cell_stepper import CellStepper


class Stepper:
    """Runs cells one step per call, each on the output of the one before; from ``layer.stepper()``.

    State and packed parameters are kept between calls, and the kernel allocates nothing. The outputs of T calls equal
    those of one call of the layer over T steps (if it draws noise, in evaluation mode). No gradients are recorded.
    Steps that do not compile run eagerly.

    Parameters
    ----------
    cells : list of Cell
    batch_size : int
    example : Tensor or array or nest of such, (B, ...), optional
        An input of one step; needed where the first cell has no ``input_size``.
    mode : {"auto", "compiled", "eager"}
    layer_axis : bool
        States are those of a layer of several cells: one for all, with a first axis for the cells.

    Notes
    -----
    Parameters may change while a stream goes on: whatever an optimiser, ``load_state_dict``, ``copy_`` or another
    attribute of a cell changes, the next step runs with it. So it does after writes to ``parameter.data``, which leave
    no trace: parameters are compared with what they were. Of cells with more than 32 KiB of them, 64 cache lines spread
    over all of them are compared at each step, others at the next one: a parameter that is written to as a whole is
    noticed at once, but a write to a small part of one may be only when its turn comes. A warning says so then; call
    ``parameter.touch()`` after such a write, and it is noticed at once.
    Whatever ``begin_sequence`` computes is computed again when parameters have changed.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> step = nn.GRU(3, 4).stepper(batch_size=2)
    >>> step(np.zeros((2, 3), np.float32)).shape
    (2, 4)
    """

    def __init__(
        self, cells: list[Cell], batch_size: int, example: Any = None, mode: str = "auto", layer_axis: bool = False
    ):
        self.batch_size = whole_number("batch_size", batch_size, 1, MOST_ELEMENTS, error=ShapeError)
        self._layer_axis = layer_axis
        self._steppers: list[CellStepper] = []
        for cell in cells:
            if example is None:
                if cell.input_size is None:
                    raise ShapeError(f"{title_of(cell)}: sets no input_size; pass example=, an input of one step")
                example = ops.zeros((self.batch_size, cell.input_size), cell.dtype)
            stepper = CellStepper(cell, self.batch_size, example, mode)
            self._steppers.append(stepper)
            if cell is not cells[-1]:
                example = stepper.example_output()

    def __call__(self, x: Any, resets: Any = None) -> Any:
        """Run one step.

        Parameters
        ----------
        x : array or Tensor, (B, ...), or a nest of such
        resets : bools (B,), optional
            Rows that are reset to the cells' initial states before the step; the others go on.

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
            rows = read_mask(title_of(self._steppers[0].cell), "resets", resets, (self.batch_size,), "(B,)")
            for stepper in self._steppers:
                stepper.reset_rows(rows)
        for stepper in self._steppers:
            y = stepper.run(y)
        if type(x) is not np.ndarray and any(isinstance(leaf, Tensor) for leaf in tree.flatten(x)[0]):
            return tree.map(Tensor, y)
        return y

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(
            "Stepper: cannot be copied or pickled; copy the layer, make a new stepper, and reset it to state"
        )

    @property
    def state(self) -> Any:
        """A copy of the present state as a nest of arrays, in the form of the layer's."""
        states = [stepper.state() for stepper in self._steppers]
        if self._layer_axis:
            return tree.map(lambda *s: np.stack(s), *states)
        return states[0] if len(states) == 1 else states

    def reset(self, state: Any = None) -> None:
        """Begin a new sequence from `state`, a layer's or as :attr:`state` gives it; None: the initial state."""
        count = len(self._steppers)
        given: list = [None] * count
        if state is not None:
            given = self._parts(state) if self._layer_axis else [state] if count == 1 else list(state)
        if len(given) != count:
            raise ShapeError(f"state: got {len(given)} states, wanted {count}, one for each cell")
        for stepper, s in zip(self._steppers, given):
            stepper.reset(s)

    def _parts(self, state: Any) -> list:
        """The states of the cells, as parts of a layer's."""
        first, count = self._steppers[0], len(self._steppers)
        leaves = tree.leaves_like(first.state_structure, state)
        name = title_of(first.cell)
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
        """Pack the parameters as they are now; the state is kept. Steps do so by themselves."""
        for stepper in self._steppers:
            stepper.refresh()
