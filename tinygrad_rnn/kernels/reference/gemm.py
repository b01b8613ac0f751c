"""Plain NumPy twins of matrix products."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def gemm(a: Array, b: Array, c: Array | None = None) -> Array:
    """``A @ B``, added to C if given."""
    return a @ b if c is None else c + a @ b


def gemm_tn(a: Array, b: Array, c: Array | None = None) -> Array:
    """``A.T @ B``, added to C if given."""
    return gemm(a.T, b, c)
