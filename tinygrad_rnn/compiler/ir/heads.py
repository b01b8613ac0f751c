"""Matrices for each head: a stack of them, along the diagonal of one that is zero elsewhere.

No such matrix is ever made: its product with a row is one product for each head, of some columns of the row.
"""

from __future__ import annotations

from typing import NamedTuple

from .program_ops import BLOCKS, TRANSPOSE
from .symbol import Symbol
from .weight_slices import WeightSlice, resolve_slice


class Heads(NamedTuple):
    """The matrices of BLOCKS: ``outer`` times, for each of `matrices`, `repeat` heads that share it.

    Attributes
    ----------
    stack : Symbol
        The matrices one below the other; if `transposed`, their transposes.
    rows, columns : int
        Of a matrix.
    """

    stack: Symbol
    outer: int
    matrices: int
    repeat: int
    transposed: bool
    rows: int
    columns: int

    @property
    def heads(self) -> int:
        return self.outer * self.matrices * self.repeat

    @property
    def multiplications(self) -> int:
        """Multiply-adds for one row."""
        return self.heads * self.rows * self.columns

    @property
    def numbers(self) -> list[int]:
        """For each head which matrix it has."""
        return [head // self.repeat % self.matrices for head in range(self.heads)]

    def view(self, number: int) -> WeightSlice:
        """One of the matrices, as a rectangle of a parameter."""
        view = resolve_slice(self.stack)
        if view.transposed:  # of a transpose there is a copy, as matrices would be columns of its base
            view = WeightSlice(self.stack, tuple((i, 0, n) for i, n in enumerate(self.stack.shape)))
        (_, start, _), across = view.axes
        n = self.columns if self.transposed else self.rows
        down = (0, start + number * n, start + (number + 1) * n)
        return WeightSlice(view.base, (across, down) if self.transposed else (down, across))

    @property
    def base(self) -> Symbol:
        """What the loops read."""
        return self.view(0).base


def heads_of(w: Symbol) -> Heads | None:
    """The matrices that an invariant has along its diagonal; None if it is an ordinary matrix."""
    if w.op is TRANSPOSE and w.ndim == 2:
        inner = heads_of(w.args[0])
        if inner is None:
            return None
        return inner._replace(transposed=not inner.transposed, rows=inner.columns, columns=inner.rows)
    if w.op is not BLOCKS:
        return None
    (stack,), transposed = w.args, bool(w.static["transposed"])
    rows, columns = stack.shape[0] // w.static["matrices"], stack.shape[1]
    if transposed:
        rows, columns = columns, rows
    return Heads(stack, w.static["outer"], w.static["matrices"], w.static["repeat"], transposed, rows, columns)


def base_of(v: Symbol) -> Symbol:
    """What the loops read of an invariant: a parameter, or a value computed from parameters."""
    heads = heads_of(v)
    return resolve_slice(v).base if heads is None else heads.base
