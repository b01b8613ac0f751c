"""What is done once per sequence, before and after a compiled loop: packing, large products, sums."""

from __future__ import annotations

from .fingerprint import kernel
from .gemm import gemm_tn
from .linked import gemm


@kernel
def pack_blocks(w, ld, table, packed, panel):
    """Copy rectangles of a matrix into panels ``[columns // panel][row][panel]``.

    Parameters
    ----------
    w : 1-D array
        The matrix, row after row of `ld` elements.
    table : (n, 9) int64
        For each rectangle: transposed, first row, first column, rows, columns, offset of the packed matrix, its rows,
        and the rectangle's first row and column in it.
    packed : 1-D array
    panel : int
        Columns of a panel.
    """
    for i in range(table.shape[0]):
        transposed, r0, c0 = table[i, 0], table[i, 1], table[i, 2]
        rows, columns, offset, depth = table[i, 3], table[i, 4], table[i, 5], table[i, 6]
        row, column = table[i, 7], table[i, 8]
        n = 0
        while n < columns:
            lane = (column + n) % panel
            count = min(panel - lane, columns - n)
            at = offset + ((column + n) // panel) * depth * panel + row * panel + lane
            if transposed:
                for k in range(rows):
                    source = (c0 + n) * ld + r0 + k
                    for m in range(count):
                        packed[at + k * panel + m] = w[source + m * ld]
            else:
                for k in range(rows):
                    source = (r0 + k) * ld + c0 + n
                    for m in range(count):
                        packed[at + k * panel + m] = w[source + m]
            n += count


@kernel
def add_segments(x, table, out):
    """``out[to : to + n] += x[start : start + n]`` for each (start, n, to) in `table`."""
    for i in range(table.shape[0]):
        start, n, to = table[i, 0], table[i, 1], table[i, 2]
        for j in range(n):
            out[to + j] += x[start + j]


@kernel
def sum_rows(x, offset, ld, rows, columns, out, at):
    """``out[at + j] += sum over i of x[offset + i * ld + j]``, always in the same order."""
    for i in range(rows):
        base = offset + i * ld
        for j in range(columns):
            out[at + j] += x[base + j]


@kernel
def product(a, offset, lda, rows, depth, packed, at, columns, c, c_offset, ldc, accumulate):
    """``C = A @ packed`` (or ``+=``) over many rows; see `gemm`."""
    gemm(a, offset, lda, rows, depth, packed, at, columns, c, c_offset, ldc, accumulate)


@kernel
def product_tn(a, a_offset, lda, b, b_offset, ldb, depth, m, n, c, c_offset, ldc, accumulate):
    """``C = A.T @ B`` (or ``+=``) over many rows of A and B; see `gemm_tn`."""
    gemm_tn(a, a_offset, lda, b, b_offset, ldb, depth, m, n, c, c_offset, ldc, accumulate)
