"""Exponentials and logarithms of other bases, and sums of exponentials."""

from __future__ import annotations

import math

import numpy as np

from ..core import OUT, primitive
from ..core.aliases import Value
from .activation import sigmoid_of
from .compare import isinf
from .elementwise import lanes, masked_product, masked_quotient, where


@primitive(
    vjps=[lambda g, y, x: masked_product(g, y * math.log(2))],
    saves=(OUT,),
    lowering=lanes("power(2.0, {0})", 60),
    floats=True,
)
def exp2(x: Value) -> Value:
    """``2 ** x``."""
    return np.exp2(x)


@primitive(
    vjps=[lambda g, y, x: masked_quotient(g * (1 / math.log(2)), x)],
    saves=(0,),
    lowering=lanes(f"log({{0}}) * {1 / math.log(2)!r}", 11),
    floats=True,
)
def log2(x: Value) -> Value:
    """The logarithm to base 2."""
    return np.log2(x)


@primitive(
    vjps=[lambda g, y, x: masked_quotient(g * (1 / math.log(10)), x)],
    saves=(0,),
    lowering=lanes(f"log({{0}}) * {1 / math.log(10)!r}", 11),
    floats=True,
)
def log10(x: Value) -> Value:
    """The logarithm to base 10."""
    return np.log10(x)


def _share(a: Value, b: Value) -> Value:
    """``exp(a) / (exp(a) + exp(b))``: 0 for minus infinity, a half where both are plus infinity."""
    return where(a == -np.inf, 0.0, sigmoid_of(where((a == b) & isinf(a), 0.0, a - b)))


@primitive(
    vjps=[lambda g, y, a, b: masked_product(g, _share(a, b)), lambda g, y, a, b: masked_product(g, _share(b, a))],
    saves=(0, 1),
    lowering=lanes(
        f"vmax({{0}}, {{1}}) + vselect({{0}} == {{1}}, {math.log(2)!r}, softplus(-vabs({{0}} - {{1}})))", 20
    ),
    floats=True,
)
def logaddexp(a: Value, b: Value) -> Value:
    """``log(exp(a) + exp(b))``, without overflow; both get their share of the gradient."""
    return np.logaddexp(a, b)
