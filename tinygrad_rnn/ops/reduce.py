"""Reductions along axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core import OUT, Lowering, primitive
from ..errors import ShapeError
from .compare import isfinite
from .elementwise import constant, exp, log, sqrt, where
from .shape import broadcast_to, concat, flip, reshape


def _axes(x, axis) -> tuple[int, ...]:
    """`axis` (None, int or tuple) as a tuple of non-negative axes of `x`."""
    n = len(x.shape)
    if axis is None:
        return tuple(range(n))
    axes = (axis,) if isinstance(axis, (int, np.integer)) else tuple(axis)
    for a in axes:
        if not -n <= a < n:
            raise ShapeError(f"axis: got {a}, wanted an axis of shape {tuple(x.shape)}")
    axes = tuple(sorted(int(a) % n for a in axes))
    if len(set(axes)) != len(axes):
        raise ShapeError(f"axis: got {axis}, wanted each axis once")
    return axes


def _one_axis(x, axis) -> int:
    (a,) = _axes(x, axis if axis is not None else 0)
    return a


def _count(x, axes) -> int:
    return int(np.prod([x.shape[a] for a in axes], dtype=int))


def _expand(g, x, axis, keepdims):
    """Put reduced axes back with length 1."""
    if keepdims:
        return g
    return g.reshape(tuple(1 if i in axis else n for i, n in enumerate(x.shape)))


@primitive(
    vjps=[lambda g, y, x, axis, keepdims: broadcast_to(_expand(g, x, axis, keepdims), x.shape)],
    saves=(),
    lowering=Lowering("reduce", "sum"),
)
def _sum(x, axis, keepdims):
    return np.add.reduce(x, axis=axis, keepdims=keepdims)


def sum(x, axis=None, keepdims=False):
    """Sum over `axis` (None: all, an int, or a tuple)."""
    return _sum(x, axis=_axes(x, axis), keepdims=keepdims)


def mean(x, axis=None, keepdims=False):
    """Arithmetic mean over `axis`."""
    axes = _axes(x, axis)
    count = _count(x, axes)
    if count == 0:
        raise ShapeError(f"mean: got an empty axis in shape {tuple(x.shape)}, wanted at least one element")
    return _sum(x, axis=axes, keepdims=keepdims) * (1.0 / count)


def var(x, axis=None, keepdims=False, ddof=0):
    """Variance over `axis`, with divisor ``n - ddof``."""
    axes = _axes(x, axis)
    count = _count(x, axes) - ddof
    if count <= 0:
        raise ShapeError(f"var: got {count + ddof} elements and ddof={ddof}, wanted more elements than ddof")
    centred = x - mean(x, axes, True)
    return _sum(centred * centred, axis=axes, keepdims=keepdims) * (1.0 / count)


def std(x, axis=None, keepdims=False, ddof=0):
    """Standard deviation over `axis`, with divisor ``n - ddof``."""
    return sqrt(var(x, axis, keepdims, ddof))


def _extremum_vjp(g, y, x, axis, keepdims):
    """Elements that attain the extremum share the cotangent."""
    hit = (x == _expand(y, x, axis, keepdims)).astype(x.dtype)
    return hit * (_expand(g, x, axis, keepdims) / hit.sum(axis=axis, keepdims=True))


@primitive(vjps=[_extremum_vjp], lowering=Lowering("reduce", "max"))
def _max(x, axis, keepdims):
    return np.maximum.reduce(x, axis=axis, keepdims=keepdims)


@primitive(vjps=[_extremum_vjp], lowering=Lowering("reduce", "min"))
def _min(x, axis, keepdims):
    return np.minimum.reduce(x, axis=axis, keepdims=keepdims)


def max(x, axis=None, keepdims=False):
    """Largest element over `axis`; elements that tie share the gradient."""
    return _max(x, axis=_nonempty(x, axis, "max"), keepdims=keepdims)


def min(x, axis=None, keepdims=False):
    """Smallest element over `axis`; elements that tie share the gradient."""
    return _min(x, axis=_nonempty(x, axis, "min"), keepdims=keepdims)


def _nonempty(x, axis, name) -> tuple[int, ...]:
    axes = _axes(x, axis)
    if _count(x, axes) == 0:
        raise ShapeError(f"{name}: got an empty axis in shape {tuple(x.shape)}, wanted at least one element")
    return axes


def prod(x, axis=None, keepdims=False):
    """Product over `axis`, multiplied pairwise, so that its gradients hold at zeros too."""
    axes = _axes(x, axis)
    kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    for a in axes:
        while (n := x.shape[a]) > 1:
            half = n // 2
            lead = (slice(None),) * a
            pairs = x[(*lead, slice(0, half))] * x[(*lead, slice(half, 2 * half))]
            x = concat([pairs, x[(*lead, slice(2 * half, n))]], axis=a) if n % 2 else pairs
        if n == 0:
            x = _sum(x, axis=(a,), keepdims=True) + 1
    shape = kept if keepdims else tuple(n for i, n in enumerate(kept) if i not in axes)
    return reshape(x, shape)


def _log_sum_exp(x, axis):
    top = np.maximum.reduce(x, axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, x.dtype.type(0))
    with np.errstate(divide="ignore"):
        return np.log(np.add.reduce(np.exp(x - top), axis=axis, keepdims=True)) + top


def logsumexp(x, axis=None, keepdims=False):
    """``log(sum(exp(x)))`` over `axis`, without overflow."""
    axes = _nonempty(x, axis, "logsumexp")
    y = _logsumexp(x, axis=axes)
    return y if keepdims else reshape(y, tuple(n for i, n in enumerate(x.shape) if i not in axes))


@primitive(vjps=[lambda g, y, x, axis: g * exp(x - y)], lowering=Lowering("expand"), floats=True)
def _logsumexp(x, axis):
    return _log_sum_exp(x, axis)


@primitive(
    vjps=[lambda g, y, x, axis: y * (g - _sum(g * y, axis=axis, keepdims=True))],
    saves=(OUT,),
    lowering=Lowering("expand"),
    floats=True,
)
def _softmax(x, axis):
    e = np.exp(x - np.maximum.reduce(x, axis=axis, keepdims=True))
    e /= np.add.reduce(e, axis=axis, keepdims=True)
    return e


def softmax(x, axis=-1):
    """``exp(x) / sum(exp(x))`` over `axis`."""
    return _softmax(x, axis=_nonempty(x, axis, "softmax"))


@primitive(
    vjps=[lambda g, y, x, axis: g - exp(y) * _sum(g, axis=axis, keepdims=True)],
    saves=(OUT,),
    lowering=Lowering("expand"),
    floats=True,
)
def _log_softmax(x, axis):
    return x - _log_sum_exp(x, axis)


def log_softmax(x, axis=-1):
    """``log(softmax(x))`` over `axis`, without overflow."""
    return _log_softmax(x, axis=_nonempty(x, axis, "log_softmax"))


def _cumsum_vjp(g, y, x, axis):
    return flip(_cumsum(flip(g, axis), axis=axis), axis)


@primitive(vjps=[_cumsum_vjp], saves=())
def _cumsum(x, axis):
    return np.cumsum(x, axis=axis)


def cumsum(x, axis=None):
    """Running sum along `axis`; None runs over the flattened tensor."""
    if axis is None:
        return _cumsum(reshape(x, -1), axis=0)
    return _cumsum(x, axis=_one_axis(x, axis))


# ---- without gradients


@primitive()
def _argmax(x, axis, keepdims):
    return np.argmax(x, axis=axis, keepdims=keepdims)


@primitive()
def _argmin(x, axis, keepdims):
    return np.argmin(x, axis=axis, keepdims=keepdims)


@primitive()
def _argsort(x, axis):
    return np.argsort(x, axis=axis, kind="stable")


@primitive()
def _all(x, axis, keepdims):
    return np.all(x, axis=axis, keepdims=keepdims)


@primitive()
def _any(x, axis, keepdims):
    return np.any(x, axis=axis, keepdims=keepdims)


def argmax(x, axis=None, keepdims=False):
    """Index of the largest element along `axis` (None: in the flattened tensor)."""
    _nonempty(x, axis, "argmax")
    return _argmax(x, axis=axis, keepdims=keepdims)


def argmin(x, axis=None, keepdims=False):
    """Index of the smallest element along `axis` (None: in the flattened tensor)."""
    _nonempty(x, axis, "argmin")
    return _argmin(x, axis=axis, keepdims=keepdims)


def argsort(x, axis=-1):
    """Indices that sort `x` along `axis`, ties in their order."""
    return _argsort(x, axis=_one_axis(x, axis))


def all(x, axis=None, keepdims=False):
    """Whether all elements hold, over `axis`."""
    return _all(x, axis=_axes(x, axis), keepdims=keepdims)


def any(x, axis=None, keepdims=False):
    """Whether any element holds, over `axis`."""
    return _any(x, axis=_axes(x, axis), keepdims=keepdims)


# softmax and its kin, taken apart for the compiler: along features they become two reductions and elementwise maths
def expand_softmax(x, axis):
    e = exp(x - constant(_max(x, axis=axis, keepdims=True)))
    return e / _sum(e, axis=axis, keepdims=True)


def expand_logsumexp(x, axis):
    top = constant(_max(x, axis=axis, keepdims=True))
    top = where(isfinite(top), top, 0.0)
    return log(_sum(exp(x - top), axis=axis, keepdims=True)) + top


def expand_log_softmax(x, axis):
    return x - expand_logsumexp(x, axis)


expansions: dict[str, Callable[..., Any]] = {
    "softmax": expand_softmax,
    "log_softmax": expand_log_softmax,
    "logsumexp": expand_logsumexp,
}
