"""Reductions along axes."""

from __future__ import annotations

import numpy as np

from ..core import Lowering, Reduction, primitive
from ..errors import ShapeError
from .arguments import one_axis, operand, several_axes
from .elementwise import masked_quotient
from .shape import broadcast_to, concat, flip, reshape, transpose


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
    lowering=Lowering(reduction=Reduction(0.0, "{0} + {1}")),
)
def _sum(x, axis, keepdims):
    return np.add.reduce(x, axis=axis, keepdims=keepdims)


def sum(x, axis=None, keepdims=False):
    """Sum over `axis` (None: all, an int, or a tuple)."""
    x = operand(x, "sum")
    return _sum(x, axis=several_axes(axis, x.shape, scalars=True), keepdims=bool(keepdims))


def mean(x, axis=None, keepdims=False):
    """Arithmetic mean over `axis`."""
    x, axes, count = _counted(x, axis, "mean")
    return _sum(x, axis=axes, keepdims=bool(keepdims)) / count


def _counted(x, axis, name):
    """The operand, its axes, and how many elements lie along them: at least one."""
    x = operand(x, name)
    axes = several_axes(axis, x.shape, scalars=True)
    count = _count(x, axes)
    if count == 0:
        raise ShapeError(f"{name}: got an empty axis in shape {tuple(x.shape)}, wanted at least one element")
    return x, axes, count


def _extremum_vjp(g, y, x, axis, keepdims):
    """Elements that attain the extremum share the cotangent: NaN do where there are any."""
    hit = (x == _expand(y, x, axis, keepdims)) | (x != x)
    hit = hit.astype(x.dtype)
    return hit * masked_quotient(_expand(g, x, axis, keepdims), _sum(hit, axis=axis, keepdims=True))


@primitive(vjps=[_extremum_vjp], lowering=Lowering(reduction=Reduction(-np.inf, "vmax({0}, {1})")))
def _max(x, axis, keepdims):
    return np.maximum.reduce(x, axis=axis, keepdims=keepdims)


@primitive(vjps=[_extremum_vjp], lowering=Lowering(reduction=Reduction(np.inf, "vmin({0}, {1})")))
def _min(x, axis, keepdims):
    return np.minimum.reduce(x, axis=axis, keepdims=keepdims)


def max(x, axis=None, keepdims=False):
    """Largest element over `axis`; elements that tie share the gradient, and NaN takes it."""
    x, axes, _ = _counted(x, axis, "max")
    return _max(x, axis=axes, keepdims=bool(keepdims))


def min(x, axis=None, keepdims=False):
    """Smallest element over `axis`; elements that tie share the gradient, and NaN takes it."""
    x, axes, _ = _counted(x, axis, "min")
    return _min(x, axis=axes, keepdims=bool(keepdims))


# ---- products


def _up_to(x):
    """Products of all elements before each, along the last axis."""
    n = x.shape[-1]
    one = x[..., :1] * 0 + 1
    y = concat([one, x[..., :-1]], axis=-1)
    step = 1
    while step < n:
        y = concat([y[..., :step], y[..., step:] * y[..., :-step]], axis=-1)
        step *= 2
    return y


def _prod_vjp(g, y, x, axis, keepdims):
    """Products of all other elements, without a division, so that zeros do no harm."""
    if _count(x, axis) == 0:
        return broadcast_to(_expand(g, x, axis, keepdims), x.shape)
    kept = tuple(i for i in range(len(x.shape)) if i not in axis)
    order = (*kept, *axis)
    flat = reshape(transpose(x, order), (*(x.shape[i] for i in kept), _count(x, axis)))
    others = _up_to(flat) * flip(_up_to(flip(flat, -1)), -1)
    others = transpose(reshape(others, tuple(x.shape[i] for i in order)), tuple(int(i) for i in np.argsort(order)))
    return _expand(g, x, axis, keepdims) * others


def _decompose_prod(x, axis, keepdims):
    kept = tuple(1 if i in axis else n for i, n in enumerate(x.shape))
    for a in axis:
        lead = (slice(None),) * a
        while (n := x.shape[a]) > 32:
            half = n // 2
            pairs = x[(*lead, slice(0, half))] * x[(*lead, slice(half, 2 * half))]
            x = concat([pairs, x[(*lead, slice(2 * half, n))]], axis=a) if n % 2 else pairs
        total = x[(*lead, slice(0, 1))]
        for i in range(1, n):  # in the order of the others, so that it overflows as they do
            total = total * x[(*lead, slice(i, i + 1))]
        x = total
    return x if keepdims else reshape(x, tuple(n for i, n in enumerate(kept) if i not in axis))


@primitive(vjps=[_prod_vjp], saves=(0,), lowering=Lowering(decompose=_decompose_prod))
def _prod(x, axis, keepdims):
    return np.multiply.reduce(x, axis=axis, keepdims=keepdims)


def prod(x, axis=None, keepdims=False):
    """Product over `axis`, multiplied in NumPy's order; its gradients hold at zeros too."""
    x = operand(x, "prod")
    return _prod(x, axis=several_axes(axis, x.shape, scalars=True), keepdims=bool(keepdims))


def _cumsum_vjp(g, y, x, axis):
    return flip(_cumsum(flip(g, axis), axis=axis), axis)


@primitive(vjps=[_cumsum_vjp], saves=())
def _cumsum(x, axis):
    return np.cumsum(x, axis=axis)


def cumsum(x, axis=None):
    """Running sum along `axis`; None runs over the flattened tensor."""
    x = operand(x, "cumsum")
    if axis is None:
        return _cumsum(reshape(x, -1), axis=0)
    axis = one_axis(axis, x.shape, scalars=True)
    return _cumsum(x if x.shape else reshape(x, 1), axis=axis)


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


def _of_truths(init: float, combine: str) -> Lowering:
    """Truth values are reduced as the numbers 1 and 0."""
    return Lowering(reduction=Reduction(init, combine, finish="{0} != 0.0", each="vselect({0}, 1.0, 0.0)"))


@primitive(lowering=_of_truths(1.0, "vmin({0}, {1})"))
def _all(x, axis, keepdims):
    return np.all(x, axis=axis, keepdims=keepdims)


@primitive(lowering=_of_truths(0.0, "vmax({0}, {1})"))
def _any(x, axis, keepdims):
    return np.any(x, axis=axis, keepdims=keepdims)


def _arg_axis(x, axis, name):
    """The operand and its axis, None for all, along which there is at least one element."""
    x = operand(x, name)
    axis = None if axis is None else one_axis(axis, x.shape, scalars=True)
    _counted(x, axis, name)
    return x, axis if x.shape else None


def argmax(x, axis=None, keepdims=False):
    """Index of the largest element along `axis` (None: in the flattened tensor); of the first NaN if there is one."""
    x, axis = _arg_axis(x, axis, "argmax")
    return _argmax(x, axis=axis, keepdims=bool(keepdims))


def argmin(x, axis=None, keepdims=False):
    """Index of the smallest element along `axis` (None: in the flattened tensor); of the first NaN if there is one."""
    x, axis = _arg_axis(x, axis, "argmin")
    return _argmin(x, axis=axis, keepdims=bool(keepdims))


def argsort(x, axis=-1):
    """Indices that sort `x` along `axis` (None: the flattened tensor), ties in their order, NaN last."""
    x = operand(x, "argsort")
    if axis is None or not x.shape:
        axis = 0 if axis is None else one_axis(axis, x.shape, scalars=True)
        x = reshape(x, -1)
    return _argsort(x, axis=one_axis(axis, x.shape))


def all(x, axis=None, keepdims=False):
    """Whether all elements hold, over `axis`."""
    x = operand(x, "all")
    return _all(x, axis=several_axes(axis, x.shape, scalars=True), keepdims=bool(keepdims))


def any(x, axis=None, keepdims=False):
    """Whether any element holds, over `axis`."""
    x = operand(x, "any")
    return _any(x, axis=several_axes(axis, x.shape, scalars=True), keepdims=bool(keepdims))
