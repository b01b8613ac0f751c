"""Between which numbers the values of a traced function lie, as far as its operations tell."""

from __future__ import annotations

import math
from typing import Any

from ... import ops
from ...core import Op
from ...ops.elementwise import ASTYPE, CONSTANT, COPY
from ...ops.index import GETITEM
from ...ops.join import CONCAT, STACK
from ...ops.moments import NORM
from ...ops.reduce import MAX, SUM
from ...ops.shape import BROADCAST_TO, FLIP, RESHAPE, TRANSPOSE
from ...ops.softmax import LOG_SOFTMAX, SOFTMAX
from ..ir.symbol import Symbol
from ..ir.walk import fold

Bounds = tuple[float, float]
ANY: Bounds = (-math.inf, math.inf)
POSITIVE: Bounds = (0.0, math.inf)

FIXED: dict[Op, Bounds] = {  # of results, whatever the operands are
    ops.sigmoid.op: (0.0, 1.0),
    ops.tanh.op: (-1.0, 1.0),
    SOFTMAX: (0.0, 1.0),
    LOG_SOFTMAX: (-math.inf, 0.0),
    **dict.fromkeys([NORM, *[f.op for f in (ops.exp, ops.softplus, ops.relu, ops.abs, ops.sqrt)]], POSITIVE),
}
# operations whose results are numbers of their operands
PICKS = (COPY, ASTYPE, CONSTANT, MAX, GETITEM, CONCAT, STACK, RESHAPE, TRANSPOSE, BROADCAST_TO, FLIP)


def lies_between(symbol: Symbol, low: float, high: float, known: dict[int, Bounds]) -> bool:
    """Whether all numbers of a value lie between two others, or are NaN; `known` keeps what was found."""
    least, most = fold(symbol, known, lambda s: s.operands, _bounds)
    return low <= least and most <= high


def _bounds(s: Symbol, found: list[Bounds]) -> Bounds:
    if s.op is None or s.dtype.kind != "f":
        return ANY
    if s.op in FIXED:
        return FIXED[s.op]
    below = iter(found)
    args = [next(below) if isinstance(a, Symbol) else (a, a) for a in s.args if isinstance(a, Symbol | int | float)]
    if len(args) < len(s.args):
        return ANY
    if s.op in PICKS:
        return _union(args)
    if s.op is ops.where.op:
        return _clipped(s, args[2]) or _union(args[1:])
    rule = RULES.get(s.op)
    return ANY if rule is None else rule(s, *args)


def _union(bounds: list[Bounds]) -> Bounds:
    return (min(low for low, _ in bounds), max(high for _, high in bounds)) if bounds else ANY


def _clipped(s: Symbol, y: Bounds) -> Bounds | None:
    """The bounds of ``where(y < bound, bound, y)``, or with another comparison; None for another `where`."""
    passed, bound, _ = s.args
    if not isinstance(passed, Symbol) or isinstance(bound, Symbol) or passed.args != (s.args[2], bound):
        return None
    if passed.op in (ops.less.op, ops.less_equal.op):
        return max(y[0], bound), max(y[1], bound)
    if passed.op in (ops.greater.op, ops.greater_equal.op):
        return min(y[0], bound), min(y[1], bound)
    return None


def _product(s: Symbol, a: Bounds, b: Bounds) -> Bounds:
    if s.args[0] is s.args[1] or min(a[0], b[0]) >= 0:
        bounded = a[0] >= 0 and max(a[1], b[1]) < math.inf
        return (0.0, a[1] * b[1]) if bounded else POSITIVE
    if not all(map(math.isfinite, (*a, *b))):
        return ANY
    ends = [x * y for x in a for y in b]
    return min(ends), max(ends)


def _quotient(s: Symbol, a: Bounds, b: Bounds) -> Bounds:
    if min(a[0], b[0]) < 0:
        return ANY
    return (0.0, a[1] / b[0]) if b[0] >= 1 else POSITIVE


def _power(s: Symbol, a: Bounds, b: Bounds) -> Bounds:
    even = b[0] == b[1] and b[0] % 2 == 0
    return POSITIVE if even or a[0] >= 0 else ANY


def _sum(s: Symbol, a: Bounds) -> Bounds:
    return POSITIVE if a[0] >= 0 else ANY


RULES: dict[Op, Any] = {
    ops.add.op: lambda s, a, b: (a[0] + b[0], a[1] + b[1]),
    ops.subtract.op: lambda s, a, b: (a[0] - b[1], a[1] - b[0]),
    ops.negative.op: lambda s, a: (-a[1], -a[0]),
    ops.maximum.op: lambda s, a, b: (max(a[0], b[0]), max(a[1], b[1])),
    ops.minimum.op: lambda s, a, b: (min(a[0], b[0]), min(a[1], b[1])),
    ops.multiply.op: _product,
    ops.divide.op: _quotient,
    ops.power.op: _power,
    SUM: _sum,
}
