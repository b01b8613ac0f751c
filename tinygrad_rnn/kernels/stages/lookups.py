"""Stages that look rows up by integers, and add to rows that integers name."""

from __future__ import annotations

from typing import Any

from numba import njit

from ..fused.embedding import scatter_add
from ..loops.entry import array_like
from ..loops.records import integers_in, record_at
from .stage_codes import GatherStage, ScatterStage


@njit(error_model="numpy")
def copy_rows(x: Any, indices: Any, first: int, count: int, width: int, out: Any) -> None:
    """Copy the rows ``indices[first : first + count]`` of `x` to the first ones of `out`."""
    for r in range(count):
        a, b = indices[first + r] * width, r * width
        for j in range(width):
            out[b + j] = x[a + j]


def gather_stage(table: int, like: Any) -> None:
    """Copy rows, of a :class:`GatherStage` at an address."""
    stage = record_at(table, 0, GatherStage)
    x, out, indices = array_like(table, 0, like), array_like(table, 1, like), integers_in(stage.indices)
    copy_rows(x, indices, 0, indices.size, stage.width, out)


def scatter_stage(table: int, like: Any) -> None:
    """Add rows, of a :class:`ScatterStage` at an address."""
    stage = record_at(table, 0, ScatterStage)
    x, out, indices = array_like(table, 0, like), array_like(table, 1, like), integers_in(stage.indices)
    for i in range(out.size):
        out[i] = 0
    scatter_add(x, stage.width, indices, stage.padding, out, 0, indices.size)
