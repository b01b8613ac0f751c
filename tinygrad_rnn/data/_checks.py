"""Checks of arguments that several files of this room share."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import numpy as np

from ..config import get_default_dtype
from ..errors import DataError, DTypeError, ShapeError


def integer(name: str, value, minimum: int) -> int:
    """`value` as an int of at least `minimum`."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: got {value!r}, wanted an integer >= {minimum}") from None
    if number < minimum:
        raise ValueError(f"{name}: got {number}, wanted an integer >= {minimum}")
    return number


def choice(name: str, value, options: Sequence[str]) -> str:
    """`value`, if it is one of `options`."""
    if value not in options:
        raise ValueError(f"{name}: got {value!r}, wanted one of {', '.join(map(repr, options))}")
    return value


def as_array(name: str, values, dtype=None) -> np.ndarray:
    """`values` as a real array: arrays keep their dtype, Python floats take the default dtype."""
    try:
        array = np.asarray(values, dtype)
    except ValueError as error:  # NumPy's words for rows of unequal length
        raise ShapeError(f"{name}: got values that form no array ({error})") from None
    if array.dtype.kind not in "biuf":
        raise DTypeError(f"{name}: got dtype {array.dtype}, wanted real numbers")
    of_python = isinstance(values, (float, list, tuple)) and not isinstance(values, np.generic)
    if dtype is None and of_python and array.dtype == np.float64:
        array = array.astype(get_default_dtype())
    return array


def integer_array(name: str, values) -> np.ndarray:
    """`values` as an array of integers (an empty list counts as one)."""
    array = np.asarray(values)
    if array.size == 0 and not isinstance(values, np.ndarray):
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise DTypeError(f"{name}: got dtype {array.dtype}, wanted integers")
    return array


def place(name: str, wrong: np.ndarray) -> tuple[str, tuple[int, ...]]:
    """Name and index of the first true entry of `wrong`, such as ``("x[3, 0]", (3, 0))``."""
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    return (f"{name}[{', '.join(map(str, index))}]" if index else name), index


def require_finite(name: str, array: np.ndarray) -> None:
    """Raise `DataError` at the first NaN or infinity."""
    finite = np.isfinite(array)
    if not finite.all():
        where, index = place(name, ~finite)
        raise DataError(f"{where}: got {array[index]}, wanted a finite number")


def require_range(name: str, array: np.ndarray, size: int) -> None:
    """Raise `DataError` at the first entry outside ``0 <= entry < size``."""
    wrong = (array < 0) | (array >= size)
    if wrong.any():
        where, index = place(name, wrong)
        raise DataError(f"{where}: got {array[index]}, wanted 0 <= value < {size}")
