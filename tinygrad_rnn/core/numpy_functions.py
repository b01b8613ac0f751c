"""NumPy's functions written in operations on tensors, for the table of :mod:`.numpy_protocol`."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ..errors import ShapeError
from .dtype import is_float
from .functions import functions as f
from .node import Traceable


def has_tensors(value: Any) -> bool:
    """Whether `value` is a tensor, or a list that holds one."""
    if isinstance(value, (list, tuple)):
        return any(map(has_tensors, value))
    return isinstance(value, Traceable)


def operand(x: Any) -> Any:
    """A tensor or an array of `x`, which may be a list with tensors."""
    if isinstance(x, (list, tuple)) and has_tensors(x):
        return f.stack([operand(v) for v in x])
    return x if isinstance(x, Traceable) else np.asarray(x)


def axis_of(shape: tuple, axis: Any, name: str = "axis") -> int:
    """`axis` of `shape`, counted from the front."""
    if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)):
        raise TypeError(f"{name}: got {axis!r}, wanted an int")
    n = len(shape)
    if not -n <= axis < n:
        raise ShapeError(f"{name}: got {axis}, wanted an axis of shape {tuple(shape)}")
    return int(axis) % n


def with_axes(least: int, x: Any, name: str) -> Any:
    """`x` as an operand, checked to have at least so many axes."""
    x = operand(x)
    if len(x.shape) < least:
        raise ShapeError(f"{name}: got shape {tuple(x.shape)}, wanted {least} axes or more")
    return x


def floating(x: Any) -> Any:
    """`x` as an operand of floats; integers are converted."""
    x = operand(x)
    return x if is_float(x.dtype) else x * 1.0


def as_1d(x: Any) -> Any:
    return f.reshape(operand(x), -1)


def at_least(n: int, x: Any) -> Any:
    """`x` with `n` axes or more: axes of length 1 are inserted where NumPy inserts them."""
    x = operand(x)
    shape = tuple(x.shape)
    if len(shape) >= n:
        return x
    missing = {(3, 2): (*shape, 1), (3, 1): (1, *shape, 1)}
    return f.reshape(x, missing.get((n, len(shape)), (1,) * (n - len(shape)) + shape))


def each(n: int, arrays: tuple) -> Any:
    result = tuple([at_least(n, x) for x in arrays])
    return result[0] if len(result) == 1 else result


def multi_dot(arrays: Any) -> Any:
    if len(arrays) < 2:
        raise ShapeError(f"np.linalg.multi_dot: got {len(arrays)} arrays, wanted two or more")
    return functools.reduce(f.dot, arrays)


def outer(x1: Any, x2: Any) -> Any:
    """``np.linalg.outer``, which takes vectors alone."""
    x1, x2 = operand(x1), operand(x2)
    if len(x1.shape) != 1 or len(x2.shape) != 1:
        raise ShapeError(f"np.linalg.outer: got shapes {tuple(x1.shape)} and {tuple(x2.shape)}, wanted vectors")
    return f.reshape(x1, (-1, 1)) * f.reshape(x2, (1, -1))


def inner(a: Any, b: Any) -> Any:
    a, b = operand(a), operand(b)
    return f.multiply(a, b) if not a.shape or not b.shape else f.tensordot(a, b, (-1, -1))


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """``np.linalg.norm``: of vectors, and Frobenius's of matrices; its gradient at zero is zero."""
    x = operand(x)
    if axis is None and ord is None:
        norm = two_norm(f.reshape(x, -1), None, False)
        return f.reshape(norm, (1,) * len(x.shape)) if keepdims else norm
    axes = tuple(range(len(x.shape))) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
    if len(axes) == 2 and ord in (None, "fro"):
        return two_norm(x, axes, keepdims)
    if len(axes) != 1:
        raise TypeError(f"np.linalg.norm: ord={ord!r} of matrices is not supported for tensors")
    return vector_norm(x, axis=axes, keepdims=keepdims, ord=2 if ord is None else ord)


def two_norm(x: Any, axes: Any, keepdims: bool) -> Any:
    squares = f.sum(x * x, axes, keepdims)  # a root of 0 has an infinite slope, which times 0 would be NaN
    return f.where(squares == 0, 0.0, f.sqrt(f.where(squares == 0, 1.0, squares)))


def vector_norm(x: Any, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    x = operand(x)
    if ord == 2:
        return two_norm(x, axis, keepdims)
    if ord in (np.inf, -np.inf):
        return (f.max if ord > 0 else f.min)(f.abs(x), axis, keepdims)
    if ord == 0:
        return f.sum(f.astype(x != 0, x.dtype), axis, keepdims)
    if not isinstance(ord, (int, float)):
        raise TypeError(f"np.linalg.norm: ord={ord!r} of vectors is not supported for tensors")
    total = f.sum(f.abs(x) if ord == 1 else f.abs(x) ** ord, axis, keepdims)
    return total if ord == 1 else total ** (1.0 / ord)


def average(a: Any, axis: Any = None, weights: Any = None, keepdims: bool = False) -> Any:
    a = operand(a)
    if weights is None:
        return f.mean(a, axis, keepdims)
    weights = operand(weights)
    if tuple(weights.shape) != tuple(a.shape):
        if len(weights.shape) != 1 or not isinstance(axis, int) or weights.shape[0] != a.shape[axis_of(a.shape, axis)]:
            raise ShapeError(
                f"np.average: got weights {tuple(weights.shape)} for {tuple(a.shape)}, wanted one for each"
            )
        weights = f.reshape(weights, tuple(n if i == axis % len(a.shape) else 1 for i, n in enumerate(a.shape)))
        weights = f.broadcast_to(weights, a.shape)
    return f.sum(a * weights, axis, keepdims) / f.sum(weights, axis, keepdims)


def as_column(x: Any) -> Any:
    """A vector as a matrix of one column, as ``np.column_stack`` reads it."""
    x = operand(x)
    return f.reshape(x, (-1, 1)) if len(x.shape) < 2 else x


def broadcast(arrays: tuple) -> tuple:
    arrays = tuple([operand(x) for x in arrays])
    shape = np.broadcast_shapes(*[tuple(np.shape(x)) for x in arrays])
    return tuple([f.broadcast_to(x, shape) if isinstance(x, Traceable) else np.broadcast_to(x, shape) for x in arrays])


def where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None and y is None:
        return np.nonzero(np.asarray(condition))
    return f.where(condition, operand(x), operand(y))


def full_like(a: Any, value: Any, dtype: Any) -> Any:
    return f.broadcast_to(value, a.shape) if isinstance(value, Traceable) else f.full(a.shape, value, dtype or a.dtype)


def vecdot(a: Any, b: Any) -> Any:
    return f.sum(f.multiply(a, b), -1)


def cumulative(operation: Any, x: Any, axis: Any) -> Any:
    """``np.cumulative_sum`` and ``np.cumulative_prod``, which want an axis of what has several."""
    x = operand(x)
    if axis is None and len(x.shape) != 1:
        raise ShapeError(f"axis: got None for shape {tuple(x.shape)}, wanted one of its axes")
    return operation(x, axis)


def of_arrays(operation: Any, a: Any, axis: Any) -> Any:
    """``np.sort`` and ``np.argsort``, which take no scalars."""
    return operation(a if axis is None else with_axes(1, a, "np.sort"), axis)
