"""Parameters: leaf tensors that a module owns and an optimiser updates."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import config
from ..checks import flag, not_negative, shown, whole_number
from ..core import Tensor, as_array, check_dtype, is_float
from ..core.aliases import ArrayLike, DTypeLike
from ..errors import DTypeError, OutOfMemoryError
from ..ops.arguments import operand


class Parameter(Tensor):
    """A floating-point tensor that a :class:`Module` registers when it is set as an attribute.

    Parameters
    ----------
    data : array_like or Tensor
        Copied. A NumPy array keeps its dtype; Python floats become the default dtype.
    requires_grad : bool
        False freezes it.

    Raises
    ------
    DTypeError
        If the values are not floating-point numbers.

    Examples
    --------
    >>> from tinygrad_rnn import nn
    >>> nn.Parameter([0.5, 1.0]).requires_grad
    True
    """

    __slots__ = ()

    def __init__(self, data: ArrayLike, requires_grad: bool = True) -> None:
        array = np.array(as_array(data.data if isinstance(data, Tensor) else data, "data"), order="C")
        if not is_float(array.dtype):
            raise DTypeError(f"data: got {array.dtype} values, wanted float32 or float64 for a parameter")
        super().__init__(array, flag("requires_grad", requires_grad))


def float_dtype(dtype: DTypeLike | None) -> np.dtype:
    """`dtype` as float32 or float64; None is the default dtype."""
    if dtype is None:
        return config.get_default_dtype()
    try:
        out = np.dtype(dtype)
    except (TypeError, ValueError, SyntaxError):
        raise DTypeError(f"dtype: got {shown(dtype)}, wanted float32 or float64") from None
    if out.kind != "f" or out.itemsize not in (4, 8):
        raise DTypeError(f"dtype: got {out}, wanted float32 or float64")
    return check_dtype(out)  # in the byte order of the machine


def as_floats(x: Any, name: str, parameter: Tensor | None) -> Any:
    """An input as floats: arrays in the dtype of the parameter, if there is one; tensors stay."""
    x = operand(x, name)
    if isinstance(x, np.ndarray):
        own = x.dtype if is_float(x.dtype) else config.get_default_dtype()
        return Tensor(x.astype(own if parameter is None else parameter.dtype, copy=False))
    return x if is_float(x.dtype) else x.astype(config.get_default_dtype())


def check_eps(owner: str, eps: Any) -> float:
    """The number that is added to a variance, checked to be from 0 on.

    Raises
    ------
    TypeError, ValueError
        If it is something else.
    """
    return not_negative(f"{owner}: eps", eps)


def check_sizes(owner: str, **sizes: Any) -> None:
    """Raise ValueError unless all are whole numbers, at least 0."""
    for name, n in sizes.items():
        whole_number(f"{owner}: {name}", n, 0)


def empty(*shape: int, dtype: DTypeLike | None = None) -> Parameter:
    """A parameter of `shape` that an initialiser is about to fill.

    Raises
    ------
    OutOfMemoryError
        If there is no memory for so many values.
    """
    chosen = float_dtype(dtype)
    try:
        return Parameter(np.zeros(shape, chosen))
    except (MemoryError, ValueError, OverflowError) as error:  # more than there is, or than has addresses
        size = math.prod(map(float, shape)) * chosen.itemsize / 2**30
        raise OutOfMemoryError(
            f"parameter: got shape {shape}, wanted one that fits into the memory; it needs {size:.3g} GiB"
        ) from error
