"""Packed matrix products on the register tile, on flat arrays with offsets and leading dimensions.

`pack` brings a matrix of any strides into panels ``[ceil(N / width)][K][width]``, padded with zeros;
`gemm` and `gemm2` multiply by packed matrices, as often as wanted; `gemm_tn` is ``A.T @ B`` for long A
and B, as in gradients of weights. Results are bit-identical however rows and columns are split over calls
(see `tile`). All functions are for jitted code and hold no Python objects.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ..build.c_functions import allocate, array_at, array_from, release
from ..build.fingerprint import kernel
from ..build.target import TARGET
from ..simd.lanes import vlanes, vload, vload_n, vstore, vstore_n
from ..simd.types import I32, Vec, is_array, lanes_of, load, store
from .tile import PANEL_VECTORS, TILE_ROWS, Place, emit_fma, emit_load, emit_store, never_inline

Array = np.ndarray

VECTOR_BYTES, LINE = TARGET.vector_bytes, 64

# of gemm_tn: a panel of B stays in the first-level cache, a block of A in the second
K_BLOCK, M_BLOCK = 384, 96
TAIL_ROWS = 48  # of a product whose columns are no whole panels: as many go through a panel on the stack at a time


def panel_width(dtype: Any) -> int:
    """Columns of a packed panel."""
    return PANEL_VECTORS * lanes_of(dtype)


def padded(n: int, dtype: Any) -> int:
    """n, rounded up to whole panels."""
    width = panel_width(dtype)
    return -(-n // width) * width


def packed_size(K: int, N: int, dtype: Any) -> int:
    """Elements of a packed (K, N) matrix."""
    return K * padded(N, dtype)


def aligned_empty(size: int, dtype: Any) -> np.ndarray:
    """An uninitialised 1-D array that starts at a cache line, so that no vector of it crosses two."""
    dtype = np.dtype(dtype)
    raw = np.empty(size * dtype.itemsize + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size * dtype.itemsize].view(dtype)


@intrinsic
def transpose_block(typingctx, source, offset, stride, target, target_offset, target_stride):
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


@kernel
def pack(
    w: Array, offset: int, row_stride: int, col_stride: int, K: int, N: int, packed: Array, packed_offset: int
) -> None:
    """Pack the (K, N) matrix ``w[offset + k * row_stride + n * col_stride]`` into panels.

    Fast for rows and for columns of stride 1; the padding columns become 0.
    """
    lanes = vlanes(w)
    width = PANEL_VECTORS * lanes
    if col_stride == 1:
        # some panels at a time, or each row would cost a page for each panel
        whole = N // width * width
        for first in range(0, whole, 8 * width):
            last = min(first + 8 * width, whole)
            for k in range(K):
                source = offset + k * row_stride
                for n in range(first, last, width):
                    for v in range(0, width, lanes):
                        vstore(packed, packed_offset + n * K + k * width + v, vload(w, source + n + v))
        for k in range(K if whole < N else 0):
            for v in range(0, width, lanes):
                n = min(whole + v, N)
                tail = vload_n(w, offset + k * row_stride + n, N - n)
                vstore(packed, packed_offset + whole * K + k * width + v, tail)
        return
    for first in range(0, N, width):
        base, source, columns = packed_offset + first * K, offset + first * col_stride, min(width, N - first)
        done_n, done_k = 0, 0
        if row_stride == 1:
            done_n, done_k = columns // lanes * lanes, K // lanes * lanes
            for k in range(0, done_k, lanes):
                for n in range(0, done_n, lanes):
                    transpose_block(w, source + k + n * col_stride, col_stride, packed, base + k * width + n, width)
        for n in range(width):
            for k in range(done_k if n < done_n else 0, K):
                if n < columns:
                    packed[base + k * width + n] = w[source + k * row_stride + n * col_stride]
                else:
                    packed[base + k * width + n] = 0


@intrinsic(prefer_literal=True)
def _tile_product(
    typingctx, rows, panels, a1, a1_at, lda1, K1, p1, p1_at, a2, a2_at, lda2, K2, p2, p2_at, start, begin,
    begin_at, begin_ld, c, c_at, ldc, part, step,
):  # fmt: skip
    """One tile of ``C = begin + A1 @ P1 + A2 @ P2``, rows by whole panels; begin is 0 without `start`.

    Meanwhile a tile of a single panel fetches a part of the next one, `step` bytes for each k: panels of wide layers
    come from far away, and the first tile to need one would wait for all of it.
    """
    n_rows, vectors = rows.literal_value, panels.literal_value * PANEL_VECTORS

    def codegen(context, builder, sig, args):
        _, _, _, _, lda1, K1, _, _, _, _, lda2, K2, _, _, start, _, _, begin_ld, _, _, ldc, part, step = args
        a1, p1, a2, p2, begin, c = (Place(context, sig.args[i], args[i], args[i + 1]) for i in (2, 6, 8, 12, 15, 18))
        # The tile starts from memory or from zeros: a choice between values, so that it never leaves the registers.
        before = builder.block
        with builder.if_then(start):
            loaded = emit_load(builder, begin, begin_ld, n_rows, vectors)
            inside = builder.block
        tile = [builder.phi(c.vec.llvm) for _ in loaded]
        for phi, value in zip(tile, loaded):
            phi.add_incoming(ir.Constant(c.vec.llvm, [0.0] * c.vec.lanes), before)
            phi.add_incoming(value, inside)
        width, one = c.intp(PANEL_VECTORS * c.vec.lanes), c.intp(1)
        for a, lda, K, p in ((a1, lda1, K1, p1), (a2, lda2, K2, p2)):
            panel = builder.mul(K, width)
            ahead = None
            if panels.literal_value == 1 and n_rows > 2:
                # Behind the last panel this points beyond the matrix: a prefetch may ask for any address.
                following = builder.gep(p.at(builder, [], panel), [panel])
                bytes_at = builder.bitcast(following, ir.IntType(8).as_pointer())
                ahead = builder.gep(bytes_at, [builder.mul(part, builder.mul(step, K))]), step
            tile = emit_fma(builder, tile, n_rows, PANEL_VECTORS, a, lda, one, K, p, width, panel, ahead)
        emit_store(builder, tile, c, ldc, n_rows)
        return context.get_dummy_value()

    n = types.intp
    return types.void(
        rows, panels, a1, n, n, n, p1, n, a2, n, n, n, p2, n, types.boolean, begin, n, n, c, n, n, n, n
    ), codegen  # fmt: skip


@njit(error_model="numpy")
def whole_panels(
    a1: Array, a1_at: int, lda1: int, K1: int, p1: Array, p1_at: int, a2: Array, a2_at: int, lda2: int, K2: int,
    p2: Array, p2_at: int, start: bool, begin: Array, begin_at: int, begin_ld: int, c: Array, c_at: int, ldc: int,
    rows: int, panels: int,
) -> None:  # fmt: skip
    """The product of whole panels, tile by tile; a panel stays in the cache while the rows pass."""
    never_inline()
    width = PANEL_VECTORS * vlanes(c)
    panel1, panel2 = K1 * width, K2 * width
    # one or two rows take several panels at once: the more accumulators, the better the latency is hidden
    while (rows == 1 or rows == 2) and panels >= 2:
        if rows == 1 and panels >= 4:
            _tile_product(
                1, 4, a1, a1_at, lda1, K1, p1, p1_at, a2, a2_at, lda2, K2, p2, p2_at, start, begin,
                begin_at, begin_ld, c, c_at, ldc, 0, 0,
            )  # fmt: skip
        elif rows == 1:
            _tile_product(
                1, 2, a1, a1_at, lda1, K1, p1, p1_at, a2, a2_at, lda2, K2, p2, p2_at, start, begin,
                begin_at, begin_ld, c, c_at, ldc, 0, 0,
            )  # fmt: skip
        else:
            _tile_product(
                2, 2, a1, a1_at, lda1, K1, p1, p1_at, a2, a2_at, lda2, K2, p2, p2_at, start, begin,
                begin_at, begin_ld, c, c_at, ldc, 0, 0,
            )  # fmt: skip
        taken = 4 if rows == 1 and panels >= 4 else 2
        panels -= taken
        p1_at += taken * panel1
        p2_at += taken * panel2
        begin_at += taken * width
        c_at += taken * width
    if panels == 0:
        return
    # The number of rows of a tile has to be a literal, as it decides the code: hence a call for each number below.
    parts = (rows + TILE_ROWS - 1) // TILE_ROWS
    step = PANEL_VECTORS * VECTOR_BYTES // parts
    for j in range(panels):
        p, q = p1_at + j * panel1, p2_at + j * panel2
        row = 0
        for part in range(parts):
            n = (rows - row + parts - part - 1) // (parts - part)  # as even as can be: 8 rows are 4 + 4
            x, h = a1_at + row * lda1, a2_at + row * lda2
            b, o = begin_at + row * begin_ld + j * width, c_at + row * ldc + j * width
            if n == 6:
                _tile_product(
                    6, 1, a1, x, lda1, K1, p1, p, a2, h, lda2, K2, p2, q, start, begin, b, begin_ld, c, o,
                    ldc, part, step,
                )  # fmt: skip
            elif n == 5:
                _tile_product(
                    5, 1, a1, x, lda1, K1, p1, p, a2, h, lda2, K2, p2, q, start, begin, b, begin_ld, c, o,
                    ldc, part, step,
                )  # fmt: skip
            elif n == 4:
                _tile_product(
                    4, 1, a1, x, lda1, K1, p1, p, a2, h, lda2, K2, p2, q, start, begin, b, begin_ld, c, o,
                    ldc, part, step,
                )  # fmt: skip
            elif n == 3:
                _tile_product(
                    3, 1, a1, x, lda1, K1, p1, p, a2, h, lda2, K2, p2, q, start, begin, b, begin_ld, c, o,
                    ldc, part, step,
                )  # fmt: skip
            elif n == 2:
                _tile_product(
                    2, 1, a1, x, lda1, K1, p1, p, a2, h, lda2, K2, p2, q, start, begin, b, begin_ld, c, o,
                    ldc, part, step,
                )  # fmt: skip
            else:
                _tile_product(
                    1, 1, a1, x, lda1, K1, p1, p, a2, h, lda2, K2, p2, q, start, begin, b, begin_ld, c, o,
                    ldc, part, step,
                )  # fmt: skip
            row += n


@intrinsic(prefer_literal=True)
def panel_rows(typingctx, like, rows):
    """Room on the stack for so many rows of a panel; the number is a literal."""

    def codegen(context, builder, sig, args):
        size = rows.literal_value * PANEL_VECTORS * Vec(like.dtype).lanes
        with builder.goto_entry_block():
            room = builder.alloca(ir.ArrayType(context.get_data_type(like.dtype), size))
        room.align = 64
        return array_from(context, builder, like.dtype, room, context.get_constant(types.intp, size))

    return types.Array(like.dtype, 1, "C")(like, rows), codegen


@njit(error_model="numpy")
def _copy(
    source: Array, source_at: int, source_ld: int, target: Array, target_at: int, target_ld: int, rows: int,
    columns: int,
) -> None:  # fmt: skip
    lanes = vlanes(target)
    for r in range(rows):
        for j in range(0, columns, lanes):
            n, x, y = min(lanes, columns - j), source_at + r * source_ld + j, target_at + r * target_ld + j
            if n == lanes:
                vstore(target, y, vload(source, x))
            else:
                vstore_n(target, y, vload_n(source, x, n), n)


@njit(error_model="numpy", inline="always")  # saves LLVM one more pass over the product
def product(
    a1: Array, a1_at: int, lda1: int, K1: int, p1: Array, p1_at: int, a2: Array, a2_at: int, lda2: int, K2: int,
    p2: Array, p2_at: int, start: bool, begin: Array, begin_at: int, begin_ld: int, c: Array, c_at: int, ldc: int,
    rows: int, N: int,
) -> None:  # fmt: skip
    """``C = begin + A1 @ P1 + A2 @ P2``; columns beyond whole panels go through a panel of their own."""
    width = PANEL_VECTORS * vlanes(c)
    done = N // width * width
    whole_panels(
        a1, a1_at, lda1, K1, p1, p1_at, a2, a2_at, lda2, K2, p2, p2_at, start, begin, begin_at, begin_ld,
        c, c_at, ldc, rows, N // width,
    )  # fmt: skip
    if done < N:
        # Tiles write whole panels, but what is behind the columns of C may belong to somebody else.
        tail, zero = panel_rows(c, TAIL_ROWS), np.intp(0)
        for row in range(0, rows, TAIL_ROWS):
            n, x, h = min(TAIL_ROWS, rows - row), a1_at + row * lda1, a2_at + row * lda2
            if start:
                _copy(begin, begin_at + row * begin_ld + done, begin_ld, tail, zero, width, n, N - done)
            whole_panels(
                a1, x, lda1, K1, p1, p1_at + done * K1, a2, h, lda2, K2, p2, p2_at + done * K2, start,
                tail, zero, width, tail, zero, width, n, np.intp(1),
            )  # fmt: skip
            _copy(tail, zero, width, c, c_at + row * ldc + done, ldc, n, N - done)


# np.intp(0) and np.bool_(True) are no literals, for which Numba would compile the product once more


@kernel
def gemm(
    a: Array, a_at: int, lda: int, rows: int, K: int, packed: Array, p_at: int, N: int, c: Array, c_at: int,
    ldc: int, accumulate: bool,
) -> None:  # fmt: skip
    """``C[rows, N] = A[rows, K] @ packed``, or ``+=`` if `accumulate`.

    With N = `padded(N)`, and such an ldc, there are whole panels only, which is faster.
    """
    zero = np.intp(0)
    product(
        a, np.intp(a_at), np.intp(lda), np.intp(K), packed, np.intp(p_at), a, zero, zero, zero, packed,
        zero, np.bool_(accumulate), c, np.intp(c_at), np.intp(ldc), c, np.intp(c_at), np.intp(ldc),
        np.intp(rows), np.intp(N),
    )  # fmt: skip


@kernel
def gemm2(
    a1: Array, a1_at: int, lda1: int, K1: int, p1: Array, p1_at: int, a2: Array, a2_at: int, lda2: int, K2: int,
    p2: Array, p2_at: int, bias: Array, bias_at: int, rows: int, N: int, c: Array, c_at: int, ldc: int,
) -> None:  # fmt: skip
    """``C[rows, N] = bias + A1 @ P1 + A2 @ P2``; C is written once."""
    product(
        a1, np.intp(a1_at), np.intp(lda1), np.intp(K1), p1, np.intp(p1_at), a2, np.intp(a2_at),
        np.intp(lda2), np.intp(K2), p2, np.intp(p2_at), np.bool_(True), bias, np.intp(bias_at),
        np.intp(0), c, np.intp(c_at), np.intp(ldc), np.intp(rows), np.intp(N),
    )  # fmt: skip


@njit(error_model="numpy")
def _transpose(a: Array, a_at: int, lda: int, rows: int, columns: int, target: Array, to: int, ld: int) -> None:
    """``target[columns, rows] = A[rows, columns].T``."""
    lanes = vlanes(a)
    whole_rows, whole_columns = rows // lanes * lanes, columns // lanes * lanes
    for i in range(0, whole_rows, lanes):
        for j in range(0, whole_columns, lanes):
            transpose_block(a, a_at + i * lda + j, lda, target, to + j * ld + i, ld)
    for i in range(rows):
        for j in range(whole_columns if i < whole_rows else 0, columns):
            target[to + j * ld + i] = a[a_at + i * lda + j]


def transposed_product(gemm: Any) -> Any:
    """``A.T @ B`` as a function that calls this `gemm`: blocks of A are transposed, panels of B packed."""

    @njit(error_model="numpy")
    def product_tn(
        a: Array, a_at: int, lda: int, b: Array, b_at: int, ldb: int, K: int, M: int, N: int, c: Array, c_at: int,
        ldc: int, accumulate: bool,
    ) -> int:  # fmt: skip
        """0, or 1 if there is no memory for the blocks."""
        width, most, itemsize = PANEL_VECTORS * vlanes(c), min(K, K_BLOCK), VECTOR_BYTES // vlanes(c)
        b_size = most * ((N + width - 1) // width * width)  # lines of the cache
        size = b_size + min(M, M_BLOCK) * most
        memory = allocate(LINE + size * itemsize)
        if memory == 0:
            return 1
        blocks = array_at(memory + LINE - memory % LINE, size, c)  # first those of B, then those of A
        for k in range(0, max(K, 1), K_BLOCK):  # once without rows too: C becomes zero
            depth, zero = min(K_BLOCK, K - k), np.intp(0)
            pack(b, b_at + k * ldb, ldb, np.intp(1), depth, N, blocks, zero)
            for m in range(0, M, M_BLOCK):
                rows, c_m = min(M_BLOCK, M - m), c_at + m * ldc
                _transpose(a, a_at + k * lda + m, lda, depth, rows, blocks, b_size, depth)
                gemm(blocks, b_size, depth, rows, depth, blocks, zero, N, c, c_m, ldc, np.bool_(accumulate or k > 0))
        release(memory)
        return 0

    return product_tn


product_tn = transposed_product(gemm)


@kernel
def gemm_tn(
    a: Array, a_at: int, lda: int, b: Array, b_at: int, ldb: int, K: int, M: int, N: int, c: Array, c_at: int,
    ldc: int, accumulate: bool,
) -> None:  # fmt: skip
    """``C[M, N] = A[K, M].T @ B[K, N]``, or ``+=`` if `accumulate`; all row-major.

    To split the work over threads, call it for ranges of rows and columns of C by moving the offsets.
    """
    missing = product_tn(
        a, np.intp(a_at), np.intp(lda), b, np.intp(b_at), np.intp(ldb), np.intp(K), np.intp(M), np.intp(N),
        c, np.intp(c_at), np.intp(ldc), np.bool_(accumulate),
    )  # fmt: skip
    if missing:
        raise MemoryError("no memory for blocks of a product")
