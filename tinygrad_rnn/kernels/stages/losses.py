"""Stages of losses."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..fused.cross_entropy import class_backward, class_forward
from ..loops.entry import array_like
from ..loops.records import float64_in, integers_in, record_at
from .stage_codes import ClassGradientStage, ClassLossStage


def class_loss_stage(table: int, like: Any) -> None:
    """Cross-entropy of classes, of a :class:`ClassLossStage` at an address."""
    stage = record_at(table, 0, ClassLossStage)
    x, spread, weights = array_like(table, 0, like), array_like(table, 1, like), array_like(table, 2, like)
    rows, tops, logs = array_like(table, 3, like), array_like(table, 4, like), array_like(table, 5, like)
    losses, total = array_like(table, 6, like), array_like(table, 7, like)
    targets, index, numbers = integers_in(stage.targets), integers_in(stage.chosen), float64_in(stage.numbers)
    count = 0.0
    for r in range(targets.size):
        target = targets[r]
        if target == stage.ignored:
            index[r], rows[r] = -1, 0
            continue
        index[r], rows[r] = target, 1
        if weights.size:
            rows[r] = weights[target]
        count += np.float64(rows[r])
    class_forward(x, stage.classes, index, rows, spread, numbers[0], tops, logs, losses, 0, targets.size)
    numbers[1] = 1.0
    if stage.mean != 0:
        numbers[1] = 1.0 / count if count != 0 else 0.0
    if total.size:
        found = 0.0
        for r in range(targets.size):
            found += np.float64(losses[r])
        total[0] = losses.dtype.type(found) * losses.dtype.type(numbers[1])


def class_gradient_stage(table: int, like: Any) -> None:
    """Gradient of the cross-entropy of classes, of a :class:`ClassGradientStage` at an address."""
    stage = record_at(table, 0, ClassGradientStage)
    x, spread, rows = array_like(table, 0, like), array_like(table, 1, like), array_like(table, 2, like)
    tops, logs, g = array_like(table, 3, like), array_like(table, 4, like), array_like(table, 5, like)
    scaled, out = array_like(table, 6, like), array_like(table, 7, like)
    index, numbers = integers_in(stage.chosen), float64_in(stage.numbers)
    for r in range(index.size):
        scaled[r] = g[r] if g.size == index.size and numbers[2] != 0 else g[0] * g.dtype.type(numbers[1])
    class_backward(x, stage.classes, index, rows, spread, numbers[0], tops, logs, scaled, out, 0, index.size)
