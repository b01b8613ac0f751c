"""Packed matrix products on the register tile, on flat arrays with offsets and leading dimensions.

`pack` brings a matrix of any strides into panels ``[ceil(N / width)][K][width]``, padded with zeros;
`gemm` and `gemm2` multiply by packed matrices, as often as wanted; `gemm_tn` is ``A.T @ B`` for long A
and B, as in gradients of weights. Results are bit-identical however rows and columns are split over calls
(see `tile`). All functions are for jitted code and hold no Python objects.

What is multiplied travels in records, `Factors` and `Rows`, which machine code takes field by field: they cost nothing.
The file is long because packing, both products and the tile's caller are read together, and change together.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ..build.c_functions import allocate, array_at, array_from, release
from ..build.fingerprint import kernel
from ..build.target import TARGET
from ..simd.lanes import vbroadcast, vfma, vlanes, vload, vload_n, vstore, vstore_n
from ..simd.types import I32, Vec, is_array, lanes_of, load, store
from .tile import PANEL_VECTORS, TILE_ROWS, Place, emit_fma, emit_load, emit_store, never_inline

Array = np.ndarray
Integer = int | np.integer

VECTOR_BYTES, LINE = TARGET.vector_bytes, 64

# of gemm_tn: with vectors of 256 bits a panel of B (24 KiB) stays in the first-level cache, a block of A in the second
K_BLOCK, M_BLOCK = 384, 96
FEW = 200  # multiply-adds of vectors, up to which it costs more to pack than to multiply
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
                # where n is N already, no lane is read and all of them become 0
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


class Factors(NamedTuple):
    """Factors of ``A @ P``: rows of an array from `at` on, and a packed matrix of `depth` rows."""

    a: Array
    at: Integer
    ld: Integer  # elements from row to row
    depth: Integer
    packed: Array
    packed_at: Integer


class Rows(NamedTuple):
    """Rows of an array from element `at` on, `ld` elements apart."""

    array: Array
    at: Integer
    ld: Integer


@intrinsic(prefer_literal=True)
def _tile_product(typingctx, rows, panels, first, second, start, begin, c, part, step):
    """One tile of ``C = begin + A1 @ P1 + A2 @ P2``, rows by whole panels; begin is 0 without `start`.

    Meanwhile a tile of a single panel fetches a part of the next one, `step` bytes for each k: panels of wide layers
    come from far away, and the first tile to need one would wait for all of it.
    """
    n_rows, vectors = rows.literal_value, panels.literal_value * PANEL_VECTORS

    def codegen(context, builder, sig, args):
        def field(i, k):
            return builder.extract_value(args[i], k)

        def place(i, k):
            """The array that is field k of argument i, from the element that the next field tells."""
            return Place(context, sig.args[i][k], field(i, k), field(i, k + 1))

        start, part, step = args[4], args[7], args[8]
        begin, begin_ld, c, ldc = place(5, 0), field(5, 2), place(6, 0), field(6, 2)
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
        for i in (2, 3):
            a, lda, K, p = place(i, 0), field(i, 2), field(i, 3), place(i, 4)
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
    return types.void(rows, panels, first, second, types.boolean, begin, c, n, n), codegen


@njit(error_model="numpy")
def whole_panels(first: Factors, second: Factors, start: bool, begin: Rows, c: Rows, rows: int, panels: int) -> None:
    """The product of whole panels, tile by tile; a panel stays in the cache while the rows pass."""
    never_inline()
    width = PANEL_VECTORS * vlanes(c.array)
    panel1, panel2 = first.depth * width, second.depth * width
    done = 0
    # one or two rows take several panels at once: the more accumulators, the better the latency is hidden
    while (rows == 1 or rows == 2) and panels - done >= 2:
        x = Factors(first.a, first.at, first.ld, first.depth, first.packed, first.packed_at + done * panel1)
        h = Factors(second.a, second.at, second.ld, second.depth, second.packed, second.packed_at + done * panel2)
        b, o = Rows(begin.array, begin.at + done * width, begin.ld), Rows(c.array, c.at + done * width, c.ld)
        if rows == 1 and panels - done >= 4:
            _tile_product(1, 4, x, h, start, b, o, 0, 0)
        elif rows == 1:
            _tile_product(1, 2, x, h, start, b, o, 0, 0)
        else:
            _tile_product(2, 2, x, h, start, b, o, 0, 0)
        done += 4 if rows == 1 and panels - done >= 4 else 2
    if done == panels:
        return
    # The number of rows of a tile has to be a literal, as it decides the code: hence a call for each number below.
    parts = (rows + TILE_ROWS - 1) // TILE_ROWS
    # so many bytes for each k from each of the tiles of a panel: together they fetch the next panel
    step = PANEL_VECTORS * VECTOR_BYTES // parts
    for j in range(done, panels):
        row = 0
        for part in range(parts):
            n = (rows - row + parts - part - 1) // (parts - part)  # as even as can be: 8 rows are 4 + 4
            at1, at2 = first.at + row * first.ld, second.at + row * second.ld
            x = Factors(first.a, at1, first.ld, first.depth, first.packed, first.packed_at + j * panel1)
            h = Factors(second.a, at2, second.ld, second.depth, second.packed, second.packed_at + j * panel2)
            b = Rows(begin.array, begin.at + row * begin.ld + j * width, begin.ld)
            o = Rows(c.array, c.at + row * c.ld + j * width, c.ld)
            if n == 6:
                _tile_product(6, 1, x, h, start, b, o, part, step)
            elif n == 5:
                _tile_product(5, 1, x, h, start, b, o, part, step)
            elif n == 4:
                _tile_product(4, 1, x, h, start, b, o, part, step)
            elif n == 3:
                _tile_product(3, 1, x, h, start, b, o, part, step)
            elif n == 2:
                _tile_product(2, 1, x, h, start, b, o, part, step)
            else:
                _tile_product(1, 1, x, h, start, b, o, part, step)
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
def _copy(source: Rows, target: Rows, rows: int, columns: int) -> None:
    lanes = vlanes(target.array)
    for r in range(rows):
        for j in range(0, columns, lanes):
            n, x, y = min(lanes, columns - j), source.at + r * source.ld + j, target.at + r * target.ld + j
            if n == lanes:
                vstore(target.array, y, vload(source.array, x))
            else:
                vstore_n(target.array, y, vload_n(source.array, x, n), n)


@njit(error_model="numpy", inline="always")  # saves LLVM one more pass over the product
def product(first: Factors, second: Factors, start: bool, begin: Rows, c: Rows, rows: int, N: int) -> None:
    """``C = begin + A1 @ P1 + A2 @ P2``; columns beyond whole panels go through a panel of their own."""
    width = PANEL_VECTORS * vlanes(c.array)
    done = N // width * width
    whole_panels(first, second, start, begin, c, rows, N // width)
    if done < N:
        # Tiles write whole panels, but what is behind the columns of C may belong to somebody else.
        tail = Rows(panel_rows(c.array, TAIL_ROWS), np.intp(0), width)
        p, q = first.packed_at + done * first.depth, second.packed_at + done * second.depth
        for row in range(0, rows, TAIL_ROWS):
            n, at1, at2 = min(TAIL_ROWS, rows - row), first.at + row * first.ld, second.at + row * second.ld
            if start:
                _copy(Rows(begin.array, begin.at + row * begin.ld + done, begin.ld), tail, n, N - done)
            x = Factors(first.a, at1, first.ld, first.depth, first.packed, p)
            h = Factors(second.a, at2, second.ld, second.depth, second.packed, q)
            whole_panels(x, h, start, tail, tail, n, np.intp(1))
            _copy(tail, Rows(c.array, c.at + row * c.ld + done, c.ld), n, N - done)


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
    factors = Factors(a, np.intp(a_at), np.intp(lda), np.intp(K), packed, np.intp(p_at))
    # depth 0: a second product that adds nothing, so that one tile serves both functions
    nothing = Factors(a, zero, zero, zero, packed, zero)
    out = Rows(c, np.intp(c_at), np.intp(ldc))
    product(factors, nothing, np.bool_(accumulate), out, out, np.intp(rows), np.intp(N))


@kernel
def gemm2(
    a1: Array, a1_at: int, lda1: int, K1: int, p1: Array, p1_at: int, a2: Array, a2_at: int, lda2: int, K2: int,
    p2: Array, p2_at: int, bias: Array, bias_at: int, rows: int, N: int, c: Array, c_at: int, ldc: int,
) -> None:  # fmt: skip
    """``C[rows, N] = bias + A1 @ P1 + A2 @ P2``; C is written once."""
    # Arguments one by one, as generated loops write them down and a C symbol takes them; inside they are records.
    first = Factors(a1, np.intp(a1_at), np.intp(lda1), np.intp(K1), p1, np.intp(p1_at))
    second = Factors(a2, np.intp(a2_at), np.intp(lda2), np.intp(K2), p2, np.intp(p2_at))
    begin, out = Rows(bias, np.intp(bias_at), np.intp(0)), Rows(c, np.intp(c_at), np.intp(ldc))
    product(first, second, np.bool_(True), begin, out, np.intp(rows), np.intp(N))


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


@njit(error_model="numpy")
def _few_products(
    a: Array, a_at: int, lda: int, b: Array, b_at: int, ldb: int, K: int, M: int, N: int, c: Array, c_at: int,
    ldc: int, accumulate: bool,
) -> None:  # fmt: skip
    """``C = A.T @ B``, or ``+=``, of factors that are not packed, to the same bits."""
    never_inline()
    lanes = vlanes(c)
    whole = N // lanes * lanes
    for m in range(M):
        for j in range(0, whole, lanes):
            to = c_at + m * ldc + j
            total = vload_n(c, to, lanes if accumulate else 0)
            for k in range(K):
                total = vfma(vbroadcast(a, a_at + k * lda + m), vload(b, b_at + k * ldb + j), total)
            vstore(c, to, total)
        if whole < N:
            n, to = N - whole, c_at + m * ldc + whole
            total = vload_n(c, to, n if accumulate else 0)
            for k in range(K):
                total = vfma(vbroadcast(a, a_at + k * lda + m), vload_n(b, b_at + k * ldb + whole, n), total)
            vstore_n(c, to, total, n)


def transposed_product(gemm: Any) -> Any:
    """``A.T @ B`` as a function that calls this `gemm`: blocks of A are transposed, panels of B packed."""

    @njit(error_model="numpy")
    def product_tn(
        a: Array, a_at: int, lda: int, b: Array, b_at: int, ldb: int, K: int, M: int, N: int, c: Array, c_at: int,
        ldc: int, accumulate: bool,
    ) -> int:  # fmt: skip
        """0, or 1 if there is no memory for the blocks."""
        few = FEW * vlanes(c)
        if few >= K * M * N:
            _few_products(a, a_at, lda, b, b_at, ldb, K, M, N, c, c_at, ldc, accumulate)
            return 0
        width, most, itemsize = PANEL_VECTORS * vlanes(c), min(K, K_BLOCK), VECTOR_BYTES // vlanes(c)
        # all panels of B at once, as every block of A meets them
        b_size = most * ((N + width - 1) // width * width)  # lines of the cache
        size = b_size + min(M, M_BLOCK) * most
        # memory of C's, as code without Python objects makes no arrays
        memory = allocate(LINE + size * itemsize)
        if memory == 0:
            return 1
        blocks = array_at(memory + LINE - memory % LINE, size, c)  # first those of B, then those of A
        for k in range(0, max(K, 1), K_BLOCK):  # once without rows too: C becomes zero
            depth, zero = min(K_BLOCK, K - k), np.intp(0)
            # blocks along K are cut by K alone and added in order, so each element stays one chain of multiply-adds
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
    # arguments one by one, as of `gemm2`
    missing = product_tn(
        a, np.intp(a_at), np.intp(lda), b, np.intp(b_at), np.intp(ldb), np.intp(K), np.intp(M), np.intp(N),
        c, np.intp(c_at), np.intp(ldc), np.bool_(accumulate),
    )  # fmt: skip
    if missing:
        raise MemoryError("no memory for blocks of a product")
