"""What is done before and after a compiled loop, as a table of jobs, and the jitted call that does all three.

A small network's training step consists of calls, not of arithmetic: so packing, large products and sums are rows of
a table, and arrays are given by their addresses. Whoever fills the table answers for every offset in it.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from ..build.c_functions import call_symbol, pointer_to, publish
from ..build.fingerprint import kernel
from ..gemm.extern import gemm, product_tn
from ..gemm.gemm import _transpose_block
from ..simd.lanes import vlanes, vload, vload_n, vstore, vstore_n
from ..simd.types import BOUNDSCHECK
from .entry import array_like, call_loop, integers

LOOSE = 10  # arrays that a call gives directly
FIRST, MIDDLE, LAST, PANEL, LOOP, BEGIN, END, ARRAYS = range(8)  # in `todo`, numbers
D, JOBS, PLACES, STEPS = range(4, 8)  # in `todo`, address and elements of arrays
USED = 16  # in `todo`: where the loop's arrays begin
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
CLEAR = 10  # start, n: the target becomes zero; the source is any array

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
    CLEAR: [(2, 3)],
}


def _run_jobs(todo, places, first, last, panel, like):
    """Do the jobs ``first .. last - 1``.

    Parameters
    ----------
    todo, places : int
        Addresses of the tables that :func:`work` takes.
    first, last : int
    panel : int
        Columns of a panel of a packed matrix.
    like : pointer or array
        To elements of the dtype of the arrays.
    """
    jobs, steps = integers(todo, JOBS), integers(todo, STEPS)
    limit = steps[0]
    for i in range(first, last):
        job = jobs[i * COLUMNS : (i + 1) * COLUMNS]
        kind = job[0]
        x = array_like(places, job[1], like)
        out = array_like(places, job[2], like)
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
            w = array_like(places, job[7], like)
            rows = min(job[5], max(0, limit - job[10] // job[11]))  # a piece of the rows, which begins at its target
            gemm(x, job[3], job[4], rows, job[6], w, job[8], job[9], out, job[10], job[11], job[12])
        elif kind == PRODUCT_TN:
            y = array_like(places, job[5], like)
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
        elif kind == CLEAR:
            for j in range(job[4]):
                out[job[3] + j] = 0


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


# ---- jobs, a loop, and jobs again

outer: Any = (lambda function: function) if BOUNDSCHECK else kernel  # checked loops are called from Python


def _symbol(dtype: Any) -> str:
    return f"tinygrad_rnn_jobs_{dtype}"


@functools.cache
def link(dtype) -> Any:
    """Compile the jobs for `dtype` (or load them from the disk) and make their symbol known to LLVM."""
    if BOUNDSCHECK:
        return None
    signature = types.void(*[types.intp] * 5, pointer_to(dtype))
    return publish(_symbol(np.dtype(dtype)), _run_jobs, signature)  # kept alive by the cache


@intrinsic
def _call_jobs(typingctx, todo, places, first, last, panel, like):
    def codegen(context, builder, sig, args):
        values = [*args[:5], context.make_array(like)(context, builder, args[5]).data]
        return call_symbol(context, builder, _symbol(like.dtype), values)

    return types.void(*[types.intp] * 5, like), codegen


run_jobs: Any = kernel(_run_jobs) if BOUNDSCHECK else _call_jobs


@kernel
def put(table, at, array):
    """Write address and elements of `array` to row `at` of the table: faster than Python finds an address."""
    table[at, 0], table[at, 1] = array.ctypes.data, array.size


@kernel
def lay(todo, e0, e1, e2, e3, e4, e5, e6, e7, e8, e9):
    """Address and elements of all arrays: those given here, those at PLACES, and those of the loop."""
    old, n = integers(todo.ctypes.data, PLACES), todo[ARRAYS]
    new = np.empty((n + 1 + (todo.size - USED) // 2, 2), np.int64)
    for i in range(LOOSE, n):
        new[i, 0], new[i, 1] = old[2 * i], old[2 * i + 1]
    put(new, 0, e0)
    put(new, 1, e1)
    put(new, 2, e2)
    put(new, 3, e3)
    put(new, 4, e4)
    put(new, 5, e5)
    put(new, 6, e6)
    put(new, 7, e7)
    put(new, 8, e8)
    put(new, 9, e9)
    new[n, 0], new[n, 1] = todo[2 * D], todo[2 * D + 1]
    for i in range(n + 1, len(new)):
        at = USED + 2 * (i - n - 1)
        array, offset = todo[at], todo[at + 1]
        new[i, 0], new[i, 1] = new[array, 0] + offset * e0.itemsize, new[array, 1] - offset
    return new


@outer
def work(todo, places, like):
    """Jobs, a loop, and jobs again.

    Parameters
    ----------
    todo : 1-D int64
        Jobs ``FIRST .. MIDDLE - 1`` come before the loop and ``MIDDLE .. LAST - 1`` after it. The loop at the address
        LOOP takes the rows ``BEGIN .. END - 1``. A panel of a packed matrix has PANEL columns. There are ARRAYS arrays.
        Then address and elements of int64 arrays: D, the loop's integers; JOBS, (n, COLUMNS); PLACES, address and
        elements of each array, where the first LOOSE do not matter; STEPS, how many rows there are of all steps, as
        products and sums go no further, and for MOVE what :func:`~tinygrad_rnn.kernels.loops.segments.lay_rows` makes.
        From USED on: for each array of the loop after D, which one it is, and from which element on.
    places : (n, 2) int64
        What :func:`lay` returned.
    like : 1-D array
        Of the dtype of the arrays.
    """
    here, there = todo.ctypes.data, places.ctypes.data
    run_jobs(here, there, todo[FIRST], todo[MIDDLE], todo[PANEL], like)
    if todo[END] > todo[BEGIN]:
        call_loop(todo[LOOP], todo[BEGIN], todo[END], there + 2 * places.itemsize * todo[ARRAYS])
    run_jobs(here, there, todo[MIDDLE], todo[LAST], todo[PANEL], like)


@outer
def run(todo, e0, e1, e2, e3, e4, e5, e6, e7, e8, e9):
    """:func:`work` with the 1-D arrays e0, ... as the first LOOSE ones."""
    work(todo, lay(todo, e0, e1, e2, e3, e4, e5, e6, e7, e8, e9), e0)
