"""Softmax cross-entropy of rows of logits, and its gradients: logits are read, never copied.

All arrays are flat; row r has its logits at ``x[r * classes : (r + 1) * classes]``, and rows ``first <= r < last`` are
done. The forward pass keeps two numbers for each row, its largest logit and the logarithm of the sum of
``exp(x - top)``, which stay apart so that large logits lose no digits. Sums of float32 are taken up in float64 after
some hundred vectors. The plain NumPy twins are in `reference.cross_entropy`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from ..build.fingerprint import kernel
from ..simd.lanes import lane_mask, vhmax, vlanes, vload, vload_n, vselect, vsplat, vstore, vstore_n, vsum
from ..simd.mathfn import exp

Array = np.ndarray
BLOCK = 256  # vectors, after which a sum goes on in float64


@njit(error_model="numpy")
def _normaliser(x: Array, start: int, n: int) -> Any:
    """Largest element, and the logarithm of the sum of ``exp(x - top)``; both may be NaN or infinite."""
    lanes = vlanes(x)
    whole = start + n // lanes * lanes
    rest = start + n - whole
    mask = lane_mask(rest, x)
    tops = vselect(mask, vload_n(x, whole, rest), -math.inf)
    for i in range(start, whole, lanes):
        v = vload(x, i)
        tops = vselect(v > tops, v, tops)  # NaN shows in the sum
    top, total = vhmax(tops), 0.0
    for block in range(start, whole, BLOCK * lanes):
        some = vsplat(0.0, x)
        for i in range(block, min(whole, block + BLOCK * lanes), lanes):
            some += exp(vload(x, i) - top)
        total += np.float64(vsum(some))
    total += np.float64(vsum(vselect(mask, exp(vload_n(x, whole, rest) - top), 0.0)))
    return top, x.dtype.type(math.log(total))


@njit(error_model="numpy")
def _weighted(x: Array, start: int, n: int, top: Any, log: Any, share: Array, at: int, keep: Any, floor: Any,
              weight: Array) -> Any:  # fmt: skip
    """Sum of ``(keep * share + floor) * (log-probability * weight)``, `share` being read from `at` on."""
    lanes = vlanes(x)
    whole, total = n // lanes * lanes, 0.0
    for block in range(0, whole, BLOCK * lanes):
        some = vsplat(0.0, x)
        for i in range(block, min(whole, block + BLOCK * lanes), lanes):
            p = ((vload(x, start + i) - top) - log) * vload(weight, i)
            some += (vload(share, at + i) * keep + floor) * p
        total += np.float64(vsum(some))
    rest = n - whole
    p = ((vload_n(x, start + whole, rest) - top) - log) * vload_n(weight, whole, rest)
    p = (vload_n(share, at + whole, rest) * keep + floor) * p
    return x.dtype.type(total + np.float64(vsum(vselect(lane_mask(rest, x), p, 0.0))))


@njit(error_model="numpy")
def _sum_of_shares(share: Array, at: int, n: int, keep: Any, floor: Any, weight: Array) -> Any:
    """Sum of ``(keep * share + floor) * weight``."""
    lanes = vlanes(share)
    whole, total = n // lanes * lanes, 0.0
    for block in range(0, whole, BLOCK * lanes):
        some = vsplat(0.0, share)
        for i in range(block, min(whole, block + BLOCK * lanes), lanes):
            some += (vload(share, at + i) * keep + floor) * vload(weight, i)
        total += np.float64(vsum(some))
    rest = n - whole  # the weights behind are 0
    some = vselect(lane_mask(rest, share), vload_n(share, at + whole, rest) * keep + floor, 0.0)
    return share.dtype.type(total + np.float64(vsum(some * vload_n(weight, whole, rest))))


@njit(error_model="numpy")
def _gradient(x: Array, start: int, n: int, top: Any, log: Any, total: Any, share: Array, at: int, keep: Any,
              floor: Any, weight: Array, c: Any, out: Array) -> None:  # fmt: skip
    """``total * probability - c * (keep * share + floor) * weight``; a `total` of zero has no part in it."""
    lanes = vlanes(x)
    whole = n // lanes * lanes
    rest = n - whole
    for i in range(0, whole, lanes):
        q = c * ((vload(share, at + i) * keep + floor) * vload(weight, i))
        if total == 0:
            vstore(out, start + i, 0.0 - q)
        else:
            vstore(out, start + i, total * exp((vload(x, start + i) - top) - log) - q)
    q = c * ((vload_n(share, at + whole, rest) * keep + floor) * vload_n(weight, whole, rest))
    if total == 0:
        vstore_n(out, start + whole, 0.0 - q, rest)
    else:
        vstore_n(out, start + whole, total * exp((vload_n(x, start + whole, rest) - top) - log) - q, rest)


@kernel
def class_forward(
    x: Array, classes: int, index: Array, rows: Array, spread: Array, keep: float, tops: Array, logs: Array,
    losses: Array, first: int, last: int,
) -> None:  # fmt: skip
    """Losses of rows whose targets are classes.

    Parameters
    ----------
    x : (rows * classes,) array of float32 or float64
    index : (rows,) array of int64
        The class of each row; below 0: the row is left out, and its loss is 0.
    rows : (rows,) array
        The weight of each row.
    spread : (classes,) or (0,) array
        What the loss has of each class's negative log-probability besides, for label smoothing.
    keep : float
        What it has of the row's own.
    tops, logs, losses : (rows,) arrays
        Overwritten.
    first, last : int
    """
    number = x.dtype.type
    whole, none, one = number(keep), number(0), number(1)
    for r in range(first, last):
        if index[r] < 0:
            tops[r] = logs[r] = losses[r] = 0
            continue
        start = r * classes
        top, log = _normaliser(x, start, classes)
        tops[r], logs[r] = top, log
        loss = -((x[start + index[r]] - top) - log) * rows[r]
        if spread.size:
            loss = loss * whole - _weighted(x, start, classes, top, log, spread, 0, none, one, spread)
        losses[r] = loss


@kernel
def class_backward(
    x: Array, classes: int, index: Array, rows: Array, spread: Array, keep: float, tops: Array, logs: Array,
    g: Array, out: Array, first: int, last: int,
) -> None:  # fmt: skip
    """Gradients by x in `out`, for the cotangents `g` of the losses, (rows,); the rest as before."""
    lanes, number = vlanes(x), x.dtype.type
    none, one = number(0), number(1)
    spreads = _sum_of_shares(spread, 0, spread.size, none, one, spread)
    for r in range(first, last):
        start, end = r * classes, (r + 1) * classes
        hit = number(keep) * rows[r] * g[r]
        total = hit + spreads * g[r]
        if index[r] < 0 or (total == 0 and spread.size == 0):
            for i in range(start, end):
                out[i] = 0
        elif spread.size:
            _gradient(x, start, classes, tops[r], logs[r], total, spread, 0, none, one, spread, g[r], out)
        else:
            top, log = tops[r], logs[r]
            whole = start + classes // lanes * lanes
            for i in range(start, whole, lanes):
                vstore(out, i, total * exp((vload(x, i) - top) - log))
            vstore_n(out, whole, total * exp((vload_n(x, whole, end - whole) - top) - log), end - whole)
        if index[r] >= 0:
            out[start + index[r]] -= hit


@kernel
def share_forward(
    x: Array, classes: int, target: Array, weight: Array, keep: float, floor: float, tops: Array, logs: Array,
    losses: Array, first: int, last: int,
) -> None:  # fmt: skip
    """Losses of rows whose targets are shares of all classes, such as probabilities.

    Parameters
    ----------
    target : (rows * classes,) array of the dtype of `x`
    weight : (classes,) array
        A factor for each class.
    keep, floor : float
        The shares are ``keep * target + floor``, for label smoothing.
    x, classes, tops, logs, losses, first, last
        As of :func:`class_forward`.
    """
    number = x.dtype.type
    for r in range(first, last):
        start = r * classes
        top, log = _normaliser(x, start, classes)
        tops[r], logs[r] = top, log
        losses[r] = -_weighted(x, start, classes, top, log, target, start, number(keep), number(floor), weight)


@kernel
def share_backward(
    x: Array, classes: int, target: Array, weight: Array, keep: float, floor: float, tops: Array, logs: Array,
    g: Array, out: Array, first: int, last: int,
) -> None:  # fmt: skip
    """Gradients by x in `out`, for the cotangents `g` of the losses, (rows,); the rest as before."""
    number = x.dtype.type
    kept, least = number(keep), number(floor)
    for r in range(first, last):
        start = r * classes
        total = g[r] * _sum_of_shares(target, start, classes, kept, least, weight)
        _gradient(x, start, classes, tops[r], logs[r], total, target, start, kept, least, weight, g[r], out)
