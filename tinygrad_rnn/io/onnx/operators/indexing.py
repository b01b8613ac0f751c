"""Values looked up by integers, and in order."""

from __future__ import annotations

from typing import Any

import numpy as np

from .... import ops
from ....config import grad_mode
from ....core import Tensor
from ....errors import ShapeError
from ..graph import Node
from .support import affordable, concrete, operator, rank, whole


@operator("Gather")
def gather(node: Node, x: Any, indices: Any) -> Any:
    """Slices along an axis; negative indices count from the end."""
    axis = node.get("axis", 0)
    axis += rank(x) if axis < 0 else 0
    if axis or not isinstance(x, Tensor) or rank(x) != 2 or not rank(indices):
        return ops.take(x, indices, axis)
    if grad_mode.tracer is None:  # a table, which takes no negative ones; a program says so when it is run
        indices = concrete(indices)
        counted = np.where(indices < -x.shape[0], 0, x.shape[0])  # what lies before the first one stays, for the error
        indices = np.where(indices < 0, indices + counted, indices)
    return ops.embedding(x, indices)


@operator("GatherElements")
def gather_elements(node: Node, x: Any, indices: Any) -> Any:
    axis = node.get("axis", 0)
    if tuple(x.shape) != tuple(indices.shape):  # of the other axes, a part
        axis += rank(x) if axis < 0 else 0
        x = ops.getitem(x, tuple(slice(None) if i == axis else slice(n) for i, n in enumerate(indices.shape)))
    return ops.take_along_axis(x, indices, axis)


@operator("GatherND")
def gather_nd(node: Node, x: Any, indices: Any) -> Any:
    if node.get("batch_dims", 0):
        raise ShapeError(f"got batch_dims={node.get('batch_dims')}, wanted 0")
    index = concrete(indices)
    return ops.getitem(x, tuple(index[..., i] for i in range(index.shape[-1])))


def _combines(node: Node) -> str:
    how = node.get("reduction", "none")
    return "" if how == "none" else f"its reduction is {how}, wanted none"


@operator("ScatterElements", refuse=_combines)
def scatter_elements(node: Node, x: Any, indices: Any, updates: Any) -> Any:
    """A copy of which some elements along an axis are others; of several for one place the last."""
    index = concrete(indices)
    places = [*np.indices(index.shape)]
    places[node.get("axis", 0)] = index
    source = np.full(tuple(x.shape), -1)  # for each element, which one of the updates
    source[tuple(places)] = np.arange(index.size).reshape(index.shape)
    if not index.size:
        return x
    return ops.where(source >= 0, ops.take(ops.reshape(updates, (-1,)), np.maximum(source, 0), 0), x)


@operator("OneHot", fixed=(1, 2))
def one_hot(node: Node, indices: Any, depth: Any, values: Any) -> Any:
    """Of depth n, the second of two values where the index is, modulo n, and the first elsewhere."""
    (n,) = whole(depth)
    off, on = concrete(values)
    axis = node.get("axis", -1)
    axis += rank(indices) + 1 if axis < 0 else 0
    affordable((*indices.shape, n), np.asarray(on).dtype)
    shape = [1] * (rank(indices) + 1)
    shape[axis] = n
    places = np.arange(n, dtype=indices.dtype).reshape(shape)
    inside = ops.logical_and(indices >= -n, indices < n)
    hits = ops.equal(ops.expand_dims(ops.where(indices < 0, indices + n, indices), axis), places)
    return ops.where(ops.logical_and(hits, ops.expand_dims(inside, axis)), on, off)


@operator("TopK", fixed=(1,))
def topk(node: Node, x: Any, k: Any = None) -> tuple:
    """The largest or smallest along an axis, in order, and where they are."""
    axis = node.get("axis", -1)
    (n,) = (node.get("k"),) if k is None else whole(k)
    if not node.get("largest", 1):
        order = ops.take_along_axis(_sorted(x, axis), np.arange(n).reshape(_along(x, axis)), axis)
        return ops.take_along_axis(x, order, axis), order
    return tuple(ops.topk(x, n, axis))


def _sorted(x: Any, axis: int) -> np.ndarray:
    return np.argsort(concrete(x), axis=axis, kind="stable")


def _along(x: Any, axis: int) -> tuple[int, ...]:
    """A shape of ones, but for -1 at an axis."""
    return tuple(-1 if i == axis % rank(x) else 1 for i in range(rank(x)))


@operator("CumSum", fixed=(1,))
def cumsum(node: Node, x: Any, axis: Any) -> Any:
    along = whole(axis)[0] % rank(x)
    x = ops.flip(x, along) if node.get("reverse", 0) else x
    y = ops.cumsum(x, along)
    y = y - x if node.get("exclusive", 0) else y
    y = ops.flip(y, along) if node.get("reverse", 0) else y
    return y if y.dtype == x.dtype else ops.astype(y, x.dtype)


@operator("Trilu", fixed=(1,))
def trilu(node: Node, x: Any, k: Any = None) -> Any:
    offset = 0 if k is None else whole(k)[0]
    rows, columns = x.shape[-2:]
    upper = np.arange(columns) - np.arange(rows)[:, None] >= offset
    lower = np.arange(columns) - np.arange(rows)[:, None] <= offset
    return ops.where(upper if node.get("upper", 1) else lower, x, np.zeros((), x.dtype))
