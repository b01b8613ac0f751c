"""Unpacked matrix products of a few rows, where packing would cost more than the product.

``C = bias + A1 @ W1 + A2 @ W2`` for two layouts of the matrices: their rows along the columns of C
(`few_rows_nn`), or along k, as in a transposed view (`few_rows_nt`). Rows of A1, A2 and C follow each other
without gaps; nothing is padded but the bias.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from ..simd.lanes import vbroadcast, vfma, vlanes, vload, vload_n, vstore, vstore_n
from ..simd.types import I32, LANES_F32, Vec, first_lanes, fma, is_array, load, masked_load
from .tile import Place, keep_rolled, never_inline, tile_bias, tile_fma, tile_store

Array = np.ndarray
Integer = int | np.integer

DOTS = max(8, LANES_F32)  # dot products at a time: enough to hide the latency of the additions


class RowMajor(NamedTuple):
    """Factors of ``A @ W``, with the rows of W along the columns of C."""

    a: Array
    row: Integer  # from ``a[r, k]`` to ``a[r + 1, k]``
    step: Integer  # from ``a[r, k]`` to ``a[r, k + 1]``
    depth: Integer
    w: Array
    ld: Integer  # from row to row of W


class ColumnMajor(NamedTuple):
    """Factors of ``A @ W``, with the columns of W, and the rows of A, along k."""

    a: Array
    depth: Integer
    w: Array
    ld: Integer  # from column to column of W


@njit(error_model="numpy")
def _tail_nn(
    first: RowMajor, at1: int, second: RowMajor, at2: int, bias: Array, j: int, c: Array, c_at: int, n: int
) -> None:
    """The last n columns of one row, from column j on; fewer than lanes."""
    # the bias alone is padded to whole vectors; the lanes beyond are not stored
    acc = vload(bias, j)
    for k in range(first.depth):
        acc = vfma(vbroadcast(first.a, at1 + k * first.step), vload_n(first.w, j + k * first.ld, n), acc)
    for k in range(second.depth):
        acc = vfma(vbroadcast(second.a, at2 + k * second.step), vload_n(second.w, j + k * second.ld, n), acc)
    vstore_n(c, c_at, acc, n)


@njit(error_model="numpy")
def few_rows_nn(first: RowMajor, second: RowMajor, bias: Array, c: Array, rows: int, N: int) -> None:
    """``C = bias + A1 @ W1 + A2 @ W2`` for row-major W.

    A may be a transposed view, as in a gradient of weights.
    """
    never_inline()
    lanes = vlanes(c)
    (a1, r1, k1, K1, w1, ldw1), (a2, r2, k2, K2, w2, ldw2) = first, second
    # Four rows share what is loaded of W. Single rows take more columns at once, to hide the latency of additions.
    in_fours, pairs = rows // 4 * 4, N // (2 * lanes) * 2 * lanes
    for j in range(0, pairs, 2 * lanes):
        for row in range(0, in_fours, 4):
            acc = tile_bias(bias, j, 4, 2)
            acc = tile_fma(acc, 4, 2, a1, row * r1, r1, k1, K1, w1, j, ldw1, 0)
            acc = tile_fma(acc, 4, 2, a2, row * r2, r2, k2, K2, w2, j, ldw2, 0)
            tile_store(acc, c, row * N + j, N, 4)
    for row in range(rows):
        x, h = row * r1, row * r2
        j = pairs if row < in_fours else 0
        while j + 8 * lanes <= N:
            acc = tile_bias(bias, j, 1, 8)
            acc = tile_fma(acc, 1, 8, a1, x, 0, k1, K1, w1, j, ldw1, 0)
            acc = tile_fma(acc, 1, 8, a2, h, 0, k2, K2, w2, j, ldw2, 0)
            tile_store(acc, c, row * N + j, N, 1)
            j += 8 * lanes
        while j + 2 * lanes <= N:
            acc = tile_bias(bias, j, 1, 2)
            acc = tile_fma(acc, 1, 2, a1, x, 0, k1, K1, w1, j, ldw1, 0)
            acc = tile_fma(acc, 1, 2, a2, h, 0, k2, K2, w2, j, ldw2, 0)
            tile_store(acc, c, row * N + j, N, 1)
            j += 2 * lanes
        while j < N:
            n = min(lanes, N - j)
            _tail_nn(first, x, second, h, bias, j, c, row * N + j, n)
            j += n


def _emit_dots(builder: ir.IRBuilder, sums: list[Any], a: Place, K: Any, w: Place, ldw: Any, last: Any) -> list[Any]:
    """Vectors ``sums[i] + a * w[i]``, lane by lane over K elements; rows of w end with number `last`."""
    vec, intp = a.vec, K.type
    a_data, w_data = (x.context.make_array(x.array_type)(x.context, builder, x.array).data for x in (a, w))
    a.at(builder, [], K)  # only for the bounds check
    w.at(builder, [], builder.add(builder.mul(last, ldw), K))
    at = []
    for i in range(len(sums)):
        # beyond the last row, that row once more: nothing outside is read, and the caller drops the sums
        i = builder.select(builder.icmp_signed("<", last, intp(i)), last, intp(i))
        at.append(builder.add(w.offset, builder.mul(i, ldw)))
    step = intp(vec.lanes)
    whole = builder.mul(builder.sdiv(K, step), step)

    before, body = builder.block, builder.append_basic_block("dots")
    after = builder.append_basic_block("dots.end")
    builder.cbranch(builder.icmp_signed(">", whole, intp(0)), body, after)
    builder.position_at_end(body)
    k, *old = builder.phi(intp), *(builder.phi(vec.llvm) for _ in sums)
    x = load(builder, builder.gep(a_data, [builder.add(a.offset, k)]), vec)
    new = [fma(builder, x, load(builder, builder.gep(w_data, [builder.add(i, k)]), vec), s) for i, s in zip(at, old)]
    following = builder.add(k, step)
    for phi, first, value in zip([k, *old], [intp(0), *sums], [following, *new]):
        phi.add_incoming(first, before)
        phi.add_incoming(value, body)
    keep_rolled(builder, builder.cbranch(builder.icmp_signed("<", following, whole), body, after))
    builder.position_at_end(after)
    sums = _merge(builder, vec, (before, sums), (body, new))

    before = builder.block
    with builder.if_then(builder.icmp_signed("<", whole, K)):
        mask = first_lanes(builder, vec, builder.sub(K, whole))
        x = masked_load(builder, builder.gep(a_data, [builder.add(a.offset, whole)]), mask, vec)
        rows = [masked_load(builder, builder.gep(w_data, [builder.add(i, whole)]), mask, vec) for i in at]
        tail = [fma(builder, x, row, s) for row, s in zip(rows, sums)]
        inside = builder.block
    return _merge(builder, vec, (before, sums), (inside, tail))


def _merge(builder: ir.IRBuilder, vec: Vec, *branches: tuple[Any, list[Any]]) -> list[Any]:
    merged = []
    for values in zip(*(values for _, values in branches)):
        phi = builder.phi(vec.llvm)
        for (block, _), value in zip(branches, values):
            phi.add_incoming(value, block)
        merged.append(phi)
    return merged


def _emit_sums(builder: ir.IRBuilder, vectors: list[Any], lanes: int) -> Any:
    """The vector of the sums over lanes of as many vectors as there are lanes."""
    half = lanes // 2
    while half:  # in each round half as many vectors are left, with sums of twice as many lanes
        # the first of a pair goes on in the lower halves of blocks, the second in the upper halves
        keep = [j if not j & half else lanes + j for j in range(lanes)]
        swap = [j + half if not j & half else lanes + j - half for j in range(lanes)]
        keep, swap = (ir.Constant(ir.VectorType(I32, lanes), m) for m in (keep, swap))
        vectors = [
            builder.fadd(builder.shuffle_vector(a, b, keep), builder.shuffle_vector(a, b, swap))
            for a, b in zip(vectors[:half], vectors[half:])
        ]
        half //= 2
    return vectors[0]


@intrinsic
def _dots(typingctx, a1, a1_at, K1, w1, w1_at, ldw1, a2, a2_at, K2, w2, w2_at, ldw2, last):
    """`DOTS` sums of two dot products each, as vectors."""
    if not (is_array(a1) and is_array(a2)):
        return None
    vec = Vec(a1.dtype)

    def codegen(context, builder, sig, args):
        a1, w1, a2, w2 = (Place(context, sig.args[i], args[i], args[i + 1]) for i in (0, 3, 6, 9))
        sums = [ir.Constant(vec.llvm, [0.0] * vec.lanes)] * DOTS
        sums = _emit_dots(builder, sums, a1, args[2], w1, args[5], args[12])
        sums = _emit_dots(builder, sums, a2, args[8], w2, args[11], args[12])
        groups = [sums[i : i + vec.lanes] for i in range(0, DOTS, vec.lanes)]
        return cgutils.pack_array(builder, [_emit_sums(builder, group, vec.lanes) for group in groups])

    n = types.intp
    result = types.UniTuple(vec, DOTS // vec.lanes)
    return result(a1, n, n, w1, n, n, a2, n, n, w2, n, n, n), codegen


@njit(error_model="numpy")
def few_rows_nt(first: ColumnMajor, second: ColumnMajor, bias: Array, c: Array, rows: int, N: int) -> None:
    """``C = bias + A1 @ W1 + A2 @ W2`` for column-major W."""
    never_inline()
    lanes = vlanes(c)
    (a1, K1, w1, ldw1), (a2, K2, w2, ldw2) = first, second
    for j in range(0, N, DOTS):
        last = min(DOTS, N - j) - 1
        for row in range(rows):
            sums = _dots(a1, row * K1, K1, w1, j * ldw1, ldw1, a2, row * K2, K2, w2, j * ldw2, ldw2, last)
            at = j
            for v in sums:
                if at + lanes <= N:
                    vstore(c, row * N + at, v + vload(bias, at))
                else:
                    # the bias is padded to whole vectors, C is not
                    vstore_n(c, row * N + at, v + vload(bias, at), N - at)
                at += lanes
