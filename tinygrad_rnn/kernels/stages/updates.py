"""Stages that clip gradients and update parameters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from ..fused import optimizers
from ..loops.entry import array_like
from ..loops.records import float64_in, integers_in, record_at
from .stage_codes import ClipNormStage, ClipValueStage, DivideStage, UpdateStage


@njit(error_model="numpy", fastmath={"reassoc", "contract"})  # additions in any order, or they wait for each other
def _square_sum(x: Any) -> float:
    """Sum of squares in float64."""
    total = 0.0
    for i in range(x.size):
        total += np.float64(x[i]) * np.float64(x[i])
    return total


@njit(error_model="numpy")
def _scaled_square_sum(x: Any, unit: float) -> float:
    """Sum of the squares of ``x / unit``, in float64."""
    total = 0.0
    for i in range(x.size):
        total += (np.float64(x[i]) / unit) ** 2
    return total


def sgd_stage(table: int, like: Any) -> None:
    """Gradient descent, of an :class:`UpdateStage` at an address."""
    n = float64_in(record_at(table, 0, UpdateStage).numbers)
    values, grads, buffer = array_like(table, 0, like), array_like(table, 1, like), array_like(table, 2, like)
    optimizers.sgd(values, grads, buffer, n[0], n[1], n[2], n[3], n[4] != 0)


def adam_stage(table: int, like: Any) -> None:
    """Adam or AdamW, of an :class:`UpdateStage` at an address."""
    stage = record_at(table, 0, UpdateStage)
    n, step = float64_in(stage.numbers), integers_in(stage.step)
    step[0] += 1
    values, grads, first = array_like(table, 0, like), array_like(table, 1, like), array_like(table, 2, like)
    second, largest = array_like(table, 3, like), array_like(table, 4, like)
    optimizers.adam(values, grads, first, second, largest, n[0], n[1], n[2], n[3], n[4], step[0], n[5] != 0)


def rmsprop_stage(table: int, like: Any) -> None:
    """RMSprop, of an :class:`UpdateStage` at an address."""
    n = float64_in(record_at(table, 0, UpdateStage).numbers)
    values, grads, square = array_like(table, 0, like), array_like(table, 1, like), array_like(table, 2, like)
    mean, buffer = array_like(table, 3, like), array_like(table, 4, like)
    optimizers.rmsprop(values, grads, square, mean, buffer, n[0], n[1], n[2], n[3], n[4], n[5] != 0)


def adagrad_stage(table: int, like: Any) -> None:
    """Adagrad, of an :class:`UpdateStage` at an address."""
    stage = record_at(table, 0, UpdateStage)
    n, step = float64_in(stage.numbers), integers_in(stage.step)
    step[0] += 1
    values, grads, total = array_like(table, 0, like), array_like(table, 1, like), array_like(table, 2, like)
    optimizers.adagrad(values, grads, total, n[0], n[1], n[2], n[3], step[0])


def divide_stage(table: int, like: Any) -> None:
    """Divide an array by a number, of a :class:`DivideStage` at an address."""
    x = array_like(table, 0, like)
    divisor = x.dtype.type(float64_in(record_at(table, 0, DivideStage).numbers)[0])
    for j in range(x.size):
        x[j] /= divisor


def clip_norm_stage(table: int, like: Any) -> None:
    """Scale arrays to a norm of at most a number together, of a :class:`ClipNormStage` at an address."""
    stage = record_at(table, 0, ClipNormStage)
    numbers, spans = float64_in(stage.numbers), stage.arrays
    count, total, largest, broken = spans.size // 2, 0.0, 0.0, False
    for i in range(count):
        total += _square_sum(array_like(spans.address, i, like))
    norm = math.sqrt(total)
    if not 0 < total < math.inf:  # squares may have overflowed or underflowed: take the largest value out first
        for i in range(count):
            x = array_like(spans.address, i, like)
            for j in range(x.size):
                a = abs(np.float64(x[j]))
                broken |= a != a
                largest = max(largest, a)
        norm = math.nan if broken else largest
        if not broken and 0 < largest < math.inf:
            total = 0.0
            for i in range(count):
                total += _scaled_square_sum(array_like(spans.address, i, like), largest)
            norm = largest * math.sqrt(total)
    numbers[1] = norm
    scale = numbers[0] / (norm + 1e-6)
    if numbers[0] != math.inf and not scale >= 1:
        for i in range(count):
            x = array_like(spans.address, i, like)
            factor = x.dtype.type(scale)
            for j in range(x.size):
                x[j] *= factor


def clip_value_stage(table: int, like: Any) -> None:
    """Bring elements into a range around zero, NaN as it is, of a :class:`ClipValueStage` at an address."""
    x = array_like(table, 0, like)
    bound = x.dtype.type(float64_in(record_at(table, 0, ClipValueStage).numbers)[0])
    for j in range(x.size):
        if x[j] > bound:
            x[j] = bound
        elif x[j] < -bound:
            x[j] = -bound
