"""Numbers that a function wants between two others, on the tape and when a program of it runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..config import grad_mode
from ..core import Tensor, Traceable, primitive
from ..core.aliases import Value


def require_between(x: Any, low: float, high: float, message: str, nan: bool = False) -> Any:
    """`x`, all of whose numbers lie between two others; to go on with.

    In a traced function it is looked at when that runs, unless its operations tell. In a cell's step nobody looks.

    Parameters
    ----------
    x : Tensor or array
    low, high : float
    message : str
        Of the error.
    nan : bool
        Whether NaN is let through.

    Raises
    ------
    ValueError
        If there is a number outside, or NaN.
    """
    tracer: Any = grad_mode.tracer
    if tracer is not None and isinstance(x, Tensor | Traceable):
        return tracer.between(x, low, high, message, nan) if tracer.whole else x
    require(x.data if isinstance(x, Tensor) else np.asarray(x), low, high, message, nan)
    return x


def require(array: np.ndarray, low: float, high: float, message: str, nan: bool) -> None:
    """Raise ValueError if there is a number outside of these bounds, or NaN."""
    bad = (array < low) | (array > high) if nan else ~((array >= low) & (array <= high))
    if np.any(bad):
        raise ValueError(message)


@primitive(vjps=[lambda g, y, x, low, high, message, nan: g])
def between(x: Value, low: float, high: float, message: str, nan: bool) -> Value:
    """`x`, looked at when a program runs."""
    require(x, low, high, message, nan)
    return x


BETWEEN = between.op
