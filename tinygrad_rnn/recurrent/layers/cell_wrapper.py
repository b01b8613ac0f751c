"""Wrappers around a cell: their base, learned initial states, and states as outputs."""

from __future__ import annotations

from typing import Any

from ... import ops
from ...core import tree
from ...modules import init as initialisers
from ...modules.module import Module
from ...modules.parameter import Parameter
from ..cell import Cell, check_cell_type, forwards_to


class Modifier(Cell):
    """Base of cells that run another one and change one thing about it.

    Parameters
    ----------
    cell : Cell

    Examples
    --------
    A residual connection around any cell:

    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> class Residual(nn.Modifier):
    ...     def step(self, x, state, **options):
    ...         y, state = self.cell.step(x, state, **options)
    ...         return x + y, state
    >>> y, h = Residual(nn.GRUCell(3, 3))(np.ones((2, 3), np.float32))
    >>> y.shape
    (2, 3)
    """

    def __init__(self, cell: Cell):
        self.cell = check_cell_type(cell, type(self).__name__)

    @property
    def input_size(self):
        return self.cell.input_size

    @property
    def hidden_size(self):
        return self.cell.hidden_size

    @property
    def output_size(self):
        return self.cell.output_size

    @property
    def dtype(self):
        return self.cell.dtype

    def reset_parameters(self) -> None:
        """Draw the parameters of the cell anew, if it can."""
        reset: Any = getattr(self.cell, "reset_parameters", None)
        if reset is not None:
            reset()

    def initial_state(self, batch_size: int) -> Any:
        return self.cell.initial_state(batch_size)

    @forwards_to(lambda modifier: [modifier.cell])
    def begin_sequence(self, batch_size: int) -> None:
        self.cell.begin_sequence(batch_size)

    def step(self, x, state, **options) -> tuple[Any, Any]:
        """One step of the cell; `options` are for the innermost one, see :class:`VariationalDropout`."""
        return self.cell.step(x, state, **options)

    def extra_repr(self) -> str:
        return ""


class LearnedInitialState(Modifier):
    """A cell whose initial state is learned, the same for all rows of the batch.

    It begins as the cell's own. Layers wrap their cells in it with ``learn_initial_state=True``.

    Parameters
    ----------
    cell : Cell

    Attributes
    ----------
    initial_state_0, initial_state_1, ... : Parameter
        One row of each tensor of the state, in the order of the nest (of dicts, of their keys).

    Raises
    ------
    ValueError
        If the cell has no state.

    Examples
    --------
    >>> from tinygrad_rnn import nn
    >>> cell = nn.LearnedInitialState(nn.LSTMCell(3, 4))
    >>> [name for name, _ in cell.named_parameters() if "state" in name]
    ['initial_state_0', 'initial_state_1']
    """

    def __init__(self, cell: Cell):
        super().__init__(cell)
        leaves, self._structure = tree.flatten(self.cell.initial_state(1))
        if not leaves:
            raise ValueError(f"LearnedInitialState: cell: {type(cell).__name__} has no state")
        self._names = tuple(f"initial_state_{i}" for i in range(len(leaves)))
        for name, leaf in zip(self._names, leaves):
            setattr(self, name, Parameter(leaf.data[0]))

    def reset_parameters(self) -> None:
        """Draw the parameters of the cell anew, and begin at its own initial state again."""
        super().reset_parameters()
        for name, leaf in zip(self._names, tree.flatten(self.cell.initial_state(1))[0]):
            initialisers.set_to(getattr(self, name), leaf.data[0])

    def initial_state(self, batch_size: int) -> Any:
        rows = [getattr(self, name) for name in self._names]
        return tree.unflatten(self._structure, [ops.broadcast_to(r, (batch_size, *r.shape)) for r in rows])


class WithStates(Modifier):
    """A cell whose output is ``(output, next state)``, for layers that return all states."""

    anonymous = True  # users did not make this one: messages name the cell inside

    def step(self, x, state, **options) -> tuple[Any, Any]:
        y, state = self.cell.step(x, state, **options)
        return (y, state), state


def with_states(layer: Module, cell: Cell) -> WithStates:
    """The cell of a layer inside :class:`WithStates`; made once for each cell, and so compiled once."""
    known = vars(layer).setdefault("_with_states", [])
    for recorder in known:
        if recorder.cell is cell:
            return recorder
    known.append(WithStates(cell))
    return known[-1]
