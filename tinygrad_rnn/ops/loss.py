"""Primitives of the losses: one node where the plain maths would take four."""

from __future__ import annotations

import numpy as np

from ..core import Traceable, primitive
from ..core.aliases import Value
from . import twins
from .activation import sigmoid_of
from .elementwise import log, masked_product, maximum
from .twins import flat, kernels


def _squared_error_slope(g: Value, x: Value, target: Value, scale: float) -> Value:
    """Gradient by x; with x and target exchanged, by the target."""
    factor = 2.0 * scale
    if isinstance(g, Traceable) or isinstance(x, Traceable):
        return (x - target) * (g * factor)
    if x.size < twins.MANY:
        return np.subtract(x, target) * (float(g) * factor)
    out = np.empty(x.shape, x.dtype)
    kernel = kernels("losses", x.size).squared_error_gradient
    kernel(flat(x), flat(target), float(g) * factor, out.reshape(-1), 0, x.size)
    return out


@primitive(
    vjps=[
        lambda g, y, x, target, scale: _squared_error_slope(g, x, target, scale),
        lambda g, y, x, target, scale: _squared_error_slope(g, target, x, scale),
    ],
    saves=(0, 1),
    floats=True,
    owns_gradients=True,
)
def squared_error(x: Value, target: Value, scale: float) -> Value:
    """``scale * sum((x - target)**2)`` of two arrays of one shape."""
    if x.size < twins.MANY:
        d = np.subtract(x, target).reshape(-1)
        total = d.dot(d) if d.size < 16384 else np.add.reduce(np.square(d))  # pairwise where there is much to add up
        return total * d.dtype.type(scale)
    sum_of_all = np.empty(1)
    kernels("losses", x.size).squared_error(flat(x), flat(target), sum_of_all, 0, x.size)
    return x.dtype.type(sum_of_all[0] * scale)


def _logistic_vjp(g: Value, y: Value, x: Value, target: Value) -> Value:
    if isinstance(g, Traceable) or isinstance(x, Traceable) or x.size < twins.FEW:
        return g * ((1 - target) * sigmoid_of(x) - target * sigmoid_of(-x))
    one = g.size > 1 and not any(g.strides)  # of a sum
    out = np.empty(x.shape, x.dtype)
    kernel = kernels("losses", x.size).logistic_loss_gradient
    kernel(flat(x), flat(target), flat(g.reshape(-1)[:1] if one else g), out.reshape(-1), 0, x.size)
    return out


@primitive(
    vjps=[_logistic_vjp, lambda g, y, x, target: g * -x],
    saves=(0, 1),
    floats=True,
    owns_gradients=True,
)
def logistic_loss(x: Value, target: Value) -> Value:
    """``-target * log(sigmoid(x)) - (1 - target) * log(sigmoid(-x))``, with all digits on both sides."""
    if x.size >= twins.FEW:
        out = np.empty(x.shape, x.dtype)
        kernels("losses", x.size).logistic_loss(flat(x), flat(target), out.reshape(-1), 0, x.size)
        return out
    if np.isfinite(x).all():
        y = np.maximum(x, 0) - x * target
    else:  # an infinity less a share of it would be NaN
        y = masked_product(1 - target, np.maximum(x, 0)) + masked_product(target, np.maximum(-x, 0))
    return y + np.log1p(np.exp(-np.abs(x)))


LEAST = -100.0  # the logarithm of a probability of 0, as PyTorch has it


def _log(p: Value) -> Value:
    """``max(log(p), -100)``, in tensor operations."""
    return maximum(log(p), LEAST)


@primitive(
    vjps=[
        lambda g, y, p, target: g * (p - target) / maximum((1 - p) * p, 1e-12),
        lambda g, y, p, target: g * (_log(1 - p) - _log(p)),
    ],
    saves=(0, 1),
    floats=True,
)
def bernoulli_loss(p: Value, target: Value) -> Value:
    """``-target * log(p) - (1 - target) * log(1 - p)``; logarithms end at -100, slopes at 1e12."""
    with np.errstate(divide="ignore"):
        return -target * np.maximum(np.log(p), LEAST) - (1 - target) * np.maximum(np.log1p(-p), LEAST)
