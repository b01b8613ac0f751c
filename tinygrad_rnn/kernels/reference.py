"""Plain NumPy twins of the kernels: what they compute, written as one would write it down.

The tests hold every kernel against its twin. With ``NUMBA_DISABLE_JIT=1`` the twins take the place of the
kernels.
"""

from __future__ import annotations

import math

import numpy as np

Array = np.ndarray


def sigmoid(x: Array) -> Array:
    """``1 / (1 + exp(-x))``, for negative x as ``exp(x) / (1 + exp(x))``."""
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, x.dtype.type(1)) / (1 + e)


def softplus(x: Array) -> Array:
    """``log(1 + exp(x))`` without overflow."""
    return np.where(x < 0, x.dtype.type(0), x) + np.log1p(np.exp(-np.abs(x)))


def erf(x: Array) -> Array:
    """The error function."""
    return np.array([math.erf(v) for v in x.ravel().tolist()], x.dtype).reshape(x.shape)


def gemm(a: Array, b: Array, c: Array | None = None) -> Array:
    """``A @ B``, added to C if given."""
    return a @ b if c is None else c + a @ b


def gemm_tn(a: Array, b: Array, c: Array | None = None) -> Array:
    """``A.T @ B``, added to C if given."""
    return gemm(a.T, b, c)


def matmul_tanh(x: Array, w_x: Array, h: Array, w_h: Array, b: Array | None) -> Array:
    """``tanh(x @ w_x + h @ w_h + b)``; b may be None."""
    a = x @ w_x + h @ w_h
    return np.tanh(a if b is None else a + b)


def matmul_tanh_vjp(
    g: Array, y: Array, x: Array, w_x: Array, h: Array, w_h: Array, needs: tuple[bool, ...] = (True,) * 5
) -> tuple[Array | None, ...]:
    """Gradients of `matmul_tanh` for the cotangent g of its result y, as far as they are needed."""
    a = g * (1 - y * y)  # cotangent of what goes into tanh
    gradients = (
        lambda: a @ w_x.T,
        lambda: x.T @ a,
        lambda: a @ w_h.T,
        lambda: h.T @ a,
        lambda: a.sum(axis=0),
    )
    return tuple(gradient() if needed else None for gradient, needed in zip(gradients, needs))
