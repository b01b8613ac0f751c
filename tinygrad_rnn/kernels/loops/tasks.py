"""Execution of the tasks before and after a generated loop.

A small network's training step consists of calls, not of arithmetic: so packing, large products and sums are rows of
a table, and arrays are given by their addresses. Offsets are not checked here. All records are in :mod:`.task_codes`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ..gemm.extern import gemm, product_tn
from ..gemm.gemm import transpose_block
from ..gemm.tile import never_inline
from ..simd.lanes import row_number, vlanes, vload, vload_n, vstore, vstore_n
from .entry import array_like, arrays_of
from .records import integers_in, record_at
from .task_codes import (
    COLUMNS,
    AddColumns,
    AddNumber,
    AddRows,
    AddVector,
    Clear,
    CopyRows,
    Launch,
    Missing,
    MoveRows,
    Pack,
    Product,
    ScatterRows,
    SumRows,
    TaskKind,
    TransposedProduct,
)

Array = np.ndarray


@njit(error_model="numpy")
def execute_tasks(launch_at: int, addresses: int, first: int, last: int, like: Any) -> int:
    """Execute the tasks ``first .. last - 1``; returns 0, or more if there was no memory.

    Parameters
    ----------
    launch_at, addresses : int
        Addresses of the tables that :func:`.launches.execute` takes.
    first, last : int
    like : pointer or array
        To elements of the dtype of the arrays.
    """
    never_inline()
    launch, missing = record_at(launch_at, 0, Launch), 0
    table, kinds, row_table = launch.tasks.address, integers_in(launch.tasks), integers_in(launch.row_table)
    limit = row_table[0]  # rows of all steps
    for at in range(first * COLUMNS, last * COLUMNS, COLUMNS):
        kind = kinds[at]
        if kind == TaskKind.PACK:
            task = record_at(table, at + 1, Pack)
            x, y = arrays_of(addresses, task, like)
            _pack(x, y, task, launch.panel)
        elif kind == TaskKind.ADD_VECTOR:
            task = record_at(table, at + 1, AddVector)
            x, y = arrays_of(addresses, task, like)
            for j in range(task.size):
                y[task.target.at + j] += x[task.source.at + j]
        elif kind == TaskKind.ADD_NUMBER:
            task = record_at(table, at + 1, AddNumber)
            x, y = arrays_of(addresses, task, like)
            for j in range(task.size):
                y[task.target.at + j] += x[task.source.at]
        elif kind == TaskKind.COPY_ROWS:
            task = record_at(table, at + 1, CopyRows)
            x, y = arrays_of(addresses, task, like)
            for r in range(task.rows):
                source, target = task.source.at + r * task.source.ld, task.target.at + r * task.target.ld
                copy_row(x, source, y, target, task.columns, task.target.ld)
        elif kind == TaskKind.PRODUCT:
            task = record_at(table, at + 1, Product)
            x, y = arrays_of(addresses, task, like)
            packed = array_like(addresses, task.packed.array, like)
            # The task is a piece of the rows, which begins where its target does: steps that do not run are left out.
            rows = min(task.rows, max(0, limit - task.target.at // task.target.ld))
            gemm(
                x, task.source.at, task.source.ld, rows, task.depth, packed, task.packed.at, task.columns,
                y, task.target.at, task.target.ld, task.accumulate,
            )  # fmt: skip
        elif kind == TaskKind.TRANSPOSED_PRODUCT:
            task = record_at(table, at + 1, TransposedProduct)
            x, y = arrays_of(addresses, task, like)
            right = array_like(addresses, task.right.array, like)
            missing += product_tn(
                x, task.source.at, task.source.ld, right, task.right.at, task.right.ld, min(task.depth, limit),
                task.rows, task.columns, y, task.target.at, task.target.ld, task.accumulate != 0,
            )  # fmt: skip
        elif kind == TaskKind.SUM_ROWS:
            task = record_at(table, at + 1, SumRows)
            x, y = arrays_of(addresses, task, like)
            for r in range(min(task.rows, limit)):
                add_row(x, task.source.at + r * task.source.ld, y, task.target.at, task.columns)
        elif kind == TaskKind.ADD_ROWS:
            task = record_at(table, at + 1, AddRows)
            x, y = arrays_of(addresses, task, like)
            for r in range(task.rows):
                source, target = task.source.at + r * task.source.ld, task.target.at + r * task.target.ld
                add_row(x, source, y, target, task.columns)
        elif kind == TaskKind.ADD_COLUMNS:
            task = record_at(table, at + 1, AddColumns)
            x, y = arrays_of(addresses, task, like)
            for r in range(task.rows):
                for j in range(task.columns):
                    y[task.target.at + r * task.target.ld + j] += x[task.source.at + j * task.source.ld + r]
        elif kind == TaskKind.MOVE_ROWS:
            task = record_at(table, at + 1, MoveRows)
            x, y = arrays_of(addresses, task, like)
            _move(x, y, task, row_table)
        elif kind == TaskKind.CLEAR:
            task = record_at(table, at + 1, Clear)
            y = array_like(addresses, task.target.array, like)
            for j in range(task.size):
                y[task.target.at + j] = 0
        elif kind == TaskKind.SCATTER_ROWS:
            task = record_at(table, at + 1, ScatterRows)
            x, y = arrays_of(addresses, task, like)
            _scatter(x, array_like(addresses, task.numbers.array, like), y, task, min(task.rows, limit))
    return missing


@njit(error_model="numpy")
def copy_row(x: Array, start: int, out: Array, to: int, n: int, width: int) -> None:
    """``out[to : to + n] = x[start : start + n]``, and zeros up to `width`."""
    lanes = vlanes(x)
    whole = n // lanes * lanes
    for j in range(0, whole, lanes):
        vstore(out, to + j, vload(x, start + j))
    for j in range(whole, n):
        out[to + j] = x[start + j]
    for j in range(n, width):
        out[to + j] = 0


@njit(error_model="numpy")
def add_row(x: Array, start: int, out: Array, to: int, n: int) -> None:
    """``out[to : to + n] += x[start : start + n]``."""
    lanes = vlanes(x)
    whole = n // lanes * lanes
    for j in range(0, whole, lanes):
        vstore(out, to + j, vload(out, to + j) + vload(x, start + j))
    if whole < n:
        rest = n - whole
        vstore_n(out, to + whole, vload_n(out, to + whole, rest) + vload_n(x, start + whole, rest), rest)


@njit(error_model="numpy")
def _scatter(x: Array, index: Array, y: Array, task: ScatterRows, rows: int) -> None:
    """Add the parts of `rows` rows to rows of a table."""
    for r in range(rows):
        for i in range(task.parts):
            row = row_number(index, task.numbers.at + r * task.numbers.ld + i, task.table_rows)
            if row >= 0 and row != task.padding:
                source = task.source.at + r * task.source.ld + i * task.stride
                add_row(x, source, y, task.target.at + row * task.target.ld, task.columns)


@njit(error_model="numpy")
def _move(x: Array, y: Array, task: MoveRows, row_table: Array) -> None:
    """Copy or add the rows that the sections of a :class:`MoveRows` list."""
    origin, destination, columns, missing = task.origin, task.destination, task.columns, task.missing
    to, lanes = task.target.at, vlanes(x)
    a = row_table[origin] if origin >= 0 else 0  # below zero it is IN_ORDER
    b = row_table[destination] if destination >= 0 else 0
    for i in range(row_table[max(origin, destination) + 1]):  # elements of the section, or of both
        r = row_table[a + i] if origin >= 0 else i
        at = to + (row_table[b + i] if destination >= 0 else i) * task.target.ld
        # it goes to -1, a row before the first
        if at < to:
            continue
        if r < 0:
            if missing == Missing.ZERO:
                for j in range(columns):
                    y[at + j] = 0
            continue
        row = task.source.at + r * task.source.ld
        if missing == Missing.ADD:
            add_row(x, row, y, at, columns)
        elif columns < lanes:
            for j in range(columns):
                y[at + j] = x[row + j]
        else:
            for j in range(0, columns - lanes + 1, lanes):
                vstore(y, at + j, vload(x, row + j))
            # the last vector ends with the row: it takes what is left, and some columns twice
            vstore(y, at + columns - lanes, vload(x, row + columns - lanes))


@njit(error_model="numpy")
def _pack(w: Array, packed: Array, task: Pack, panel: int) -> None:
    """Copy a rectangle of a matrix into panels ``[columns // panel][row][panel]``."""
    source, ld, rows = task.source.at, task.source.ld, task.rows
    n = 0
    while n < task.columns:
        column = task.column + n
        lane = column % panel  # gates are padded to vectors, not to panels: one may begin in the middle of a panel
        count = min(panel - lane, task.columns - n)
        at = task.target.at + (column // panel) * task.depth * panel + task.row * panel + lane
        if task.transposed:
            _pack_transposed(w, source + n * ld, ld, rows, count, packed, at, panel)
        else:
            lanes = vlanes(w)
            whole = count // lanes * lanes
            for k in range(rows):
                x, y = source + k * ld + n, at + k * panel
                for m in range(0, whole, lanes):
                    vstore(packed, y + m, vload(w, x + m))
                for m in range(whole, count):
                    packed[y + m] = w[x + m]
        n += count


@njit(error_model="numpy")
def _pack_transposed(w: Array, start: int, ld: int, rows: int, count: int, packed: Array, at: int, panel: int) -> None:
    """``packed[at + k * panel + m] = w[start + m * ld + k]``, by square blocks of whole vectors."""
    lanes = vlanes(w)
    whole_columns, whole_rows = count // lanes * lanes, rows // lanes * lanes
    for k in range(0, whole_rows, lanes):
        for m in range(0, whole_columns, lanes):
            transpose_block(w, start + m * ld + k, ld, packed, at + k * panel + m, panel)
    for k in range(rows):
        for m in range(whole_columns if k < whole_rows else 0, count):
            packed[at + k * panel + m] = w[start + m * ld + k]
