"""Stages around a step: its rows of the data, its options, whether it is finite, and its loss."""

from __future__ import annotations

import math
from typing import Any

from numba import njit

from ..loops.entry import array_like
from ..loops.records import float64_in, integers_in, record_at
from .stage_codes import FeedIntegersStage, FeedStage, FiniteStage, NoteStage, OptionsStage, RecordStage


@njit(error_model="numpy")
def _copy_rows(x: Any, stage: Any, out: Any) -> None:
    """Copy the rows of a step, which lie in pieces in `out`."""
    order, first = integers_in(stage.order), integers_in(stage.step)[0] * stage.rows
    for r in range(stage.rows):
        row = order[first + r] * stage.pieces * stage.width
        for p in range(stage.pieces):
            a, b = row + p * stage.width, r * stage.row_step + p * stage.piece_step
            for j in range(stage.width):
                out[b + j] = x[a + j]


def feed_stage(table: int, like: Any) -> None:
    """Copy the rows of a step, of a :class:`FeedStage` at an address."""
    stage = record_at(table, 0, FeedStage)
    _copy_rows(array_like(table, 0, like), stage, array_like(table, 1, like))


def feed_integers_stage(table: int, like: Any) -> None:
    """Copy the rows of a step, of a :class:`FeedIntegersStage` at an address."""
    stage = record_at(table, 0, FeedIntegersStage)
    _copy_rows(integers_in(stage.data), stage, integers_in(stage.out))


def finite_stage(table: int, like: Any) -> None:
    """Set the status if an array is not finite, of a :class:`FiniteStage` at an address."""
    stage = record_at(table, 0, FiniteStage)
    x = array_like(table, 0, like)
    finite = True
    for j in range(x.size):
        finite &= abs(x[j]) < math.inf
    if not finite:
        integers_in(stage.status)[0] = 1


def note_stage(table: int, like: Any) -> None:
    """Note the norm of the gradients of a step, of a :class:`NoteStage` at an address."""
    stage = record_at(table, 0, NoteStage)
    float64_in(stage.norms)[integers_in(stage.step)[0]] = float64_in(stage.numbers)[1]


def options_stage(table: int, like: Any) -> None:
    """Copy the options of a step, of an :class:`OptionsStage` at an address."""
    stage = record_at(table, 0, OptionsStage)
    x, out = float64_in(stage.table), float64_in(stage.numbers)
    first = integers_in(stage.step)[0] * out.size
    for j in range(out.size):
        out[j] = x[first + j]


def record_stage(table: int, like: Any) -> None:
    """Note the loss of a step, of a :class:`RecordStage` at an address."""
    stage = record_at(table, 0, RecordStage)
    step = integers_in(stage.step)
    array_like(table, 1, like)[step[0]] = array_like(table, 0, like)[0]
    step[0] += 1
