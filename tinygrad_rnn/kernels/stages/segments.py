"""Stages that find which steps of a batch count, for the loops that run these."""

from __future__ import annotations

from typing import Any

from ..loops.records import integers_in, record_at
from ..loops.segments import find_segments
from ..loops.task_codes import Section
from .stage_codes import SegmentsStage, StepsStage


def segments_stage(table: int, like: Any) -> None:
    """Find segments, of a :class:`SegmentsStage` at an address; the lengths are in range."""
    stage = record_at(table, 0, SegmentsStage)
    lengths, mask, resets = integers_in(stage.lengths), integers_in(stage.mask), integers_in(stage.resets)
    batch, out = lengths.size, integers_in(stage.table)
    find_segments(
        stage.steps, lengths, mask.reshape((mask.size // batch, batch)), resets.reshape((resets.size // batch, batch)),
        stage.reverse != 0, stage.batch_first != 0, stage.least, out,
    )  # fmt: skip


def steps_stage(table: int, like: Any) -> None:
    """Write the rows before each step, of a :class:`StepsStage` at an address."""
    stage = record_at(table, 0, StepsStage)
    rows, dims = integers_in(stage.table), integers_in(stage.dims)
    first, count = rows[Section.OFFSETS], rows[Section.OFFSETS + 1]
    dims[0] = count - 1
    for t in range(count):
        dims[stage.head + t] = rows[first + t]
