"""Softmax, log-softmax and logsumexp, without overflow or lost digits."""

from __future__ import annotations

import numpy as np

from ..core import OUT, Lowering, primitive
from ..core.aliases import Axes, Value
from ..core.signatures import like_first
from .arguments import keeps, operand, several_axes
from .compare import isfinite, isinf
from .elementwise import constant, exp, log, masked_product, where
from .reduce import _max, _sum
from .shape import reshape


@like_first
def logsumexp(x: Value, axis: Axes = None, keepdims: bool = False) -> Value:
    """``log(sum(exp(x)))`` over `axis`, without overflow; minus infinity over an axis of length 0.

    Elements of minus infinity count for nothing and get no gradient, even if there are no others. Beside those of plus
    infinity nothing else counts: it is :func:`max` there, whose gradient they share.
    """
    x = operand(x, "logsumexp")
    axes = several_axes(axis, x.shape, scalars=True)
    y = _logsumexp(x, axis=axes)
    return y if keeps(keepdims) else reshape(y, tuple(n for i, n in enumerate(x.shape) if i not in axes))


def _logsumexp_vjp(g: Value, y: Value, x: Value, axis: tuple[int, ...]) -> Value:
    infinite = isinf(y)
    x = where(infinite & (x < y), -np.inf, where(infinite, 0.0, x))  # infinite elements share, others have nothing
    shares = _softmax(x, axis=axis)  # exp(x - y) would have lost the digits of large numbers
    return masked_product(g, where(y == -np.inf, 0.0, shares))


def _decompose_logsumexp(x: Value, axis: tuple[int, ...]) -> Value:
    largest = _max(x, axis=axis, keepdims=True)
    top = constant(largest)
    total = _sum(exp(x - where(isfinite(top), top, 0.0)), axis=axis, keepdims=True)
    none = total == 0  # only minus infinities
    y = where(none, -np.inf, log(where(none, 1.0, total)) + where(isfinite(top), top, 0.0))
    return where(top == np.inf, largest, y)


@primitive(vjps=[_logsumexp_vjp], lowering=Lowering(decompose=_decompose_logsumexp), floats=True)
def _logsumexp(x: Value, axis: tuple[int, ...]) -> Value:
    top = np.maximum.reduce(x, axis=axis, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, x.dtype.type(0))
    with np.errstate(divide="ignore"):
        return np.log(np.add.reduce(np.exp(x - top), axis=axis, keepdims=True)) + top


def _softmax_vjp(g: Value, y: Value, x: Value, axis: tuple[int, ...]) -> Value:
    return masked_product(g - _sum(masked_product(g, y), axis=axis, keepdims=True), y)


def _decompose_softmax(x: Value, axis: tuple[int, ...]) -> Value:
    e = exp(x - constant(_max(x, axis=axis, keepdims=True)))
    return e / _sum(e, axis=axis, keepdims=True)


@primitive(vjps=[_softmax_vjp], saves=(OUT,), lowering=Lowering(decompose=_decompose_softmax), floats=True)
def _softmax(x: Value, axis: tuple[int, ...]) -> Value:
    e = np.exp(x - np.maximum.reduce(x, axis=axis, keepdims=True, initial=-np.inf))
    e /= np.add.reduce(e, axis=axis, keepdims=True)
    return e


@like_first
def softmax(x: Value, axis: Axes = -1) -> Value:
    """``exp(x) / sum(exp(x))`` over `axis`; NaN where all elements are minus infinity."""
    x = operand(x, "softmax")
    return _softmax(x, axis=several_axes(axis, x.shape, scalars=True))


def _decompose_log_softmax(x: Value, axis: tuple[int, ...]) -> Value:
    z = x - constant(_max(x, axis=axis, keepdims=True))
    return z - log(_sum(exp(z), axis=axis, keepdims=True))


@primitive(
    vjps=[lambda g, y, x, axis: g - masked_product(_sum(g, axis=axis, keepdims=True), exp(y))],
    saves=(OUT,),
    lowering=Lowering(decompose=_decompose_log_softmax),
    floats=True,
)
def _log_softmax(x: Value, axis: tuple[int, ...]) -> Value:
    z = x - np.maximum.reduce(x, axis=axis, keepdims=True, initial=-np.inf)  # first, to keep the digits
    with np.errstate(divide="ignore"):
        z -= np.log(np.add.reduce(np.exp(z), axis=axis, keepdims=True))
    return z


@like_first
def log_softmax(x: Value, axis: Axes = -1) -> Value:
    """``log(softmax(x))`` over `axis`, without overflow; NaN where all elements are minus infinity."""
    x = operand(x, "log_softmax")
    return _log_softmax(x, axis=several_axes(axis, x.shape, scalars=True))


SOFTMAX, LOG_SOFTMAX, LOGSUMEXP = _softmax.op, _log_softmax.op, _logsumexp.op  # the records, for programs
