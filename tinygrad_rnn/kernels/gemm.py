"""Matrix products on the register tile, for flat arrays with offsets and leading dimensions.

`pack` brings a matrix of any strides into panels ``[ceil(N / width)][K][width]``, padded with zeros; `gemm` and
`gemm2` multiply by packed matrices, as often as wanted; `gemm_tn` is ``A.T @ B`` for long A and B, as in gradients
of weights. Results are bit-identical however rows and columns are split over calls (see `tile`). All functions are
for jitted code and hold no Python objects.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from .lanes import vlanes, vload, vload_n, vstore
from .tile import PANEL_VECTORS, TILE_ROWS, Place, emit_bias, emit_fma, emit_load, emit_store
from .vector import I32, Vec, is_array, lanes_of, load, store

K_BLOCK = 256  # of gemm_tn: a panel of B stays in the first-level cache
ZERO, BIAS, ADD = 0, 1, 2  # what a product is added to: nothing, a bias, or what C holds


def panel_width(dtype: Any) -> int:
    """Return the number of columns of a packed panel."""
    return PANEL_VECTORS * lanes_of(dtype)


def padded(n: int, dtype: Any) -> int:
    """Return n rounded up to whole panels."""
    width = panel_width(dtype)
    return -(-n // width) * width


def packed_size(K: int, N: int, dtype: Any) -> int:
    """Return the number of elements that a packed (K, N) matrix takes."""
    return K * padded(N, dtype)


def aligned_empty(size: int, dtype: Any) -> np.ndarray:
    """Return an uninitialised 1-D array that starts at a cache line, so that no vector of it crosses two."""
    dtype = np.dtype(dtype)
    raw = np.empty(size * dtype.itemsize + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size * dtype.itemsize].view(dtype)


@intrinsic
def _transpose_block(typingctx, source, offset, stride, target, target_offset, target_stride):
    """Transpose a block of lanes by lanes elements: rows of `source` become columns of `target`."""
    if not is_array(source) or source.dtype != target.dtype:
        return None
    vec = Vec(source.dtype)

    def codegen(context, builder, sig, args):
        n = vec.lanes
        size = args[1].type(n)
        read = Place(context, sig.args[0], args[0], args[1])
        write = Place(context, sig.args[3], args[3], args[4])
        rows = [load(builder, read.at(builder, [(args[2], i)], size), vec) for i in range(n)]
        # in each round, two rows exchange the halves of ever smaller blocks
        half = n // 2
        while half:
            low = [j if not j & half else n + j - half for j in range(n)]
            high = [j + half if not j & half else n + j for j in range(n)]
            low, high = (ir.Constant(ir.VectorType(I32, n), m) for m in (low, high))
            mixed = list(rows)
            for i in range(n):
                if not i & half:
                    pair = rows[i], rows[i + half]
                    mixed[i] = builder.shuffle_vector(*pair, low)
                    mixed[i + half] = builder.shuffle_vector(*pair, high)
            rows, half = mixed, half // 2
        for i, row in enumerate(rows):
            store(builder, write.at(builder, [(args[5], i)], size), row, vec)
        return context.get_dummy_value()

    n = types.intp
    return types.void(source, n, n, target, n, n), codegen


@njit(error_model="numpy")
def pack(w, offset, row_stride, col_stride, K, N, packed, packed_offset):
    """Pack the (K, N) matrix ``w[offset + k * row_stride + n * col_stride]`` into panels.

    Fast for rows and for columns of stride 1; the padding columns become 0.
    """
    lanes = vlanes(w)
    width = PANEL_VECTORS * lanes
    for first in range(0, N, width):
        base = packed_offset + first * K
        columns = min(width, N - first)
        source = offset + first * col_stride
        if col_stride == 1:
            for k in range(K):
                for v in range(0, width, lanes):
                    if v + lanes <= columns:
                        vstore(packed, base + k * width + v, vload(w, source + k * row_stride + v))
                    else:
                        n = max(columns - v, 0)
                        tail = vload_n(w, source + k * row_stride + min(v, columns), n)
                        vstore(packed, base + k * width + v, tail)
            continue
        done_n = done_k = 0
        if row_stride == 1:
            done_n, done_k = columns // lanes * lanes, K // lanes * lanes
            for k in range(0, done_k, lanes):
                for n in range(0, done_n, lanes):
                    _transpose_block(
                        w, source + k + n * col_stride, col_stride, packed, base + k * width + n, width
                    )
        for n in range(width):
            for k in range(done_k if n < done_n else 0, K):
                x = w[source + k * row_stride + n * col_stride] if n < columns else 0
                packed[base + k * width + n] = x


@intrinsic(prefer_literal=True)
def _tile_product(
    typingctx, rows, panels, a1, a1_offset, a1_row, a1_k, K1, p1, p1_offset, p1_k, p1_panel,
    a2, a2_offset, a2_row, K2, p2, p2_offset, p2_panel, start, bias, bias_offset, c, c_offset, ldc, columns,
):  # fmt: skip
    """One tile of ``C = start + A1 @ P1 + A2 @ P2``: the first `columns` columns of rows by panels * width."""
    n_rows, vectors = rows.literal_value, panels.literal_value * PANEL_VECTORS

    def codegen(context, builder, sig, args):
        place = lambda i: Place(context, sig.args[i], args[i], args[i + 1])
        (
            _, _, _, _, a1_row, a1_k, K1, _, _, p1_k, p1_panel, _, _, a2_row, K2, _, _, p2_panel, start,
            _, _, _, _, ldc, columns,
        ) = args  # fmt: skip
        a1, p1, a2, p2, bias, c = (place(i) for i in (2, 7, 11, 15, 19, 21))
        intp, vec = columns.type, c.vec
        full = builder.icmp_signed(">=", columns, intp(vectors * vec.lanes))

        tile = [ir.Constant(vec.llvm, [0.0] * vec.lanes)] * (n_rows * vectors)
        choices = [(BIAS, None, lambda: emit_bias(builder, bias, n_rows, vectors))]
        choices += [(ADD, True, lambda: emit_load(builder, c, ldc, n_rows, vectors))]
        choices += [(ADD, False, lambda: emit_load(builder, c, ldc, n_rows, vectors, columns))]
        for which, needs_full, emit in choices:
            chosen = builder.icmp_signed("==", start, intp(which))
            if needs_full is not None:
                chosen = builder.and_(chosen, full if needs_full else builder.not_(full))
            before = builder.block
            with builder.if_then(chosen):
                loaded = emit()
                inside = builder.block
            merged = [builder.phi(vec.llvm) for _ in tile]
            for phi, old, new in zip(merged, tile, loaded):
                phi.add_incoming(old, before)
                phi.add_incoming(new, inside)
            tile = merged
        tile = emit_fma(builder, tile, n_rows, PANEL_VECTORS, a1, a1_row, a1_k, K1, p1, p1_k, p1_panel)
        width = intp(PANEL_VECTORS * vec.lanes)
        tile = emit_fma(builder, tile, n_rows, PANEL_VECTORS, a2, a2_row, intp(1), K2, p2, width, p2_panel)
        with builder.if_else(full) as (whole, tail):
            with whole:
                emit_store(builder, tile, c, ldc, n_rows)
            with tail:
                emit_store(builder, tile, c, ldc, n_rows, columns)
        return context.get_dummy_value()

    n = types.intp
    return types.void(
        rows, panels, a1, n, n, n, n, p1, n, n, n, a2, n, n, n, p2, n, n, n, bias, n, c, n, n, n
    ), codegen  # fmt: skip


@njit(error_model="numpy")
def _rows_by_panels(
    a1, a1_offset, a1_row, a1_k, K1, p1, p1_offset, p1_k, p1_panel,
    a2, a2_offset, a2_row, K2, p2, p2_offset, p2_panel, start, bias, bias_offset, c, c_offset, ldc, rows, N,
):  # fmt: skip
    width = PANEL_VECTORS * vlanes(c)
    first = 0
    # few rows take several panels at once: the more accumulators, the better the latency is hidden
    while rows == 1 and first + 3 * width < N:
        _tile_product(
            1, 4, a1, a1_offset, a1_row, a1_k, K1, p1, p1_offset + first // width * p1_panel, p1_k, p1_panel,
            a2, a2_offset, a2_row, K2, p2, p2_offset + first // width * p2_panel, p2_panel,
            start, bias, bias_offset + first, c, c_offset + first, ldc, N - first,
        )  # fmt: skip
        first += 4 * width
    while rows == 2 and first + width < N:
        _tile_product(
            2, 2, a1, a1_offset, a1_row, a1_k, K1, p1, p1_offset + first // width * p1_panel, p1_k, p1_panel,
            a2, a2_offset, a2_row, K2, p2, p2_offset + first // width * p2_panel, p2_panel,
            start, bias, bias_offset + first, c, c_offset + first, ldc, N - first,
        )  # fmt: skip
        first += 2 * width
    for j in range(first // width, (N + width - 1) // width):
        p1_at, p2_at, j0 = p1_offset + j * p1_panel, p2_offset + j * p2_panel, j * width
        done = 0
        for tiles in range((rows + TILE_ROWS - 1) // TILE_ROWS, 0, -1):
            n = (rows - done + tiles - 1) // tiles  # as even as can be: 8 rows are 4 + 4
            a1_at, a2_at, c_at = (
                a1_offset + done * a1_row,
                a2_offset + done * a2_row,
                c_offset + done * ldc + j0,
            )
            if n == 6:
                _tile_product(
                    6, 1, a1, a1_at, a1_row, a1_k, K1, p1, p1_at, p1_k, p1_panel, a2, a2_at, a2_row, K2, p2, p2_at,
                    p2_panel, start, bias, bias_offset + j0, c, c_at, ldc, N - j0,
                )  # fmt: skip
            elif n == 5:
                _tile_product(
                    5, 1, a1, a1_at, a1_row, a1_k, K1, p1, p1_at, p1_k, p1_panel, a2, a2_at, a2_row, K2, p2, p2_at,
                    p2_panel, start, bias, bias_offset + j0, c, c_at, ldc, N - j0,
                )  # fmt: skip
            elif n == 4:
                _tile_product(
                    4, 1, a1, a1_at, a1_row, a1_k, K1, p1, p1_at, p1_k, p1_panel, a2, a2_at, a2_row, K2, p2, p2_at,
                    p2_panel, start, bias, bias_offset + j0, c, c_at, ldc, N - j0,
                )  # fmt: skip
            elif n == 3:
                _tile_product(
                    3, 1, a1, a1_at, a1_row, a1_k, K1, p1, p1_at, p1_k, p1_panel, a2, a2_at, a2_row, K2, p2, p2_at,
                    p2_panel, start, bias, bias_offset + j0, c, c_at, ldc, N - j0,
                )  # fmt: skip
            elif n == 2:
                _tile_product(
                    2, 1, a1, a1_at, a1_row, a1_k, K1, p1, p1_at, p1_k, p1_panel, a2, a2_at, a2_row, K2, p2, p2_at,
                    p2_panel, start, bias, bias_offset + j0, c, c_at, ldc, N - j0,
                )  # fmt: skip
            else:
                _tile_product(
                    1, 1, a1, a1_at, a1_row, a1_k, K1, p1, p1_at, p1_k, p1_panel, a2, a2_at, a2_row, K2, p2, p2_at,
                    p2_panel, start, bias, bias_offset + j0, c, c_at, ldc, N - j0,
                )  # fmt: skip
            done += n


@njit(error_model="numpy")
def gemm(a, a_offset, lda, rows, K, packed, p_offset, N, c, c_offset, ldc, accumulate):
    """``C[rows, N] = A[rows, K] @ packed``, or ``+=`` if `accumulate`.

    With N = `padded(N)` (and such an ldc) every column of the panels is stored, which is faster; otherwise only N.
    """
    panel = K * PANEL_VECTORS * vlanes(c)
    _rows_by_panels(
        a, a_offset, lda, 1, K, packed, p_offset, PANEL_VECTORS * vlanes(c), panel, a, 0, 0, 0, packed, 0, 0,
        ADD if accumulate else ZERO, c, 0, c, c_offset, ldc, rows, N,
    )  # fmt: skip


@njit(error_model="numpy")
def gemm2(
    a1, a1_offset, lda1, K1, p1, p1_offset, a2, a2_offset, lda2, K2, p2, p2_offset, bias, bias_offset,
    rows, N, c, c_offset, ldc,
):  # fmt: skip
    """``C[rows, N] = bias + A1 @ P1 + A2 @ P2`` with C written once; the bias is padded to whole panels."""
    width = PANEL_VECTORS * vlanes(c)
    _rows_by_panels(
        a1, a1_offset, lda1, 1, K1, p1, p1_offset, width, K1 * width, a2, a2_offset, lda2, K2, p2, p2_offset,
        K2 * width, BIAS, bias, bias_offset, c, c_offset, ldc, rows, N,
    )  # fmt: skip


@njit(error_model="numpy")
def gemm_tn(a, a_offset, lda, b, b_offset, ldb, K, M, N, c, c_offset, ldc, accumulate):
    """``C[M, N] = A[K, M].T @ B[K, N]``, or ``+=`` if `accumulate`; all row-major.

    To split the work over threads, call it for ranges of rows and columns of C by moving the offsets.
    """
    width = PANEL_VECTORS * vlanes(c)
    pack_a = 4 * width < N  # worth a copy if it is read by many panels; otherwise read in place
    block = np.empty(min(K, K_BLOCK) * width, c.dtype)
    a_tiles = np.empty(min(K, K_BLOCK) * (M + TILE_ROWS) if pack_a else 0, c.dtype)
    for k0 in range(0, max(K, 1), K_BLOCK):
        k_size = min(K_BLOCK, K - k0)
        start = ADD if accumulate or k0 > 0 else ZERO
        if pack_a:
            for m0 in range(0, M, TILE_ROWS):
                m_size = min(TILE_ROWS, M - m0)
                for k in range(k_size):
                    for m in range(m_size):
                        a_tiles[m0 * k_size + k * TILE_ROWS + m] = a[a_offset + (k0 + k) * lda + m0 + m]
        for first in range(0, N, width):
            n = min(width, N - first)
            pack(b, b_offset + k0 * ldb + first, ldb, 1, k_size, n, block, 0)
            for m0 in range(0, M, TILE_ROWS):
                m_size = min(TILE_ROWS, M - m0)
                c_at = c_offset + m0 * ldc + first
                if pack_a:
                    _rows_by_panels(
                        a_tiles, m0 * k_size, 1, TILE_ROWS, k_size, block, 0, width, 0, a, 0, 0, 0, block, 0, 0,
                        start, c, 0, c, c_at, ldc, m_size, n,
                    )  # fmt: skip
                else:
                    _rows_by_panels(
                        a, a_offset + k0 * lda + m0, 1, lda, k_size, block, 0, width, 0, a, 0, 0, 0, block, 0, 0,
                        start, c, 0, c, c_at, ldc, m_size, n,
                    )  # fmt: skip
