"""Primitives of the losses: one node where the plain maths would take four."""

from __future__ import annotations

import numpy as np

from ..core import primitive
from ..core.aliases import Value
from .activation import sigmoid_of
from .elementwise import masked_product


def _slope(g: Value, scale: float) -> Value:
    factor = 2.0 * scale
    return float(g) * factor if type(g) is np.ndarray else g * factor  # NumPy takes its time over arrays of one number


@primitive(
    vjps=[
        lambda g, y, x, target, scale: (x - target) * _slope(g, scale),
        lambda g, y, x, target, scale: (target - x) * _slope(g, scale),
    ],
    saves=(0, 1),
    floats=True,
    owns_gradients=True,
)
def squared_error(x: Value, target: Value, scale: float) -> Value:
    """``scale * sum((x - target)**2)`` of two arrays of one shape."""
    d = np.subtract(x, target).reshape(-1)
    total = d.dot(d) if d.size < 16384 else np.add.reduce(np.square(d))  # pairwise where there is much to add up
    return total * d.dtype.type(scale)


def _logistic_vjp(g: Value, y: Value, x: Value, target: Value) -> Value:
    return g * ((1 - target) * sigmoid_of(x) - target * sigmoid_of(-x))


@primitive(vjps=[_logistic_vjp, lambda g, y, x, target: g * -x], saves=(0, 1), floats=True)
def logistic_loss(x: Value, target: Value) -> Value:
    """``-target * log(sigmoid(x)) - (1 - target) * log(sigmoid(-x))``, with all digits on both sides."""
    if np.isfinite(x).all():
        y = np.maximum(x, 0) - x * target
    else:  # an infinity less a share of it would be NaN
        y = masked_product(1 - target, np.maximum(x, 0)) + masked_product(target, np.maximum(-x, 0))
    return y + np.log1p(np.exp(-np.abs(x)))


def _pick_vjp(g: Value, y: Value, x: Value, index: np.ndarray) -> Value:
    return place_class(g, index=index, classes=x.shape[-1])


@primitive(vjps=[_pick_vjp], saves=())
def pick_class(x: Value, index: np.ndarray) -> Value:
    """``x[..., index]`` with one index for each leading position: (..., C) to (...)."""
    return np.take_along_axis(x, index[..., None], -1)[..., 0]


@primitive(vjps=[lambda g, y, x, index, classes: pick_class(g, index=index)], saves=())
def place_class(x: Value, index: np.ndarray, classes: int) -> Value:
    """The transpose of :func:`pick_class`: (...) to (..., C), zero but at `index`."""
    out = np.zeros((*x.shape, classes), x.dtype)
    np.put_along_axis(out, index[..., None], x[..., None], -1)
    return out
