"""Shapes: other ones for the same values, parts, and values joined."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .... import ops
from ....errors import ShapeError
from ..graph import Node
from .support import affordable, axes_of, concrete, kind, operator, rank, whole

FEW = 1 << 16  # values around, of which no memory runs out


@operator("Shape")
def shape_of(node: Node, x: Any) -> np.ndarray:
    return np.array(x.shape, np.int64)[slice(node.get("start"), node.get("end"))]


@operator("Size")
def size(node: Node, x: Any) -> np.ndarray:
    return np.array(math.prod(x.shape), np.int64)


@operator("Reshape", fixed=(1,))
def reshape(node: Node, x: Any, shape: Any) -> Any:
    """Zero keeps the length that was there (unless ``allowzero``), -1 is what is left."""
    new = list(whole(shape))
    if not node.get("allowzero", 0):
        for i, n in enumerate(new):
            if n == 0:
                if i >= rank(x):
                    raise ShapeError(f"got shape {tuple(new)}, whose axis {i} is to be kept, of {tuple(x.shape)}")
                new[i] = x.shape[i]
    return ops.reshape(x, tuple(new))


@operator("Transpose")
def transpose(node: Node, x: Any) -> Any:
    return ops.transpose(x, node.get("perm") or tuple(reversed(range(rank(x)))))


@operator("Squeeze", fixed=(1,))
def squeeze(node: Node, x: Any, axes: Any = None) -> Any:
    return ops.squeeze(x, axes_of(node, axes))


@operator("Unsqueeze", fixed=(1,))
def unsqueeze(node: Node, x: Any, axes: Any = None) -> Any:
    return ops.expand_dims(x, axes_of(node, axes) or ())


@operator("Flatten")
def flatten(node: Node, x: Any) -> Any:
    axis, shape = node.get("axis", 1), tuple(x.shape)
    axis += rank(x) if axis < 0 else 0
    rows = shape[0] if axis == 1 else math.prod(shape[:axis])  # in a step, that of the batch is no plain number
    return ops.reshape(x, (rows, math.prod(shape[axis:])))


@operator("Expand", fixed=(1,))
def expand(node: Node, x: Any, shape: Any) -> Any:
    """Broadcast both ways: lengths of one in `shape` leave those of `x`."""
    wanted = np.broadcast_shapes(tuple(x.shape), whole(shape))
    return ops.broadcast_to(x, affordable(wanted, x.dtype))


@operator("Tile", fixed=(1,))
def tile(node: Node, x: Any, repeats: Any) -> Any:
    times = whole(repeats)
    affordable(tuple(n * abs(t) for n, t in zip(x.shape, times)), x.dtype)
    return ops.tile(x, times)


@operator("Concat")
def concat(node: Node, *values: Any) -> Any:
    return ops.concat(list(values), node.get("axis", 1))


@operator("Split", fixed=(1,))
def split(node: Node, x: Any, sizes: Any = None) -> tuple:
    """Parts of given sizes, or as many as there are outputs, of which the last may be shorter."""
    axis = node.get("axis", 0)
    parts = node.get("split") if sizes is None else whole(sizes)
    n = x.shape[axis]
    if parts is None:
        count = node.get("num_outputs", len(node.outputs))
        each = -(-n // count)
        parts = [min(each, n - each * i) for i in range(count)]
    if min(parts, default=0) < 0 or sum(parts) != n or len(parts) != len(node.outputs):
        raise ShapeError(
            f"got parts {tuple(parts)} of axis {axis} of {tuple(x.shape)}, wanted their sum to be its length"
        )
    return tuple(ops.split(x, tuple(int(i) for i in np.cumsum(parts[:-1])), axis))


@operator("Slice", fixed=(1, 2, 3, 4))
def slice_of(node: Node, x: Any, starts: Any = None, ends: Any = None, axes: Any = None, steps: Any = None) -> Any:
    """From, to, along which axes, and by which steps: arguments, or attributes in older opsets."""
    first = node.get("starts") if starts is None else whole(starts)
    last = node.get("ends") if ends is None else whole(ends)
    along = node.get("axes") if axes is None else whole(axes)
    by = (1,) * len(first) if steps is None else whole(steps)
    along = tuple(range(len(first))) if along is None else along
    index: list[Any] = [slice(None)] * rank(x)
    for start, end, axis, step in zip(first, last, along, by, strict=True):
        if not -rank(x) <= axis < rank(x) or step == 0:
            raise ShapeError(f"got axis {axis} and step {step} for shape {tuple(x.shape)}")
        before = step < 0 and end < -x.shape[axis]  # the end lies before the first one
        index[axis] = slice(start, None if before else end, step)
    return ops.getitem(x, tuple(index))


@operator("Pad", fixed=(1, 2, 3))
def pad(node: Node, x: Any, pads: Any = None, value: Any = None, axes: Any = None) -> Any:
    """Values around; negative widths cut off."""
    widths = node.get("pads") if pads is None else whole(pads)
    fill = node.get("value", 0.0) if value is None or not np.size(value) else concrete(value)
    along = tuple(range(rank(x))) if axes is None else tuple(a % rank(x) for a in whole(axes))
    n = len(along)
    if len(widths) != 2 * n:
        raise ShapeError(f"got {len(widths)} widths for {n} axes, wanted two for each")
    pairs = [(0, 0)] * rank(x)
    for i, axis in enumerate(along):
        pairs[axis] = (widths[i], widths[n + i])
    if min(widths, default=0) < 0:
        cut = tuple(slice(max(0, -a), x.shape[i] + min(0, b)) for i, (a, b) in enumerate(pairs))
        x = ops.getitem(x, cut)
        pairs = [(max(0, a), max(0, b)) for a, b in pairs]
    if max(widths, default=0) > FEW:
        affordable(tuple(a + n + b for n, (a, b) in zip(x.shape, pairs)), x.dtype)
    fill = np.asarray(fill).item()
    mode = node.get("mode", "constant")
    return (
        ops.pad(x, pairs, mode, fill if kind(x) == "f" else int(fill))
        if mode == "constant"
        else ops.pad(x, pairs, mode)
    )


@operator("ReverseSequence", fixed=(1,))
def reverse_sequence(node: Node, x: Any, lengths: Any) -> Any:
    """The first steps of each row in reverse, as many as its length; the others stay."""
    time, batch = node.get("time_axis", 0), node.get("batch_axis", 1)
    steps = np.arange(x.shape[time])[:, None]
    n = concrete(lengths).reshape(1, -1)
    index = np.where(steps < n, n - 1 - steps, steps)  # (T, B)
    shape = [1] * rank(x)
    shape[time], shape[batch] = index.shape
    order = (index if time < batch else index.T).reshape(shape)
    return ops.take_along_axis(x, np.broadcast_to(order, x.shape), time)
