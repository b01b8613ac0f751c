"""Rules for single operations on floats: each is a stage or a few."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ops import ctc, join, shape
from ...ops import index as indexing
from ..ir.program_ops import MATMUL, SUM
from ..ir.symbol import Symbol
from .bind import packed_elements
from .bind_ctc import bind_ctc, bind_ctc_gradient
from .binder import Binder
from .program import SUM_ROWS


def bind_operation(binder: Binder, s: Symbol) -> bool:
    """Bind an operation that is a task of its own; False if it is none."""
    rule = RULES.get(id(s.op)) if s.dtype == binder.dtype else None
    return rule is not None and rule(binder, s)


def _matmul(binder: Binder, s: Symbol) -> bool:
    a, b = map(binder.operand, s.args)
    if a.ndim < 2 or b.ndim < 2 or not a.size or not b.size:
        return False
    if b.ndim > 2:
        return _matmul_each(binder, s, a, b)
    if a.ndim > 2:
        # one product over all leading axes
        a = binder.contiguous(a).reshape(-1, a.shape[-1])
    b = binder.matrix(b)
    # columns that are contiguous, as in a gradient of weights: there is a task for the transpose of such a matrix
    transposed = a.shape[0] > 1 and a.strides[0] == a.itemsize and a.strides[1] >= a.shape[0] * a.itemsize
    packed = None
    if not transposed:
        a = binder.matrix(a)
        packed = binder.memory.new(packed_elements(b.shape[0], b.shape[1], binder.dtype), binder.step)
    binder.stages.product(a, b, binder.result(s).reshape(len(a), -1), packed)
    return True


def _matmul_each(binder: Binder, s: Symbol, a: np.ndarray, b: np.ndarray) -> bool:
    """Products of matrices that lie side by side, such as one for each row of a batch."""
    lead = s.shape[:-2]
    a, b = (np.broadcast_to(x, (*lead, *x.shape[-2:])) for x in (a, b))
    b_turned = _is_turned(b)
    # no task takes both as they are: then one is copied
    a_turned = _is_turned(a) and not b_turned
    a, b = (x.swapaxes(-1, -2) if turned else x for x, turned in ((a, a_turned), (b, b_turned)))
    a, b = binder.contiguous(a), binder.contiguous(b)
    out = binder.result(s)
    packed = binder.memory.new(packed_elements(s.args[1].shape[-2], s.args[1].shape[-1], binder.dtype), binder.step)
    binder.stages.products(a, a_turned, b, b_turned, out, packed)
    return True


def _is_turned(x: np.ndarray) -> bool:
    """Whether the matrices are transposes of contiguous ones."""
    return not x.flags.c_contiguous and x.swapaxes(-1, -2).flags.c_contiguous


def _sum(binder: Binder, s: Symbol) -> bool:
    """A sum over some axes, which become the rows of a matrix."""
    x = binder.operand(s.args[0])
    axes = tuple(sorted(s.static["axis"]))
    if not axes or not x.size:
        return False
    rows = math.prod([x.shape[i] for i in axes])
    matrix = binder.contiguous(np.moveaxis(x, axes, range(len(axes)))).reshape(rows, -1)
    binder.stages.sum_rows(matrix, binder.result(s).reshape(-1))
    return True


def _getitem(binder: Binder, s: Symbol) -> bool:
    """Elements at places that the trace knows."""
    places, width = _places(s.static["index"], s.args[0].shape)
    x = binder.contiguous(binder.operand(s.args[0]))
    if x.size and s.size:
        binder.stages.gather(x.reshape(-1, width), places, binder.result(s))
    return bool(x.size and s.size)


def _scatter_add(binder: Binder, s: Symbol) -> bool:
    """The transpose of indexing: zeros, with the argument in its place, or added to places."""
    index = s.static["index"]
    parts = index if isinstance(index, tuple) else (index,)
    if not all(p is None or p is Ellipsis or isinstance(p, int | slice) for p in parts):
        places, width = _places(index, s.shape)
        rows = binder.contiguous(binder.operand(s.args[0]))
        if rows.size and s.size:
            binder.stages.scatter(rows, places, -1, binder.result(s).reshape(-1, width))
        return bool(rows.size and s.size)
    target = binder.at[s.uid] = binder.room(s, binder.last[s.uid])
    whole = target if s.uid not in binder.time_first else target.swapaxes(0, 1)
    binder.stages.clear(whole.reshape(-1))
    place = target[of_array(index)]
    binder.stages.copy(np.broadcast_to(binder.operand(s.args[0]), place.shape), place)
    return True


def _places(index: Any, shape: tuple) -> tuple[np.ndarray, int]:
    """Which rows of how many elements an index takes of an array in order, from 0 on."""
    parts = index if isinstance(index, tuple) else (index,)
    if len(parts) == 1 and isinstance(parts[0], np.ndarray) and parts[0].dtype.kind in "iu":
        shape, width = shape[:1], math.prod(shape[1:])
    else:
        width = 1
    found = np.arange(math.prod(shape)).reshape(shape)[index]
    return np.ascontiguousarray(found, np.int64), width


def of_array(index: Any) -> tuple:
    """A basic index that takes arrays out of arrays, where integers for all axes would take a number."""
    parts = index if isinstance(index, tuple) else (index,)
    return parts if any(p is Ellipsis for p in parts) else (*parts, Ellipsis)


def _concat(binder: Binder, s: Symbol) -> bool:
    target, axis, at = binder.result(s), s.static["axis"], 0
    for a in s.args:
        x = binder.operand(a)
        place = np.moveaxis(np.moveaxis(target, axis, 0)[at : at + x.shape[axis]], 0, axis)
        binder.stages.copy(x, place)
        at += x.shape[axis]
    return True


def _stack(binder: Binder, s: Symbol) -> bool:
    places = np.moveaxis(binder.result(s), s.static["axis"], 0)
    for a, place in zip(s.args, places):
        binder.stages.copy(binder.operand(a), place)
    return True


def _pad(binder: Binder, s: Symbol) -> bool:
    """Numbers all around an array."""
    (x,), target = map(binder.operand, s.args), binder.result(s)
    binder.stages.copy(np.broadcast_to(np.full((), s.static["value"], binder.dtype), target.shape), target)
    place = tuple([slice(before, before + n) for (before, _), n in zip(s.static["widths"], x.shape)])
    binder.stages.copy(x, target[place])
    return True


def _sum_rows(binder: Binder, s: Symbol) -> bool:
    matrix = binder.matrix(binder.operand(s.args[0]))
    binder.stages.sum_rows(matrix, binder.result(s))
    return True


def _embedding(binder: Binder, s: Symbol) -> bool:
    table, indices = binder.operand(s.args[0]), _indices(binder, s)
    if indices is None or not table.size:
        return False
    binder.stages.gather(binder.contiguous(table), indices, binder.result(s))
    return True


def _scatter_rows(binder: Binder, s: Symbol) -> bool:
    rows, indices = binder.operand(s.args[0]), _indices(binder, s)
    if indices is None or not s.size:
        return False
    binder.stages.scatter(binder.contiguous(rows), indices, s.static["padding"], binder.result(s))
    return True


def _indices(binder: Binder, s: Symbol) -> np.ndarray | None:
    """The integers that an operation looks up: an argument, or known to the trace."""
    if len(s.args) > 1:
        return binder.integers(s.args[1])
    return np.ascontiguousarray(s.static["indices"], np.int64)


RULES = {
    id(ctc.CTC): bind_ctc,
    id(ctc.CTC_GRADIENT): bind_ctc_gradient,
    id(indexing.EMBEDDING): _embedding,
    id(indexing.SCATTER_ROWS): _scatter_rows,
    id(SUM_ROWS): _sum_rows,
    id(MATMUL): _matmul,
    id(SUM): _sum,
    id(indexing.GETITEM): _getitem,
    id(indexing.scatter_add.op): _scatter_add,
    id(join.CONCAT): _concat,
    id(join.STACK): _stack,
    id(shape.PAD): _pad,
}
