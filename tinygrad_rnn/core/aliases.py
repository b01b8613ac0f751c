"""Names for the types in signatures: array-likes, axes, shapes, indices, and the values of operations.

For readers and type checkers alone: nothing is checked by them when a function runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from numpy.typing import ArrayLike, DTypeLike

__all__ = ["ArrayLike", "Axes", "DTypeLike", "Index", "Shape", "Value"]  # ArrayLike: a tensor is one too

Axes: TypeAlias = int | Sequence[int] | None
"""One axis, several, or None: all."""

Shape: TypeAlias = int | Sequence[int]
"""A shape as it is asked for; one number is the length of the only axis."""

Index: TypeAlias = Any
"""What stands in ``x[...]``: integers, slices, None, Ellipsis, integer arrays, masks, and tuples of them."""

Value: TypeAlias = Any
"""What operations take and give: a tensor or an array, or a symbol while a step is traced; lists are read as arrays."""
