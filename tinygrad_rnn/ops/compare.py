"""Comparisons, logic and bits: bool or integer results, without gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core import primitive
from ..core.aliases import Value
from ..errors import DTypeError
from .elementwise import lanes


def _predicate(code: str) -> dict[str, Any]:
    return {"lowering": lanes(code), "saves": ()}  # without rules, nothing is kept for them


@primitive(**_predicate("{0} < {1}"))
def less(a: Value, b: Value) -> Value:
    """``a < b`` as a bool tensor."""
    return np.less(a, b)


@primitive(**_predicate("{0} <= {1}"))
def less_equal(a: Value, b: Value) -> Value:
    """``a <= b`` as a bool tensor."""
    return np.less_equal(a, b)


@primitive(**_predicate("{0} > {1}"))
def greater(a: Value, b: Value) -> Value:
    """``a > b`` as a bool tensor."""
    return np.greater(a, b)


@primitive(**_predicate("{0} >= {1}"))
def greater_equal(a: Value, b: Value) -> Value:
    """``a >= b`` as a bool tensor."""
    return np.greater_equal(a, b)


@primitive(**_predicate("{0} == {1}"))
def equal(a: Value, b: Value) -> Value:
    """``a == b`` as a bool tensor."""
    return np.equal(a, b)


@primitive(**_predicate("{0} != {1}"))
def not_equal(a: Value, b: Value) -> Value:
    """``a != b`` as a bool tensor."""
    return np.not_equal(a, b)


@primitive(**_predicate("{0} & {1}"))
def logical_and(a: Value, b: Value) -> Value:
    """Elementwise ``and``."""
    return np.logical_and(a, b)


@primitive(**_predicate("{0} | {1}"))
def logical_or(a: Value, b: Value) -> Value:
    """Elementwise ``or``."""
    return np.logical_or(a, b)


@primitive(**_predicate("{0} ^ {1}"))
def logical_xor(a: Value, b: Value) -> Value:
    """Elementwise exclusive ``or``."""
    return np.logical_xor(a, b)


@primitive(**_predicate("~{0}"))
def logical_not(a: Value) -> Value:
    """Elementwise ``not``."""
    return np.logical_not(a)


@primitive(**_predicate("{0} != {0}"))
def isnan(x: Value) -> Value:
    """Whether each element is NaN."""
    return np.isnan(x)


@primitive(**_predicate("vabs({0}) < INF"))
def isfinite(x: Value) -> Value:
    """Whether each element is neither NaN nor infinite."""
    return np.isfinite(x)


@primitive(**_predicate("vabs({0}) == INF"))
def isinf(x: Value) -> Value:
    """Whether each element is infinite."""
    return np.isinf(x)


# ---- bits


def _whole(name: str, *operands: Value) -> None:
    for a in operands:
        dtype = np.asarray(a).dtype
        if dtype.kind not in "iub":
            raise DTypeError(f"{name}: got {dtype}, wanted integers or bool; compare floats with a number first")


@primitive(**_predicate("{0} & {1}"))
def bitwise_and(a: Value, b: Value) -> Value:
    """``a & b``: of the bits of integers, logical for bool."""
    _whole("bitwise_and", a, b)
    return np.bitwise_and(a, b)


@primitive(**_predicate("{0} | {1}"))
def bitwise_or(a: Value, b: Value) -> Value:
    """``a | b``: of the bits of integers, logical for bool."""
    _whole("bitwise_or", a, b)
    return np.bitwise_or(a, b)


@primitive(**_predicate("{0} ^ {1}"))
def bitwise_xor(a: Value, b: Value) -> Value:
    """``a ^ b``: of the bits of integers, logical for bool."""
    _whole("bitwise_xor", a, b)
    return np.bitwise_xor(a, b)


@primitive(**_predicate("~{0}"))
def invert(a: Value) -> Value:
    """``~a``: all bits of integers turned over (``-a - 1``), logical for bool."""
    _whole("invert", a)
    return np.invert(a)


@primitive()
def left_shift(a: Value, b: Value) -> Value:
    """``a << b``: the bits of integers moved to the left, zeros come in."""
    _whole("left_shift", a, b)
    return np.left_shift(a, b)


@primitive()
def right_shift(a: Value, b: Value) -> Value:
    """``a >> b``: the bits of integers moved to the right, the sign stays."""
    _whole("right_shift", a, b)
    return np.right_shift(a, b)
