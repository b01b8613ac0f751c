"""Plain NumPy twins of the kernels in `matmul_tanh`, written from the equations.

With ``NUMBA_DISABLE_JIT=1`` these two, and those of `ctc`, take the place of the kernels.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


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
