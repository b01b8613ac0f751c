"""Powers: of two arrays, by a number, squares and reciprocals."""

from __future__ import annotations

import functools
import math

import numpy as np

from ..core import OUT, Lowering, Op, apply, primitive
from ..core.aliases import Value
from ..core.signatures import like_first
from .arguments import in_loop, is_number, operand
from .compare import logical_and
from .elementwise import abs, divide, lanes, log, masked_product, masked_quotient, multiply, where, zero_gradient


def _base(g: Value, y: Value, a: Value, b: Value) -> Value:
    if isinstance(b, (int, float)):  # the common case, without a special point at zero
        if b == 0:
            return zero_gradient(g)
        if b == 0.5:
            return masked_quotient(0.5 * g, abs(y))
        if b < 1 or b != b:  # the derivative is infinite at zero
            return masked_product(g * b, power(a, b - 1))
        return g if b == 1 else g * (2 * a) if b == 2 else g * (b * power(a, b - 1))
    none = b == 0
    return masked_product(masked_product(g, b), power(a, where(none, 1.0, b - 1)))


def _exponent(g: Value, y: Value, a: Value, b: Value) -> Value:
    if isinstance(a, (int, float)):
        scale = math.log(a) if a > 0 else math.nan if a != 0 else where(b < 0, -math.inf, 0.0)
    else:
        scale = log(where(logical_and(a == 0, b >= 0), 1.0, a))
    return masked_product(masked_product(g, y), scale)


def _whole_power(a: Value, n: int) -> Value:
    """The n-th power of integers: products of halves."""
    if n < 2:
        return a if n else a * 0 + 1
    half = _whole_power(a, n // 2)
    return half * half if n % 2 == 0 else half * half * a


def _by_number(a: Value, b: Value) -> Value:
    if in_loop() and type(b) is int and b >= 0 and not is_number(a) and a.dtype.kind in "biu":
        return _whole_power(a.astype("int64") if a.dtype.kind == "b" else a, b)
    if isinstance(b, (int, float)) and a.dtype.kind == "f":
        op = power_by(b)
        if op is not None:
            return apply(op, (a,), {})
    return NotImplemented


@primitive(
    vjps=[_base, _exponent],
    saves=(0, 1, OUT),
    lowering=Lowering("elementwise", "power({0}, {1})", 60, decompose=_by_number),
)
def power(a: Value, b: Value) -> Value:
    """``a ** b``, with broadcasting.

    The gradient by `b` is 0 where `a` is 0 and `b` is not negative, and minus infinity (times the cotangent) where `b`
    is negative; it is NaN where `a` is negative.
    """
    return np.power(a, b)


PRODUCTS, QUOTIENTS = 8, 4  # whole exponents up to these keep within 4 units in the last place as products


def _product(x: str, n: int) -> str:
    """Code of the n-th power of `x`: products of halves."""
    return x if n == 1 else f"({_product(x, n - n // 2)} * {_product(x, n // 2)})"


@functools.cache
def power_by(exponent: float) -> Op | None:
    """An operation cheaper in a loop than ``x ** exponent``: products or a root; None: there is none."""

    def forward(x: Value) -> Value:
        return np.power(x, exponent)

    def rule(g: Value, y: Value, x: Value) -> Value:
        return _base(g, y, x, exponent)

    if exponent == 0:
        return Op("power_0", forward, vjps=[None], saves=(), lowering=lanes("vsplat(1.0, k)"))
    if exponent == 0.5:
        return Op("square_root", forward, vjps=[rule], saves=(OUT,), lowering=lanes("sqrt({0})", 5))
    if not float(exponent).is_integer():
        return None
    n = int(abs(exponent))
    if n > (PRODUCTS if exponent > 0 else QUOTIENTS):
        return None
    name, factor = (f"power_{n}", "{0}") if exponent > 0 else (f"power_minus_{n}", "(1.0 / {0})")
    return Op(name, forward, vjps=[rule], saves=(0,), lowering=lanes(_product(factor, n), n + 4))


@like_first
def square(x: Value) -> Value:
    """``x * x``."""
    x = operand(x, "square")
    return multiply(x, x)


@like_first
def reciprocal(x: Value) -> Value:
    """``1 / x``; integers are divided in the default float dtype."""
    return divide(1.0, operand(x, "reciprocal"))
