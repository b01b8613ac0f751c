"""Elementwise losses and their gradients, one pass each; twins are in `reference.losses`.

All arrays are flat, and elements ``first <= i < last`` are done.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ..build.fingerprint import kernel
from ..simd.lanes import vabs, vlanes, vload, vload_n, vmax, vselect, vsplat, vstore, vstore_n, vsum
from ..simd.mathfn import exp, log1p

Array = np.ndarray
BLOCK = 256  # vectors, after which a sum goes on in float64


@kernel
def squared_error(x: Array, target: Array, total: Array, first: int, last: int) -> None:
    """``sum((x - target)**2)``, written to ``total[0]`` in float64."""
    lanes, found = vlanes(x), 0.0
    whole = first + (last - first) // lanes * lanes
    for block in range(first, whole, BLOCK * lanes):
        some = vsplat(0.0, x)
        for i in range(block, min(whole, block + BLOCK * lanes), lanes):
            d = vload(x, i) - vload(target, i)
            some += d * d
        found += np.float64(vsum(some))
    d = vload_n(x, whole, last - whole) - vload_n(target, whole, last - whole)
    total[0] = found + np.float64(vsum(d * d))


@kernel
def squared_error_gradient(x: Array, target: Array, c: float, out: Array, first: int, last: int) -> None:
    """``c * (x - target)``, written to `out`."""
    lanes, factor = vlanes(x), x.dtype.type(c)
    whole = first + (last - first) // lanes * lanes
    for i in range(first, whole, lanes):
        vstore(out, i, (vload(x, i) - vload(target, i)) * factor)
    rest = last - whole
    vstore_n(out, whole, (vload_n(x, whole, rest) - vload_n(target, whole, rest)) * factor, rest)


@njit(error_model="numpy")
def _share(share: Any, x: Any) -> Any:
    """``share * max(x, 0)``, 0 for no share of infinity."""
    return vselect(share == 0.0, 0.0, share * vmax(x, 0.0))


@njit(error_model="numpy")
def _logistic(x: Any, target: Any) -> Any:
    return _share(1.0 - target, x) + _share(target, -x) + log1p(exp(-vabs(x)))


@kernel
def logistic_loss(x: Array, target: Array, out: Array, first: int, last: int) -> None:
    """``-target * log(sigmoid(x)) - (1 - target) * log(sigmoid(-x))``, written to `out`."""
    lanes = vlanes(x)
    whole = first + (last - first) // lanes * lanes
    for i in range(first, whole, lanes):
        vstore(out, i, _logistic(vload(x, i), vload(target, i)))
    rest = last - whole
    vstore_n(out, whole, _logistic(vload_n(x, whole, rest), vload_n(target, whole, rest)), rest)


@njit(error_model="numpy")
def _slope(x: Any, target: Any) -> Any:
    e = exp(-vabs(x))
    large = 1.0 / (1.0 + e)
    small = e * large
    negative = x < 0.0
    return (1.0 - target) * vselect(negative, small, large) - target * vselect(negative, large, small)


@kernel
def logistic_loss_gradient(x: Array, target: Array, g: Array, out: Array, first: int, last: int) -> None:
    """Gradient by x for the cotangents `g`, one for each element or one for all, written to `out`."""
    lanes = vlanes(x)
    whole, rest = first + (last - first) // lanes * lanes, (last - first) % lanes
    if g.size == 1 and x.size != 1:
        c = g[0]
        for i in range(first, whole, lanes):
            vstore(out, i, c * _slope(vload(x, i), vload(target, i)))
        vstore_n(out, whole, c * _slope(vload_n(x, whole, rest), vload_n(target, whole, rest)), rest)
    else:
        for i in range(first, whole, lanes):
            vstore(out, i, vload(g, i) * _slope(vload(x, i), vload(target, i)))
        last_g = vload_n(g, whole, rest)
        vstore_n(out, whole, last_g * _slope(vload_n(x, whole, rest), vload_n(target, whole, rest)), rest)
