"""The step of a tanh RNN as one operation, on a jitted kernel forward and backward."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core import OUT, Lowering, primitive
from ..core.aliases import Value
from ..core.signatures import like_first
from ..errors import DTypeError, ShapeError
from .activation import tanh
from .arguments import operand


def _vjp(
    g: Value,
    y: Value,
    x: Value,
    w_x: Value,
    h: Value,
    w_h: Value,
    *biases: Value,
    needs: Sequence[bool],
    transposed: bool,
) -> list[Value]:
    if isinstance(g, np.ndarray):
        from ..kernels.fused import matmul_tanh as kernels  # numba is imported at first use

        wanted = (*needs[:4], any(needs[4:]))  # one sum of rows serves all biases
        views = (w_x.T, w_h.T) if transposed else (w_x, w_h)
        dx, dw_x, dh, dw_h, db = kernels.matmul_tanh_vjp(g, y, x, views[0], h, views[1], wanted)
        if transposed:
            dw_x, dw_h = (d if d is None else d.T for d in (dw_x, dw_h))
        return [dx, dw_x, dh, dw_h, *(db if need else None for need in needs[4:])]
    a = g * (1 - y * y)  # gradients of gradients: in operations, which have rules themselves
    left, right = (w_x, w_h) if transposed else (w_x.T, w_h.T)
    weights = [a.T @ x, a.T @ h] if transposed else [x.T @ a, h.T @ a]
    all_of_them = [a @ left, weights[0], a @ right, weights[1], *(a.sum(axis=0) for _ in biases)]
    return [d if need else None for d, need in zip(all_of_them, needs)]


def _decompose(x: Value, w_x: Value, h: Value, w_h: Value, *biases: Value, transposed: bool) -> Value:
    y = x @ w_x.T + h @ w_h.T if transposed else x @ w_x + h @ w_h
    for b in biases:
        y = y + b
    return tanh(y)


@primitive(joint_vjp=_vjp, saves=(0, 1, 2, 3, OUT), lowering=Lowering(decompose=_decompose), floats=True)
def _matmul_tanh(x: Value, w_x: Value, h: Value, w_h: Value, *biases: Value, transposed: bool) -> Value:
    from ..kernels.fused import matmul_tanh as kernels

    bias = None if not biases else biases[0] if len(biases) == 1 else biases[0] + biases[1]
    kernel = kernels.matmul_tanh
    return kernel(x, w_x.T, h, w_h.T, bias) if transposed else kernel(x, w_x, h, w_h, bias)


@like_first
def matmul_tanh(x: Value, w_x: Value, h: Value, w_h: Value, *biases: Value, transposed: bool = False) -> Value:
    """``tanh(x @ w_x + h @ w_h + b)`` in one jitted kernel; its gradients are another.

    Parameters
    ----------
    x : (B, I)
    w_x : (I, H)
    h : (B, H)
    w_h : (H, H)
    *biases : (H,), none, one or two
        Added up.
    transposed : bool
        The matrices are given as (H, I) and (H, H), as layers keep them.

    Returns
    -------
    (B, H)

    Raises
    ------
    ShapeError, DTypeError
        If an argument does not fit the others.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tr
    >>> x, h, w = np.ones((1, 2)), np.zeros((1, 3)), np.eye(3)
    >>> tr.matmul_tanh(tr.tensor(x), w[:2], tr.tensor(h), w).numpy().round(3)
    array([[0.762, 0.762, 0.   ]])
    """
    x, w_x, h, w_h = (operand(a, "matmul_tanh") for a in (x, w_x, h, w_h))
    biases = tuple([operand(b, "matmul_tanh") for b in biases])
    if len(x.shape) != 2 or len(h.shape) != 2 or h.shape[0] != x.shape[0]:
        raise ShapeError(f"matmul_tanh: got x {tuple(x.shape)} and h {tuple(h.shape)}, wanted (B, I) and (B, H)")
    if len(biases) > 2:
        raise ShapeError(f"matmul_tanh: got {len(biases)} biases, wanted at most 2")
    inputs, hidden = x.shape[1], h.shape[1]
    wanted = [("w_x", w_x, (hidden, inputs) if transposed else (inputs, hidden)), ("w_h", w_h, (hidden, hidden))]
    for name, array, shape in [*wanted, *(("bias", b, (hidden,)) for b in biases)]:
        if tuple(array.shape) != shape:
            raise ShapeError(f"matmul_tanh: {name}: got shape {tuple(array.shape)}, wanted {shape}")
    for name, array in (("x", x), ("w_x", w_x), ("h", h), ("w_h", w_h)):
        if array.dtype.kind not in "fiub":
            raise DTypeError(f"matmul_tanh: {name}: got dtype {array.dtype}, wanted floats")
    return _matmul_tanh(x, w_x, h, w_h, *biases, transposed=bool(transposed))
