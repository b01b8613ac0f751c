"""Bits, shifts and powers of two rows of whole numbers that vary in time.

They are exact as long as the result is.
"""

from __future__ import annotations

import math
from typing import Any

from ...ops import bitwise_and, bitwise_or, bitwise_xor, floor, not_equal, right_shift, where
from ...ops.compare import shared_bits

EXPONENT_BITS = 6  # of what is shifted by, or raised to: beyond 2 ** 63 nothing is exact


def range_of(op: Any, a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    """Between which numbers a result lies, given where the operands do."""
    if op is right_shift.op:
        return min(a[0], 0.0), max(a[1], 0.0)
    largest = max(a[1], b[1], -a[0] - 1.0, -b[0] - 1.0)
    if op not in (bitwise_and.op, bitwise_or.op, bitwise_xor.op) or largest == math.inf:
        return -math.inf, math.inf
    end = 2.0 ** int(largest).bit_length()
    return (0.0 if min(a[0], b[0]) >= 0 else -end), end - 1.0


def combined(op: Any, a: Any, b: Any) -> Any:
    """``a & b``, ``a | b`` or ``a ^ b``. Each sum is of numbers without a common bit: nothing is rounded."""
    both = shared_bits(a, b)
    if op is bitwise_and.op:
        return both
    return a + (b - both) if op is bitwise_or.op else (a - both) + (b - both)


def shifted(a: Any, b: Any, width: int, left: bool) -> Any:
    """``a << b`` or ``a >> b`` of integers with `width` bits, of which b may leave none, as NumPy has it."""
    inside = (b >= 0.0) & (b < width)
    scale = _product(where(inside, b, 63.0), lambda n: 2.0 ** (2**n))
    return where(inside, a * scale, 0.0) if left else floor(a / scale)


def power(a: Any, b: Any) -> Any:
    """``a ** b`` for b from 0 on: products of squares, none of which is larger than the result."""
    b = where(b < 2.0**EXPONENT_BITS, b, 2.0**EXPONENT_BITS - 2.0 + (b - 2.0 * floor(b * 0.5)))  # odd stays odd
    squares = [a]
    while len(squares) < EXPONENT_BITS:
        squares.append(squares[-1] * squares[-1])
    return _product(b, lambda n: squares[n])


def _product(b: Any, factor: Any) -> Any:
    """The product of ``factor(n)`` for each bit n that is set in a number below ``2 ** EXPONENT_BITS``."""
    result = b * 0.0 + 1.0
    for n in range(EXPONENT_BITS):
        rest = floor(b * 0.5)
        result = where(not_equal(b, 2.0 * rest), result * factor(n), result)
        b = rest
    return result
