"""Bindings: what the tables of forward and backward loops, for one T and one batch, have in common."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ...kernels.loops.task_codes import Clear, CopyRows, Matrix, Task, Vector
from ..codegen.array_names import ARENA, Role
from ..codegen.bound_layout import BoundLayout
from ..codegen.layout import Layout
from ..schedule.buffers import Buffer
from ..schedule.plan import Plan

Locate = Callable[[Buffer], Matrix]  # the rows of a buffer


class View(NamedTuple):
    """Rows of a buffer as an array; offset and strides are bytes in array number `array` of a call."""

    array: int
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int
    strides: tuple[int, ...]

    def of(self, arrays: list) -> np.ndarray:
        _, shape, dtype, offset, strides = self
        return np.ndarray(shape, dtype, arrays[self.array], offset, strides)


class RowMoves(NamedTuple):
    """Tasks that gather rows of segments from the caller's arrays, and scatter them back.

    Attributes
    ----------
    names : list of str
        Of the caller's arrays; they come last.
    gather, scatter : callable
        ``gather(locate)`` gives the tasks before the loop, ``scatter(locate)`` those after it; ``locate`` gives the
        rows of each buffer of the loop.
    """

    names: list[str]
    gather: Callable[[Locate], list[Task]]
    scatter: Callable[[Locate], list[Task]]


def head(bound: BoundLayout, time: int) -> np.ndarray:
    """The loop's integers without the rows before each step, which differ from batch to batch of segments."""
    return bound.dims[: -time - 1].copy()


def clear(*arrays: tuple[str, int]) -> list[Task]:
    """The tasks that set the first elements of arrays to zero."""
    return [Clear(Vector(name, 0), size) for name, size in arrays if size]


def copy_task(source: str, view: View, target: str) -> Task:
    """The task that copies the rows of a view, which lie in `source`, to an array without padding."""
    item, (slots, batch, *row) = view.dtype.itemsize, view.shape
    n = math.prod(row)
    rows = Matrix(source, view.offset // item, view.strides[1] // item)
    return CopyRows(rows, Matrix(target, 0, n), slots * batch, n)


def initial_rows(locate: Locate, buffers: list[Buffer], plan: Plan, batch: int) -> list[Task]:
    """The tasks that copy initial values to the first slot of each state or carry."""
    return [
        CopyRows(Matrix(Role.STATE.of(i), 0, s.width), locate(b), batch, s.width)
        for i, (b, s) in enumerate(zip(buffers, plan.traced.states))
    ]


def locator(layout: Layout, offsets: dict[Buffer, int]) -> Locate:
    """A function that gives the rows of a buffer: those of a result in its own array, others in the arena."""
    return lambda b: Matrix(b.name if b.result else ARENA, 0 if b.result else offsets[b], layout.sizes.ld(b))


def rows_of(
    layout: Layout,
    names: list[str],
    buffer: Buffer,
    offsets: dict[Buffer, int],
    slot: int,
    shape: tuple,
    inside: dict[str, Vector],
) -> View:
    """Rows of `buffer` from `slot` on.

    Parameters
    ----------
    names : list of str
        Of the arrays of a call, in order.
    offsets : dict
        Of buffers in the arena.
    slot : int
        Number of the first group of `batch` rows.
    shape : (slots, batch, ...)
    inside : dict
        Results that are parts of other arrays: name -> where each begins.
    """
    # a slot is `batch` rows: those of one time step, or of one of two states that take turns
    name, at = inside.get(buffer.name, Vector(buffer.name, 0)) if buffer.result else (ARENA, offsets[buffer])
    ld = layout.sizes.ld(buffer)
    return view_of(layout, names.index(name), shape, at + slot * shape[1] * ld, ld)


def view_of(layout: Layout, index: int, shape: tuple, start: int, ld: int) -> View:
    """Rows of `ld` elements, from element `start`, as (slots, batch, ...)."""
    item = layout.dtype.itemsize
    strides = [shape[1] * ld * item, ld * item]  # within a row features lie in order
    strides += [math.prod(shape[i + 1 :]) * item for i in range(2, len(shape))]
    return View(index, shape, layout.dtype, start * item, tuple(strides))
