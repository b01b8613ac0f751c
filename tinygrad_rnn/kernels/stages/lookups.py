"""Stages that look rows up by integers, and add to rows that integers name."""

from __future__ import annotations

from typing import Any

from numba import njit

from ..fused.embedding import scatter_add
from ..loops.entry import array_like
from ..loops.records import integers_in, record_at
from .stage_codes import GatherStage, ScatterStage


@njit(error_model="numpy")
def _copy_rows(x: Any, indices: Any, width: int, out: Any) -> None:
    """Copy the rows of `x` that `indices` name to `out`."""
    for r in range(indices.size):
        a, b = indices[r] * width, r * width
        for j in range(width):
            out[b + j] = x[a + j]


def gather_stage(table: int, like: Any) -> None:
    """Copy rows, of a :class:`GatherStage` at an address."""
    stage = record_at(table, 0, GatherStage)
    x, out, indices = array_like(table, 0, like), array_like(table, 1, like), integers_in(stage.indices)
    _copy_rows(x, indices, stage.width, out)


def scatter_stage(table: int, like: Any) -> None:
    """Add rows, of a :class:`ScatterStage` at an address."""
    stage = record_at(table, 0, ScatterStage)
    x, out, indices = array_like(table, 0, like), array_like(table, 1, like), integers_in(stage.indices)
    for i in range(out.size):
        out[i] = 0
    scatter_add(x, stage.width, indices, stage.padding, out, 0, indices.size)
