"""One step of a tanh RNN in one call, ``tanh(x @ w_x + h @ w_h + b)``, and its gradients in another.

Weights are read with the strides that they have, so the transposed view of an (H, I) array costs nothing.
A few rows are multiplied with the weights as they lie in memory; for more rows, and weights beyond the nearest cache,
these are packed first.

Of a small step the arithmetic is a tenth, and what Python does with its arrays the rest. So the kernels take arrays as
they are, of any strides, and check their shapes themselves; Python looks again only where they say that these do not
fit.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ..build.c_functions import array_from
from ..build.fingerprint import kernel
from ..build.target import config
from ..build.uninterrupted import making
from ..gemm.few_rows import DOTS, ColumnMajor, RowMajor, few_rows_nn, few_rows_nt
from ..gemm.gemm import PANEL_VECTORS, Factors, Rows, aligned_empty, pack, packed_size, padded, product, product_tn
from ..reference import matmul_tanh as reference
from ..simd.lanes import vlanes, vload, vload_n, vstore, vstore_n
from ..simd.mathfn import tanh

PACK_FROM = 12  # the number of rows from which on packing pays
UNPACKED, UNPACKED_BACKWARD = 1 << 13, 1 << 15  # bytes of w_h up to which it does not, however many rows there are
WIDE = 1 << 20  # bytes of w_h from which on NumPy's products are as fast: memory is what they wait for

Array = np.ndarray
_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
_NOTHING = {d: (np.empty((0, 0), d), np.empty(0, d)) for d in _DTYPES}  # for what is not wanted


# ---- arrays as they lie in memory


@intrinsic
def _memory(typingctx: Any, a: Any) -> Any:
    """The memory of an array without gaps, as an array of one axis."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        array = context.make_array(a)(context, builder, args[0])
        return array_from(context, builder, a.dtype, builder.ptrtoint(array.data, array.nitems.type), array.nitems)

    return types.Array(a.dtype, 1, "C")(a), codegen


@njit(error_model="numpy")
def _in_rows(a: Array) -> bool:
    """Whether the rows of a matrix follow each other without gaps."""
    rows, columns = a.shape
    across, down = a.strides[1] == a.itemsize, a.strides[0] == a.itemsize * columns
    return a.size == 0 or ((across or columns == 1) and (down or rows == 1))


@njit(error_model="numpy")
def _in_columns(a: Array) -> bool:
    """Whether the columns of a matrix follow each other without gaps."""
    rows, columns = a.shape
    across, down = a.strides[1] == a.itemsize * rows, a.strides[0] == a.itemsize
    return a.size == 0 or ((across or columns == 1) and (down or rows == 1))


@njit(error_model="numpy")
def _rows(a: Array) -> Array:
    """The elements of a matrix, row by row: its memory, or a copy."""
    flat = _memory(a)
    if not _in_rows(a):
        flat = np.empty(a.size, a.dtype)
        rows, columns = a.shape
        for r in range(rows):
            for j in range(columns):
                flat[r * columns + j] = a[r, j]
    return flat


@njit(error_model="numpy")
def _fit(x: Array, w_x: Array, h: Array, w_h: Array, y: Array) -> bool:
    """Whether the shapes fit together."""
    (B, I), H = x.shape, h.shape[1]
    return h.shape == (B, H) and y.shape == (B, H) and w_x.shape == (I, H) and w_h.shape == (H, H)


# ---- kernels


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
def _forward_few_rows(x: Array, w_x: Array, h: Array, w_h: Array, bias: Array, y: Array) -> bool:
    """Write the result to `y`, with matrices as they are; False if shapes do not fit."""
    if not _fit(x, w_x, h, w_h, y) or bias.size != h.shape[1]:
        return False
    (B, I), H = x.shape, h.shape[1]
    start, out, flat_x, flat_h = _padded(bias, H), _memory(y), _rows(x), _rows(h)
    if _in_columns(w_x) and _in_columns(w_h):
        of_x, of_h = ColumnMajor(flat_x, I, _memory(w_x), I), ColumnMajor(flat_h, H, _memory(w_h), H)
        few_rows_nt(of_x, of_h, start, out, B, H)
    else:
        one = np.intp(1)
        left, right = RowMajor(flat_x, I, one, I, _rows(w_x), H), RowMajor(flat_h, H, one, H, _rows(w_h), H)
        few_rows_nn(left, right, start, out, B, H)
    _tanh(out, B * H)
    return True


@njit(error_model="numpy")
def _pack(w: Array, transposed: bool, work: Array, at: int) -> None:
    """Pack a matrix, or its transpose."""
    rows, columns = w.shape
    down, across = w.strides[0] // w.itemsize, w.strides[1] // w.itemsize
    flat, zero = _memory(w), np.intp(0)
    if not _in_rows(w) and not _in_columns(w):
        flat, down, across = _rows(w), columns, 1
    if transposed:
        pack(flat, zero, across, down, columns, rows, work, at)
    else:
        pack(flat, zero, down, across, rows, columns, work, at)


@kernel
def _forward_packed(x: Array, w_x: Array, h: Array, w_h: Array, bias: Array, y: Array, work: Array) -> bool:
    """Write the result to `y`, with matrices packed into `work`; False if shapes do not fit."""
    if not _fit(x, w_x, h, w_h, y) or bias.size != h.shape[1]:
        return False
    (B, I), H = x.shape, h.shape[1]
    start, out, flat_x, flat_h = _padded(bias, H), _memory(y), _rows(x), _rows(h)
    width, zero = PANEL_VECTORS * vlanes(y), np.intp(0)
    second = (H + width - 1) // width * width * I  # where the second matrix begins
    _pack(w_x, False, work, zero)
    _pack(w_h, False, work, second)
    of_x, of_h = Factors(flat_x, zero, I, I, work, zero), Factors(flat_h, zero, H, H, work, second)
    product(of_x, of_h, np.bool_(True), Rows(start, zero, zero), Rows(out, zero, H), B, H)
    _tanh(out, B * H)
    return True


@njit(error_model="numpy")
def _few_rows_gradients(
    a: Array, x: Array, w: Array, none: Array, B: int, I: int, H: int, dx: Array, dw: Array
) -> None:  # fmt: skip
    """Gradients of ``x @ w`` for the cotangent a."""
    zero, one = np.intp(0), np.intp(1)
    if dx.size:
        if _in_columns(w):
            flat_w = _memory(w)
            nothing = RowMajor(a, H, one, zero, flat_w, I)
            few_rows_nn(RowMajor(a, H, one, H, flat_w, I), nothing, none, _memory(dx), B, I)
        else:
            flat_w = _rows(w)
            few_rows_nt(ColumnMajor(a, H, flat_w, H), ColumnMajor(a, zero, flat_w, H), none, _memory(dx), B, I)
    if dw.size:
        if _in_columns(dw):
            factors, nothing = RowMajor(a, one, H, B, x, I), RowMajor(a, one, H, zero, x, I)
            few_rows_nn(factors, nothing, none, _memory(dw), H, I)
        else:
            factors, nothing = RowMajor(x, one, I, B, a, H), RowMajor(x, one, I, zero, a, H)
            few_rows_nn(factors, nothing, none, _memory(dw), I, H)


@kernel
def _backward_few_rows(
    g: Array, y: Array, x: Array, w_x: Array, h: Array, w_h: Array, dx: Array, dw_x: Array, dh: Array, dw_h: Array,
    db: Array,
) -> bool:  # fmt: skip
    """Write the gradients that are not empty, with matrices as they are; False if shapes do not fit."""
    if not _fit(x, w_x, h, w_h, y) or g.shape != y.shape:
        return False
    (B, I), H = x.shape, h.shape[1]
    a = _cotangent(_rows(g), _rows(y), B, H, db)
    none = _padded(a[:0], max(I, H))
    _few_rows_gradients(a, _rows(x), w_x, none, B, I, H, dx, dw_x)
    _few_rows_gradients(a, _rows(h), w_h, none, B, H, H, dh, dw_h)
    return True


@njit(error_model="numpy")
def _packed_gradients(
    a: Array, x: Array, w: Array, B: int, I: int, H: int, dx: Array, dw: Array, work: Array
) -> None:  # fmt: skip
    """Gradients of ``x @ w`` for the cotangent a, with the matrix packed into `work`."""
    zero, missing = np.intp(0), 0
    if dx.size:
        _pack(w, True, work, zero)
        out = Rows(_memory(dx), zero, I)
        nothing = Factors(a, zero, H, zero, work, zero)
        product(Factors(a, zero, H, H, work, zero), nothing, np.bool_(False), out, out, B, I)
    if dw.size:
        if _in_columns(dw):
            missing = product_tn(a, zero, H, x, zero, I, B, H, I, _memory(dw), zero, I, np.bool_(False))
        else:
            missing = product_tn(x, zero, I, a, zero, H, B, I, H, _memory(dw), zero, H, np.bool_(False))
    if missing:
        raise MemoryError("no memory for blocks of a product")


@kernel
def _backward_packed(
    g: Array, y: Array, x: Array, w_x: Array, h: Array, w_h: Array, dx: Array, dw_x: Array, dh: Array, dw_h: Array,
    db: Array, work: Array,
) -> bool:  # fmt: skip
    """Write the gradients that are not empty, with packed matrices; False if shapes do not fit."""
    if not _fit(x, w_x, h, w_h, y) or g.shape != y.shape:
        return False
    (B, I), H = x.shape, h.shape[1]
    a = _cotangent(_rows(g), _rows(y), B, H, db)
    _packed_gradients(a, _rows(x), w_x, B, I, H, dx, dw_x, work)
    _packed_gradients(a, _rows(h), w_h, B, H, H, dh, dw_h, work)
    return True


# What each kernel takes: m and v are any matrix and vector that it reads, M and V those of ours that it writes to.
_ARGUMENTS = {
    _forward_few_rows: "mmmmvM",
    _forward_packed: "mmmmvMV",
    _backward_few_rows: "mmmmmmMMMMV",
    _backward_packed: "mmmmmmMMMMVV",
}
if not config.DISABLE_JIT:
    for _function in _ARGUMENTS:
        _function._can_compile = False  # or Numba would compile one for each combination of layouts


def _compile(function: Any, dtype: np.dtype) -> bool:
    """Compile a kernel for arrays of this dtype, of any strides; returns whether it was not yet."""
    number, code = types.float32 if dtype == np.float32 else types.float64, _ARGUMENTS[function]
    kinds = tuple(
        [types.Array(number, 2 if k in "mM" else 1, "C" if k == "V" else "A", readonly=k.islower()) for k in code]
    )
    with making:
        if kinds in function.overloads:
            return False
        function._can_compile = True
        try:
            function.compile(kinds)
        finally:
            function._can_compile = False
    return True


def _done(function: Any, *arguments: Array) -> bool:
    """Call a kernel; returns whether there is one for these arrays, and their shapes fit."""
    try:
        return function(*arguments)
    except TypeError:
        return False


_own = threading.local()


def _workspace(size: int, dtype: np.dtype) -> Array:
    """Memory for packed weights, kept by each thread: fresh memory costs more than packing."""
    kept = _own.__dict__.get(dtype.char)
    if kept is None or kept.size < size:
        kept = _own.__dict__[dtype.char] = aligned_empty(size, dtype)
    return kept


def _plain(a: Array) -> Array:
    """A copy that a kernel takes whatever this was: not aligned, or of a class of its own."""
    return np.array(a, order="C")


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
    if x.ndim != 2 or h.ndim != 2 or w_h.nbytes >= WIDE or config.DISABLE_JIT:
        _check(x, w_x, h, w_h, **({} if b is None else {"b": b}))
        return reference.matmul_tanh(x, w_x, h, w_h, b)
    (B, I), H, dtype = x.shape, h.shape[1], x.dtype
    y = np.empty(h.shape, dtype)
    bias = np.zeros(H, dtype) if b is None else b
    if B < PACK_FROM or w_h.nbytes <= UNPACKED:
        kernel = _forward_few_rows
        done = _done(kernel, x, w_x, h, w_h, bias, y)
    else:
        kernel = _forward_packed
        size = packed_size(I + H, H, dtype)
        done = _done(kernel, x, w_x, h, w_h, bias, y, _workspace(size, dtype))
    if not done:
        _check(x, w_x, h, w_h, b=bias)
        if _compile(kernel, dtype):
            return matmul_tanh(x, w_x, h, w_h, b)
        return matmul_tanh(*map(_plain, (x, w_x, h, w_h, bias)))
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
    if x.ndim != 2 or h.ndim != 2 or config.DISABLE_JIT:
        _check(x, w_x, h, w_h, g=g, y=y)
        return reference.matmul_tanh_vjp(g, y, x, w_x, h, w_h, needs)
    (B, I), H, dtype = x.shape, h.shape[1], x.dtype
    matrix, vector = _NOTHING.get(dtype, _NOTHING[_DTYPES[0]])
    dx = np.empty((B, I), dtype) if needs[0] else matrix
    dw_x = np.empty_like(w_x, subok=False) if needs[1] else matrix
    dh = np.empty((B, H), dtype) if needs[2] else matrix
    dw_h = np.empty_like(w_h, subok=False) if needs[3] else matrix
    db = np.empty(H, dtype) if needs[4] else vector
    if B < PACK_FROM or w_h.nbytes <= UNPACKED_BACKWARD:
        kernel = _backward_few_rows
        done = _done(kernel, g, y, x, w_x, h, w_h, dx, dw_x, dh, dw_h, db)
    else:
        kernel = _backward_packed
        size = H * max(padded(I, dtype), padded(H, dtype))
        done = _done(kernel, g, y, x, w_x, h, w_h, dx, dw_x, dh, dw_h, db, _workspace(size, dtype))
    if not done:
        _check(x, w_x, h, w_h, g=g, y=y)
        if _compile(kernel, dtype):
            return matmul_tanh_vjp(g, y, x, w_x, h, w_h, needs)
        return matmul_tanh_vjp(_plain(g), _plain(y), _plain(x), _plain(w_x), _plain(h), _plain(w_h), needs)
    if all(needs):
        return dx, dw_x, dh, dw_h, db
    return tuple(a if needed else None for a, needed in zip((dx, dw_x, dh, dw_h, db), needs))
