"""What is done before and after a compiled loop, as a table of jobs that one jitted call works off.

A small network's training step consists of calls, not of arithmetic: so packing, large products and sums are rows of
a table, and arrays are given by their addresses. Whoever fills the table answers for every offset in it.
"""

from __future__ import annotations

from numba import carray, types
from numba.extending import intrinsic

from .fingerprint import kernel
from .gemm import _transpose_block
from .lanes import vlanes, vload, vload_n, vstore, vstore_n
from .linked import HUGE, gemm, product_tn

LOOSE = 6  # arrays that a call gives directly
COLUMNS = 14  # of the table: kind, source, target, then
PACK = 0  # ld, transposed, first row, first column, rows, columns, offset, depth, row, column (of a packed matrix)
ADD = 1  # start, n, to
SPLAT = 2  # start, n, to: adds one element to n
ROWS = 3  # start, ld, rows, width, to, target ld: the rest of a row becomes zero
PRODUCT = 4  # start, ld, rows, depth, packed matrix, its offset, columns, to, target ld, accumulate
PRODUCT_TN = 5  # start, ld, other, its start, its ld, depth, rows, columns, to, target ld, accumulate
SUM_ROWS = 6  # start, ld, rows, columns, to
ADD_ROWS = 7  # start, ld, rows, width, to, target ld
ADD_COLUMNS = 8  # start, ld, rows, width, to, target ld: the columns of the source become rows of the target
MOVE = 9  # start, ld, from, into, to, target ld, width, mode: rows listed in a section of `steps` to those in another

# modes of MOVE: what becomes of a row that comes from -1 (one that goes to -1 is left out)
ZERO, SKIP, PLUS = 0, 1, 2  # it becomes zero; it stays as it is; the same, and others are added to what is there

# for each kind: columns of (array, offset of its first element)
_FIRST = (1, 3)
OFFSETS = {
    PACK: [(2, 9), (1, 0)],
    ADD: [_FIRST, (2, 5)],
    SPLAT: [_FIRST, (2, 5)],
    ROWS: [_FIRST, (2, 7)],
    PRODUCT: [_FIRST, (2, 10), (7, 8)],
    PRODUCT_TN: [_FIRST, (2, 11), (5, 6)],
    SUM_ROWS: [_FIRST, (2, 7)],
    ADD_ROWS: [_FIRST, (2, 7)],
    ADD_COLUMNS: [_FIRST, (2, 7)],
    MOVE: [_FIRST, (2, 7)],
}


@intrinsic
def _pointer(typingctx, address, like):
    """The integer `address` as a pointer to elements like those of the array `like`."""
    pointer = types.CPointer(like.dtype)

    def codegen(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(sig.return_type))

    return pointer(types.intp, like), codegen


@kernel
def run_jobs(jobs, first, last, addresses, panel, steps, arena, e0, e1, e2, e3, e4, e5):
    """Do the jobs ``first .. last - 1`` of the table.

    Parameters
    ----------
    jobs : (n, COLUMNS) int64
    first, last : int
    addresses : 1-D int64
        Of the arrays that the table names by index, from ``1 + LOOSE`` on: contiguous, of the dtype of `arena`.
    panel : int
        Columns of a panel of a packed matrix.
    steps : 1-D int64
        How many rows there are of all steps; products and sums go no further. For MOVE, see
        :func:`~tinygrad_rnn.kernels.ragged.lay_rows`.
    arena, e0, ..., e5 : 1-D arrays
        Arrays 0 to LOOSE: those that are new with each call.
    """
    like, limit = arena, steps[0]
    known = addresses.copy()
    known[0] = arena.ctypes.data
    known[1], known[2], known[3] = e0.ctypes.data, e1.ctypes.data, e2.ctypes.data
    known[4], known[5], known[6] = e3.ctypes.data, e4.ctypes.data, e5.ctypes.data
    for i in range(first, last):
        job = jobs[i]
        kind = job[0]
        x = carray(_pointer(known[job[1]], like), HUGE)
        out = carray(_pointer(known[job[2]], like), HUGE)
        if kind == PACK:
            _pack(x, out, job, panel)
        elif kind == ADD:
            for j in range(job[4]):
                out[job[5] + j] += x[job[3] + j]
        elif kind == SPLAT:
            for j in range(job[4]):
                out[job[5] + j] += x[job[3]]
        elif kind == ROWS:
            for r in range(job[5]):
                _copy(x, job[3] + r * job[4], out, job[7] + r * job[8], job[6], job[8])
        elif kind == PRODUCT:
            w = carray(_pointer(known[job[7]], like), HUGE)
            rows = min(job[5], max(0, limit - job[10] // job[11]))  # a piece of the rows, which begins at its target
            gemm(x, job[3], job[4], rows, job[6], w, job[8], job[9], out, job[10], job[11], job[12])
        elif kind == PRODUCT_TN:
            y = carray(_pointer(known[job[5]], like), HUGE)
            product_tn(
                x,
                job[3],
                job[4],
                y,
                job[6],
                job[7],
                min(job[8], limit),
                job[9],
                job[10],
                out,
                job[11],
                job[12],
                job[13] != 0,
            )
        elif kind == SUM_ROWS:
            for r in range(min(job[5], limit)):
                _add(x, job[3] + r * job[4], out, job[7], job[6])
        elif kind == ADD_ROWS:
            for r in range(job[5]):
                _add(x, job[3] + r * job[4], out, job[7] + r * job[8], job[6])
        elif kind == ADD_COLUMNS:
            for r in range(job[5]):
                for j in range(job[6]):
                    out[job[7] + r * job[8] + j] += x[job[3] + j * job[4] + r]
        elif kind == MOVE:
            _move(x, out, job, steps)


@kernel
def _copy(x, start, out, to, n, width):
    """``out[to : to + n] = x[start : start + n]``, and zeros up to `width`."""
    lanes = vlanes(x)
    whole = n // lanes * lanes
    for j in range(0, whole, lanes):
        vstore(out, to + j, vload(x, start + j))
    for j in range(whole, n):
        out[to + j] = x[start + j]
    for j in range(n, width):
        out[to + j] = 0


@kernel
def _add(x, start, out, to, n):
    """``out[to : to + n] += x[start : start + n]``."""
    lanes = vlanes(x)
    whole = n // lanes * lanes
    for j in range(0, whole, lanes):
        vstore(out, to + j, vload(out, to + j) + vload(x, start + j))
    if whole < n:
        rest = n - whole
        vstore_n(out, to + whole, vload_n(out, to + whole, rest) + vload_n(x, start + whole, rest), rest)


@kernel
def _move(x, out, job, steps):
    """Copy or add rows; a section below zero stands for the rows in order."""
    start, ld, source, target, to, ldt, width, mode = job[3], job[4], job[5], job[6], job[7], job[8], job[9], job[10]
    lanes = vlanes(x)
    a, b = steps[1 + 2 * max(source, 0)], steps[1 + 2 * max(target, 0)]
    for i in range(steps[2 + 2 * max(source, target)]):
        r = steps[a + i] if source >= 0 else i
        at = to + (steps[b + i] if target >= 0 else i) * ldt
        if at < to:
            continue
        if r < 0:
            if mode == ZERO:
                for j in range(width):
                    out[at + j] = 0
            continue
        row = start + r * ld
        if mode == PLUS:
            _add(x, row, out, at, width)
        elif width < lanes:
            for j in range(width):
                out[at + j] = x[row + j]
        else:
            for j in range(0, width - lanes + 1, lanes):
                vstore(out, at + j, vload(x, row + j))
            vstore(out, at + width - lanes, vload(x, row + width - lanes))  # what is left, and some of it again


@kernel
def _pack(w, packed, job, panel):
    """Copy a rectangle of a matrix into panels ``[columns // panel][row][panel]``."""
    ld, transposed, r0, c0, rows, columns = job[3], job[4], job[5], job[6], job[7], job[8]
    offset, depth, row, column = job[9], job[10], job[11], job[12]
    n = 0
    while n < columns:
        lane = (column + n) % panel
        count = min(panel - lane, columns - n)
        at = offset + ((column + n) // panel) * depth * panel + row * panel + lane
        if transposed:
            _pack_transposed(w, (c0 + n) * ld + r0, ld, rows, count, packed, at, panel)
        else:
            lanes = vlanes(w)
            whole = count // lanes * lanes
            for k in range(rows):
                source, target = (r0 + k) * ld + c0 + n, at + k * panel
                for m in range(0, whole, lanes):
                    vstore(packed, target + m, vload(w, source + m))
                for m in range(whole, count):
                    packed[target + m] = w[source + m]
        n += count


@kernel
def _pack_transposed(w, start, ld, rows, count, packed, at, panel):
    """``packed[at + k * panel + m] = w[start + m * ld + k]``, in square blocks of whole vectors where there are any."""
    lanes = vlanes(w)
    whole_columns, whole_rows = count // lanes * lanes, rows // lanes * lanes
    for k in range(0, whole_rows, lanes):
        for m in range(0, whole_columns, lanes):
            _transpose_block(w, start + m * ld + k, ld, packed, at + k * panel + m, panel)
    for k in range(rows):
        for m in range(whole_columns if k < whole_rows else 0, count):
            packed[at + k * panel + m] = w[start + m * ld + k]
