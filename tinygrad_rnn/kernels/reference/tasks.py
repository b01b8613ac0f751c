"""Plain NumPy twins of the tasks in `tasks`, on a list of arrays that tasks know by number."""

from __future__ import annotations

import functools

import numpy as np

from ..loops.task_codes import (
    AddColumns,
    AddNumber,
    AddRows,
    AddVector,
    Clear,
    CopyRows,
    Matrix,
    Missing,
    MoveRows,
    Pack,
    Product,
    ScatterRows,
    SumRows,
    Task,
    TransposedProduct,
    Vector,
)

Array = np.ndarray


def execute(task: Task, arrays: list[Array], row_table: Array, panel: int) -> None:
    """Execute one task.

    Parameters
    ----------
    task : record
        Its operands name arrays by number.
    arrays : list of 1-D arrays
    row_table : 1-D int64
        How many rows all steps have, then what :func:`.segments.find_segments` has found.
    panel : int
        Columns of a panel of a packed matrix.
    """
    _execute(task, arrays, row_table, panel)


@functools.singledispatch
def _execute(task: Task, arrays: list[Array], row_table: Array, panel: int) -> None:
    raise NotImplementedError(type(task).__name__)


def _elements(arrays: list[Array], operand: Vector, size: int) -> Array:
    """A view of elements of an array."""
    return arrays[operand.array][operand.at : operand.at + size]


def _rows(arrays: list[Array], operand: Matrix, rows: int, columns: int) -> Array:
    """A view of rows of an array, (rows, columns)."""
    array = arrays[operand.array]
    last = operand.at + (rows - 1) * operand.ld + columns
    assert not rows or 0 <= operand.at <= last <= array.size, "the rows leave the array"
    strides = (operand.ld * array.itemsize, array.itemsize)
    return np.lib.stride_tricks.as_strided(array[operand.at :], (rows, columns), strides)


@_execute.register
def _(task: Pack, arrays: list[Array], row_table: Array, panel: int) -> None:
    shape = (task.columns, task.rows) if task.transposed else (task.rows, task.columns)
    part = _rows(arrays, task.source, *shape)
    packed = arrays[task.target.array][task.target.at :]
    for k, row in enumerate(part.T if task.transposed else part, task.row):
        for n, x in enumerate(row, task.column):
            packed[(n // panel * task.depth + k) * panel + n % panel] = x


@_execute.register
def _(task: AddVector, arrays: list[Array], row_table: Array, panel: int) -> None:
    _elements(arrays, task.target, task.size)[...] += _elements(arrays, task.source, task.size)


@_execute.register
def _(task: AddNumber, arrays: list[Array], row_table: Array, panel: int) -> None:
    _elements(arrays, task.target, task.size)[...] += _elements(arrays, task.source, 1)


@_execute.register
def _(task: CopyRows, arrays: list[Array], row_table: Array, panel: int) -> None:
    target = _rows(arrays, task.target, task.rows, task.target.ld)
    target[:, : task.columns] = _rows(arrays, task.source, task.rows, task.columns)
    target[:, task.columns :] = 0


@_execute.register
def _(task: Product, arrays: list[Array], row_table: Array, panel: int) -> None:
    rows = min(task.rows, max(0, row_table[0] - task.target.at // task.target.ld))
    panels = -(-task.columns // panel)
    packed = _elements(arrays, task.packed, panels * task.depth * panel).reshape(panels, task.depth, panel)
    matrix = packed.swapaxes(0, 1).reshape(task.depth, panels * panel)[:, : task.columns]
    target = _rows(arrays, task.target, rows, task.columns)
    target[...] = _rows(arrays, task.source, rows, task.depth) @ matrix + (target if task.accumulate else 0)


@_execute.register
def _(task: TransposedProduct, arrays: list[Array], row_table: Array, panel: int) -> None:
    depth = min(task.depth, row_table[0])
    left, right = _rows(arrays, task.source, depth, task.rows), _rows(arrays, task.right, depth, task.columns)
    target = _rows(arrays, task.target, task.rows, task.columns)
    target[...] = left.T @ right + (target if task.accumulate else 0)


@_execute.register
def _(task: SumRows, arrays: list[Array], row_table: Array, panel: int) -> None:
    rows = _rows(arrays, task.source, min(task.rows, row_table[0]), task.columns)
    _elements(arrays, task.target, task.columns)[...] += rows.sum(axis=0)


@_execute.register
def _(task: ScatterRows, arrays: list[Array], row_table: Array, panel: int) -> None:
    rows = min(task.rows, row_table[0])
    for r, numbers in enumerate(_rows(arrays, task.numbers, rows, task.parts)):
        for i, number in enumerate(numbers):
            if 0 <= number < task.table_rows and number != task.padding:
                at = Vector(task.source.array, task.source.at + r * task.source.ld + i * task.stride)
                to = Vector(task.target.array, task.target.at + int(number) * task.target.ld)
                _elements(arrays, to, task.columns)[...] += _elements(arrays, at, task.columns)


@_execute.register
def _(task: AddRows, arrays: list[Array], row_table: Array, panel: int) -> None:
    target = _rows(arrays, task.target, task.rows, task.columns)
    target += _rows(arrays, task.source, task.rows, task.columns)


@_execute.register
def _(task: AddColumns, arrays: list[Array], row_table: Array, panel: int) -> None:
    target = _rows(arrays, task.target, task.rows, task.columns)
    target += _rows(arrays, task.source, task.columns, task.rows).T


@_execute.register
def _(task: MoveRows, arrays: list[Array], row_table: Array, panel: int) -> None:
    def listed(section: int) -> Array | None:
        return row_table[row_table[section] :][: row_table[section + 1]] if section >= 0 else None

    origin, destination = listed(task.origin), listed(task.destination)
    count = row_table[max(task.origin, task.destination) + 1]
    in_order = np.arange(count)
    for r, s in zip(in_order if origin is None else origin, in_order if destination is None else destination):
        if s < 0 or (r < 0 and task.missing != Missing.ZERO):
            continue
        target = _elements(arrays, Vector(task.target.array, task.target.at + s * task.target.ld), task.columns)
        source = Vector(task.source.array, task.source.at + r * task.source.ld)
        moved = np.zeros(task.columns, target.dtype) if r < 0 else _elements(arrays, source, task.columns)
        target[...] = target + moved if task.missing == Missing.ADD else moved


@_execute.register
def _(task: Clear, arrays: list[Array], row_table: Array, panel: int) -> None:
    _elements(arrays, task.target, task.size)[...] = 0
