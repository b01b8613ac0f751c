"""Checks of arguments that several files of this room share."""

from __future__ import annotations

import math
import operator
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np

from ..checks import shown
from ..config import get_default_dtype
from ..errors import DataError, DTypeError, ShapeError


def integer(name: str, value, minimum: int, maximum: int = 2**63 - 1) -> int:
    """`value` as an int from `minimum` to `maximum`."""
    try:
        if isinstance(value, np.bool_):  # which NumPy 2.2 takes, with a warning
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: got {shown(value)}, wanted an integer >= {minimum}") from None
    if not minimum <= number <= maximum:
        wanted = f">= {minimum}" if number < minimum else f"<= {maximum}"
        raise ValueError(f"{name}: got {shown(number)}, wanted an integer {wanted}")
    return number


def real(name: str, value) -> float:
    """`value`, a single number, as a float."""
    if not hasattr(value, "__float__") or isinstance(value, str | type) or np.iscomplexobj(value) or np.ndim(value):
        raise TypeError(f"{name}: got {shown(value)}, wanted a number")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def above_zero(name: str, value) -> float:
    """`value` as a finite float above 0."""
    number = real(name, value)
    if not 0 < number < math.inf:
        raise ValueError(f"{name}: got {shown(value)}, wanted a finite number above 0")
    return number


def text(name: str, value) -> str:
    """`value`, if it is a string."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: got {shown(value)}, wanted a string")
    return value


def separator(name: str, value) -> str:
    """`value`, if it is one character that can separate cells."""
    if len(text(name, value)) != 1 or value in '"\r\n':
        raise ValueError(f"{name}: got {shown(value)}, wanted one character, and no quote or line end")
    return value


def plain(name: str) -> str:
    """A name as others may write it: in any case, its accents in letters or beside them."""
    return unicodedata.normalize("NFC", name).casefold()


def as_dtype(name: str, dtype, kinds: str = "biuf") -> np.dtype:
    """`dtype` as one of real numbers, or of some `kinds` of them."""
    try:
        found = np.dtype(dtype)
    except (TypeError, ValueError, SyntaxError):
        raise DTypeError(f"{name}: got {shown(dtype)}, wanted a dtype of real numbers") from None
    if found.kind not in kinds:
        wanted = "float32 or float64" if kinds == "f" else "one of real numbers"
        raise DTypeError(f"{name}: got {found}, wanted {wanted}")
    return found


def as_array(name: str, values, dtype=None) -> np.ndarray:
    """`values` as a real array: arrays keep their dtype, Python floats take the default dtype."""
    array = as_any(name, values)
    if array.dtype.kind == "O":  # such as the table of numbers and booleans that pandas hands out
        array = _of_numbers(name, array)
    if array.dtype.kind not in "biuf":
        raise DTypeError(f"{name}: got dtype {array.dtype}, wanted real numbers")
    if dtype is not None:
        return cast(name, array, as_dtype("dtype", dtype))
    of_python = isinstance(values, (float, list, tuple)) and not isinstance(values, np.generic)
    if of_python and array.dtype == np.float64:
        array = array.astype(get_default_dtype())
    return array


def as_any(name: str, values) -> np.ndarray:
    """`values` as an array of whatever dtype."""
    try:
        return np.asarray(values)
    except (ValueError, OverflowError) as error:  # NumPy's words for rows of unequal length
        raise ShapeError(f"{name}: got values that form no array ({error})") from None
    except (TypeError, RuntimeError) as error:  # those of an object that refuses to be one
        raise TypeError(f"{name}: got {type(values).__name__}, wanted an array ({error})") from None


def _of_numbers(name: str, array: np.ndarray) -> np.ndarray:
    """An array of objects as one of numbers."""
    for index, value in np.ndenumerate(array):
        if not isinstance(value, (bool, int, float, np.bool_, np.integer, np.floating)):
            where = f"{name}[{', '.join(map(str, index))}]" if index else name
            raise DTypeError(f"{where}: got {shown(value)} in an array of dtype object, wanted real numbers")
    return np.array(array.tolist()).reshape(array.shape)


def cast(name: str, array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """`array` in another dtype; `DataError` at the first value that this cannot hold."""
    with np.errstate(over="ignore", invalid="ignore"):
        result = array.astype(dtype, copy=False)
        if dtype.kind == "f":
            lost = np.isinf(result) & np.isfinite(array)
        else:
            lost = result != array
    if lost.any():
        where, index = place(name, lost)
        raise DataError(f"{where}: got {array[index]}, which {dtype} cannot hold")
    return result


def require_holds(name: str, value, dtype: np.dtype) -> None:
    """Raise `ValueError` if `dtype` has no such number."""
    real(name, value)
    if dtype.kind == "f":
        low, high = -float(np.finfo(dtype).max), float(np.finfo(dtype).max)
        held = low <= value <= high or not math.isfinite(value)
    else:
        low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        held = low <= value <= high and int(value) == value
    if not held:
        raise ValueError(f"{name}: got {shown(value)}, which {dtype} cannot hold")


def listed(name: str, values) -> list:
    """The items of a sequence."""
    if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__") or isinstance(values, Mapping):
        raise TypeError(f"{name}: got {shown(values)}, wanted a sequence")
    try:
        return list(values)
    except TypeError:  # an array without an axis
        raise TypeError(f"{name}: got {shown(values)}, wanted a sequence") from None


def stacked(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays of one shape along a new first axis, of the dtype of :func:`common_dtype`."""
    return np.stack(arrays).astype(common_dtype(arrays), copy=False)


def common_dtype(arrays: Sequence[np.ndarray]) -> np.dtype:
    """A dtype for all; integers beside float32 do not make float64, as NumPy has it."""
    dtypes = {array.dtype for array in arrays}
    dtype = np.result_type(*dtypes)
    return np.dtype(get_default_dtype()) if dtype == np.float64 and dtype not in dtypes else dtype


def integer_array(name: str, values) -> np.ndarray:
    """`values` as an array of integers (an empty list counts as one)."""
    array = as_any(name, values)
    if array.size == 0 and not isinstance(values, np.ndarray):
        array = array.astype(np.int64)
    if array.dtype.kind == "O":
        array = _of_numbers(name, array)
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
