"""Comparisons, logic and bits: bool or integer results, without gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core import Lowering, Op, apply, primitive
from ..core.aliases import Value
from ..errors import DTypeError
from .arguments import in_loop, is_number
from .elementwise import lanes


def _predicate(code: str, of_integers: Callable | None = None) -> dict[str, Any]:
    return {"lowering": lanes(code, 1, of_integers), "saves": ()}  # without rules, nothing is kept for them


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


# In a loop, integers are floats. The bits that one shares with a number come out by division, which says between which
# numbers they lie; those of two that vary in time are another matter, see compiler/frontend/bits.py.


def _bits_of_floats(a: Value, b: Value) -> Value:
    exact = [np.where(np.abs(x) < 2.0 ** (np.finfo(x.dtype).nmant + 1), x, 0).astype(np.int64) for x in (a, b)]
    return (exact[0] & exact[1]).astype(a.dtype)


BITS_OF_FLOATS = Op("bits", _bits_of_floats, vjps=[None, None], saves=(), lowering=lanes("vbits({0}, {1})", 12))


def shared_bits(a: Value, b: Value) -> Value:
    """``a & b`` of floats that are whole numbers; what a float may have rounded counts as 0."""
    return apply(BITS_OF_FLOATS, (a, b), {})


def _shared_bits(a: Value, b: Value) -> Value:
    """``a & b``, one of which is a number."""
    a, b = (b, a) if is_number(a) else (a, b)
    if not is_number(b):
        return NotImplemented
    b = int(b)
    if b < 0:
        return a if b == -1 else a - _shared_bits(a, ~b)
    found, at = a * 0, 0
    while b >> at:
        if b >> at & 1:  # ones side by side
            n = (~(b >> at) & (b >> at) + 1).bit_length() - 1
            part = (a // 2**at if at else a) % 2**n
            found = found + (part * 2**at if at else part)
            at += n
        at += 1
    return found


def _all_bits(a: Value, b: Value) -> Value:
    shared = _shared_bits(a, b)
    return shared if shared is NotImplemented else a + (b - shared)


def _different_bits(a: Value, b: Value) -> Value:
    shared = _shared_bits(a, b)
    return shared if shared is NotImplemented else (a - shared) + (b - shared)


def _turned_over(a: Value) -> Value:
    return -a - 1 if a.dtype.kind == "i" else int(np.iinfo(a.dtype).max) - a


@primitive(**_predicate("{0} & {1}", _shared_bits))
def bitwise_and(a: Value, b: Value) -> Value:
    """``a & b``: of the bits of integers, logical for bool."""
    _whole("bitwise_and", a, b)
    return np.bitwise_and(a, b)


@primitive(**_predicate("{0} | {1}", _all_bits))
def bitwise_or(a: Value, b: Value) -> Value:
    """``a | b``: of the bits of integers, logical for bool."""
    _whole("bitwise_or", a, b)
    return np.bitwise_or(a, b)


@primitive(**_predicate("{0} ^ {1}", _different_bits))
def bitwise_xor(a: Value, b: Value) -> Value:
    """``a ^ b``: of the bits of integers, logical for bool."""
    _whole("bitwise_xor", a, b)
    return np.bitwise_xor(a, b)


@primitive(**_predicate("~{0}", _turned_over))
def invert(a: Value) -> Value:
    """``~a``: all bits of integers turned over (``-a - 1``), logical for bool."""
    _whole("invert", a)
    return np.invert(a)


def _moved(sign: int) -> Lowering:
    """The lowering of a shift by a number: a product with a power of two, or a quotient by one."""

    def decompose(a: Value, b: Value) -> Value:
        if not in_loop() or not is_number(b) or is_number(a) or a.dtype.kind not in "iu" or not 0 <= b < 53:
            return NotImplemented
        return a * 2 ** int(b) if sign > 0 else a // 2 ** int(b)

    return Lowering(decompose=decompose)


@primitive(lowering=_moved(1))
def left_shift(a: Value, b: Value) -> Value:
    """``a << b``: the bits of integers moved to the left, zeros come in."""
    _whole("left_shift", a, b)
    return np.left_shift(a, b)


@primitive(lowering=_moved(-1))
def right_shift(a: Value, b: Value) -> Value:
    """``a >> b``: the bits of integers moved to the right, the sign stays."""
    _whole("right_shift", a, b)
    return np.right_shift(a, b)
