"""NumPy twins of the kernels in `losses`: same names and arguments, written from the formulas."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def squared_error(x: Array, target: Array, total: Array, first: int, last: int) -> None:
    d = np.subtract(x[first:last], target[first:last])
    total[0] = (d * d).sum()


def squared_error_gradient(x: Array, target: Array, c: float, out: Array, first: int, last: int) -> None:
    out[first:last] = c * (x[first:last] - target[first:last])


def logistic_loss(x: Array, target: Array, out: Array, first: int, last: int) -> None:
    x, target = x[first:last], target[first:last]
    out[first:last] = _share(1 - target, x) + _share(target, -x) + np.log1p(np.exp(-np.abs(x)))


def _share(share: Array, x: Array) -> Array:
    """``share * max(x, 0)``, 0 for no share of infinity."""
    return np.where(share == 0, 0, share * np.maximum(x, 0))


def logistic_loss_gradient(x: Array, target: Array, g: Array, out: Array, first: int, last: int) -> None:
    x, target = x[first:last], target[first:last]
    slope = (1 - target) * (1 / (1 + np.exp(-x))) - target * (1 / (1 + np.exp(x)))
    out[first:last] = slope * (g if g.size == 1 else g[first:last])
