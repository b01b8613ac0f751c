"""NumPy's functions written in operations on tensors, for the table of :mod:`.numpy_protocol`."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
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


def dot(a: Any, b: Any) -> Any:
    a, b = operand(a), operand(b)
    if not a.shape or not b.shape:
        return f.multiply(a, b)
    if len(b.shape) <= 2:
        return f.matmul(a, b)
    return tensordot(a, b, (-1, -2))


def multi_dot(arrays: Any) -> Any:
    if len(arrays) < 2:
        raise ShapeError(f"np.linalg.multi_dot: got {len(arrays)} arrays, wanted two or more")
    return functools.reduce(dot, arrays)


def outer(x1: Any, x2: Any) -> Any:
    """``np.linalg.outer``, which takes vectors alone."""
    x1, x2 = operand(x1), operand(x2)
    if len(x1.shape) != 1 or len(x2.shape) != 1:
        raise ShapeError(f"np.linalg.outer: got shapes {tuple(x1.shape)} and {tuple(x2.shape)}, wanted vectors")
    return f.reshape(x1, (-1, 1)) * f.reshape(x2, (1, -1))


def inner(a: Any, b: Any) -> Any:
    a, b = operand(a), operand(b)
    return f.multiply(a, b) if not a.shape or not b.shape else tensordot(a, b, (-1, -1))


def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    a, b = operand(a), operand(b)
    n, m = len(a.shape), len(b.shape)
    if isinstance(axes, (int, np.integer)):
        if axes > min(n, m):
            raise ShapeError(f"axes: got {axes} for shapes {tuple(a.shape)} and {tuple(b.shape)}, wanted axes of both")
        left, right = list(range(n - axes, n)), list(range(axes))
    else:
        left, right = ([axis_of(x.shape, i, "axes") for i in np.atleast_1d(side)] for x, side in zip((a, b), axes))
    if len(left) != len(right) or any(a.shape[i] != b.shape[j] for i, j in zip(left, right)):
        raise ShapeError(f"np.tensordot: got shapes {tuple(a.shape)} and {tuple(b.shape)}, which do not fit at {axes}")
    # one matrix product: axes that are summed go last on the left and first on the right
    rows, columns = [i for i in range(n) if i not in left], [j for j in range(m) if j not in right]
    count = math.prod(a.shape[i] for i in left)
    flat = f.reshape(f.transpose(a, [*rows, *left]) if n else a, (math.prod(a.shape[i] for i in rows), count))
    wide = f.reshape(f.transpose(b, [*right, *columns]) if m else b, (count, math.prod(b.shape[j] for j in columns)))
    return f.reshape(f.matmul(flat, wide), tuple([a.shape[i] for i in rows] + [b.shape[j] for j in columns]))


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


def array_split(x: Any, sections: Any, axis: int = 0) -> Any:
    """``np.array_split``: parts whose lengths differ by at most one."""
    x = operand(x)
    if not isinstance(sections, (int, np.integer)):
        return f.split(x, sections, axis)
    if sections < 1:
        raise ShapeError(f"np.array_split: got {sections} sections, wanted one or more")
    length = x.shape[axis_of(x.shape, axis)]
    each, more = divmod(length, int(sections))
    return f.split(x, np.cumsum([each + (i < more) for i in range(int(sections))])[:-1].tolist(), axis)


def roll(a: Any, shift: Any, axis: Any = None) -> Any:
    a = operand(a)
    if axis is None:
        return f.reshape(roll(as_1d(a), shift, 0), a.shape)
    try:
        shifts, axes = np.broadcast_arrays(shift, axis)
    except ValueError:
        raise ShapeError(f"shift: got {shift!r} for axis={axis!r}, wanted one for each axis") from None
    for s, i in zip(shifts.reshape(-1).tolist(), axes.reshape(-1).tolist()):
        n = a.shape[axis_of(a.shape, i)]
        if n and s % n:
            head, tail = f.split(a, [n - s % n], i)
            a = f.concat([tail, head], i)
    return f.copy(a)


def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    a = with_axes(2, a, "np.diagonal")
    axis1, axis2 = axis_of(a.shape, axis1, "axis1"), axis_of(a.shape, axis2, "axis2")
    if axis1 == axis2:
        raise ShapeError(f"axis2: got {axis2}, wanted another one than axis1")
    a = f.moveaxis(f.moveaxis(a, axis1, -1), axis2 - (axis2 > axis1), -1)
    n, m = a.shape[-2:]
    rows, columns = max(0, -offset), max(0, offset)
    length = max(0, min(n - rows, m - columns))
    return a[..., list(range(rows, rows + length)), list(range(columns, columns + length))]


def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    return f.sum(diagonal(a, offset, axis1, axis2), -1)


def masked(keep: Callable, m: Any, k: int) -> Any:
    m = with_axes(1, m, f"np.{keep.__name__}")
    return f.where(keep(np.ones(m.shape[-2:], bool), k), m, 0)


def diff(a: Any, n: int = 1, axis: int = -1) -> Any:
    a = operand(a)
    if n < 0:
        raise ValueError(f"n: got {n}, wanted no negative number")
    lead = (slice(None),) * axis_of(a.shape, axis)
    for _ in range(n):
        a = a[(*lead, slice(1, None))] - a[(*lead, slice(None, -1))]
    return a


def cumulative_sum(x: Any, axis: Any = None) -> Any:
    x = operand(x)
    if axis is None and len(x.shape) != 1:
        raise ShapeError(f"axis: got None for shape {tuple(x.shape)}, wanted one of its axes")
    return f.cumsum(x, axis)


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


def take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> Any:
    if axis is None:
        return take_along_axis(as_1d(arr), indices, 0)
    arr, indices = operand(arr), np.asarray(indices)
    axis = axis_of(arr.shape, axis)
    if indices.ndim != len(arr.shape):
        raise ShapeError(f"indices: got shape {indices.shape}, wanted as many axes as in {tuple(arr.shape)}")
    grid = [np.arange(n).reshape((-1,) + (1,) * (len(arr.shape) - 1 - i)) for i, n in enumerate(arr.shape)]
    grid[axis] = indices
    return arr[tuple(grid)]


def sort(a: Any, axis: Any = -1) -> Any:
    a = as_1d(a) if axis is None else operand(a)
    axis = -1 if axis is None else axis
    return take_along_axis(a, f.argsort(a, axis), axis)


def as_column(x: Any) -> Any:
    """A vector as a matrix of one column, as ``np.column_stack`` reads it."""
    x = operand(x)
    return f.reshape(x, (-1, 1)) if len(x.shape) < 2 else x


def hstack(tup: Any) -> Any:
    arrays = [at_least(1, x) for x in tup]
    return f.concat(arrays, 0 if len(arrays[0].shape) == 1 else 1)


def broadcast(arrays: tuple) -> tuple:
    arrays = tuple([operand(x) for x in arrays])
    shape = np.broadcast_shapes(*[tuple(np.shape(x)) for x in arrays])
    return tuple([f.broadcast_to(x, shape) if isinstance(x, Traceable) else np.broadcast_to(x, shape) for x in arrays])


def logaddexp(a: Any, b: Any) -> Any:
    return f.logsumexp(f.stack(list(broadcast((a, b)))), 0)


def where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None and y is None:
        return np.nonzero(np.asarray(condition))
    return f.where(condition, operand(x), operand(y))


def full_like(a: Any, value: Any, dtype: Any) -> Any:
    return f.broadcast_to(value, a.shape) if isinstance(value, Traceable) else f.full(a.shape, value, dtype or a.dtype)


def vecdot(a: Any, b: Any) -> Any:
    return f.sum(f.multiply(a, b), -1)
