"""Triangles and diagonals of matrices, which are the last two axes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..core.aliases import Value
from ..core.signatures import like_first
from ..errors import ShapeError
from .arguments import MOST, integer, one_axis, operand
from .elementwise import where
from .reduce import sum
from .shape import moveaxis


def _triangle(keep: Callable, x: Value, k: int, name: str) -> Value:
    x, k = operand(x, name), _near(integer(k, "k"))
    if not x.shape:
        raise ShapeError(f"{name}: got shape (), wanted (..., n, m)")
    return where(keep(np.ones(x.shape[-2:] if len(x.shape) > 1 else 2 * x.shape, bool), k), x, 0)


def _near(k: int) -> int:
    """The number of a diagonal as NumPy can take it; beyond all matrices one is as far as another."""
    return max(-MOST, min(MOST, k))


@like_first
def tril(x: Value, k: int = 0) -> Value:
    """`x` with zeros above the `k`-th diagonal of its last two axes."""
    return _triangle(np.tril, x, k, "tril")


@like_first
def triu(x: Value, k: int = 0) -> Value:
    """`x` with zeros below the `k`-th diagonal of its last two axes."""
    return _triangle(np.triu, x, k, "triu")


@like_first
def diagonal(x: Value, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Value:
    """The diagonals of two axes, which stand last; `offset` above (or below) the main one.

    Raises
    ------
    ShapeError
        If `x` has fewer than two axes, or `axis1` and `axis2` are one.
    """
    x, offset = operand(x, "diagonal"), _near(integer(offset, "offset"))
    if len(x.shape) < 2:
        raise ShapeError(f"diagonal: got shape {tuple(x.shape)}, wanted two axes or more")
    axis1, axis2 = one_axis(axis1, x.shape), one_axis(axis2, x.shape)
    if axis1 == axis2:
        raise ShapeError(f"axis2: got {axis2}, wanted another one than axis1")
    x = moveaxis(x, (axis1, axis2), (-2, -1))
    n, m = x.shape[-2:]
    rows, columns = max(0, -offset), max(0, offset)
    length = max(0, min(n - rows, m - columns))
    return x[..., np.arange(rows, rows + length), np.arange(columns, columns + length)]


@like_first
def trace(x: Value, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Value:
    """The sum of a diagonal; see :func:`diagonal`."""
    return sum(diagonal(x, offset, axis1, axis2), -1)
