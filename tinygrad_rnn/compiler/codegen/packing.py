"""Packing: offsets of packed matrices and vectors of parameters, and the tasks that pack them."""

from __future__ import annotations

import numpy as np

from ...kernels.loops.task_codes import AddNumber, AddVector, Matrix, Pack, Task, Vector
from ..ir.symbol import Symbol
from ..ir.weight_slices import WeightSlice
from .array_names import Role
from .sizes import Sizes


class Packing:
    """Offsets in an array of packed parameters, and the tasks that fill it."""

    def __init__(self, sizes: Sizes, target: str):
        self.sizes = sizes
        self.target = target
        self.size = 0
        self.tasks: list[Task] = []
        self.bases: dict[int, Symbol] = {}  # whose arrays the tasks read, or the loop itself

    def reserve(self, n: int) -> int:
        self.size += n
        return self.size - n

    def matrix(self, view: WeightSlice, offset: int, depth: int, row: int, column: int) -> None:
        """Pack `view` to (row, column) of the matrix at `offset`, which has `depth` rows."""
        self.bases[view.base.uid] = view.base
        (_, r0, r1), (_, c0, c1) = view.axes
        ld = view.base.shape[1]
        start = c0 * ld + r0 if view.transposed else r0 * ld + c0  # of the rectangle, in the parameter's own order
        source = Matrix(Role.CAPTURE.of(view.base.uid), start, ld)
        target = Vector(self.target, offset)
        self.tasks.append(Pack(source, target, view.transposed, r1 - r0, c1 - c0, depth, row, column))

    def vector(self, view: WeightSlice, at: int) -> None:
        """Add a row vector, or copy a number to every lane, at `at`."""
        self.bases[view.base.uid] = view.base
        source = Vector(Role.CAPTURE.of(view.base.uid), row_start(view))
        target = Vector(self.target, at)
        # added, as several vectors may make up one bias; `weights` is zero before
        if all(b - a == 1 for _, a, b in view.axes):
            self.tasks.append(AddNumber(source, target, self.sizes.lanes))
        else:
            _, a, b = view.axes[-1]
            self.tasks.append(AddVector(source, target, b - a))


def row_start(view: WeightSlice) -> int:
    """Offset of the first element of a view of one row in its (contiguous) base."""
    shape, at = view.base.shape, 0
    for axis, start, _ in view.axes:
        at += start * int(np.prod(shape[axis + 1 :], dtype=int))
    return at
