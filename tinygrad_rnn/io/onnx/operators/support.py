"""The table of operators, and what reads the arguments of its functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ....core import Tensor
from ....data._files import memory
from ....errors import OutOfMemoryError
from ..graph import Node

OPERATORS: dict[str, Callable[..., Any]] = {}  # type -> function of node and values, that gives a value or a tuple
REFUSALS: dict[str, Callable[[Node], str]] = {}  # type -> why this node cannot be run; "" if it can
FIXED: dict[str, tuple[int, ...]] = {}  # type -> places of arguments that are settings and never trained


def operator(
    name: str, *, fixed: tuple[int, ...] = (), refuse: Callable[[Node], str] | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function into the table; a decorator."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        OPERATORS[name] = function
        if fixed:
            FIXED[name] = fixed
        if refuse is not None:
            REFUSALS[name] = refuse
        return function

    return enter


def plainly(name: str, function: Callable[..., Any]) -> None:
    """Enter a function of values alone, for a node without settings."""
    OPERATORS[name] = lambda node, *values: function(*values)


def concrete(value: Any) -> np.ndarray:
    """The numbers of a value; where a function is being traced, a tensor has none, and this raises."""
    return value.numpy() if isinstance(value, Tensor) else np.asarray(value)


def whole(value: Any) -> tuple[int, ...]:
    """Numbers of a shape, of axes or of indices."""
    return tuple(int(n) for n in concrete(value).reshape(-1))


def rank(x: Any) -> int:
    return len(x.shape)


def kind(x: Any) -> str:
    """The kind of a value's dtype, as NumPy has it: f, i, u, b."""
    return np.dtype(x.dtype).kind


def affordable(shape: tuple[int, ...], dtype: Any) -> tuple[int, ...]:
    """A shape that an array of this dtype can have here."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if min(shape, default=0) < 0 or size > memory():
        raise OutOfMemoryError(f"got shape {shape} of {np.dtype(dtype)}, wanted one that fits into the memory")
    return shape


def axes_of(node: Node, given: Any) -> tuple[int, ...] | None:
    """Axes as an argument, or in older opsets as an attribute; None if there are none."""
    if given is not None:
        return whole(given)
    axes = node.get("axes")
    return None if axes is None else tuple(axes)
