"""Stages that copy between arrays of any strides, and that clear."""

from __future__ import annotations

from typing import Any

from ..loops.entry import array_like
from ..loops.records import record_at
from ..loops.tasks import add_row, copy_row
from .stage_codes import CopyMode, CopyStage


def copy_stage(table: int, like: Any) -> None:
    """Copy or add an array to another one, of a :class:`CopyStage` at an address."""
    task = record_at(table, 0, CopyStage)
    x, y = array_like(table, 0, like), array_like(table, 1, like)
    add, whole = task.mode == CopyMode.ADD, task.s3 == 1 and task.t3 == 1
    for i in range(task.n0):
        for j in range(task.n1):
            for k in range(task.n2):
                a = task.first_source + i * task.s0 + j * task.s1 + k * task.s2
                b = task.first_target + i * task.t0 + j * task.t1 + k * task.t2
                if whole and add:
                    add_row(x, a, y, b, task.n3)
                elif whole:
                    copy_row(x, a, y, b, task.n3, task.n3)
                elif add:
                    for n in range(task.n3):
                        y[b + n * task.t3] += x[a + n * task.s3]
                else:
                    for n in range(task.n3):
                        y[b + n * task.t3] = x[a + n * task.s3]


def fill_stage(table: int, like: Any) -> None:
    """Set an array to zero, of a :class:`FillStage` at an address."""
    y = array_like(table, 0, like)
    for i in range(y.size):
        y[i] = 0
