"""Arguments of public functions: lists become arrays, axes and numbers are checked."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

import numpy as np

from ..checks import flag, is_whole, shown
from ..config import grad_mode
from ..core import Traceable
from ..core.dtype import KNOWN_DTYPES
from ..core.node import as_operand
from ..core.numpy_functions import axis_of
from ..errors import ShapeError

MOST = 2**59  # elements that an array of float64 may have


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def in_loop() -> bool:
    """Whether operations are recorded for a compiled loop over steps, which holds integers as floats."""
    tracer = grad_mode.tracer
    return tracer is not None and not tracer.whole


def operand(value: Any, name: str) -> Any:
    """`value` as an operand: tensors, symbols and arrays as they are, lists and numbers as arrays.

    Raises
    ------
    DTypeError
        If it is no array of numbers.
    """
    if isinstance(value, Traceable) or (type(value) is np.ndarray and value.dtype in KNOWN_DTYPES):
        return value
    return as_operand(value, name)


def number(value: Any, name: str) -> float:
    """A Python or NumPy number as a Python number."""
    if not isinstance(value, (int, float, np.number)) or isinstance(value, np.complexfloating):
        raise TypeError(f"{name}: got {shown(value)}, wanted a number")
    return value.item() if isinstance(value, np.number) else value


def integer(value: Any, name: str) -> int:
    """A Python or NumPy integer (no bool) as int."""
    if not is_whole(value):
        raise TypeError(f"{name}: got {shown(value)}, wanted an int")
    return int(value)


def integers(value: Any, name: str) -> tuple[int, ...]:
    """An int, or a sequence of ints, as a tuple."""
    found = value.tolist() if isinstance(value, np.ndarray) and value.dtype.kind in "iu" else value
    found = tuple(found) if isinstance(found, (list, tuple, range)) else (found,)
    for i in found:
        if type(i) is not int and not is_whole(i):  # shapes of tensors, at every broadcast, need no call
            raise TypeError(f"{name}: got {shown(value)}, wanted an int or a tuple of ints")
        if not -MOST < i < MOST:
            raise ShapeError(f"{name}: got {shown(value)}, wanted numbers below {MOST}")
    return tuple(int(i) for i in found)


def keeps(keepdims: Any) -> bool:
    """`keepdims` as a bool, without a call for what is one."""
    return keepdims if keepdims is False or keepdims is True else flag("keepdims", keepdims)


def one_axis(axis: Any, shape: tuple, scalars: bool = False) -> int:
    """`axis` of `shape`, counted from the front; a scalar has the axes 0 and -1 if `scalars`."""
    if scalars and not shape and integer(axis, "axis") in (0, -1):
        return 0
    return axis_of(shape, axis)


def several_axes(axis: Any, shape: tuple, scalars: bool = False) -> tuple[int, ...]:
    """`axis` (None: all, an int, or a tuple) as a rising tuple of axes counted from the front.

    With `scalars` a scalar has the axes 0 and -1, which are none, as for reductions of NumPy.
    """
    if axis is None:
        return tuple(range(len(shape)))
    given = integers(axis, "axis")
    if scalars and not shape and given in ((0,), (-1,)):
        return ()
    axes = tuple(sorted(one_axis(a, shape) for a in given))
    if len(set(axes)) != len(axes):
        raise ShapeError(f"axis: got {axis}, wanted each axis once")
    return axes


def broadcasts(*shapes: tuple) -> bool:
    """Whether arrays of these shapes broadcast together."""
    return all(
        len({n for n in lengths if n != 1}) < 2 for lengths in zip_longest(*(s[::-1] for s in shapes), fillvalue=1)
    )
