"""Tasks in pieces for threads: to each element they do what the whole does, in the same order.

A piece of a product costs more than its part of the whole, as factors are packed or read once for each. So one thread
does whole tasks, and what is worth less than a piece stays whole.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ...kernels.loops.task_codes import (
    Clear,
    Matrix,
    Pack,
    Product,
    ScatterRows,
    SumRows,
    Task,
    TransposedProduct,
    Vector,
)
from .costs import TILE_ROWS, cost_of_task

ELEMENTS = 1 << 16  # that are cleared or packed as one piece
WORTH = 20_000.0  # nanoseconds of a piece of a product, or of a sum
ROWS, COLUMNS = 96, 256  # of a piece of a product
MOST = 48  # pieces of a product: if there are more, they become wider
SUM_COLUMNS = 256  # of a piece of a sum of rows


class Sizes(NamedTuple):
    """Numbers of a vector and of a panel, and bytes of a number."""

    lanes: int
    panel: int
    itemsize: int

    def cost(self, task: Task) -> float:
        return cost_of_task(task, self.lanes, self.itemsize)


def in_any_order(tasks: Sequence[Task]) -> bool:
    """Whether all tasks are of kinds that have pieces; that no two write the same is up to the caller."""
    return all(isinstance(task, Clear | Pack | Product | TransposedProduct | SumRows | ScatterRows) for task in tasks)


def pieces(tasks: Sequence[Task], sizes: Sizes) -> list[list[Task]]:
    """Groups of pieces, each for one thread: a product, and those that add to what it has written."""
    groups: list[list[Task]] = []
    for task in tasks:
        if isinstance(task, Product) and task.accumulate and groups:
            groups[-1].append(task)
        else:
            groups.append([task])
    return [piece for group in groups for piece in _pieces(group, sizes)]


def _pieces(group: list[Task], sizes: Sizes) -> Iterator[list[Task]]:
    task = group[0]
    if isinstance(task, Clear):
        for begin, end in _bounds(task.size, ELEMENTS):
            yield [Clear(_after(task.target, begin), end - begin)]
    elif isinstance(task, Pack):
        yield from _packs(task, sizes.panel)
    elif isinstance(task, ScatterRows):  # by columns, so that each element gets its terms in order
        width = task.columns
        if sizes.cost(task) > WORTH:
            width = math.ceil(max(task.columns / MOST, sizes.lanes) / sizes.lanes) * sizes.lanes
        for begin, end in _bounds(task.columns, width):
            source, target = _moved(task.source, 0, begin), _moved(task.target, 0, begin)
            yield [task._replace(source=source, target=target, columns=end - begin)]
    elif isinstance(task, SumRows):
        width = SUM_COLUMNS if sizes.cost(task) > WORTH else task.columns
        for begin, end in _bounds(task.columns, width):
            yield [SumRows(_moved(task.source, 0, begin), _after(task.target, begin), task.rows, end - begin)]
    else:
        yield from _products(group, sizes)


def _products(group: list, sizes: Sizes) -> Iterator[list[Task]]:
    """Pieces of products that go to the same rows and columns."""
    task = group[0]
    down, wide = task.rows, task.columns
    if sum(map(sizes.cost, group)) > 2 * WORTH:
        down = math.ceil(task.rows / math.ceil(task.rows / ROWS) / TILE_ROWS) * TILE_ROWS
        wide = math.ceil(COLUMNS / sizes.panel) * sizes.panel
        while math.ceil(task.rows / down) * math.ceil(task.columns / wide) > MOST:
            wide *= 2
    for (top, bottom), (left, right) in itertools.product(_bounds(task.rows, down), _bounds(task.columns, wide)):
        yield [_part(one, top, bottom, left, right) for one in group]


def _part(task: Product | TransposedProduct, top: int, bottom: int, left: int, right: int) -> Task:
    rows, columns, target = bottom - top, right - left, _moved(task.target, top, left)
    if isinstance(task, Product):
        source, packed = _moved(task.source, top, 0), _after(task.packed, left * task.depth)
        return task._replace(source=source, packed=packed, target=target, rows=rows, columns=columns)
    source, right_side = _moved(task.source, 0, top), _moved(task.right, 0, left)
    return task._replace(source=source, right=right_side, target=target, rows=rows, columns=columns)


def _packs(task: Pack, panel: int) -> Iterator[list[Task]]:
    """Pieces of whole panels, but for those that the rectangle begins or ends in."""
    width = max(1, ELEMENTS // (task.rows * panel)) * panel
    bounds = [0, *range(width - task.column % panel, task.columns, width), task.columns]
    for begin, end in itertools.pairwise(bounds):
        source = _moved(task.source, begin, 0) if task.transposed else _moved(task.source, 0, begin)
        yield [task._replace(source=source, columns=end - begin, column=task.column + begin)]


def _bounds(size: int, step: int) -> list[tuple[int, int]]:
    return [(at, min(at + step, size)) for at in range(0, size, step)] if size > step else [(0, size)]


def _after(vector: Vector, by: int) -> Vector:
    return vector._replace(at=vector.at + by)


def _moved(matrix: Matrix, rows: int, columns: int) -> Matrix:
    return matrix._replace(at=matrix.at + rows * matrix.ld + columns)
