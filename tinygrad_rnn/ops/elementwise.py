"""Elementwise operations: NumPy forward, derivative rules and lane code, one record each."""

from __future__ import annotations

import math

import numpy as np

from ..core import OUT, Lowering, Op, apply, check_dtype, primitive


def lanes(code: str, cost: int = 1) -> Lowering:
    return Lowering("elementwise", code, cost)


# ---- arithmetic


@primitive(vjps=[lambda g, y, a, b: g, lambda g, y, a, b: g], saves=(), lowering=lanes("{0} + {1}"))
def add(a, b):
    """``a + b``, with broadcasting."""
    return np.add(a, b)


@primitive(vjps=[lambda g, y, a, b: g, lambda g, y, a, b: -g], saves=(), lowering=lanes("{0} - {1}"))
def subtract(a, b):
    """``a - b``, with broadcasting."""
    return np.subtract(a, b)


@primitive(vjps=[lambda g, y, a, b: g * b, lambda g, y, a, b: g * a], saves=(0, 1), lowering=lanes("{0} * {1}"))
def multiply(a, b):
    """``a * b``, with broadcasting."""
    return np.multiply(a, b)


@primitive(
    vjps=[lambda g, y, a, b: g / b, lambda g, y, a, b: -(g / b) * y],  # g / b is computed once in a compiled loop
    saves=(1, OUT),
    lowering=lanes("{0} / {1}", 4),
    floats=True,
)
def divide(a, b):
    """``a / b``, with broadcasting; integers are divided in the default float dtype."""
    return np.divide(a, b)


@primitive(vjps=[lambda g, y, a: -g], saves=(), lowering=lanes("-{0}"))
def negative(a):
    """``-a``."""
    return np.negative(a)


def _power_base(g, y, a, b):
    if isinstance(b, (int, float)):  # the common case, without a special point at zero
        return g * 0 if b == 0 else g if b == 1 else g * (2 * a) if b == 2 else g * (b * power(a, b - 1))
    return g * where(b == 0, 0 * b, b * power(a, where(b == 0, 0 * b + 1, b - 1)))


def _power_exponent(g, y, a, b):
    if isinstance(a, (int, float)):
        return g * (y * (math.log(a) if a > 0 else 0.0 if a == 0 else math.nan))
    return g * (y * log(where(a == 0, 1.0, a)))


@primitive(
    vjps=[_power_base, _power_exponent],
    saves=(0, 1, OUT),
    lowering=lanes("power({0}, {1})", 24),
)
def power(a, b):
    """``a ** b``, with broadcasting."""
    return np.power(a, b)


# ---- exponentials and roots


@primitive(vjps=[lambda g, y, x: g * y], saves=(OUT,), lowering=lanes("exp({0})", 8), floats=True)
def exp(x):
    """The exponential."""
    return np.exp(x)


@primitive(vjps=[lambda g, y, x: g * (y + 1)], saves=(OUT,), lowering=lanes("expm1({0})", 12), floats=True)
def expm1(x):
    """``exp(x) - 1``, accurate near zero."""
    return np.expm1(x)


@primitive(vjps=[lambda g, y, x: g / x], saves=(0,), lowering=lanes("log({0})", 10), floats=True)
def log(x):
    """The natural logarithm."""
    return np.log(x)


@primitive(vjps=[lambda g, y, x: g / (x + 1)], saves=(0,), lowering=lanes("log1p({0})", 12), floats=True)
def log1p(x):
    """``log(1 + x)``, accurate near zero."""
    return np.log1p(x)


@primitive(vjps=[lambda g, y, x: g * (0.5 / y)], saves=(OUT,), lowering=lanes("sqrt({0})", 5), floats=True)
def sqrt(x):
    """The square root."""
    return np.sqrt(x)


# ---- signs and trigonometry


@primitive(
    vjps=[lambda g, y, x: g * 0],
    saves=(),
    lowering=lanes("vselect({0} > 0.0, vsplat(1.0, k), vselect({0} < 0.0, vsplat(-1.0, k), {0}))", 3),
)
def sign(x):
    """-1, 0 or 1; NaN stays NaN."""
    return np.sign(x)


@primitive(vjps=[lambda g, y, x: g * sign(x)], saves=(0,), lowering=lanes("vabs({0})"))
def abs(x):
    """The absolute value; its derivative at zero is zero."""
    return np.abs(x)


def _sin_vjp(g, y, x):
    return g * cos(x)


@primitive(vjps=[_sin_vjp], saves=(0,), lowering=lanes("sin({0})", 12), floats=True)
def sin(x):
    """The sine."""
    return np.sin(x)


@primitive(vjps=[lambda g, y, x: g * -sin(x)], saves=(0,), lowering=lanes("cos({0})", 12), floats=True)
def cos(x):
    """The cosine."""
    return np.cos(x)


# ---- selection


def _where_left(g, y, c, a, b):
    return where(c, g, 0.0)


def _where_right(g, y, c, a, b):
    return where(c, 0.0, g)


@primitive(
    vjps=[None, _where_left, _where_right],
    saves=(0,),
    lowering=lanes("vselect({0}, {1}, {2})"),
    untyped=(0,),
)
def where(condition, a, b):
    """`a` where `condition` holds, else `b`, with broadcasting."""
    return np.where(condition, a, b)


def _tie(g, x, other):
    """Cotangent of the input `x` of a maximum or minimum that `x` beats: ties share it."""
    return where(x == other, 0.5 * g, 0.0)


@primitive(
    vjps=[
        lambda g, y, a, b: where(a > b, g, _tie(g, a, b)),
        lambda g, y, a, b: where(b > a, g, _tie(g, b, a)),
    ],
    saves=(0, 1),
    lowering=lanes("vmax({0}, {1})"),
)
def maximum(a, b):
    """The larger of `a` and `b`; NaN wins, and a tie shares the gradient."""
    return np.maximum(a, b)


@primitive(
    vjps=[
        lambda g, y, a, b: where(a < b, g, _tie(g, a, b)),
        lambda g, y, a, b: where(b < a, g, _tie(g, b, a)),
    ],
    saves=(0, 1),
    lowering=lanes("vmin({0}, {1})"),
)
def minimum(a, b):
    """The smaller of `a` and `b`; NaN wins, and a tie shares the gradient."""
    return np.minimum(a, b)


def clip(x, min=None, max=None):
    """Limit `x` to ``[min, max]`` (numbers or None); the gradient passes inside and on the bounds."""
    if min is None and max is None:
        return x
    if not all(bound is None or isinstance(bound, (int, float)) for bound in (min, max)):
        lower = x if min is None else maximum(x, min)
        return lower if max is None else minimum(lower, max)
    if max is None:
        return where(x < min, min, x)
    if min is None:
        return where(x > max, max, x)
    return where(x < min, min, where(x > max, max, x))


# ---- rounding and casting


@primitive(vjps=[lambda g, y, x: g * 0], saves=(), lowering=lanes("vfloor({0})"))
def floor(x):
    """Round down; the gradient is zero."""
    return np.floor(x)


@primitive(vjps=[lambda g, y, x: g * 0], saves=(), lowering=lanes("-vfloor(-{0})"))
def ceil(x):
    """Round up; the gradient is zero."""
    return np.ceil(x)


@primitive(vjps=[lambda g, y, x: g * 0], saves=(), lowering=lanes("vround({0})"))
def round(x):
    """Round to the nearest integer, ties to even; the gradient is zero."""
    return np.round(x)


@primitive()
def floor_divide(a, b):
    """``a // b``; without gradient."""
    return np.floor_divide(a, b)


@primitive(vjps=[lambda g, y, a, b: g, lambda g, y, a, b: -g * floor_divide(a, b)], saves=(0, 1))
def remainder(a, b):
    """``a % b``, with the sign of `b`."""
    return np.remainder(a, b)


@primitive(vjps=[lambda g, y, x, dtype: g.astype(x.dtype)], saves=(), lowering=Lowering("cast"))
def _astype(x, dtype):
    return x.astype(dtype)


def astype(x, dtype):
    """Cast to `dtype`; gradients are cast back."""
    dtype = check_dtype(dtype)
    return x if x.dtype == dtype else _astype(x, dtype=dtype)


CONSTANT = Op("constant", lambda x: x, vjps=[None], saves=(), view=True, lowering=lanes("{0}", 0))


def constant(x):
    """`x`, through which no gradient flows; what ``detach()`` is to the compiler."""
    return apply(CONSTANT, (x,), {})
