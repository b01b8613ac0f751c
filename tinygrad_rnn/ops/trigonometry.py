"""Angles, hyperbolic functions and their inverses."""

from __future__ import annotations

import math

import numpy as np

from ..core import OUT, primitive
from ..core.aliases import Value
from .elementwise import lanes, masked_product, masked_quotient, sqrt


def _tan_vjp(g: Value, y: Value, x: Value) -> Value:
    return masked_product(g, 1 + y * y)


@primitive(vjps=[_tan_vjp], saves=(OUT,), lowering=lanes("sin({0}) / cos({0})", 28), floats=True)
def tan(x: Value) -> Value:
    """The tangent."""
    return np.tan(x)


def _odd(code: str) -> str:
    """Code of an odd function, given that for numbers from 0 on, ``SIZE``; zeros keep their signs."""
    code = code.replace("SIZE", "vabs({0})")
    return f"vselect({{0}} > 0.0, {code}, vselect({{0}} == 0.0, {{0}}, -({code})))"


def _sinh_vjp(g: Value, y: Value, x: Value) -> Value:
    return masked_product(g, cosh(x))


@primitive(
    vjps=[_sinh_vjp],
    saves=(0,),
    lowering=lanes(
        _odd(
            "vselect(SIZE < 80.0, 0.5 * (expm1(SIZE) + expm1(SIZE) / (expm1(SIZE) + 1.0)), "
            "0.5 * exp(0.5 * SIZE) * exp(0.5 * SIZE))"  # finite as far as the result is
        ),
        40,
    ),
    floats=True,
)
def sinh(x: Value) -> Value:
    """The hyperbolic sine, ``(exp(x) - exp(-x)) / 2``."""
    return np.sinh(x)


@primitive(
    vjps=[lambda g, y, x: masked_product(g, sinh(x))],
    saves=(0,),
    lowering=lanes("0.5 * exp(0.5 * {0}) * exp(0.5 * {0}) + 0.5 * exp(-0.5 * {0}) * exp(-0.5 * {0})", 36),
    floats=True,
)
def cosh(x: Value) -> Value:
    """The hyperbolic cosine, ``(exp(x) + exp(-x)) / 2``."""
    return np.cosh(x)


# the square of a number beyond FAR is the same with 1 added to it, and may be infinite
FAR, LOG_2 = "1e9", repr(math.log(2))


@primitive(
    vjps=[lambda g, y, x: masked_quotient(g, sqrt((1 - x) * (1 + x)))],
    saves=(0,),
    lowering=lanes("2.0 * arctan({0} / (1.0 + sqrt((1.0 - {0}) * (1.0 + {0}))))", 32),
    floats=True,
)
def arcsin(x: Value) -> Value:
    """The inverse of the sine, between -pi/2 and pi/2; NaN outside [-1, 1]."""
    return np.arcsin(x)


@primitive(
    vjps=[lambda g, y, x: -masked_quotient(g, sqrt((1 - x) * (1 + x)))],
    saves=(0,),
    lowering=lanes("2.0 * arctan(sqrt((1.0 - {0}) / (1.0 + {0})))", 32),
    floats=True,
)
def arccos(x: Value) -> Value:
    """The inverse of the cosine, between 0 and pi; NaN outside [-1, 1]."""
    return np.arccos(x)


@primitive(
    vjps=[lambda g, y, x: masked_quotient(g, 1 + x * x)], saves=(0,), lowering=lanes("arctan({0})", 18), floats=True
)
def arctan(x: Value) -> Value:
    """The inverse of the tangent, between -pi/2 and pi/2."""
    return np.arctan(x)


@primitive(
    vjps=[
        lambda g, y, a, b: masked_quotient(masked_product(g, b), a * a + b * b),
        lambda g, y, a, b: -masked_quotient(masked_product(g, a), a * a + b * b),
    ],
    saves=(0, 1),
    lowering=lanes("arctan2({0}, {1})", 24),
    floats=True,
)
def arctan2(a: Value, b: Value) -> Value:
    """The angle of the point with ordinate `a` and abscissa `b`, between -pi and pi."""
    return np.arctan2(a, b)


def _arcsinh_vjp(g: Value, y: Value, x: Value) -> Value:
    return masked_quotient(g, hypot(x, 1.0))


@primitive(
    vjps=[_arcsinh_vjp],
    saves=(0,),
    lowering=lanes(
        _odd(
            f"vselect(SIZE > {FAR}, log(SIZE) + {LOG_2}, log1p(SIZE + SIZE * (SIZE / (1.0 + sqrt(1.0 + SIZE * SIZE)))))"
        ),
        40,
    ),
    floats=True,
)
def arcsinh(x: Value) -> Value:
    """The inverse of the hyperbolic sine."""
    return np.arcsinh(x)


@primitive(
    vjps=[lambda g, y, x: masked_quotient(g, sqrt(x - 1) * sqrt(x + 1))],
    saves=(0,),
    lowering=lanes(
        f"vselect({{0}} > {FAR}, log({{0}}) + {LOG_2}, log1p(({{0}} - 1.0) + sqrt({{0}} - 1.0) * sqrt({{0}} + 1.0)))",
        40,
    ),
    floats=True,
)
def arccosh(x: Value) -> Value:
    """The inverse of the hyperbolic cosine, from 0 on; NaN below 1."""
    return np.arccosh(x)


@primitive(
    vjps=[lambda g, y, x: masked_quotient(g, (1 - x) * (1 + x))],
    saves=(0,),
    lowering=lanes(_odd("0.5 * log1p(2.0 * SIZE / (1.0 - SIZE))"), 20),
    floats=True,
)
def arctanh(x: Value) -> Value:
    """The inverse of the hyperbolic tangent; NaN outside [-1, 1]."""
    return np.arctanh(x)


LARGER = "vmax(vabs({0}), vabs({1}))"
SHARE = f"(vmin(vabs({{0}}), vabs({{1}})) / {LARGER})"


@primitive(
    vjps=[
        lambda g, y, a, b: masked_product(g, masked_quotient(a, y)),
        lambda g, y, a, b: masked_product(g, masked_quotient(b, y)),
    ],
    saves=(0, 1, OUT),
    lowering=lanes(
        "vselect((vabs({0}) == INF) | (vabs({1}) == INF), INF, "
        f"vselect({LARGER} == 0.0, {LARGER}, {LARGER} * sqrt(1.0 + {SHARE} * {SHARE})))",
        20,
    ),
    floats=True,
)
def hypot(a: Value, b: Value) -> Value:
    """``sqrt(a**2 + b**2)``, without overflow of the squares; its gradient at zero is zero."""
    return np.hypot(a, b)
