"""Estimates of what loops and tasks take, for the choice of how many threads do them.

In nanoseconds of one core, of whatever machine: they are right to a factor of two, and choices depend on less than that
where they matter. What a vector takes is asked of nothing but its size.
"""

from __future__ import annotations

import functools
import math
import os
import weakref
from typing import NamedTuple

from ...kernels.loops.task_codes import (
    AddColumns,
    AddNumber,
    AddRows,
    AddVector,
    Clear,
    CopyRows,
    MoveRows,
    Pack,
    Product,
    ScatterRows,
    SumRows,
    Task,
    TransposedProduct,
)
from ..codegen.layout import Layout
from ..ir.lane_language import Apply, elementwise_code, walk
from ..ir.printer import is_reduction
from ..ir.symbol import Symbol

PRODUCTS_PER_VECTOR = 4.0  # multiply-adds of vectors in a nanosecond, out of the cache
VECTOR = 0.6  # ns to load, compute with and store a vector
FUNCTION = 5.0  # ns of a vector for exp and its kin
BYTES = 8.0  # per ns, copied
FAR_BYTES = 14.0  # per ns, read from where other cores' data are, too
NEAR = 0.75  # of the second-level cache: so many bytes of weights stay there
TILE_ROWS, TILE_START = 6, 1.2  # rows of a tile, and how many rows' time it takes to begin one
FUNCTIONS = {"arctan", "arctan2", "cos", "erf", "exp", "expm1", "log", "log1p", "power", "sigmoid"}
FUNCTIONS |= {"sin", "softplus", "tanh"}

SECOND_LEVEL = 1 << 19  # bytes, where nobody tells


@functools.cache
def second_level_cache() -> int:
    """Bytes of the second-level cache of a core."""
    try:
        return os.sysconf("SC_LEVEL2_CACHE_SIZE") or SECOND_LEVEL
    except (AttributeError, OSError, ValueError):
        return SECOND_LEVEL


class LoopCost(NamedTuple):
    """Estimated time of a loop, alone.

    Attributes
    ----------
    product : float
        Of a row of the batch, in one step, in full tiles.
    row : float
        The same, of what is no product.
    weights : int
        Bytes that each step reads, whatever the batch.
    meetings : int
        Of threads that share a step.
    """

    product: float
    row: float
    weights: int
    meetings: int

    def of_rows(self, rows: int, share: float = 1.0, near: bool = False) -> float:
        """Nanoseconds of a step of so many rows, and of a share of the columns of products."""
        tiles = rows + TILE_START * math.ceil(rows / TILE_ROWS)
        product = self.product * tiles / (1 + TILE_START / TILE_ROWS) * share
        far = self.weights * share > NEAR * second_level_cache()
        return max(product, self.weights * share / FAR_BYTES if far else 0.0) + self.row * rows


def cost_of_loop(layout: Layout) -> LoopCost:
    """Estimated time of a loop, by its program."""
    found = _known.get(layout)
    if found is None:
        found = _known[layout] = _cost_of_loop(layout)
    return found


_known: weakref.WeakKeyDictionary[Layout, LoopCost] = weakref.WeakKeyDictionary()


def _cost_of_loop(layout: Layout) -> LoopCost:
    lanes, schedule = layout.sizes.lanes, layout.schedule
    row = 0.0
    for _, computed in layout.emitter.loops:
        for s in computed:
            row += math.ceil(s.width / lanes) * (VECTOR + FUNCTION * _functions(s))
    levels = {p.level for p in schedule.products}
    return LoopCost(
        product=layout.multiplications / (lanes * PRODUCTS_PER_VECTOR),
        row=row,
        weights=layout.multiplications * layout.dtype.itemsize,
        meetings=2 * len(levels),
    )


def _functions(s: Symbol) -> int:
    if s.lowering.kind != "elementwise" or is_reduction(s):
        return 0
    code = elementwise_code(s.op, len(s.args), s.static)  # type: ignore[arg-type]
    return sum(isinstance(node, Apply) and node.function in FUNCTIONS for node in walk(code.tree))


def cost_of_task(task: Task, lanes: int, itemsize: int) -> float:
    """Estimated time of a task, in nanoseconds."""
    if isinstance(task, Product | TransposedProduct):
        return task.rows * task.columns * task.depth / (lanes * PRODUCTS_PER_VECTOR)
    if isinstance(task, Pack | CopyRows | SumRows | AddRows | AddColumns):
        return task.rows * task.columns * itemsize / BYTES
    if isinstance(task, ScatterRows):
        return task.rows * task.parts * (2 * task.columns * itemsize / BYTES + FUNCTION)
    if isinstance(task, Clear | AddVector | AddNumber):
        return task.size * itemsize / (4 * BYTES)
    assert isinstance(task, MoveRows)
    return 0.0  # how many rows are moved is known at the call
