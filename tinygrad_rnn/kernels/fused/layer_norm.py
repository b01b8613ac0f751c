"""Layer normalisation of rows, and its gradients: one pass over memory each.

All arrays are flat; row r of x has its `n` elements at ``x[r * n : (r + 1) * n]``, and rows ``first <= r < last`` are
done. The plain NumPy twins are in `reference.layer_norm`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from ..build.fingerprint import kernel
from ..simd.lanes import lane_mask, vlanes, vload, vload_n, vselect, vsplat, vstore, vstore_n, vsum

Array = np.ndarray
BLOCK = 256  # vectors, after which a sum goes on in float64


@njit(error_model="numpy")
def _moment(x: Array, start: int, n: int, centre: Any, squared: bool) -> float:
    """Mean of ``x - centre``, or of its square."""
    lanes = vlanes(x)
    whole, rest, total = start + n // lanes * lanes, n % lanes, 0.0
    for block in range(start, whole, BLOCK * lanes):
        some = vsplat(0.0, x)
        for i in range(block, min(whole, block + BLOCK * lanes), lanes):
            v = vload(x, i) - centre
            some += v * v if squared else v
        total += np.float64(vsum(some))
    v = vselect(lane_mask(rest, x), vload_n(x, whole, rest) - centre, 0.0)
    total += np.float64(vsum(v * v if squared else v))
    return total / n


@kernel
def forward(
    x: Array, n: int, weight: Array, bias: Array, eps: float, means: Array, scales: Array, out: Array, first: int,
    last: int,
) -> None:  # fmt: skip
    """``(x - mean) / sqrt(variance + eps) * weight + bias`` of rows.

    Parameters
    ----------
    x : (rows * n,) array of float32 or float64
    weight, bias : (n,) arrays
    means, scales : (rows,) arrays
        Overwritten: the mean of each row, and what it is multiplied by, NaN if the variance overflows.
    out : (rows * n,) array
        Overwritten.
    """
    lanes, number = vlanes(x), x.dtype.type
    whole, rest = n // lanes * lanes, n % lanes
    for r in range(first, last):
        start = r * n
        mean = x[start] + number(_moment(x, start, n, x[start], False))  # exact, if all elements are equal
        variance = number(_moment(x, start, n, mean, True))
        scale = number(1) / number(math.sqrt(variance + number(eps))) + variance * number(0)
        means[r], scales[r] = mean, scale
        for i in range(0, whole, lanes):
            vstore(out, start + i, (vload(x, start + i) - mean) * scale * vload(weight, i) + vload(bias, i))
        y = (vload_n(x, start + whole, rest) - mean) * scale
        vstore_n(out, start + whole, y * vload_n(weight, whole, rest) + vload_n(bias, whole, rest), rest)


@kernel
def backward(
    x: Array, n: int, weight: Array, means: Array, scales: Array, g: Array, dx: Array, dweight: Array, dbias: Array,
    first: int, last: int,
) -> None:  # fmt: skip
    """Gradients for the cotangents `g` of the result.

    Parameters
    ----------
    x, weight, means, scales
        As before.
    g, dx : (rows * n,) arrays
        `dx` is overwritten.
    dweight, dbias : (n,) arrays
        Added to.
    """
    lanes, number = vlanes(x), x.dtype.type
    whole, rest = n // lanes * lanes, n % lanes
    for r in range(first, last):
        start, mean, scale = r * n, means[r], scales[r]
        total, along = 0.0, 0.0
        for block in range(0, whole, BLOCK * lanes):
            some, more = vsplat(0.0, x), vsplat(0.0, x)
            for i in range(block, min(whole, block + BLOCK * lanes), lanes):
                v, y = vload(g, start + i), (vload(x, start + i) - mean) * scale
                vstore(dbias, i, vload(dbias, i) + v)
                vstore(dweight, i, vload(dweight, i) + v * y)
                v = v * vload(weight, i)
                some += v
                more += v * y
            total += np.float64(vsum(some))
            along += np.float64(vsum(more))
        v, y = vload_n(g, start + whole, rest), (vload_n(x, start + whole, rest) - mean) * scale
        y = vselect(lane_mask(rest, x), y, 0.0)
        vstore_n(dbias, whole, vload_n(dbias, whole, rest) + v, rest)
        vstore_n(dweight, whole, vload_n(dweight, whole, rest) + v * y, rest)
        v = v * vload_n(weight, whole, rest)
        a, b = number((total + np.float64(vsum(v))) / n), number((along + np.float64(vsum(v * y))) / n)
        vstore_n(dx, start + whole, (v - a - y * b) * scale, rest)
        for i in range(0, whole, lanes):
            y = (vload(x, start + i) - mean) * scale
            vstore(dx, start + i, (vload(g, start + i) * vload(weight, i) - a - y * b) * scale)
