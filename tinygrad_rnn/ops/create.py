"""New tensors: constants, ranges, random values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import config
from ..checks import flag
from ..core import Tensor, check_dtype, is_float
from ..core.aliases import ArrayLike, DTypeLike, Shape, Value
from ..errors import DTypeError, ShapeError
from .arguments import MOST, integer, integers, number, operand
from .index import OutOfRange, as_indices, in_program, in_range, in_step, row_of


def _dtype(dtype: Any) -> np.dtype:
    if isinstance(dtype, int):
        raise DTypeError(f"dtype: got {dtype}, wanted a NumPy dtype; a shape is one tuple, such as (2, {dtype})")
    return config.get_default_dtype() if dtype is None else check_dtype(dtype)


def _shape(shape: Shape) -> tuple[int, ...]:
    shape = integers(shape, "shape")
    if min(shape, default=0) < 0 or math.prod(shape) > MOST:
        raise ShapeError(f"shape: got {shape}, wanted lengths from 0 on, of no more than {MOST} elements")
    return shape


def zeros(shape: Shape, dtype: DTypeLike | None = None) -> Tensor:
    """Zeros of `shape` (an int or a tuple)."""
    return Tensor(np.zeros(_shape(shape), _dtype(dtype)))


def ones(shape: Shape, dtype: DTypeLike | None = None) -> Tensor:
    """Ones of `shape` (an int or a tuple)."""
    return Tensor(np.ones(_shape(shape), _dtype(dtype)))


def full(shape: Shape, value: float, dtype: DTypeLike | None = None) -> Tensor:
    """`value` everywhere."""
    return Tensor(np.full(_shape(shape), number(value, "value"), _dtype(dtype)))


def zeros_like(x: Value, dtype: DTypeLike | None = None) -> Tensor:
    """Zeros shaped as `x`, of its dtype unless given."""
    x = operand(x, "zeros_like")
    return Tensor(np.zeros(x.shape, x.dtype if dtype is None else check_dtype(dtype)))


def ones_like(x: Value, dtype: DTypeLike | None = None) -> Tensor:
    """Ones shaped as `x`, of its dtype unless given."""
    x = operand(x, "ones_like")
    return Tensor(np.ones(x.shape, x.dtype if dtype is None else check_dtype(dtype)))


def full_like(x: Value, value: float, dtype: DTypeLike | None = None) -> Tensor:
    """`value` everywhere, shaped as `x`, of its dtype unless given."""
    x = operand(x, "full_like")
    return Tensor(np.full(x.shape, number(value, "value"), x.dtype if dtype is None else check_dtype(dtype)))


def eye(n: int, m: int | None = None, dtype: DTypeLike | None = None) -> Tensor:
    """The identity matrix, (n, n) or (n, m)."""
    n = integer(n, "n")
    m = n if m is None else integer(m, "m")
    _shape((n, m))
    return Tensor(np.eye(n, m, dtype=_dtype(dtype)))


def arange(start: float, stop: float | None = None, step: float = 1, dtype: DTypeLike | None = None) -> Tensor:
    """Evenly spaced values, as ``numpy.arange``; floats get the default dtype."""
    start, step = number(start, "start"), number(step, "step")
    stop = None if stop is None else number(stop, "stop")
    if not step or not abs((start if stop is None else stop - start) / step) < MOST:
        raise ValueError(f"arange: got start={start}, stop={stop}, step={step}, wanted finitely many numbers")
    if any(abs(v) > MOST for v in (start, stop or 0, step)):  # as floats: NumPy's integers would overflow
        start, stop, step = float(start), None if stop is None else float(stop), float(step)
    values = np.arange(start, stop, step) if stop is not None else np.arange(0, start, step)
    if dtype is not None or values.dtype.kind == "f":
        values = values.astype(_dtype(dtype))
    return Tensor(values)


def linspace(start: float, stop: float, num: int = 50, endpoint: bool = True, dtype: DTypeLike | None = None) -> Tensor:
    """`num` numbers from `start` to `stop`, evenly spaced, with `stop` itself unless `endpoint` is False."""
    start, stop, num = float(number(start, "start")), float(number(stop, "stop")), integer(num, "num")
    _shape((num,))
    return Tensor(np.linspace(start, stop, num, flag("endpoint", endpoint)).astype(_dtype(dtype)))


def one_hot(ids: ArrayLike, num_classes: int, dtype: DTypeLike | None = None) -> Tensor:
    """1 at the id, else 0: integers (...) become floats (..., num_classes), which losses and layers take.

    Raises
    ------
    IndexError
        If an id is negative, or not below `num_classes`.

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> tr.one_hot([0, 2], 3).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    num_classes, dtype = integer(num_classes, "num_classes"), _dtype(dtype)
    if in_step(ids):
        found = config.grad_mode.tracer.in_range(ids, 0, num_classes - 1, f"ids from 0 to {num_classes - 1}")
        return (found[..., None] == np.arange(num_classes)).astype(dtype)
    if in_program(ids):
        found = in_range(ids, 0, num_classes - 1, f"ids from 0 to {num_classes - 1}")
        return (found[..., None] == np.arange(num_classes)).astype(dtype)
    found = as_indices(ids)
    _shape((*found.shape, num_classes))
    if found.size and not 0 <= found.min() <= found.max() < num_classes:
        worst = found.min() if found.min() < 0 else found.max()
        raise OutOfRange(f"one_hot: got the id {worst}, wanted ids from 0 to {num_classes - 1}", row_of(found == worst))
    return Tensor((found[..., None] == np.arange(num_classes)).astype(dtype))


def rand(shape: Shape, dtype: DTypeLike | None = None) -> Tensor:
    """Values drawn evenly from [0, 1) by the package's generator (:func:`tinygrad_rnn.seed`)."""
    dtype = _dtype(dtype)
    if not is_float(dtype):
        raise DTypeError(f"rand: dtype: got {dtype}, wanted float32 or float64")
    return Tensor(np.asarray(config.generator().random(_shape(shape), dtype=dtype)))


def randn(shape: Shape, dtype: DTypeLike | None = None) -> Tensor:
    """Standard normal values from the package's generator (:func:`tinygrad_rnn.seed`)."""
    dtype = _dtype(dtype)
    if not is_float(dtype):
        raise DTypeError(f"randn: dtype: got {dtype}, wanted float32 or float64")
    return Tensor(np.asarray(config.generator().standard_normal(_shape(shape), dtype=dtype)))
