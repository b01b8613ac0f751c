"""The protocol of a recurrent cell: one time step in plain tensor maths."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .. import config, ops
from ..core import is_float
from ..modules.module import Module


def constant(initial_state):
    """Mark an ``initial_state`` that depends on nothing but batch size and dtype; layers need not call it again."""
    initial_state.constant = True
    return initial_state


def hands_on(cells: Callable[[Any], Iterable]) -> Callable:
    """Mark a ``begin_sequence`` that does nothing but call that of other cells, which ``cells(self)`` gives."""

    def mark(begin_sequence):
        begin_sequence.hands_on = cells
        return begin_sequence

    return mark


def of_parameters(dtype):
    """Mark a ``dtype`` that depends on nothing but the cell's parameters, if there are any."""
    dtype.of_parameters = True
    return dtype


class Cell(Module):
    """One time step. Subclass it, write :meth:`step`, and run it over sequences with :class:`Recurrent`.

    Attributes
    ----------
    input_size : int, optional
        The features of the input at one step; checked before a sequence runs, if set.
    hidden_size : int, optional
        The features of the default state.
    output_size : int, optional
        The features of the output, where they are not `hidden_size`.

    Notes
    -----
    Rows of the batch are independent: every tensor of the state and of the output has the batch as its first
    axis.
    A step should branch on the cell's own settings only, never on the values of tensors.

    Examples
    --------
    A minimal gated unit (Zhou et al. 2016):

    >>> import numpy as np, tinygrad_rnn as tr
    >>> from tinygrad_rnn import nn
    >>> class MGU(nn.Cell):
    ...     def __init__(self, input_size, hidden_size):
    ...         self.input_size, self.hidden_size = input_size, hidden_size
    ...         self.gate = nn.Linear(input_size + hidden_size, hidden_size)
    ...         self.new = nn.Linear(input_size + hidden_size, hidden_size)
    ...     def step(self, x, h):
    ...         f = tr.sigmoid(self.gate(tr.concat([x, h], axis=-1)))
    ...         n = tr.tanh(self.new(tr.concat([x, f * h], axis=-1)))
    ...         h = (1 - f) * h + f * n
    ...         return h, h
    >>> ys, h = nn.Recurrent(MGU(3, 4))(np.zeros((7, 2, 3)))
    >>> ys.shape, h.shape
    ((7, 2, 4), (2, 4))
    """

    input_size: int | None = None
    hidden_size: int | None = None
    output_size: int | None = None

    def step(self, x, state) -> tuple[Any, Any]:
        """One time step, in tensor operations.

        Parameters
        ----------
        x : Tensor, (B, features), or a nest of such
        state : nest of tensors, (B, ...)

        Returns
        -------
        output : Tensor, (B, ...), or a nest of such
        next_state : nest of tensors
            Of the same structure, shapes and dtypes as `state`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define step(x, state)")

    @constant
    def initial_state(self, batch_size: int) -> Any:
        """The state before the first step: any nest of tensors (B, ...). Default: zeros, (B, hidden_size)."""
        if self.hidden_size is None:
            raise NotImplementedError(
                f"{type(self).__name__} sets no hidden_size; set it, or define initial_state(batch_size)"
            )
        return ops.zeros((batch_size, self.hidden_size), self.dtype)

    def begin_sequence(self, batch_size: int) -> None:
        """Called once before the first step of a sequence.

        Here a cell draws what stays constant over the sequence, such as a dropout mask, and keeps it as a
        plain tensor attribute that :meth:`step` reads.
        """

    @property
    @of_parameters
    def dtype(self) -> np.dtype:
        """The dtype of the cell's parameters; of a cell without any, the default dtype."""
        return next((p.dtype for p in self.parameters() if is_float(p.dtype)), config.get_default_dtype())

    def forward(self, x, state=None) -> tuple[Any, Any]:
        """One step from `state`, or, without one, the first step of a new sequence."""
        if state is not None:
            with config.functional():
                return self.step(x, state)
        from .scan.sequence import turn_of  # it knows of cells

        with turn_of(self):
            self.begin_sequence(x.shape[0])
            with config.functional():
                return self.step(x, self.initial_state(x.shape[0]))

    def _loses(self, name: str, value: Any) -> bool:
        """As of any module, but for constants of a sequence, which begin_sequence() keeps as tensors."""
        return type(self).begin_sequence is Cell.begin_sequence and super()._loses(name, value)

    @property
    def _title(self) -> str:
        """What messages call it."""
        return type(self).__name__

    def extra_repr(self) -> str:
        sizes = (self.input_size, self.hidden_size)
        return ", ".join(str(n) for n in sizes if n is not None)


def check_cell_type(cell, owner: str, name: str = "cell") -> Cell:
    if not isinstance(cell, Cell):
        raise TypeError(f"{owner}: {name}: got {type(cell).__name__}, wanted an nn.Cell")
    return cell
