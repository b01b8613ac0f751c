"""NumPy twin of the kernel in `dropout`: same name and arguments, written from the formula."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def dropout(x: Array, keep: Array, scale: float, out: Array, first: int, last: int) -> None:
    out[first:last] = x[first:last] * (keep[first:last].astype(x.dtype) * x.dtype.type(scale))
