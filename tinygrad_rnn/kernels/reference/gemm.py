"""Plain NumPy twins of matrix products, packed ones and those of a few rows."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def gemm(a: Array, b: Array, c: Array | None = None) -> Array:
    """``A @ B``, added to C if given."""
    return a @ b if c is None else c + a @ b


def gemm2(a1: Array, b1: Array, a2: Array, b2: Array, bias: Array) -> Array:
    """``bias + A1 @ B1 + A2 @ B2``, as of `gemm2`, `few_rows_nn` and `few_rows_nt`."""
    return bias + a1 @ b1 + a2 @ b2


def gemm_tn(a: Array, b: Array, c: Array | None = None) -> Array:
    """``A.T @ B``, added to C if given."""
    return gemm(a.T, b, c)
