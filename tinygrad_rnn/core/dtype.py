"""Type promotion, by one rule: a float tensor keeps its dtype, whatever it meets.

Python numbers, integer tensors and plain NumPy arrays adopt the dtype of the float tensor that they meet.
Two float tensors of different dtypes are an error, because one of them would be cast silently.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import config
from ..errors import DTypeError


def is_float(dtype: np.dtype) -> bool:
    return dtype.kind == "f"


def check_dtype(dtype: Any, argument: str = "dtype") -> np.dtype:
    """`dtype` as a NumPy dtype, checked to be one that tensors can have."""
    try:
        out = np.dtype(dtype)
    except TypeError as e:
        raise DTypeError(f"{argument}: got {dtype!r}, wanted a NumPy dtype such as 'float32'") from e
    if out.kind not in "fiub" or out.itemsize > 8 or out == np.float16:
        raise DTypeError(f"{argument}: got {out}, wanted float32, float64, an integer dtype or bool")
    return out.newbyteorder("=") if not out.isnative else out


def promote(op: Any, args: list, tensor_at: list[bool]) -> list:
    """The inputs of `op` in one dtype; ``tensor_at[i]`` says which came from tensors."""
    floats = {a.dtype for i, a in enumerate(args) if tensor_at[i] and i not in op.untyped and is_float(a.dtype)}
    if len(floats) > 1:
        names = " and ".join(sorted(str(d) for d in floats))
        raise DTypeError(f"{op.name}: got {names} tensors, wanted one float dtype; cast one with .astype()")
    if floats:
        (target,) = floats
    else:
        target = _without_float_tensors(op, args)
    out: list = []
    for i, a in enumerate(args):
        if isinstance(a, np.generic):  # first: np.float64 is a float too, but one that upcasts
            a = a.item()
        if isinstance(a, (bool, int, float)):
            out.append(a)
            continue
        if type(a) is not np.ndarray or a.dtype.kind not in "fiub":
            a = as_array(a, op.name, narrow=True)
        if i in op.untyped or target is None or a.dtype == target:
            out.append(a)
        else:
            out.append(a.astype(target))
    if target is not None and not any(isinstance(a, np.ndarray) for a in _typed(op, out)):
        i = next(i for i in range(len(out)) if i not in op.untyped)  # of Python numbers, one carries it
        out[i] = np.asarray(out[i], target)
    return out


def _typed(op: Any, args: list) -> list:
    return [a for i, a in enumerate(args) if i not in op.untyped]


def _without_float_tensors(op: Any, args: list) -> np.dtype | None:
    """The dtype of operands without float tensors: of float arrays, else the default; None: their own."""
    typed = _typed(op, args)
    arrays = [a.dtype for a in typed if isinstance(a, np.ndarray) and is_float(a.dtype)]
    if arrays:
        return check_dtype(np.result_type(*arrays), op.name)
    fractional = any(isinstance(a, float) or (isinstance(a, np.generic) and is_float(a.dtype)) for a in typed)
    return config.get_default_dtype() if fractional or op.floats else None


KNOWN_DTYPES = frozenset(map(np.dtype, "?bhilqBHILQfd"))  # what tensors can have


def is_supported(dtype: np.dtype) -> bool:
    """Whether tensors can have `dtype`."""
    return dtype in KNOWN_DTYPES


def as_array(value: Any, argument: str, narrow: bool = False, dtype: np.dtype | None = None) -> np.ndarray:
    """`value` as an array of a dtype that tensors can have.

    What has a dtype keeps it, in a list too; Python floats alone get the default dtype, or one that holds what the
    caller casts to `dtype` anyway, so that they lose no digits on the way. With `narrow`, floats of any width are
    taken, as the caller casts them.
    """
    if type(value) is np.ndarray and value.dtype in KNOWN_DTYPES:
        return value
    try:
        array = np.asarray(value)
    except ValueError as e:
        raise DTypeError(f"{argument}: got nested sequences of unequal lengths, wanted a rectangular array") from e
    except (RuntimeError, TypeError) as e:  # of what has an array in a form that NumPy does not know
        raise DTypeError(f"{argument}: got {type(value).__name__}, which NumPy cannot read: {e}") from e
    if array.dtype.kind not in "fiub":
        raise DTypeError(f"{argument}: got {type(value).__name__} of dtype {array.dtype}, wanted numbers")
    found: set = set()
    if type(value) is not np.ndarray:
        _look_into(value, argument, found)
    if array.dtype.kind == "f":
        floats = [d for d in found if is_float(d)] if type(value) is not np.ndarray else [array.dtype]
        if dtype is not None:
            floats.append(dtype if is_float(dtype) else np.dtype(float))
        array = array.astype(np.result_type(*floats) if floats else config.get_default_dtype(), copy=False)
    if not narrow and (array.dtype == np.float16 or array.dtype.itemsize > 8):
        raise DTypeError(f"{argument}: got dtype {array.dtype}, wanted float32 or float64; cast it first")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


_PLAIN = frozenset({bool, int, float})


def _look_into(value: Any, argument: str, found: set) -> None:
    """Collect in `found` the dtypes of all arrays and NumPy numbers in `value`; refuse masked values."""
    if isinstance(value, (list, tuple)):
        if not _PLAIN.issuperset(map(type, value)):
            for v in value:
                _look_into(v, argument, found)
    elif type(value) not in _PLAIN:
        # np.ma is imported when it is asked for, and only once there are masked arrays it is there
        masked = isinstance(value, np.ndarray) and isinstance(value, np.ma.MaskedArray)
        mask = getattr(value, "mask", False) if masked else False
        if np.any(mask):
            raise DTypeError(f"{argument}: got an array with masked values, wanted none; fill them: a.filled(value)")
        found.add(np.asarray(value).dtype)
