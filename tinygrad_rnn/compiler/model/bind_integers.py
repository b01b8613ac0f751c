"""Rules for integers and truth values: elementwise, as stages on int64."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...kernels.stages.stage_codes import AXES, IntegerOp
from ...ops import compare, elementwise, join
from ..ir.symbol import Symbol
from .binder import Binder, is_integer
from .program import ASTYPE

OPS = {
    id(elementwise.add.op): IntegerOp.ADD,
    id(elementwise.subtract.op): IntegerOp.SUBTRACT,
    id(elementwise.multiply.op): IntegerOp.MULTIPLY,
    id(elementwise.floor_divide.op): IntegerOp.FLOOR_DIVIDE,
    id(elementwise.remainder.op): IntegerOp.REMAINDER,
    id(elementwise.negative.op): IntegerOp.NEGATIVE,
    id(elementwise.abs.op): IntegerOp.ABS,
}
OF_ALL = {  # of truth values, too
    id(elementwise.maximum.op): IntegerOp.MAXIMUM,
    id(elementwise.minimum.op): IntegerOp.MINIMUM,
    id(elementwise.where.op): IntegerOp.WHERE,
    id(elementwise.COPY): IntegerOp.COPY,
    id(elementwise.CONSTANT): IntegerOp.COPY,
    id(compare.equal.op): IntegerOp.EQUAL,
    id(compare.not_equal.op): IntegerOp.NOT_EQUAL,
    id(compare.less.op): IntegerOp.LESS,
    id(compare.less_equal.op): IntegerOp.LESS_EQUAL,
    id(compare.logical_and.op): IntegerOp.AND,
    id(compare.logical_or.op): IntegerOp.OR,
    id(compare.logical_xor.op): IntegerOp.XOR,
    id(compare.logical_not.op): IntegerOp.NOT,
}
SWAPPED = {id(compare.greater.op): IntegerOp.LESS, id(compare.greater_equal.op): IntegerOp.LESS_EQUAL}
OF_TRUTHS = {
    id(compare.bitwise_and.op): IntegerOp.AND,
    id(compare.bitwise_or.op): IntegerOp.OR,
    id(compare.bitwise_xor.op): IntegerOp.XOR,
    id(compare.invert.op): IntegerOp.NOT,
}


def bind_integer(binder: Binder, s: Symbol) -> bool:
    """Bind an operation whose operands and results are integers or truth values."""
    if not is_integer(s.dtype) or not all(map(_is_integer, s.args)) or s.ndim > AXES:
        return False
    if s.op is join.CONCAT:
        _concat(binder, s)
        return True
    op, args = _operation(s), [*s.args]
    if op is None:
        return False
    if id(s.op) in SWAPPED:
        args.reverse()
    operands = [binder.whole(a) if isinstance(a, Symbol) else np.array(a, np.int64) for a in args]
    if s.op is ASTYPE and s.dtype.kind == "b":
        operands.append(np.zeros((), np.int64))  # truth is what is not zero
    binder.stages.integers(op, operands, binder.new_integers(s), s.dtype)
    return True


def _is_integer(a: Any) -> bool:
    return is_integer(a.dtype) if isinstance(a, Symbol) else isinstance(a, bool | int) and abs(a) < 1 << 63


def _operation(s: Symbol) -> IntegerOp | None:
    """What computes a value; None if nothing does."""
    key = id(s.op)
    if s.op is ASTYPE:
        return IntegerOp.NOT_EQUAL if s.dtype.kind == "b" else IntegerOp.COPY
    if key in SWAPPED:
        return SWAPPED[key]
    if key in OF_ALL:
        return OF_ALL[key]
    truths = [a.dtype.kind == "b" if isinstance(a, Symbol) else isinstance(a, bool) for a in s.args]
    if key in OF_TRUTHS and all(truths):
        return OF_TRUTHS[key]
    return OPS.get(key) if s.dtype.kind != "b" else None


def _concat(binder: Binder, s: Symbol) -> None:
    target, axis, at = binder.new_integers(s), s.static["axis"], 0
    for a in s.args:
        x = binder.whole(a)
        place = (slice(None),) * axis + (slice(at, at + x.shape[axis]),)
        binder.stages.integers(IntegerOp.COPY, [x], target[place], s.dtype)
        at += x.shape[axis]
