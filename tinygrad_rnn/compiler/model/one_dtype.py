"""One dtype for all floats: leaves of another one are cast before a program, not in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from ...ops import elementwise, join
from ...ops import index as indexing
from ...ops import shape as shapes
from ..ir.symbol import Symbol
from .program import ASTYPE, LOOP, PICK, ModelProgram
from .trace import ModelTrace

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
MOVES = {  # elements without computing any: what is cast before is as what is cast behind
    shapes.RESHAPE, shapes.TRANSPOSE, shapes.BROADCAST_TO, shapes.PAD, join.CONCAT, join.STACK,
    join.SPLIT, indexing.GETITEM, elementwise.COPY, elementwise.CONSTANT, PICK,
}  # fmt: skip


def float_dtypes(program: ModelProgram) -> set[np.dtype]:
    """The dtypes of floats in a program."""
    values = program.values()
    leaves = [s for s in (*program.inputs, *[a for s in values for a in s.operands]) if s.leaf is not None]
    found = [s.dtype for s in values if s.op is not LOOP and s.shape != ()] + [s.dtype for s in leaves]
    return {dtype for dtype in found if dtype.kind == "f"}


def with_one_dtype(program: ModelProgram) -> ModelProgram:
    """The program with leaves of another dtype cast to that of the rest, where that is the same.

    As on the tape, where arrays take the dtype of the tensors that they meet. Symbols of leaves keep their uids.
    """
    if len(float_dtypes(program)) < 2:
        return program
    for dtype in FLOATS:
        found = _recast(program, dtype)
        if found is not None and len(float_dtypes(found)) == 1:
            return found
    return program


def _recast(program: ModelProgram, dtype: np.dtype) -> ModelProgram | None:
    """The program with leaves of other dtypes cast first; None if one is read as it is."""
    trace, values = ModelTrace(), program.values()
    given = [*program.inputs, *program.outputs, *[a for s in values for a in s.operands]]
    trace._uids = 1 + max((*[s.uid for s in (*given, *values)], *program.captured), default=0)
    leaves = {s.uid: s for s in given if s.leaf is not None and s.dtype.kind == "f" and s.dtype != dtype}
    now: dict[int, Any] = {uid: _leaf(trace, s, dtype) for uid, s in leaves.items()}
    moved: set[int] = {*leaves}
    for s in values:
        args = tuple([now.get(a.uid, a) if isinstance(a, Symbol) else a for a in s.args])
        cast = [isinstance(a, Symbol) and a.uid in moved for a in s.args]
        if s.op is ASTYPE and s.dtype == dtype and any(cast):
            now[s.uid] = args[0]
        elif not any(cast):
            changed = any(a is not b for a, b in zip(args, s.args))
            now[s.uid] = trace.make(s.op, args, s.static, s.shape, s.dtype, False) if changed else s  # type: ignore
        elif s.op in MOVES and all(cast) and s.dtype.type(s.static.get("value", 0)) == s.static.get("value", 0):
            now[s.uid] = trace.make(s.op, args, s.static, s.shape, dtype, False)
            moved.add(s.uid)
        else:
            return None
    if any(s.uid in moved for s in program.outputs):
        return None
    over: Callable[[Collection[Symbol]], tuple] = lambda symbols: tuple([now.get(s.uid, s) for s in symbols])
    return dataclasses.replace(program, inputs=over(program.inputs), outputs=over(program.outputs))


def _leaf(trace: ModelTrace, s: Symbol, dtype: np.dtype) -> Symbol:
    found = Symbol(trace, None, (), {}, s.shape, dtype, False, leaf=s.leaf, where=s.where)
    found.uid = s.uid
    return found
