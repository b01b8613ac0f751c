"""The register tile of matrix products: rows of A by vectors of columns of B, summed in registers.

A tile is a tuple of ``rows * vectors`` vectors, row by row. The steps below are intrinsics, so the tile
stays in registers between them; `rows`, `vectors` and `group` must be literals in the calling source.
With w = vectors * lanes:

    acc = tile_bias(bias, j, 6, 2)                             # start with a bias, zeros, or what is in C
    acc = tile_fma(acc, 6, 2, x, i, ldx, 1, I, wx, p, w, 0)    # add x @ panel of W_x
    acc = tile_fma(acc, 6, 2, h, i, ldh, 1, H, wh, q, w, 0)    # and h @ panel of W_h, in the same registers
    tile_store(acc, c, o, ldc, 6)                              # or go on with acc[r * vectors + v]

Each output element is one chain of fused multiply-adds in the order of k, whatever tile it is computed
in. So results do not depend on the number of rows, on their position, or on how work is split over
threads.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..build.target import TARGET
from ..simd.types import (
    BOUNDSCHECK,
    Vec,
    address,
    fma,
    is_array,
    load,
    prefetch,
    splat,
    store,
)

# a tile, one row of B and one broadcast value fit into the registers: 12 + 2 + 1 of 16, or 24 + 4 + 1 of 32
TILE_ROWS = 6
PANEL_VECTORS = 4 if TARGET.registers == 32 else 2


def _literals(*values: Any) -> bool:
    return all(isinstance(v, types.IntegerLiteral) for v in values)


class Place:
    """An array argument with an offset, as the emitters below take it."""

    def __init__(self, context: Any, array_type: Any, array: Any, offset: Any) -> None:
        self.context, self.array_type, self.array, self.offset = context, array_type, array, offset
        self.vec = Vec(array_type.dtype)
        self.intp = offset.type

    def at(self, builder: ir.IRBuilder, steps: list[tuple[Any, int]], count: Any) -> Any:
        """The address of ``array[offset + sum(stride * times)]``, with `count` elements behind it."""
        index = self.offset
        for stride, times in steps:
            index = builder.add(index, builder.mul(stride, self.intp(times)))
        return address(self.context, builder, self.array_type, self.array, index, count)


def keep_rolled(builder: ir.IRBuilder, branch: Any) -> None:
    """Tell LLVM not to unroll the loop of this branch: tiles are wide enough, and code size is time."""
    module = builder.module
    disable = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
    unique = module.add_metadata([ir.MetaDataString(module, f"loop {len(module.metadata)}")])
    loop = module.add_metadata([unique, disable])
    loop.operands = (loop, disable)  # a loop is identified by metadata that refer to themselves
    branch.set_metadata("llvm.loop", loop)


@intrinsic
def never_inline(typingctx):
    """Keep the function that calls this out of its callers: large kernels are compiled once."""

    def codegen(context, builder, sig, args):
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), codegen


def emit_load(builder: ir.IRBuilder, c: Place, ldc: Any, rows: int, vectors: int) -> list[Any]:
    """Load a tile from C; with ldc = 0, every row is the same."""
    tile = []
    for r in range(rows):
        start = c.at(builder, [(ldc, r)], c.intp(vectors * c.vec.lanes))
        tile += [load(builder, builder.gep(start, [c.intp(v * c.vec.lanes)]), c.vec) for v in range(vectors)]
    return tile


def emit_store(builder: ir.IRBuilder, tile: list[Any], c: Place, ldc: Any, rows: int) -> None:
    """Store a tile to C."""
    vectors = len(tile) // rows
    for r in range(rows):
        start = c.at(builder, [(ldc, r)], c.intp(vectors * c.vec.lanes))
        for v in range(vectors):
            pointer = builder.gep(start, [c.intp(v * c.vec.lanes)])
            store(builder, pointer, tile[r * vectors + v], c.vec)


def emit_fma(
    builder: ir.IRBuilder, tile: list[Any], rows: int, group: int, a: Place, a_row: Any, a_k: Any, K: Any,
    b: Place, b_k: Any, b_group: Any, ahead: tuple[Any, Any] | None = None,
) -> list[Any]:  # fmt: skip
    """The tile after the loop over k, see `tile_fma`; `ahead`: address and step in bytes of prefetches."""
    vec, intp, vectors = b.vec, K.type, len(tile) // rows
    # a product may have no second operand, and the loop below tests at its end
    some = builder.icmp_signed(">", K, intp(0))
    # once before the loop: offsets only grow, so the last element of either operand is the farthest
    if BOUNDSCHECK:
        with builder.if_then(some):
            last = builder.sub(K, intp(1))
            size = builder.add(builder.mul(last, a_k), builder.mul(a_row, intp(rows - 1)))
            a.at(builder, [], builder.add(size, intp(1)))
            size = builder.add(builder.mul(last, b_k), builder.mul(b_group, intp(vectors // group - 1)))
            b.at(builder, [], builder.add(size, intp(group * vec.lanes)))
    # Rows of A and groups of B are pointers that stay as they are; in the loop one index for each of the two grows.
    a_data, b_data = (x.context.make_array(x.array_type)(x.context, builder, x.array).data for x in (a, b))
    a_rows = [builder.gep(a_data, [builder.add(a.offset, builder.mul(a_row, intp(r)))]) for r in range(rows)]
    b_groups = [
        builder.gep(b_data, [builder.add(b.offset, builder.mul(b_group, intp(g)))]) for g in range(vectors // group)
    ]
    before, body, after = builder.block, builder.append_basic_block("k"), builder.append_basic_block("k.end")
    builder.cbranch(some, body, after)

    builder.position_at_end(body)
    strides = [intp(1), a_k, b_k] + ([ahead[1]] if ahead else [])
    counters = [builder.phi(intp) for _ in strides]
    _, a_at, b_at = counters[:3]
    sums = [builder.phi(vec.llvm) for _ in tile]
    # One row of B is loaded as vectors, and each number of a column of A goes to all lanes of one: outer products.
    row = [
        load(builder, builder.gep(b_groups[v // group], [builder.add(b_at, intp(v % group * vec.lanes))]), vec)
        for v in range(vectors)
    ]
    results = []
    for r in range(rows):
        x = splat(builder, vec.llvm, builder.load(builder.gep(a_rows[r], [a_at])))
        results += [fma(builder, x, row[v], sums[r * vectors + v]) for v in range(vectors)]
    if ahead:
        prefetch(builder, builder.gep(ahead[0], [counters[3]]))
    nexts = [builder.add(x, step) for x, step in zip(counters, strides)]
    for phi, first, step in zip(counters + sums, [intp(0)] * len(strides) + tile, nexts + results):
        phi.add_incoming(first, before)
        phi.add_incoming(step, body)
    again = builder.cbranch(builder.icmp_signed("<", nexts[0], K), body, after)
    keep_rolled(builder, again)

    builder.position_at_end(after)
    # without a pass through the loop the tile is what it was
    ends = [builder.phi(vec.llvm) for _ in tile]
    for phi, first, step in zip(ends, tile, results):
        phi.add_incoming(first, before)
        phi.add_incoming(step, body)
    return ends


def _tile_type(array: Any, rows: Any, vectors: Any) -> Any:
    return types.UniTuple(Vec(array.dtype), rows.literal_value * vectors.literal_value)


@intrinsic(prefer_literal=True)
def tile_zero(typingctx, like, rows, vectors):
    """Start a tile with zeros, of the type of the array `like`."""
    if not is_array(like) or not _literals(rows, vectors):
        return None
    tile = _tile_type(like, rows, vectors)
    return tile(like, rows, vectors), lambda context, builder, sig, args: ir.Constant(
        context.get_value_type(tile), None
    )


@intrinsic(prefer_literal=True)
def tile_bias(typingctx, bias, offset, rows, vectors):
    """Start every row of a tile with ``bias[offset : offset + vectors * lanes]``."""
    if not is_array(bias) or not _literals(rows, vectors):
        return None

    def codegen(context, builder, sig, args):
        place = Place(context, sig.args[0], args[0], args[1])
        return cgutils.pack_array(
            builder, emit_load(builder, place, args[1].type(0), rows.literal_value, vectors.literal_value)
        )

    return _tile_type(bias, rows, vectors)(bias, types.intp, rows, vectors), codegen


@intrinsic(prefer_literal=True)
def tile_load(typingctx, c, offset, ldc, rows, vectors):
    """Start a tile with what is in C: rows of leading dimension ldc from `offset` on."""
    if not is_array(c) or not _literals(rows, vectors):
        return None

    def codegen(context, builder, sig, args):
        place = Place(context, sig.args[0], args[0], args[1])
        return cgutils.pack_array(
            builder, emit_load(builder, place, args[2], rows.literal_value, vectors.literal_value)
        )

    return _tile_type(c, rows, vectors)(c, types.intp, types.intp, rows, vectors), codegen


@intrinsic(prefer_literal=True)
def tile_store(typingctx, acc, c, offset, ldc, rows):
    """Store a tile to C: rows of leading dimension ldc from `offset` on."""
    if not is_array(c) or not _literals(rows) or not isinstance(acc, types.UniTuple):
        return None

    def codegen(context, builder, sig, args):
        place = Place(context, sig.args[1], args[1], args[2])
        tile = [builder.extract_value(args[0], i) for i in range(len(acc))]
        emit_store(builder, tile, place, args[3], rows.literal_value)
        return context.get_dummy_value()

    return types.void(acc, c, types.intp, types.intp, rows), codegen


@intrinsic(prefer_literal=True)
def tile_fma(typingctx, acc, rows, group, a, a_offset, a_row, a_k, K, b, b_offset, b_k, b_group):
    """The tile plus K outer products, ``acc[r, v] += a[r, k] * b[k, v]`` for k = 0 .. K - 1 in order.

    ``a[r, k]`` is at ``a_offset + r * a_row + k * a_k``. Vector v of row k of b is at
    ``b_offset + k * b_k + (v // group) * b_group + (v % group) * lanes``: with packed panels, `group` is the
    number of vectors of a panel, `b_k` its width and `b_group` its size. Strides must not be negative.
    """
    if not (is_array(a) and is_array(b) and _literals(rows, group) and isinstance(acc, types.UniTuple)):
        return None

    def codegen(context, builder, sig, args):
        tile = [builder.extract_value(args[0], i) for i in range(len(acc))]
        a_place = Place(context, sig.args[3], args[3], args[4])
        b_place = Place(context, sig.args[8], args[8], args[9])
        tile = emit_fma(
            builder, tile, rows.literal_value, group.literal_value, a_place, args[5], args[6], args[7],
            b_place, args[10], args[11],
        )  # fmt: skip
        return cgutils.pack_array(builder, tile)

    n = types.intp
    return acc(acc, rows, group, a, n, n, n, n, b, n, n, n), codegen
