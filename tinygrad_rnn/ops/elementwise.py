"""Elementwise operations: NumPy forward, derivative rules and lane code, one record each.

A long list, under headings: arithmetic, exponentials, signs and trigonometry, selection, rounding and casting.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import numpy as np

from ..config import grad_mode
from ..core import OUT, Lowering, Op, Traceable, apply, check_dtype, primitive
from ..core.aliases import DTypeLike, Value
from ..core.signatures import like_first
from ..errors import ShapeError
from .arguments import broadcasts, in_loop, is_number, number, operand


def lanes(code: str, cost: int = 1, of_integers: Callable | None = None) -> Lowering:
    """A lowering by lane code; `of_integers` says what the operation is of integers, in other operations."""

    def decompose(*args: Value) -> Value:
        kinds = {a.dtype.kind for a in args if isinstance(a, Traceable)}  # type: ignore[attr-defined]
        if of_integers is None or not in_loop() or kinds & {"f"} or not kinds & {"i", "u"}:
            return NotImplemented
        return of_integers(*args)

    return Lowering("elementwise", code, cost, decompose=decompose if of_integers is not None else None)


def zero_gradient(g: Value, *rest: Value, **static: Any) -> Value:
    """The rule of piecewise constant operations: a zero cotangent, even if `g` is infinite or NaN."""
    return where(False, g, 0.0)


# ---- derivatives that may be infinite


def _where_nonzero(ufunc: Callable, g: Value, d: Value) -> Value:
    """``ufunc(g, d)`` where `g` is not zero, else 0."""
    if np.count_nonzero(g) == np.size(g):
        return ufunc(g, d)
    g = np.asarray(g)
    return ufunc(g, d, out=np.zeros(np.broadcast(g, d).shape, g.dtype), where=g != 0)


def _product_left(g: Value, y: Value, a: Value, d: Value) -> Value:
    return masked_product(g, d)


def _product_right(g: Value, y: Value, a: Value, d: Value) -> Value:
    return masked_product(a, g)


@primitive(
    vjps=[_product_left, _product_right],
    saves=(0, 1),
    lowering=lanes("vselect({0} == 0.0, vsplat(0.0, k), {0} * {1})", 2),
)
def masked_product(a: Value, d: Value) -> Value:
    """``a * d``, but 0 where `a` is 0, even if `d` is infinite or NaN.

    With :func:`masked_quotient` the one way in which rules multiply a cotangent by a derivative that may be infinite:
    what has no influence on the result gets no gradient.
    """
    return _where_nonzero(np.multiply, a, d)


def _quotient_left(g: Value, y: Value, a: Value, d: Value) -> Value:
    return masked_quotient(g, d)


def _quotient_right(g: Value, y: Value, a: Value, d: Value) -> Value:
    return -masked_product(y, masked_quotient(g, d))


@primitive(
    vjps=[_quotient_left, _quotient_right],
    saves=(1, OUT),
    lowering=lanes("vselect({0} == 0.0, vsplat(0.0, k), {0} / {1})", 5),
    floats=True,
)
def masked_quotient(a: Value, d: Value) -> Value:
    """``a / d``, but 0 where `a` is 0, even if `d` is 0 or NaN."""
    return _where_nonzero(np.divide, a, d)


# ---- arithmetic


@primitive(vjps=[lambda g, y, a, b: g, lambda g, y, a, b: g], saves=(), lowering=lanes("{0} + {1}"))
def add(a: Value, b: Value) -> Value:
    """``a + b``, with broadcasting."""
    return np.add(a, b)


@primitive(vjps=[lambda g, y, a, b: g, lambda g, y, a, b: -g], saves=(), lowering=lanes("{0} - {1}"))
def subtract(a: Value, b: Value) -> Value:
    """``a - b``, with broadcasting."""
    return np.subtract(a, b)


@primitive(vjps=[lambda g, y, a, b: g * b, lambda g, y, a, b: g * a], saves=(0, 1), lowering=lanes("{0} * {1}"))
def multiply(a: Value, b: Value) -> Value:
    """``a * b``, with broadcasting."""
    return np.multiply(a, b)


def _divide_left(g: Value, y: Value, a: Value, b: Value) -> Value:
    return g / b if isinstance(b, (int, float)) and b else masked_quotient(g, b)


@primitive(  # y / b and not g / b, which overflows for a subnormal b, even where y is 0 or as small as b
    vjps=[_divide_left, lambda g, y, a, b: -masked_product(g, y / b)],
    saves=(1, OUT),
    lowering=lanes("{0} / {1}", 4),
    floats=True,
)
def divide(a: Value, b: Value) -> Value:
    """``a / b``, with broadcasting; integers are divided in the default float dtype.

    A cotangent of zero stays zero where `b` is zero. By `b` the gradient is ``-g * ((a / b) / b)``.
    """
    return np.divide(a, b)


@primitive(vjps=[lambda g, y, a: -g], saves=(), lowering=lanes("-{0}"))
def negative(a: Value) -> Value:
    """``-a``."""
    return np.negative(a)


# ---- exponentials and roots


@primitive(vjps=[lambda g, y, x: masked_product(g, y)], saves=(OUT,), lowering=lanes("exp({0})", 8), floats=True)
def exp(x: Value) -> Value:
    """The exponential."""
    return np.exp(x)


@primitive(
    vjps=[lambda g, y, x: masked_product(g, exp(x))],  # y + 1 would have lost the digits of a large negative x
    saves=(0,),
    lowering=lanes("expm1({0})", 12),
    floats=True,
)
def expm1(x: Value) -> Value:
    """``exp(x) - 1``, accurate near zero."""
    return np.expm1(x)


@primitive(vjps=[lambda g, y, x: masked_quotient(g, x)], saves=(0,), lowering=lanes("log({0})", 10), floats=True)
def log(x: Value) -> Value:
    """The natural logarithm."""
    return np.log(x)


@primitive(vjps=[lambda g, y, x: masked_quotient(g, x + 1)], saves=(0,), lowering=lanes("log1p({0})", 12), floats=True)
def log1p(x: Value) -> Value:
    """``log(1 + x)``, accurate near zero."""
    return np.log1p(x)


@primitive(
    vjps=[lambda g, y, x: masked_quotient(0.5 * g, y)], saves=(OUT,), lowering=lanes("sqrt({0})", 5), floats=True
)
def sqrt(x: Value) -> Value:
    """The square root; NaN below zero.

    Its derivative at zero is infinite, but a cotangent of zero stays zero.
    """
    return np.sqrt(x)


# ---- signs and trigonometry


@primitive(
    vjps=[zero_gradient],
    saves=(),
    lowering=lanes("vselect({0} > 0.0, vsplat(1.0, k), vselect({0} < 0.0, vsplat(-1.0, k), {0}))", 3),
)
def sign(x: Value) -> Value:
    """-1, 0 or 1; NaN stays NaN, and bool stays bool."""
    return np.array(x) if np.asarray(x).dtype.kind == "b" else np.sign(x)


@primitive(vjps=[lambda g, y, x: g * sign(x)], saves=(0,), lowering=lanes("vabs({0})"))
def abs(x: Value) -> Value:
    """The absolute value; its derivative at zero is zero."""
    return np.abs(x)


def _sin_vjp(g: Value, y: Value, x: Value) -> Value:
    return g * cos(x)


@primitive(vjps=[_sin_vjp], saves=(0,), lowering=lanes("sin({0})", 12), floats=True)
def sin(x: Value) -> Value:
    """The sine."""
    return np.sin(x)


@primitive(vjps=[lambda g, y, x: g * -sin(x)], saves=(0,), lowering=lanes("cos({0})", 12), floats=True)
def cos(x: Value) -> Value:
    """The cosine."""
    return np.cos(x)


# ---- selection


def _where_left(g: Value, y: Value, c: Value, a: Value, b: Value) -> Value:
    return where(c, g, 0.0)


def _where_right(g: Value, y: Value, c: Value, a: Value, b: Value) -> Value:
    return where(c, 0.0, g)


@primitive(
    vjps=[None, _where_left, _where_right],
    saves=(0,),
    lowering=lanes("vselect({0}, {1}, {2})"),
    untyped=(0,),
)
def where(condition: Value, a: Value, b: Value) -> Value:
    """`a` where `condition` holds, else `b`, with broadcasting."""
    return np.where(condition, a, b)


@primitive(
    vjps=[
        lambda g, y, a, b: where(a < b, 0.0, where(a == b, 0.5 * g, g)),
        lambda g, y, a, b: where(b < a, 0.0, where(a == b, 0.5 * g, g)),
    ],
    saves=(0, 1),
    lowering=lanes("vmax({0}, {1})"),
)
def maximum(a: Value, b: Value) -> Value:
    """The larger of `a` and `b`; NaN wins, and a tie shares the gradient."""
    return np.maximum(a, b)


@primitive(
    vjps=[
        lambda g, y, a, b: where(a > b, 0.0, where(a == b, 0.5 * g, g)),
        lambda g, y, a, b: where(b > a, 0.0, where(a == b, 0.5 * g, g)),
    ],
    saves=(0, 1),
    lowering=lanes("vmin({0}, {1})"),
)
def minimum(a: Value, b: Value) -> Value:
    """The smaller of `a` and `b`; NaN wins, and a tie shares the gradient."""
    return np.minimum(a, b)


@like_first
def clip(x: Value, min: Value = None, max: Value = None) -> Value:
    """Limit `x` to ``[min, max]``: numbers, arrays, or None.

    As ``minimum(maximum(x, min), max)``, so that `max` wins where ``min > max`` and NaN stays NaN; but on a bound all
    of the gradient goes to `x`, as it does inside, and none to the bound.
    """
    x = operand(x, "clip")
    if min is None and max is None:
        return np.array(x) if isinstance(x, np.ndarray) else +x
    y = x
    if min is not None:
        min = _bound(min, "min", x)
        y = where(_passed(y < min, min), min, y)
    if max is not None:
        max = _bound(max, "max", x)
        y = where(_passed(y > max, max), max, y)
    return y


def _bound(bound: Value, name: str, x: Value) -> Value:
    bound = operand(bound, f"clip: {name}")
    if isinstance(bound, np.ndarray) and bound.ndim == 0:
        return bound.item()
    if not broadcasts(x.shape, bound.shape):
        raise ShapeError(f"clip: {name}: got shape {tuple(bound.shape)} for {tuple(x.shape)}, wanted one to broadcast")
    return bound


def _passed(passed: Value, bound: Value) -> Value:
    """Mask of the values that a bound replaces: those beyond it, and all where the bound is NaN."""
    if is_number(bound):
        return passed if bound == bound else True
    return passed | (bound != bound)


@like_first
def nan_to_num(x: Value, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Value:
    """Numbers in place of NaN and infinities (None: the largest and the smallest), which get no gradient."""
    x = operand(x, "nan_to_num")
    limit = float(np.finfo(x.dtype).max) if x.dtype.kind == "f" else 0.0
    nan = number(nan, "nan")
    high = limit if posinf is None else number(posinf, "posinf")
    low = -limit if neginf is None else number(neginf, "neginf")
    if x.dtype.kind != "f":
        return copy(x)
    return where(x != x, nan, where(x == np.inf, high, where(x == -np.inf, low, x)))


# ---- rounding and casting


@primitive(vjps=[zero_gradient], saves=(), lowering=lanes("vfloor({0})", 1, lambda x: x))
def floor(x: Value) -> Value:
    """Round down; the gradient is zero."""
    return np.floor(x)


@primitive(vjps=[zero_gradient], saves=(), lowering=lanes("-vfloor(-{0})", 1, lambda x: x))
def ceil(x: Value) -> Value:
    """Round up; the gradient is zero."""
    return np.ceil(x)


@primitive(
    vjps=[zero_gradient],
    saves=(),
    lowering=lanes("vselect({0} < 0.0, -vfloor(-{0}), vfloor({0}))", 3, lambda x: x),
)
def trunc(x: Value) -> Value:
    """Round towards zero; the gradient is zero."""
    return np.trunc(x)


@primitive(vjps=[zero_gradient], saves=(), lowering=lanes("vround({0})", 1, lambda x: x))
def _round(x: Value) -> Value:
    return np.round(x if np.asarray(x).dtype.kind != "b" else np.asarray(x, np.int64))


def _round_in_parts(x: Value, decimals: int) -> Value:
    if x.dtype.kind != "f":
        return x if decimals > 0 and in_loop() else NotImplemented
    scale = 10.0 ** builtins.abs(decimals)
    return _round(x * scale) / scale if decimals > 0 else _round(x / scale) * scale


@primitive(vjps=[zero_gradient], saves=(), lowering=Lowering(decompose=_round_in_parts))
def _round_to(x: Value, decimals: int) -> Value:
    return np.round(x, decimals)


@like_first
def round(x: Value, decimals: int = 0) -> Value:
    """Round to `decimals` places after the point (negative: before it), ties to even; zero gradient."""
    if isinstance(decimals, bool) or not isinstance(decimals, (int, np.integer)):
        raise TypeError(f"decimals: got {decimals!r}, wanted an int")
    return _round_to(x, decimals=int(decimals)) if decimals else _round(x)


def whole_quotient(a: Value, b: Value) -> tuple[Value, Value]:
    """``a // b`` and ``a % b`` of floats, from operations that loops know."""
    q = floor(a / b)
    r = a - masked_product(q, b)  # 0 times infinity is 0 here
    # the quotient was rounded before it was cut, perhaps past a whole number
    fewer, more = ((r < 0.0) ^ (b < 0.0)) & (r != 0.0), abs(r) >= abs(b)
    return where(fewer, q - 1.0, where(more, q + 1.0, q)), where(fewer, r + b, where(more, r - b, r))


def _part_of_quotient(part: int) -> Lowering:
    def decompose(a: Value, b: Value) -> Value:
        if "f" not in {x.dtype.kind for x in (a, b) if isinstance(x, Traceable)}:  # type: ignore[attr-defined]
            return NotImplemented  # integers are another matter
        return whole_quotient(a, b)[part]

    return Lowering(decompose=decompose)


@primitive(vjps=[zero_gradient, zero_gradient], saves=(), lowering=_part_of_quotient(0))
def floor_divide(a: Value, b: Value) -> Value:
    """``a // b``; the gradient is zero."""
    return np.floor_divide(a, b)


@primitive(
    vjps=[lambda g, y, a, b: g, lambda g, y, a, b: -masked_product(g, floor_divide(a, b))],
    saves=(0, 1),
    lowering=_part_of_quotient(1),
)
def remainder(a: Value, b: Value) -> Value:
    """``a % b``, with the sign of `b`."""
    return np.remainder(a, b)


@primitive(vjps=[lambda g, y, x, dtype: g.astype(x.dtype)], saves=(), lowering=Lowering("cast"))
def _astype(x: Value, dtype: np.dtype) -> Value:
    return x.astype(dtype)


@like_first
def astype(x: Value, dtype: DTypeLike) -> Value:
    """Cast to `dtype`; gradients are cast back."""
    x, dtype = operand(x, "astype"), check_dtype(dtype)
    return copy(x) if x.dtype == dtype else _astype(x, dtype=dtype)


@primitive(vjps=[lambda g, y, x: g], saves=(), lowering=lanes("{0}", 0))
def _copy(x: Value) -> Value:
    return np.array(x)


@like_first
def copy(x: Value) -> Value:
    """The same values in memory of their own; gradients pass."""
    x = operand(x, "copy")
    return _copy(x) if grad_mode.tracer is None else x  # what a step computes in a compiled loop is a value already


CONSTANT = Op("constant", lambda x: x, vjps=[None], saves=(), view=True, lowering=lanes("{0}", 0))


@like_first
def constant(x: Value) -> Value:
    """`x` without gradients: a ``detach()`` that the compiler can trace."""
    return apply(CONSTANT, (x,), {})


# records of operations, for programs, which tell them apart by these
COPY, ASTYPE = _copy.op, _astype.op
