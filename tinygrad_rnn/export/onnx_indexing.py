"""Indexing in ONNX: slices, numbers, new axes, and arrays of constant indices."""

from __future__ import annotations

from collections.abc import Mapping
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
    """``x[index]``: by slices first, then by numbers and arrays, then new axes."""
    index, rank = node.static["index"], len(node.args[0].shape)
    index = index if isinstance(index, tuple) else (index,)
    parts = _whole(index, rank)
    cuts: dict[int, slice] = {}
    squeezed: list[int] = []
    new: list[int] = []
    arrays: dict[int, np.ndarray] = {}
    axis = out = 0
    for part in parts:
        if part is None:
            new.append(out)
            out += 1
            continue
        if isinstance(part, slice):
            if part != slice(None):
                cuts[axis] = part
            out += 1
        elif isinstance(part, int | Size | np.integer):
            stop: Any = None if isinstance(part, int | np.integer) and part == -1 else _next(part)
            cuts[axis] = slice(part, stop)
            squeezed.append(axis)
        else:
            arrays[axis] = np.flatnonzero(part) if part.dtype.kind == "b" else part
            if part.ndim != 1 and (part.dtype.kind == "b" or len(parts) > 1):
                raise ExportError("indexing by arrays of several axes")
            out += part.ndim if part.dtype.kind != "b" else 1
        axis += 1
    if len(arrays) > 1 or (arrays and squeezed):
        raise ExportError("indexing by several arrays at once")
    x = b.name(node.args[0])
    x = slices(b, x, cuts) if cuts else x
    for at, array in arrays.items():
        x = b.node("Gather", [x, b.constant(array, np.int64, "indices")], axis=at)
    if squeezed:
        x = b.node("Squeeze", [x, b.integers(squeezed)])
    if new:
        x = b.node("Unsqueeze", [x, b.integers(new)])
    return x if cuts or arrays or new else b.node("Identity", [x])


def _next(part: Any) -> Any:
    """One more: of a size, in its constant term."""
    if not isinstance(part, Size):
        return int(part) + 1
    rest = [(factor, atoms) for factor, atoms in part.terms if atoms]
    constant = sum(factor for factor, atoms in part.terms if not atoms) + 1
    return Size((*rest, *([(constant, ())] if constant else [])))


def _whole(index: tuple, rank: int) -> list[Any]:
    """The index with a part for each axis, in place of dots and of what is left out."""
    parts = [part for part in index if part is not None and part is not Ellipsis]
    taken = sum(p.ndim if isinstance(p, np.ndarray) and p.dtype.kind == "b" else 1 for p in parts)
    filled: list[Any] = []
    for part in index:
        filled += [slice(None)] * (rank - taken) if part is Ellipsis else [part]
    if not any(part is Ellipsis for part in index):
        filled += [slice(None)] * (rank - taken)
    return filled
