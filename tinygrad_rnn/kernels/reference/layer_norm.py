"""NumPy twins of the kernels in `layer_norm`: same names and arguments, written from the formulas.

They also serve small arrays, for which a jitted call would cost more.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def forward(
    x: Array, n: int, weight: Array, bias: Array, eps: float, means: Array, scales: Array, out: Array, first: int,
    last: int,
) -> None:  # fmt: skip
    rows = x.reshape(len(means), n)[first:last]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        start = rows[:, :1]
        mean = np.add.reduce(rows - start, axis=1, keepdims=True) / x.dtype.type(n) + start
        y = rows - mean
        variance = np.add.reduce(y * y, axis=1, keepdims=True) / x.dtype.type(n)
        scale = 1 / np.sqrt(variance + x.dtype.type(eps)) + variance * 0  # NaN if the variance overflows
        y *= scale
        y *= weight
        y += bias
    means[first:last], scales[first:last] = mean[:, 0], scale[:, 0]
    out.reshape(len(means), n)[first:last] = y


def backward(
    x: Array, n: int, weight: Array, means: Array, scales: Array, g: Array, dx: Array, dweight: Array, dbias: Array,
    first: int, last: int,
) -> None:  # fmt: skip
    g, scale = g.reshape(len(means), n)[first:last], scales[first:last, None]
    with np.errstate(over="ignore", invalid="ignore"):
        y = (x.reshape(len(means), n)[first:last] - means[first:last, None]) * scale
        dbias += np.add.reduce(g, axis=0)
        dweight += np.add.reduce(g * y, axis=0)
        d = g * weight
        a = np.add.reduce(d, axis=1, keepdims=True) / x.dtype.type(n)
        y *= np.add.reduce(d * y, axis=1, keepdims=True) / x.dtype.type(n)
        d -= a
        d -= y
        d *= scale
    dx.reshape(len(means), n)[first:last] = d
