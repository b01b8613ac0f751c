"""Indexing in ONNX: slices, numbers, new axes, and arrays of constant indices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ExportError
from .graph import Node
from .onnx_builder import Builder
from .sizes import Size

FAR = 2**62  # further than any axis is long


def slices(b: Builder, x: str, by_axis: Mapping[int, slice]) -> str:
    """Slices along some axes."""
    if not by_axis:
        return b.node("Identity", [x])
    starts, stops, steps = [], [], []
    for cut in by_axis.values():
        step = 1 if cut.step is None else cut.step
        steps.append(step)
        starts.append((0 if step > 0 else FAR) if cut.start is None else cut.start)
        stops.append((FAR if step > 0 else -FAR) if cut.stop is None else cut.stop)
    return b.node("Slice", [x, b.shape(starts), b.shape(stops), b.integers(list(by_axis)), b.integers(steps)])


def getitem(b: Builder, node: Node) -> str:
    """``x[index]``: by slices first, then by arrays, then by numbers, then new axes."""
    index, rank = node.static["index"], len(node.args[0].shape)
    parts = _whole(index if isinstance(index, tuple) else (index,), rank)
    cuts: dict[int, slice] = {}
    squeezed: list[int] = []
    arrays: dict[int, np.ndarray] = {}
    axis = 0
    for part in parts:
        if isinstance(part, slice):
            if part != slice(None):
                cuts[axis] = part
        elif isinstance(part, np.ndarray):
            arrays[axis] = part
        elif part is not None:
            last = isinstance(part, int | np.integer) and part == -1
            cuts[axis] = slice(part, None if last else _next(part))
            squeezed.append(axis)
        axis += part is not None
    if arrays and squeezed:
        raise ExportError("indexing by arrays and numbers at once")
    x = b.name(node.args[0])
    x = slices(b, x, cuts) if cuts else x
    x = _by_arrays(b, x, arrays, rank) if arrays else x
    if squeezed:
        x = b.node("Squeeze", [x, b.integers(squeezed)])
    new = _new_axes(parts, arrays)
    if new:
        x = b.node("Unsqueeze", [x, b.integers(new)])
    return x if cuts or arrays or new else b.node("Identity", [x])


def _new_axes(parts: Sequence[Any], arrays: Mapping[int, np.ndarray]) -> list[int]:
    """Where the result has new axes."""
    found, axis, out = [], 0, 0
    if None in [p if p is None else 0 for p in parts] and len(arrays) > 1:
        raise ExportError("indexing by several arrays and new axes at once")
    for part in parts:
        if part is None:
            found.append(out)
            out += 1
            continue
        out += part.ndim if isinstance(part, np.ndarray) else isinstance(part, slice)
        axis += 1
    return found


def _by_arrays(b: Builder, x: str, arrays: Mapping[int, np.ndarray], rank: int) -> str:
    """Elements at constant indices along some axes, which broadcast."""
    axes = list(arrays)
    if len(axes) == 1:
        return b.node("Gather", [x, b.constant(arrays[axes[0]], np.int64, "indices")], axis=axes[0])
    rest = [i for i in range(rank) if i not in axes]
    x = b.node("Transpose", [x], perm=[*axes, *rest]) if axes != list(range(len(axes))) else x
    indices = np.stack(np.broadcast_arrays(*arrays.values()), axis=-1)
    x = b.node("GatherND", [x, b.constant(indices, np.int64, "indices")])
    first, n = axes[0], indices.ndim - 1
    if not first or axes != list(range(first, first + len(axes))):
        return x  # what arrays pick comes first, unless they stand side by side
    order = [*range(n, n + first), *range(n), *range(n + first, n + len(rest))]
    return b.node("Transpose", [x], perm=order)


def _next(part: Any) -> Any:
    """One more: of a size, in its constant term."""
    if not isinstance(part, Size):
        return int(part) + 1
    rest = [(factor, atoms) for factor, atoms in part.terms if atoms]
    constant = sum(factor for factor, atoms in part.terms if not atoms) + 1
    return Size((*rest, *([(constant, ())] if constant else [])))


def _whole(index: tuple, rank: int) -> list[Any]:
    """The index with a part for each axis, in place of dots, masks and what is left out."""
    given: list[Any] = []
    for part in index:
        if isinstance(part, bool | np.bool_):
            raise ExportError("indexing by one truth value")
        masks = isinstance(part, np.ndarray) and part.dtype.kind == "b"
        given += np.nonzero(part) if masks else [part]
    taken = len([part for part in given if part is not None and part is not Ellipsis])
    filled: list[Any] = []
    for part in given:
        filled += [slice(None)] * (rank - taken) if part is Ellipsis else [part]
    if not any(part is Ellipsis for part in given):
        filled += [slice(None)] * (rank - taken)
    return filled
