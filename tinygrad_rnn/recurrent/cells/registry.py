"""Cells by name, so that a command line or a configuration file can choose one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ...checks import one_of
from ..cell import Cell

C = TypeVar("C", bound=type[Cell])
_cells: dict[str, type[Cell]] = {}


def register_cell(name: str) -> Callable[[C], C]:
    """Register a class of cells under `name`; a decorator.

    Parameters
    ----------
    name : str
        Lower case, not taken by another class. The class has to take
        ``(input_size, hidden_size, ..., dtype=None)``.

    Raises
    ------
    ValueError
        If `name` is taken.

    Examples
    --------
    >>> from tinygrad_rnn import nn
    >>> @nn.register_cell("leaky")
    ... class LeakyCell(nn.Cell):
    ...     def __init__(self, input_size, hidden_size, dtype=None):
    ...         self.input_size, self.hidden_size = input_size, hidden_size
    ...         self.inner = nn.Linear(input_size, hidden_size, dtype=dtype)
    ...     def step(self, x, h):
    ...         h = 0.9 * h + self.inner(x)
    ...         return h, h
    >>> nn.cell_by_name("leaky")(3, 4)
    LeakyCell(
      3, 4
      (inner): Linear(in_features=3, out_features=4, bias=True)
    )
    """

    def add(cell: C) -> C:
        known = _cells.get(name)
        if known is not None and (known.__module__, known.__qualname__) != (cell.__module__, cell.__qualname__):
            raise ValueError(f"name: got {name!r}, which is {known.__name__}; wanted another name")
        _cells[name] = cell
        return cell

    return add


def cell_by_name(name: str) -> type[Cell]:
    """The class that is registered under `name`.

    Raises
    ------
    ValueError
        If there is none of that name; all names are listed.

    Examples
    --------
    >>> from tinygrad_rnn import nn
    >>> nn.cell_by_name("gru")(3, 4)
    GRUCell(3, 4)
    """
    return _cells[one_of("name", name, _cells, f"one of {', '.join(cell_names())}")]


def cell_names() -> list[str]:
    """The names of all registered cells, sorted."""
    return sorted(_cells)
