"""NumPy twins of the kernels in `cross_entropy`: same names and arguments, written from the formulas.

They also serve small arrays, for which a jitted call would cost more.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def _log_probabilities(x: Array, classes: int, tops: Array, logs: Array, first: int, last: int) -> Array:
    z = x.reshape(len(tops), classes)[first:last]
    z = z - tops[first:last, None]
    z -= logs[first:last, None]
    return z


def _normalisers(x: Array, classes: int, tops: Array, logs: Array, first: int, last: int) -> Array:
    """Log-probabilities of the rows, whose normalisers are kept."""
    z = x.reshape(len(tops), classes)[first:last]
    tops[first:last] = np.maximum.reduce(z, axis=1, initial=-np.inf)
    z = z - tops[first:last, None]
    with np.errstate(divide="ignore"):
        logs[first:last] = np.log(np.add.reduce(np.exp(z), axis=1))
    z -= logs[first:last, None]
    return z


def class_forward(
    x: Array, classes: int, index: Array, rows: Array, spread: Array, keep: float, tops: Array, logs: Array,
    losses: Array, first: int, last: int,
) -> None:  # fmt: skip
    logp = _normalisers(x, classes, tops, logs, first, last)
    index = index[first:last]
    loss = -logp[np.arange(len(index)), np.maximum(index, 0)] * rows[first:last]
    if spread.size:
        loss = keep * loss - np.add.reduce(logp * spread, axis=1)
    losses[first:last] = loss
    losses[first:last][index < 0] = 0


def class_backward(
    x: Array, classes: int, index: Array, rows: Array, spread: Array, keep: float, tops: Array, logs: Array,
    g: Array, out: Array, first: int, last: int,
) -> None:  # fmt: skip
    index, g = index[first:last], np.where(index[first:last] < 0, 0, g[first:last])
    hit = keep * rows[first:last] * g
    total = hit + g * spread.sum()
    p = np.exp(_log_probabilities(x, classes, tops, logs, first, last))
    p *= total[:, None]
    if np.count_nonzero(total) < len(total):
        p[total == 0] = 0
    if spread.size:
        p -= g[:, None] * spread
    p[np.arange(len(index)), np.maximum(index, 0)] -= hit
    out.reshape(len(tops), classes)[first:last] = p


def share_forward(
    x: Array, classes: int, target: Array, weight: Array, keep: float, floor: float, tops: Array, logs: Array,
    losses: Array, first: int, last: int,
) -> None:  # fmt: skip
    logp = _normalisers(x, classes, tops, logs, first, last)
    share = target.reshape(len(tops), classes)[first:last] * keep + floor
    losses[first:last] = -np.add.reduce(share * (logp * weight), axis=1)


def share_backward(
    x: Array, classes: int, target: Array, weight: Array, keep: float, floor: float, tops: Array, logs: Array,
    g: Array, out: Array, first: int, last: int,
) -> None:  # fmt: skip
    q = (target.reshape(len(tops), classes)[first:last] * keep + floor) * weight * g[first:last, None]
    total = q.sum(axis=1)
    p = np.exp(_log_probabilities(x, classes, tops, logs, first, last)) * total[:, None]
    p[total == 0] = 0
    out.reshape(len(tops), classes)[first:last] = p - q
