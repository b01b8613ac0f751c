"""The matrix tile behind C symbols: compiled once for each dtype, and called by generated loops.

A jitted function that calls another one is compiled together with it. For the tile, which is much larger than any
step, that would be most of the time it takes to compile a cell. So generated code calls `gemm` and `gemm2` as external
functions, whose addresses LLVM learns in `link`. With ``NUMBA_BOUNDSCHECK=1`` they are compiled in, and check.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import carray, cfunc, types
from numba.core import cgutils
from numba.extending import intrinsic

from . import gemm as tile
from .fingerprint import fingerprint
from .lanes import vlanes
from .vector import BOUNDSCHECK, is_array

HUGE = 1 << 40  # elements: a pointer has no length

_n = types.intp


def _symbol(name: str, dtype) -> str:
    return f"tinygrad_rnn_{name}_{np.dtype(dtype).name}"


# Without a rest of columns, they go straight to the tiles: for one row, a call less is a good part of the time.
# np.intp(0) is no literal, for which Numba would compile the tiles once more.


def _gemm(a, lda, rows, depth, packed, columns, c, ldc, accumulate):
    a, packed, c, zero = carray(a, HUGE), carray(packed, HUGE), carray(c, HUGE), np.intp(0)
    width = tile.PANEL_VECTORS * vlanes(c)
    if columns % width:
        tile.gemm(a, zero, lda, rows, depth, packed, zero, columns, c, zero, ldc, accumulate != 0)
    else:
        tile.whole_panels(
            a, zero, lda, depth, packed, zero, a, zero, zero, zero, packed, zero, accumulate != 0, c, zero, ldc,
            c, zero, ldc, rows, columns // width,
        )  # fmt: skip


def _gemm2(a, lda, depth, p, a2, lda2, depth2, p2, bias, rows, columns, c, ldc):
    a, p, a2, p2, zero = carray(a, HUGE), carray(p, HUGE), carray(a2, HUGE), carray(p2, HUGE), np.intp(0)
    bias, c = carray(bias, HUGE), carray(c, HUGE)
    width = tile.PANEL_VECTORS * vlanes(c)
    if columns % width:
        tile.gemm2(
            a, zero, lda, depth, p, zero, a2, zero, lda2, depth2, p2, zero, bias, zero, rows, columns, c, zero, ldc
        )
    else:
        tile.whole_panels(
            a, zero, lda, depth, p, zero, a2, zero, lda2, depth2, p2, zero, np.bool_(True), bias, zero, zero,
            c, zero, ldc, rows, columns // width,
        )  # fmt: skip


@functools.cache
def link(dtype) -> tuple:
    """Compile the tile for `dtype` (or load it from the disk) and make its symbols known to LLVM."""
    dtype = np.dtype(dtype)
    p = types.CPointer(types.float32 if dtype == np.float32 else types.float64)
    signatures: dict[Callable, tuple] = {
        _gemm: (p, _n, _n, _n, p, _n, p, _n, _n),
        _gemm2: (p, _n, _n, p, p, _n, _n, p, p, _n, _n, p, _n),
    }
    made: list[Any] = []
    for function, arguments in signatures.items():
        name = function.__name__
        function.__qualname__ = f"{name}_{fingerprint()}"
        compiled: Any = cfunc(types.void(*arguments), cache=True, error_model="numpy")(function)
        llvm.add_symbol(_symbol(name, dtype), compiled.address)
        made.append(compiled)
    return tuple(made)  # kept alive by the cache


def _extern(name: str, pointers: tuple[int, ...]):
    """An intrinsic that calls a symbol; argument pairs (array, offset) at `pointers` become pointers."""

    def typed(arguments):
        arrays = [arguments[i] for i in pointers]
        if not all(is_array(a) and a.dtype == arrays[0].dtype for a in arrays):
            return None
        dtype = str(arrays[0].dtype)

        def codegen(context, builder, sig, args):
            out, i = [], 0
            while i < len(args):
                if i in pointers:
                    data = context.make_array(sig.args[i])(context, builder, args[i]).data
                    out.append(builder.gep(data, [args[i + 1]]))
                    i += 2
                else:
                    out.append(context.cast(builder, args[i], sig.args[i], _n))
                    i += 1
            kind = ir.FunctionType(ir.VoidType(), [x.type for x in out])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, _symbol(name, dtype)), out)
            return context.get_dummy_value()

        signature = types.void(*(a if i in pointers else _n for i, a in enumerate(arguments)))
        return signature, codegen

    return typed


@intrinsic
def _call_gemm(typingctx, a, a_at, lda, rows, depth, packed, at, columns, c, c_at, ldc, accumulate):
    return _extern("_gemm", (0, 5, 8))((a, a_at, lda, rows, depth, packed, at, columns, c, c_at, ldc, accumulate))


@intrinsic
def _call_gemm2(
    typingctx,
    a,
    a_at,
    lda,
    depth,
    p,
    p_at,
    a2,
    a2_at,
    lda2,
    depth2,
    p2,
    p2_at,
    bias,
    b_at,
    rows,
    columns,
    c,
    c_at,
    ldc,
):
    return _extern("_gemm2", (0, 4, 6, 10, 12, 16))(
        (
            a,
            a_at,
            lda,
            depth,
            p,
            p_at,
            a2,
            a2_at,
            lda2,
            depth2,
            p2,
            p2_at,
            bias,
            b_at,
            rows,
            columns,
            c,
            c_at,
            ldc,
        )
    )


gemm = tile.gemm if BOUNDSCHECK else _call_gemm
gemm2 = tile.gemm2 if BOUNDSCHECK else _call_gemm2
