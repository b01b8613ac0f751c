"""One step of a tanh RNN in one call, ``tanh(x @ w_x + h @ w_h + b)``, and its gradients in another.

Weights are read with the strides that they have, so the transposed view of an (H, I) array costs nothing.
A few rows are multiplied with the weights as they lie in memory; for more rows the weights are packed
first.
"""

from __future__ import annotations

import threading

import numpy as np
from numba import njit

from ..build.fingerprint import kernel
from ..build.target import config
from ..gemm.few_rows import DOTS, few_rows_nn, few_rows_nt
from ..gemm.gemm import PANEL_VECTORS, aligned_empty, pack, packed_size, padded, product, product_tn
from ..reference import matmul_tanh as reference
from ..simd.lanes import vlanes, vload, vload_n, vstore, vstore_n
from ..simd.mathfn import tanh

PACK_FROM = 12  # the number of rows from which on packing pays

Array = np.ndarray
_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
_NOTHING = {d: (np.empty((0, 0), d), np.empty(0, d)) for d in _DTYPES}  # for what is not there, or not wanted


@njit(error_model="numpy")
def _tanh(y: Array, n: int) -> None:
    lanes = vlanes(y)
    whole = n // lanes * lanes
    for i in range(0, whole, lanes):
        vstore(y, i, tanh(vload(y, i)))
    vstore_n(y, whole, tanh(vload_n(y, whole, n - whole)), n - whole)


@njit(error_model="numpy")
def _cotangent(g: Array, y: Array, B: int, H: int, db: Array) -> Array:
    """The cotangent of the argument of tanh, ``g * (1 - y * y)``; its sum over rows in db, if not empty."""
    lanes, n = vlanes(g), B * H
    a = np.empty(n, g.dtype)
    whole = n // lanes * lanes
    for i in range(0, whole, lanes):
        v = vload(y, i)
        vstore(a, i, vload(g, i) * (1.0 - v * v))
    v = vload_n(y, whole, n - whole)
    vstore_n(a, whole, vload_n(g, whole, n - whole) * (1.0 - v * v), n - whole)
    for j in range(db.size):
        db[j] = 0
    for r in range(B if db.size else 0):
        for j in range(H):
            db[j] += a[r * H + j]
    return a


@njit(error_model="numpy")
def _padded(bias: Array, N: int) -> Array:
    """The bias, or zeros if it is empty, with space for reading it in whole panels."""
    padded = np.empty(N + max(PANEL_VECTORS * vlanes(bias), DOTS), bias.dtype)
    for i in range(padded.size):
        padded[i] = bias[i] if i < bias.size else 0
    return padded


@kernel
def _forward_few_rows(
    x: Array, I: int, w_x: Array, x_row: int, x_column: int, h: Array, w_h: Array, h_row: int, h_column: int,
    bias: Array, y: Array, B: int, H: int,
) -> None:  # fmt: skip
    start, out = _padded(bias, H), y.ravel()
    if x_column == 1 and h_column == 1:
        few_rows_nn(x, I, np.intp(1), I, w_x, x_row, h, H, np.intp(1), H, w_h, h_row, start, out, B, H)
    else:
        few_rows_nt(x, I, w_x, x_column, h, H, w_h, h_column, start, out, B, H)
    _tanh(out, B * H)


@kernel
def _forward_packed(
    x: Array, I: int, w_x: Array, x_row: int, x_column: int, h: Array, w_h: Array, h_row: int, h_column: int,
    bias: Array, y: Array, B: int, H: int, work: Array, second: int,
) -> None:  # fmt: skip
    start, out, zero = _padded(bias, H), y.ravel(), np.intp(0)
    pack(w_x, zero, x_row, x_column, I, H, work, zero)
    pack(w_h, zero, h_row, h_column, H, H, work, second)
    product(
        x, zero, I, I, work, zero, h, zero, H, H, work, second, np.bool_(True), start, zero, zero, out, zero, H, B, H
    )
    _tanh(out, B * H)


@njit(error_model="numpy")
def _few_rows_gradients(
    a: Array, x: Array, w: Array, row: int, column: int, none: Array, B: int, I: int, H: int, dx: Array, dw: Array
) -> None:
    """Gradients of ``x @ w`` for the cotangent a."""
    zero, one = np.intp(0), np.intp(1)
    if dx.size and column == 1:
        few_rows_nt(a, H, w, row, a, zero, w, row, none, dx, B, I)
    elif dx.size:
        few_rows_nn(a, H, one, H, w, column, a, H, one, zero, w, column, none, dx, B, I)
    if dw.size and column == 1:
        few_rows_nn(x, one, I, B, a, H, x, one, I, zero, a, H, none, dw, I, H)
    elif dw.size:
        few_rows_nn(a, one, H, B, x, I, a, one, H, zero, x, I, none, dw, H, I)


@kernel
def _backward_few_rows(
    g: Array, y: Array, x: Array, I: int, w_x: Array, x_row: int, x_column: int, h: Array, w_h: Array, h_row: int,
    h_column: int, B: int, H: int, dx: Array, dw_x: Array, dh: Array, dw_h: Array, db: Array,
) -> None:  # fmt: skip
    a = _cotangent(g, y, B, H, db)
    none = _padded(a[:0], max(I, H))
    _few_rows_gradients(a, x, w_x, x_row, x_column, none, B, I, H, dx.ravel(), dw_x.ravel())
    _few_rows_gradients(a, h, w_h, h_row, h_column, none, B, H, H, dh.ravel(), dw_h.ravel())


@njit(error_model="numpy")
def _packed_gradients(
    a: Array, x: Array, w: Array, row: int, column: int, B: int, I: int, H: int, dx: Array, dw: Array, work: Array
) -> None:
    zero = np.intp(0)
    if dx.size:
        pack(w, zero, column, row, H, I, work, zero)
        product(
            a, zero, H, H, work, zero, a, zero, H, zero, work, zero, np.bool_(False), dx, zero, I, dx, zero, I, B, I
        )
    if dw.size and column == 1:
        product_tn(x, zero, I, a, zero, H, B, I, H, dw, zero, H, np.bool_(False))
    elif dw.size:
        product_tn(a, zero, H, x, zero, I, B, H, I, dw, zero, I, np.bool_(False))


@kernel
def _backward_packed(
    g: Array, y: Array, x: Array, I: int, w_x: Array, x_row: int, x_column: int, h: Array, w_h: Array, h_row: int,
    h_column: int, B: int, H: int, dx: Array, dw_x: Array, dh: Array, dw_h: Array, db: Array, work: Array,
) -> None:  # fmt: skip
    a = _cotangent(g, y, B, H, db)
    _packed_gradients(a, x, w_x, x_row, x_column, B, I, H, dx.ravel(), dw_x.ravel(), work)
    _packed_gradients(a, h, w_h, h_row, h_column, B, H, H, dh.ravel(), dw_h.ravel(), work)


_own = threading.local()


def _workspace(size: int, dtype: np.dtype) -> Array:
    """Memory for packed weights, kept by each thread: fresh memory costs more than packing."""
    kept = _own.__dict__.get(dtype.char)
    if kept is None or kept.size < size:
        kept = _own.__dict__[dtype.char] = aligned_empty(size, dtype)
    return kept


def _flat(a: Array) -> Array:
    """The elements in C order, writeable, as Numba would compile everything again for other arrays."""
    a = a.ravel()
    return a if a.flags.writeable else a.copy()


def _matrix(w: Array) -> tuple[Array, int, int]:
    """The elements of a matrix as they lie in memory, and the strides of rows and columns."""
    rows, columns = w.shape
    if w.strides == (w.itemsize, w.itemsize * rows) and columns > 1:
        return _flat(w.T), 1, rows
    return _flat(w), columns, 1


def _check(x: Array, w_x: Array, h: Array, w_h: Array, **others: Array) -> None:
    """Refuse what does not fit together: a kernel must never leave its arrays."""
    dtype = x.dtype
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"matmul_tanh: x has dtype {dtype}, wanted float32 or float64")
    if x.ndim != 2 or h.ndim != 2:
        raise ValueError(f"matmul_tanh: got x {x.shape} and h {h.shape}, wanted (B, I) and (B, H)")
    (B, I), H = x.shape, h.shape[1]
    shapes = {"w_x": (I, H), "h": (B, H), "w_h": (H, H), "b": (H,), "g": (B, H), "y": (B, H)}
    for name, array in {"w_x": w_x, "h": h, "w_h": w_h, **others}.items():
        if array.shape != shapes[name]:
            raise ValueError(f"matmul_tanh: {name} is {array.shape}, wanted {shapes[name]} beside x {x.shape}")
        if array.dtype != dtype:
            raise TypeError(f"matmul_tanh: {name} has dtype {array.dtype}, wanted {dtype} as x")


def _fit(x: Array, w_x: Array, h: Array, w_h: Array) -> bool:
    """Whether all is as `_check` wants it; quick, and in doubt False."""
    shape, dtype = x.shape, x.dtype
    return (
        len(shape) == 2 == h.ndim
        and w_x.shape == (shape[1], h.shape[1])
        and w_h.shape == (h.shape[1], h.shape[1])
        and h.shape[0] == shape[0]
        and dtype in _DTYPES
        and dtype is w_x.dtype is h.dtype is w_h.dtype
    )


def matmul_tanh(x: Array, w_x: Array, h: Array, w_h: Array, b: Array | None) -> Array:
    """Return ``tanh(x @ w_x + h @ w_h + b)``.

    Parameters
    ----------
    x : (B, I) array of float32 or float64
    w_x : (I, H) array
    h : (B, H) array
    w_h : (H, H) array
    b : (H,) array or None
        All of the same dtype; none need be contiguous.

    Returns
    -------
    (B, H) array

    Raises
    ------
    ValueError, TypeError
        If shapes or dtypes do not fit together.

    Examples
    --------
    >>> import numpy as np
    >>> x, h, w = np.ones((1, 2)), np.zeros((1, 3)), np.eye(3)
    >>> matmul_tanh(x, w[:2], h, w, None).round(3)
    array([[0.762, 0.762, 0.   ]])
    """
    if not _fit(x, w_x, h, w_h):
        _check(x, w_x, h, w_h)
    if b is not None and (b.shape != h.shape[1:] or b.dtype is not x.dtype):
        _check(x, w_x, h, w_h, b=b)
    if config.DISABLE_JIT:
        return reference.matmul_tanh(x, w_x, h, w_h, b)
    (B, I), H = x.shape, h.shape[1]
    y = np.empty((B, H), x.dtype)
    flat_w_x, x_row, x_column = _matrix(w_x)
    flat_w_h, h_row, h_column = _matrix(w_h)
    arguments = (
        _flat(x), I, flat_w_x, x_row, x_column, _flat(h), flat_w_h, h_row, h_column,
        _NOTHING[x.dtype][1] if b is None else _flat(b), y, B, H,
    )  # fmt: skip
    if B < PACK_FROM and (x_column == h_column == 1 or x_row == h_row == 1):
        _forward_few_rows(*arguments)
    else:
        first = packed_size(I, H, x.dtype)
        _forward_packed(*arguments, _workspace(first + packed_size(H, H, x.dtype), x.dtype), first)
    return y


def matmul_tanh_vjp(
    g: Array, y: Array, x: Array, w_x: Array, h: Array, w_h: Array, needs: tuple[bool, ...] = (True,) * 5
) -> tuple[Array | None, ...]:
    """Return the gradients of `matmul_tanh` for the cotangent `g` of its result `y`.

    Parameters
    ----------
    g, y : (B, H) arrays
    x, w_x, h, w_h
        As in `matmul_tanh`.
    needs : five bools
        Which of the gradients of x, w_x, h, w_h and b are wanted.

    Returns
    -------
    tuple of five arrays, None where not wanted
        The gradient of a matrix in Fortran order is in Fortran order.

    Examples
    --------
    >>> import numpy as np
    >>> x, h, w = np.ones((1, 2)), np.zeros((1, 3)), np.eye(3)
    >>> y = matmul_tanh(x, w[:2], h, w, None)
    >>> matmul_tanh_vjp(np.ones((1, 3)), y, x, w[:2], h, w)[4].round(3)
    array([0.42, 0.42, 1.  ])
    """
    if not _fit(x, w_x, h, w_h):
        _check(x, w_x, h, w_h)
    if not g.shape == y.shape == h.shape or not g.dtype is y.dtype is x.dtype:
        _check(x, w_x, h, w_h, g=g, y=y)
    if config.DISABLE_JIT:
        return reference.matmul_tanh_vjp(g, y, x, w_x, h, w_h, needs)
    (B, I), H, dtype = x.shape, h.shape[1], x.dtype
    flat_w_x, x_row, x_column = _matrix(w_x)
    flat_w_h, h_row, h_column = _matrix(w_h)
    matrix, vector = _NOTHING[dtype]
    dx = np.empty((B, I), dtype) if needs[0] else matrix
    dw_x = np.empty((I, H) if x_column == 1 else (H, I), dtype) if needs[1] else matrix
    dh = np.empty((B, H), dtype) if needs[2] else matrix
    dw_h = np.empty((H, H), dtype) if needs[3] else matrix
    db = np.empty(H, dtype) if needs[4] else vector
    arguments = (
        _flat(g), _flat(y), _flat(x), I, flat_w_x, x_row, x_column, _flat(h), flat_w_h, h_row, h_column, B, H,
        dx, dw_x, dh, dw_h, db,
    )  # fmt: skip
    if B < PACK_FROM:
        _backward_few_rows(*arguments)
    else:
        _backward_packed(*arguments, _workspace(H * max(padded(I, dtype), padded(H, dtype)), dtype))
    if x_column != 1:
        dw_x = dw_x.T
    if h_column != 1:
        dw_h = dw_h.T
    if all(needs):
        return dx, dw_x, dh, dw_h, db
    return tuple(a if needed else None for a, needed in zip((dx, dw_x, dh, dw_h, db), needs))
