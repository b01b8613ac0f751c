"""The packed product as a C symbol, compiled once for each dtype, for generated loops and tasks.

A jitted function that calls another one is compiled together with it. For the tile, which is much larger than any
step, that would be most of the time it takes to compile a cell. So `gemm` and `gemm2` call an external function here,
whose address LLVM learns in `export_product`. With ``NUMBA_BOUNDSCHECK=1`` they are compiled in, and check.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ..build.c_functions import array_at, call_symbol, export_symbol, float_of
from ..build.native import Native
from ..simd.lanes import vlanes
from ..simd.types import BOUNDSCHECK, is_array
from ..threads.member import columns_of_parts, count_of, rank_of
from . import gemm as tile
from .tile import never_inline

HUGE = 1 << 40  # elements: an address has no length

_n = types.intp


def _symbol(dtype: Any) -> str:
    return f"tinygrad_rnn_product_{dtype}"


def _product(
    a: int, lda: int, K: int, p: int, a2: int, lda2: int, K2: int, p2: int, start: int, begin: int, begin_ld: int,
    rows: int, columns: int, c: int, ldc: int, member: int, like: Any,
) -> None:  # fmt: skip
    """`gemm.product` on addresses; products of whole panels skip one call, which shows with one row."""
    if member != 0:
        _part(a, lda, K, p, a2, lda2, K2, p2, start, begin, begin_ld, rows, columns, c, ldc, member, like)
        return
    # arguments one by one, as a C symbol takes no records
    x, h, w, u = array_at(a, HUGE, like), array_at(a2, HUGE, like), array_at(p, HUGE, like), array_at(p2, HUGE, like)
    before, out, begun, zero = array_at(begin, HUGE, like), array_at(c, HUGE, like), start != 0, 0
    first, second = tile.Factors(x, zero, lda, K, w, zero), tile.Factors(h, zero, lda2, K2, u, zero)
    width = tile.PANEL_VECTORS * vlanes(out)
    if columns % width:
        tile.product(first, second, begun, tile.Rows(before, zero, begin_ld), tile.Rows(out, zero, ldc), rows, columns)
    else:
        tile.whole_panels(
            first, second, begun, tile.Rows(before, zero, begin_ld), tile.Rows(out, zero, ldc), rows, columns // width
        )


@njit(error_model="numpy")
def _part(
    a: int, lda: int, K: int, p: int, a2: int, lda2: int, K2: int, p2: int, start: int, begin: int, begin_ld: int,
    rows: int, columns: int, c: int, ldc: int, member: int, like: Any,
) -> None:  # fmt: skip
    """A member's part of a product of whole panels: some of its rows, some of its columns."""
    never_inline()
    rank, count = rank_of(member), count_of(member)
    x, h, w, u = array_at(a, HUGE, like), array_at(a2, HUGE, like), array_at(p, HUGE, like), array_at(p2, HUGE, like)
    before, out, begun = array_at(begin, HUGE, like), array_at(c, HUGE, like), start != 0
    width = tile.PANEL_VECTORS * vlanes(out)
    panels = columns // width
    across = columns_of_parts(rows, panels, count, tile.TILE_ROWS)
    down = min(rows, count // across)
    # members form a grid, `across` columns by `down` rows; who is left over has nothing to do
    if rank >= across * down:
        return
    i, j = rank // across, rank % across
    row, panel = rows * i // down, panels * j // across
    column, height = panel * width, rows * (i + 1) // down - row
    # packed panels lie one after the other: so many whole columns of the matrix come before this one
    first = tile.Factors(x, row * lda, lda, K, w, column * K)
    second = tile.Factors(h, row * lda2, lda2, K2, u, column * K2)
    initial = tile.Rows(before, row * begin_ld + column, begin_ld)
    target = tile.Rows(out, row * ldc + column, ldc)
    tile.whole_panels(first, second, begun, initial, target, height, panels * (j + 1) // across - panel)


@functools.cache
def export_product(dtype: Any) -> Any:
    """Compile the product for `dtype` (or load it from the disk), and tell LLVM its symbol."""
    if BOUNDSCHECK:
        return None
    made = Native(_product, dtype=float_of(dtype))
    export_symbol(_symbol(np.dtype(dtype)), made.address)
    return made  # kept alive by the cache


def _call(context: Any, builder: ir.IRBuilder, dtype: Any, values: list[Any]) -> Any:
    """Call the symbol; what is an array type, an array and an offset becomes an address."""
    out = []
    for value in values:
        if isinstance(value, tuple):
            array_type, array, offset = value
            place = builder.gep(context.make_array(array_type)(context, builder, array).data, [offset])
            out.append(builder.ptrtoint(place, offset.type))
        else:
            out.append(value)
    return call_symbol(context, builder, _symbol(dtype), out)


def _same(*arrays: Any) -> bool:
    return all(is_array(a) and a.dtype == arrays[0].dtype for a in arrays)


@intrinsic
def _gemm_part(typingctx, a, a_at, lda, rows, K, p, p_at, columns, c, c_at, ldc, accumulate, member):
    if not _same(a, p, c):
        return None

    def codegen(context, builder, sig, args):
        a_at, lda, rows, K, p_at, columns, c_at, ldc = (args[i] for i in (1, 2, 3, 4, 6, 7, 9, 10))
        a, p, c = ((sig.args[i], args[i], at) for i, at in ((0, a_at), (5, p_at), (8, c_at)))
        zero, start = lda.type(0), builder.zext(args[11], lda.type)
        return _call(
            context,
            builder,
            sig.args[0].dtype,
            [a, lda, K, p, a, zero, zero, p, start, c, ldc, rows, columns, c, ldc, args[12]],
        )

    return types.void(a, _n, _n, _n, _n, p, _n, _n, c, _n, _n, types.boolean, _n), codegen


@intrinsic
def _gemm2_part(
    typingctx, a, a_at, lda, K, p, p_at, a2, a2_at, lda2, K2, p2, p2_at, bias, b_at, rows, columns, c, c_at, ldc, member
):
    if not _same(a, p, a2, p2, bias, c):
        return None

    def codegen(context, builder, sig, args):
        lda, K, lda2, K2, rows, columns, ldc = (args[i] for i in (2, 3, 8, 9, 14, 15, 18))
        a, p, a2, p2, bias, c = ((sig.args[i], args[i], args[i + 1]) for i in (0, 4, 6, 10, 12, 16))
        zero, one = lda.type(0), lda.type(1)
        return _call(
            context,
            builder,
            sig.args[0].dtype,
            [a, lda, K, p, a2, lda2, K2, p2, one, bias, zero, rows, columns, c, ldc, args[19]],
        )

    return types.void(a, _n, _n, _n, p, _n, a2, _n, _n, _n, p2, _n, bias, _n, _n, _n, c, _n, _n, _n), codegen


@njit(error_model="numpy")
def _gemm(
    a: Any, a_at: int, lda: int, rows: int, K: int, p: Any, p_at: int, columns: int, c: Any, c_at: int, ldc: int,
    accumulate: bool,
) -> None:  # fmt: skip
    _gemm_part(a, a_at, lda, rows, K, p, p_at, columns, c, c_at, ldc, accumulate, 0)


@njit(error_model="numpy")
def _gemm2(
    a: Any, a_at: int, lda: int, K: int, p: Any, p_at: int, a2: Any, a2_at: int, lda2: int, K2: int, p2: Any,
    p2_at: int, bias: Any, b_at: int, rows: int, columns: int, c: Any, c_at: int, ldc: int,
) -> None:  # fmt: skip
    _gemm2_part(a, a_at, lda, K, p, p_at, a2, a2_at, lda2, K2, p2, p2_at, bias, b_at, rows, columns, c, c_at, ldc, 0)


@njit(error_model="numpy")
def _checked_gemm_part(a, a_at, lda, rows, K, p, p_at, columns, c, c_at, ldc, accumulate, member):
    tile.gemm(a, a_at, lda, rows, K, p, p_at, columns, c, c_at, ldc, accumulate)


@njit(error_model="numpy")
def _checked_gemm2_part(
    a, a_at, lda, K, p, p_at, a2, a2_at, lda2, K2, p2, p2_at, bias, b_at, rows, columns, c, c_at, ldc, member
):
    tile.gemm2(a, a_at, lda, K, p, p_at, a2, a2_at, lda2, K2, p2, p2_at, bias, b_at, rows, columns, c, c_at, ldc)


# Parts of products, for generated loops; the last argument is the member who does its part (`..threads.member`).
gemm_part = _checked_gemm_part if BOUNDSCHECK else _gemm_part  # one thread runs loops that are checked
gemm2_part = _checked_gemm2_part if BOUNDSCHECK else _gemm2_part
gemm = tile.gemm if BOUNDSCHECK else _gemm
gemm2 = tile.gemm2 if BOUNDSCHECK else _gemm2
product_tn = tile.transposed_product(gemm)
