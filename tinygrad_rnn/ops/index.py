"""Indexing: basic, by integer arrays, by masks; gradients accumulate where an element is read twice."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core import Lowering, Tensor, primitive
from ..core.aliases import ArrayLike, Index, Value
from ..core.node import as_operand
from ..core.signatures import like_first
from ..errors import DTypeError, ShapeError
from .arguments import one_axis, operand

_BASIC = frozenset({int, slice, type(None), type(Ellipsis)})


def _is_basic(index: tuple) -> bool:
    return _BASIC.issuperset(map(type, index)) or all(
        type(i) in _BASIC or isinstance(i, (int, np.integer)) for i in index
    )


def _getitem_vjp(g: Value, y: Value, x: Value, index: Index) -> Value:
    add = scatter_add.op.forward if type(g) is np.ndarray else scatter_add
    return add(g, index=index, shape=tuple(x.shape))


@primitive(
    vjps=[_getitem_vjp],
    saves=(),
    view=True,
    lowering=Lowering("slice"),
    owns_gradients=True,
)
def _getitem(x: Value, index: Index) -> Value:
    return x[index]


@primitive(vjps=[lambda g, y, x, index, shape: _getitem(g, index=index)], saves=(), lowering=Lowering("unslice"))
def scatter_add(x: Value, index: Index, shape: tuple[int, ...]) -> Value:
    """Zeros of `shape` with `x` added at `index`: the transpose of indexing."""
    out = np.zeros(shape, x.dtype)
    if _is_basic(index):
        out[index] = x
    else:  # an element may be read twice
        np.add.at(out, index, x)
    return out


@like_first
def getitem(x: Value, index: Index) -> Value:
    """``x[index]`` with integers, slices, None, Ellipsis, integer arrays or bool masks."""
    if not isinstance(index, tuple):
        index = (index,)
    if not _is_basic(index):
        index = tuple([_plain(i) for i in index])
    try:
        return _getitem(x, index=index)
    except IndexError as e:
        raise IndexError(f"index: got {index} for shape {np.shape(x)}: {e}") from None


def _plain(i: Any) -> Any:
    """One index as NumPy takes it, without tensors; arrays are copied, as the graph keeps them."""
    if isinstance(i, (Tensor, list, np.ndarray)):
        given = i.data if isinstance(i, Tensor) else i
        i = np.array(as_operand(given, "index"))
        if i.size == 0 and i.dtype.kind == "f":
            i = i.astype(int)
        if i.dtype.kind not in "iub":
            raise DTypeError(f"index: got an array of {i.dtype}, wanted integers or bool")
    return i


@like_first
def take(x: Value, indices: ArrayLike, axis: int | None = None) -> Value:
    """Elements at integer `indices` along `axis` (None: of the flattened tensor)."""
    x = operand(x, "take")
    if axis is None or not x.shape:
        axis = 0 if axis is None else one_axis(axis, x.shape, scalars=True)
        x = x.reshape((int(np.prod(x.shape, dtype=int)),))
    return getitem(x, (*(slice(None),) * one_axis(axis, x.shape), as_indices(indices)))


def as_indices(indices: ArrayLike) -> np.ndarray:
    """Integer indices of any shape, as a copy, which the graph keeps."""
    array = np.array(as_operand(indices.data if isinstance(indices, Tensor) else indices, "indices"))
    if not array.size and not isinstance(indices, (Tensor, np.ndarray)):
        array = array.astype(int)  # of an empty list
    if array.dtype.kind not in "iu":
        raise DTypeError(f"indices: got {array.dtype}, wanted integers")
    return array


def _embedding_vjp(g: Value, y: Value, weight: Value, indices: np.ndarray) -> Value:
    return _scatter_rows(g, indices=indices, rows=weight.shape[0])


@primitive(vjps=[_embedding_vjp], saves=())
def _embedding(weight: Value, indices: np.ndarray) -> Value:
    return weight[indices]


@primitive(vjps=[lambda g, y, x, indices, rows: _embedding(g, indices=indices)], saves=())
def _scatter_rows(x: Value, indices: np.ndarray, rows: int) -> Value:
    out = np.zeros((rows, x.shape[-1]), x.dtype)
    if indices.size:  # sums of runs of equal indices: up to five times as fast as np.add.at
        order = np.argsort(indices, axis=None, kind="stable")
        runs = indices.reshape(-1)[order]
        starts = np.flatnonzero(np.concatenate(([True], runs[1:] != runs[:-1])))
        out[runs[starts]] = np.add.reduceat(x.reshape(indices.size, x.shape[-1])[order], starts, axis=0)
    return out


@like_first
def embedding(weight: Value, indices: ArrayLike) -> Value:
    """Rows of `weight` (V, E) at integer `indices` of any shape: (...) -> (..., E).

    Raises
    ------
    DTypeError
        If `indices` are not integers.
    ShapeError
        If `weight` is no matrix.
    IndexError
        If an index lies outside the table; it is named.
    """
    weight, indices = operand(weight, "embedding"), as_indices(indices)
    if len(weight.shape) != 2:
        raise ShapeError(f"embedding: weight: got shape {tuple(weight.shape)}, wanted (V, E)")
    if indices.size:
        low, high = int(indices.min()), int(indices.max())
        if low < 0 or high >= weight.shape[0]:  # NumPy would count negative ids from the end
            raise IndexError(f"indices: got {low if low < 0 else high}, wanted ids from 0 to {weight.shape[0] - 1}")
    return _embedding(weight, indices=indices)
