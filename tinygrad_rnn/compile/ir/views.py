"""Which part of which parameter an invariant is: transposes and slices cost nothing, so they are not computed."""

from __future__ import annotations

from typing import NamedTuple

from .program_ops import GETITEM, TRANSPOSE
from .symbol import BATCH, Symbol


class View(NamedTuple):
    """A rectangle of `base`: ``axes[i]`` is (axis of base, start, stop) for axis i of the view."""

    base: Symbol
    axes: tuple[tuple[int, int, int], ...]

    @property
    def transposed(self) -> bool:
        return len(self.axes) == 2 and self.axes[0][0] == 1


def resolve(s: Symbol) -> View:
    """Follow transposes and plain slices down to what has to be computed or is given.

    Rows lie in one piece: a row that is a column of something is computed, not viewed.
    """
    view = _follow(s)
    scattered = view.transposed and view.base.shape[1] > 1
    if scattered and (view.axes[0][2] - view.axes[0][1] == 1 or s.shape[0] == BATCH):
        return _whole(s)
    return view


def _whole(s: Symbol) -> View:
    return View(s, tuple((i, 0, n) for i, n in enumerate(s.shape)))


def _follow(s: Symbol) -> View:
    if s.leaf is None and not s.varying and s.op is not None:
        if s.op is TRANSPOSE and s.ndim == 2:
            inner = resolve(s.args[0])
            return View(inner.base, tuple(inner.axes[i] for i in s.static["axes"]))
        if s.op is GETITEM:
            source = s.args[0]
            index = list(s.static["index"])
            if index and index[0] is Ellipsis:
                index = [slice(None)] * (source.ndim - len(index) + 1) + index[1:]
            index += [slice(None)] * (source.ndim - len(index))
            if len(index) == source.ndim and all(isinstance(i, slice) and i.step in (None, 1) for i in index):
                inner = resolve(source)
                axes = []
                for (axis, start, stop), i in zip(inner.axes, index):
                    if i == slice(None):  # all of it, which may be as many as the batch has rows
                        axes.append((axis, start, stop))
                        continue
                    a, b, _ = i.indices(stop - start)
                    axes.append((axis, start + a, start + b))
                return View(inner.base, tuple(axes))
    return _whole(s)
