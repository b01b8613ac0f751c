"""Dropout, one pass. The plain NumPy twin is in `reference.dropout`."""

from __future__ import annotations

import numpy as np

from ..build.fingerprint import kernel

Array = np.ndarray


@kernel
def dropout(x: Array, keep: Array, scale: float, out: Array, first: int, last: int) -> None:
    """``x * scale`` where `keep` is true, else ``x * 0``; elements ``first <= i < last`` of flat arrays."""
    number = x.dtype.type
    factor = number(scale)
    x, keep, out = x[first:last], keep[first:last], out[first:last]
    for i in range(x.size):
        out[i] = x[i] * (number(keep[i]) * factor)  # a branch would keep the loop from becoming vectors
