"""Sorting and what follows from it, and elements picked along an axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..checks import flag
from ..config import grad_mode
from ..core import Lowering, primitive
from ..core.aliases import ArrayLike, Axes, Value
from ..core.signatures import like_first
from ..errors import ShapeError
from .arguments import broadcasts, in_loop, integer, keeps, one_axis, operand, several_axes
from .elementwise import where
from .index import as_indices, from_start, getitem, in_program, in_range, in_step
from .shape import broadcast_to, expand_dims, reshape, transpose


def _in_line(n: int, behind: int, dtype: np.dtype) -> np.ndarray:
    """The numbers from 0 to n - 1 along an axis with so many axes behind it."""
    return np.arange(n, dtype=dtype).reshape((n,) + (1,) * behind)


def _decompose_argsort(x: Value, axis: int, descending: bool) -> Value:
    """How many elements come before each one is its place; the index of the place is the element."""
    tracer: Any = grad_mode.tracer
    if not in_loop():
        return NotImplemented
    n, behind = x.shape[axis], len(x.shape) - axis - 1
    x = x.astype("int64") if x.dtype.kind == "b" else x
    mine, other = expand_dims(x, axis + 1), expand_dims(x, axis)
    sooner = other > mine if descending else other < mine
    level = other == mine
    if x.dtype.kind == "f":  # NaN comes last
        sooner = sooner | ((mine != mine) & (other == other))
        level = level | ((mine != mine) & (other != other))
    earlier = (np.arange(n)[:, None] > np.arange(n)).reshape((n, n) + (1,) * behind)
    places = (sooner | (level & earlier)).astype(tracer.dtype).sum(axis=axis + 1)
    there = expand_dims(places, axis) == _in_line(n, behind + 1, tracer.dtype)
    return tracer.whole_numbers((there * _in_line(n, behind, tracer.dtype)).sum(axis=axis + 1), 0, n - 1)


@primitive(lowering=Lowering(decompose=_decompose_argsort))
def _argsort(x: Value, axis: int, descending: bool) -> Value:
    if not descending:
        return np.argsort(x, axis=axis, kind="stable")
    back = np.argsort(np.flip(x, axis), axis=axis, kind="stable")  # from behind, so that ties keep their order
    order = np.flip(x.shape[axis] - 1 - back, axis)
    if x.dtype.kind == "f" and np.isnan(x).any():  # last, here too
        count = np.isnan(x).sum(axis=axis, keepdims=True)
        places = (np.arange(x.shape[axis]).reshape((-1,) + (1,) * (x.ndim - 1 - axis)) + count) % x.shape[axis]
        order = np.take_along_axis(order, places, axis)
    return order


def _picked_vjp(g: Value, y: Value, x: Value, places: Value, *, needs: Sequence[bool], axis: int) -> list[Value | None]:
    return [_put_back(g, places, axis=axis, length=x.shape[axis]), *[None for _ in needs[1:]]]


def _decompose_picked(x: Value, places: Value, axis: int) -> Value:
    return _chosen(x, places, axis) if in_loop() else NotImplemented


@primitive(joint_vjp=_picked_vjp, saves=(1,), untyped=(1,), lowering=Lowering(decompose=_decompose_picked))
def _picked(x: Value, places: Value, axis: int) -> Value:
    """The elements at `places`, which are different ones, along `axis`; they may be computed in a program."""
    return np.take_along_axis(x, places, axis)


def _gathered_vjp(
    g: Value, y: Value, x: Value, places: Value, *, needs: Sequence[bool], axis: int
) -> list[Value | None]:
    return [_added_back(g, places, axis=axis, length=x.shape[axis]), *[None for _ in needs[1:]]]


@primitive(joint_vjp=_gathered_vjp, saves=(1,), untyped=(1,))
def _gathered(x: Value, places: Value, axis: int) -> Value:
    """The elements at `places`, of which several may be one, along `axis`."""
    return np.take_along_axis(x, places, axis)


def _added_back_vjp(
    g: Value, y: Value, x: Value, places: Value, *, needs: Sequence[bool], axis: int, length: int
) -> list[Value | None]:
    return [_gathered(g, places, axis=axis), *[None for _ in needs[1:]]]


@primitive(joint_vjp=_added_back_vjp, saves=(1,), untyped=(1,))
def _added_back(x: Value, places: Value, axis: int, length: int) -> Value:
    """The transpose of gathering: zeros, to which elements are added at `places`."""
    out = np.zeros((*x.shape[:axis], length, *x.shape[axis + 1 :]), x.dtype)
    grid = list(np.ogrid[tuple(slice(n) for n in x.shape)])
    grid[axis] = places
    np.add.at(out, tuple(grid), x)
    return out


def _put_back_vjp(
    g: Value, y: Value, x: Value, places: Value, *, needs: Sequence[bool], axis: int, length: int
) -> list[Value | None]:
    return [_picked(g, places, axis=axis), *[None for _ in needs[1:]]]


@primitive(joint_vjp=_put_back_vjp, saves=(1,), untyped=(1,))
def _put_back(x: Value, places: Value, axis: int, length: int) -> Value:
    """The transpose of picking: zeros, but at `places`."""
    out = np.zeros((*x.shape[:axis], length, *x.shape[axis + 1 :]), x.dtype)
    np.put_along_axis(out, places, x, axis)
    return out


def _sorted_axis(x: Value, axis: int | None, name: str) -> tuple[Value, int]:
    """The operand and its checked axis; None flattens it."""
    x = operand(x, name)
    if axis is None or not x.shape:
        axis = 0 if axis is None else one_axis(axis, x.shape, scalars=True)
        x = reshape(x, -1)
    return x, one_axis(axis, x.shape)


@like_first
def argsort(x: Value, axis: int | None = -1, descending: bool = False) -> Value:
    """Indices that sort `x` along `axis` (None: the flattened tensor), ties in their order, NaN last."""
    x, axis = _sorted_axis(x, axis, "argsort")
    return _argsort(x, axis=axis, descending=flag("descending", descending))


@like_first
def sort(x: Value, axis: int | None = -1, descending: bool = False) -> Value:
    """`x` in rising (or falling) order along `axis` (None: flattened), NaN last.

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> tr.sort(tr.tensor([3.0, 1.0, 2.0])).tolist()
    [1.0, 2.0, 3.0]
    """
    x, axis = _sorted_axis(x, axis, "sort")
    return _picked(x, _argsort(x, axis=axis, descending=flag("descending", descending)), axis=axis)


def topk(x: Value, k: int, axis: int = -1) -> tuple[Value, Value]:
    """The `k` largest elements along `axis`, falling, and their indices; NaN counts as the smallest.

    Parameters
    ----------
    x : Tensor or array
    k : int
        At most the length of the axis.
    axis : int

    Returns
    -------
    values, indices
        With `k` in place of the length of the axis; gradients go to the elements that were picked.

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> values, indices = tr.topk(tr.tensor([0.1, 0.7, 0.2]), 2)
    >>> indices.tolist()
    [1, 2]
    """
    x, axis = _sorted_axis(x, axis, "topk")
    k = integer(k, "k")
    if not 0 <= k <= x.shape[axis]:
        raise ShapeError(f"k: got {k}, wanted at most the {x.shape[axis]} elements along axis {axis}")
    order = _argsort(x, axis=axis, descending=True)[(*(slice(None),) * axis, slice(0, k))]
    return _picked(x, order, axis=axis), order


def _chosen(x: Value, places: Value, axis: int) -> Value:
    """The elements at places that a step computes: a sum over the axis in which all others are zero."""
    n, behind = x.shape[axis], len(x.shape) - axis - 1
    hit = expand_dims(from_start(places, n), axis + 1) == _in_line(n, behind, np.dtype(int))
    found = where(hit, expand_dims(x if x.dtype.kind != "b" else x.astype("int64"), axis), 0).sum(axis=axis + 1)
    return found if x.dtype.kind != "b" else found.astype("bool")


@like_first
def take_along_axis(x: Value, indices: ArrayLike, axis: int | None = -1) -> Value:
    """The elements at `indices` along `axis`, one index for each result; PyTorch's ``gather``.

    Parameters
    ----------
    x : Tensor or array
    indices : integer array or Tensor
        With as many axes as `x`, which broadcast but for `axis`. Negative ones count from the end.
    axis : int or None
        None: of the flattened tensor.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tr
    >>> logits = tr.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> tr.take_along_axis(logits, np.array([[1], [0]]), axis=-1).tolist()
    [[2.0], [3.0]]
    """
    x, later = operand(x, "take_along_axis"), in_step(indices)
    places: Value = indices if later or in_program(indices) else as_indices(indices)
    if axis is None:
        x, axis = reshape(x, -1), 0
    axis = one_axis(axis, x.shape)
    if places.ndim != len(x.shape):
        raise ShapeError(f"indices: got shape {places.shape}, wanted as many axes as in {tuple(x.shape)}")
    others = [tuple(n for i, n in enumerate(shape) if i != axis) for shape in (places.shape, x.shape)]
    if not broadcasts(*others):
        raise ShapeError(f"indices: got shape {places.shape}, which does not broadcast to {tuple(x.shape)}")
    if later:
        return _chosen(x, places, axis)
    if in_program(indices):
        length = x.shape[axis]
        places = in_range(places, -length, length - 1, f"an index of an axis of length {length}")
        shape = (*x.shape[:axis], places.shape[axis], *x.shape[axis + 1 :])
        places = where(places < 0, places + length, places)
        return _gathered(x, broadcast_to(places, shape), axis=axis)
    first = int(in_loop() and axis > 0 and places.shape[0] == 1)  # an index that all rows of a batch share
    lengths, rank = x.shape[first:], len(x.shape) - first
    grid: list[Any] = [np.arange(n).reshape((-1,) + (1,) * (rank - 1 - i)) for i, n in enumerate(lengths)]
    grid[axis - first] = places[0] if first else places
    return getitem(x, (*(slice(None),) * first, *grid))


@like_first
def median(x: Value, axis: Axes = None, keepdims: bool = False) -> Value:
    """The middle element over `axis`, or the mean of the two in the middle; NaN where one is among them."""
    x = operand(x, "median")
    axes = several_axes(axis, x.shape, scalars=True)
    kept = [i for i in range(len(x.shape)) if i not in axes]
    count = math.prod(x.shape[i] for i in axes)
    if count == 0:
        raise ShapeError(f"median: got an empty axis in shape {tuple(x.shape)}, wanted at least one element")
    rows = sort(reshape(transpose(x, [*kept, *axes]) if x.shape else x, (*(x.shape[i] for i in kept), count)))
    middle = 0.5 * rows[..., (count - 1) // 2] + 0.5 * rows[..., count // 2]  # halves first: their sum may overflow
    last = rows[..., -1]
    middle = where(last != last, last, middle)
    return reshape(middle, [1 if i in axes else n for i, n in enumerate(x.shape)]) if keeps(keepdims) else middle
