"""A step whose results, one for each row of a batch, add to gradients where these are.

All records are in :mod:`.task_codes`; as in :mod:`.guarded_step`, tables are given by address.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from numba import njit, types

from ..build.code_cache import entry_of
from ..build.fingerprint import kernel
from ..simd.lanes import vbroadcast, vfma, vlanes, vload, vload_n, vstore, vstore_n
from .entry import call_loop
from .guarded_step import outer, step_of
from .records import float32_in, float64_in, record_at
from .task_codes import GradientPart, GradientStep, GuardedStep, size_of
from .tasks import add_row

Array = np.ndarray
HEAD, PART = map(size_of, (GradientStep, GradientPart))


@njit(error_model="numpy")
def _add(left: Array, right: Array, out: Array, part: GradientPart, batch: int) -> None:
    rows, columns, ld = part.rows, part.columns, part.ld
    for b in range(batch):
        at = b * part.left_ld
        if right.size > 0 and columns == 1 and ld == 1:  # one long row instead of many short ones
            _add_multiple(right, b * part.right_ld, left, at, out, 0, rows)
        elif right.size > 0:
            for r in range(rows):
                _add_multiple(left, at + r, right, b * part.right_ld, out, r * ld, columns)
        elif ld == columns:
            add_row(left, at, out, 0, rows * columns)
        else:
            for r in range(rows):
                add_row(left, at + r * columns, out, r * ld, columns)


@njit(error_model="numpy")
def _add_multiple(factor: Array, which: int, x: Array, start: int, out: Array, to: int, n: int) -> None:
    """``out[to : to + n] += factor[which] * x[start : start + n]``."""
    lanes, a = vlanes(x), vbroadcast(factor, which)
    whole = n // lanes * lanes
    for j in range(0, whole, lanes):
        vstore(out, to + j, vfma(a, vload(x, start + j), vload(out, to + j)))
    if whole < n:
        rest = n - whole
        last = vfma(a, vload_n(x, start + whole, rest), vload_n(out, to + whole, rest))
        vstore_n(out, to + whole, last, rest)


@kernel
def _head(table: int) -> GradientStep:
    return record_at(table, 0, GradientStep)


@kernel
def _add_parts(table: int) -> None:
    head = record_at(table, 0, GradientStep)
    step = record_at(head.step, 0, GuardedStep)
    for i in range(head.parts):
        part = record_at(table, HEAD + i * PART, GradientPart)
        if step.itemsize == 8:
            _add(float64_in(part.left), float64_in(part.right), float64_in(part.target), part, step.rows)
        else:
            _add(float32_in(part.left), float32_in(part.right), float32_in(part.target), part, step.rows)


@outer
def add_gradients(table: int) -> None:
    """Run a step, and add what it gives to gradients.

    Parameters
    ----------
    table : int
        The address of integers: a :class:`GradientStep`, then as many :class:`GradientPart` as it says.
    """
    head = _head(table)
    if head.runs:
        step = step_of(head.step)
        call_loop(step.loop, 0, step.rows, step.addresses, 0)
    _add_parts(table)


@functools.cache
def gradient_entry() -> Callable[[int], None]:
    """:func:`add_gradients`, without a look at the type of its argument."""
    return entry_of(add_gradients, types.int64)
