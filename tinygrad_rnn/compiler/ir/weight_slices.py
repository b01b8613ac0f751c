"""Resolves invariants to rectangles of parameters; packing does the slicing and transposing."""

from __future__ import annotations

from typing import NamedTuple

from .program_ops import GETITEM, TRANSPOSE
from .symbol import BATCH, Symbol


class WeightSlice(NamedTuple):
    """A rectangle of `base`: ``axes[i]`` is (axis of base, start, stop) for axis i of the slice."""

    base: Symbol
    axes: tuple[tuple[int, int, int], ...]

    @property
    def transposed(self) -> bool:
        return len(self.axes) == 2 and self.axes[0][0] == 1


def resolve_slice(s: Symbol) -> WeightSlice:
    """The rectangle that `s` is, through transposes and plain slices, of a computed or given matrix.

    Rows are in one piece: a row that is a column of something is computed, not sliced.
    """
    view = _follow(s)
    scattered = view.transposed and view.base.shape[1] > 1
    if scattered and (view.axes[0][2] - view.axes[0][1] == 1 or s.shape[0] == BATCH):
        return _whole(s)
    return view


def _whole(s: Symbol) -> WeightSlice:
    return WeightSlice(s, tuple((i, 0, n) for i, n in enumerate(s.shape)))


def _follow(s: Symbol) -> WeightSlice:
    if s.leaf is None and not s.varying and s.op is not None:
        if s.op is TRANSPOSE and s.ndim == 2:
            inner = resolve_slice(s.args[0])
            return WeightSlice(inner.base, tuple(inner.axes[i] for i in s.static["axes"]))
        if s.op is GETITEM:
            source = s.args[0]
            index = list(s.static["index"])
            if index and index[0] is Ellipsis:
                index = [slice(None)] * (source.ndim - len(index) + 1) + index[1:]
            index += [slice(None)] * (source.ndim - len(index))
            if len(index) == source.ndim and all(isinstance(i, slice) and i.step in (None, 1) for i in index):
                inner = resolve_slice(source)
                axes = []
                for (axis, start, stop), i in zip(inner.axes, index):
                    if i == slice(None):  # all of it, which may be as many as the batch has rows
                        axes.append((axis, start, stop))
                        continue
                    a, b, _ = i.indices(stop - start)
                    axes.append((axis, start + a, start + b))
                return WeightSlice(inner.base, tuple(axes))
    return _whole(s)
