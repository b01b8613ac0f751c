"""Reductions along axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..config import grad_mode
from ..core import Lowering, Reduction, primitive
from ..core.aliases import Axes, Value
from ..core.signatures import like_first
from ..errors import ShapeError
from .arguments import keeps, one_axis, operand, several_axes
from .elementwise import masked_quotient, where
from .join import concat
from .shape import broadcast_to, flip, reshape, transpose


def _count(x: Value, axes: tuple[int, ...]) -> int:
    return int(np.prod([x.shape[a] for a in axes], dtype=int))


def _expand(g: Value, x: Value, axis: tuple[int, ...], keepdims: bool) -> Value:
    """`g` with the reduced axes put back, of length 1."""
    if keepdims:
        return g
    return g.reshape(tuple(1 if i in axis else n for i, n in enumerate(x.shape)))


@primitive(
    vjps=[lambda g, y, x, axis, keepdims: broadcast_to(_expand(g, x, axis, keepdims), x.shape)],
    saves=(),
    lowering=Lowering(reduction=Reduction(0.0, "{0} + {1}")),
)
def _sum(x: Value, axis: tuple[int, ...], keepdims: bool) -> Value:
    return np.add.reduce(x, axis=axis, keepdims=keepdims)  # type: ignore[call-overload]


@like_first
def sum(x: Value, axis: Axes = None, keepdims: bool = False) -> Value:
    """Sum over `axis` (None: all, an int, or a tuple)."""
    x = operand(x, "sum")
    return _sum(x, axis=several_axes(axis, x.shape, scalars=True), keepdims=keeps(keepdims))


@like_first
def mean(x: Value, axis: Axes = None, keepdims: bool = False) -> Value:
    """Arithmetic mean over `axis`."""
    x, axes, count = _counted(x, axis, "mean")
    return _sum(x, axis=axes, keepdims=keeps(keepdims)) / count


def _counted(x: Value, axis: Axes, name: str) -> tuple[Value, tuple[int, ...], int]:
    """The operand, its axes, and how many elements lie along them: at least one."""
    x = operand(x, name)
    axes = several_axes(axis, x.shape, scalars=True)
    count = _count(x, axes)
    if count == 0:
        raise ShapeError(f"{name}: got an empty axis in shape {tuple(x.shape)}, wanted at least one element")
    return x, axes, count


def _extremum_vjp(g: Value, y: Value, x: Value, axis: tuple[int, ...], keepdims: bool) -> Value:
    """Elements that attain the extremum share the cotangent; where there are NaN, they do."""
    hit = (x == _expand(y, x, axis, keepdims)) | (x != x)
    hit = hit.astype(x.dtype)
    return hit * masked_quotient(_expand(g, x, axis, keepdims), _sum(hit, axis=axis, keepdims=True))


@primitive(vjps=[_extremum_vjp], lowering=Lowering(reduction=Reduction(-np.inf, "vmax({0}, {1})")))
def _max(x: Value, axis: tuple[int, ...], keepdims: bool) -> Value:
    return np.maximum.reduce(x, axis=axis, keepdims=keepdims)  # type: ignore[call-overload]


@primitive(vjps=[_extremum_vjp], lowering=Lowering(reduction=Reduction(np.inf, "vmin({0}, {1})")))
def _min(x: Value, axis: tuple[int, ...], keepdims: bool) -> Value:
    return np.minimum.reduce(x, axis=axis, keepdims=keepdims)  # type: ignore[call-overload]


@like_first
def max(x: Value, axis: Axes = None, keepdims: bool = False) -> Value:
    """Largest element over `axis`; elements that tie share the gradient, and NaN takes it."""
    x, axes, _ = _counted(x, axis, "max")
    return _max(x, axis=axes, keepdims=keeps(keepdims))


@like_first
def min(x: Value, axis: Axes = None, keepdims: bool = False) -> Value:
    """Smallest element over `axis`; elements that tie share the gradient, and NaN takes it."""
    x, axes, _ = _counted(x, axis, "min")
    return _min(x, axis=axes, keepdims=keeps(keepdims))


# ---- products


def _products_before(x: Value) -> Value:
    """Exclusive cumulative product along the last axis, in log2(n) steps."""
    n = x.shape[-1]
    one = where(True, 1.0, x[..., :1])  # of any element: infinity times 0 is none
    y = concat([one, x[..., :-1]], axis=-1)
    step = 1
    while step < n:
        y = concat([y[..., :step], y[..., step:] * y[..., :-step]], axis=-1)
        step *= 2
    return y


def _prod_vjp(g: Value, y: Value, x: Value, axis: tuple[int, ...], keepdims: bool) -> Value:
    """The products of all other elements, from both sides: without a division, so that zeros do no harm."""
    if _count(x, axis) == 0:
        return broadcast_to(_expand(g, x, axis, keepdims), x.shape)
    kept = tuple(i for i in range(len(x.shape)) if i not in axis)
    order = (*kept, *axis)
    flat = reshape(transpose(x, order), (*(x.shape[i] for i in kept), _count(x, axis)))
    others = _products_before(flat) * flip(_products_before(flip(flat, -1)), -1)
    others = transpose(reshape(others, tuple(x.shape[i] for i in order)), tuple(int(i) for i in np.argsort(order)))
    return _expand(g, x, axis, keepdims) * others


def _decompose_prod(x: Value, axis: tuple[int, ...], keepdims: bool) -> Value:
    kept = tuple(1 if i in axis else n for i, n in enumerate(x.shape))
    if x.dtype.kind != "f":  # as NumPy counts
        x = x.astype(np.multiply.reduce(np.zeros(1, x.dtype)).dtype)
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
def _prod(x: Value, axis: tuple[int, ...], keepdims: bool) -> Value:
    return np.multiply.reduce(x, axis=axis, keepdims=keepdims)  # type: ignore[call-overload]


@like_first
def prod(x: Value, axis: Axes = None, keepdims: bool = False) -> Value:
    """Product over `axis` in NumPy's order; its gradients hold at zeros, infinities and NaN too."""
    x = operand(x, "prod")
    return _prod(x, axis=several_axes(axis, x.shape, scalars=True), keepdims=keeps(keepdims))


# ---- without gradients


def _place_of(best: Callable[..., Value]) -> Lowering:
    """The lowering of where the largest or the smallest element is, or the first NaN."""

    def decompose(x: Value, axis: int | None, keepdims: bool) -> Value:
        tracer: Any = grad_mode.tracer
        if tracer.whole or axis is None:
            return NotImplemented
        n, x = x.shape[axis], x if x.dtype.kind == "f" else x.astype(tracer.dtype)
        hit = (x == best(x, axis=axis, keepdims=True)) | (x != x)
        numbers = np.arange(n, dtype=x.dtype).reshape((n,) + (1,) * (len(x.shape) - axis - 1))
        return tracer.whole_numbers(min(where(hit, numbers, n - 1.0), axis=axis, keepdims=keepdims), 0, n - 1)

    return Lowering(decompose=decompose)


@primitive(lowering=_place_of(lambda x, **how: max(x, **how)))
def _argmax(x: Value, axis: int | None, keepdims: bool) -> Value:
    return np.argmax(x, axis=axis, keepdims=keepdims)


@primitive(lowering=_place_of(lambda x, **how: min(x, **how)))
def _argmin(x: Value, axis: int | None, keepdims: bool) -> Value:
    return np.argmin(x, axis=axis, keepdims=keepdims)


def _truth_reduction(init: float, combine: str) -> Lowering:
    """A reduction of truth values, which vector lanes hold as the numbers 1 and 0."""
    return Lowering(reduction=Reduction(init, combine, finish="{0} != 0.0", each="vselect({0}, 1.0, 0.0)"))


@primitive(lowering=_truth_reduction(1.0, "vmin({0}, {1})"))
def _all(x: Value, axis: tuple[int, ...], keepdims: bool) -> Value:
    return np.all(x, axis=axis, keepdims=keepdims)


@primitive(lowering=_truth_reduction(0.0, "vmax({0}, {1})"))
def _any(x: Value, axis: tuple[int, ...], keepdims: bool) -> Value:
    return np.any(x, axis=axis, keepdims=keepdims)


def _arg_axis(x: Value, axis: int | None, name: str) -> tuple[Value, int | None]:
    """The operand and its checked axis (None: all), along which there is at least one element."""
    x = operand(x, name)
    axis = None if axis is None else one_axis(axis, x.shape, scalars=True)
    _counted(x, axis, name)
    return x, axis if x.shape else None


@like_first
def argmax(x: Value, axis: int | None = None, keepdims: bool = False) -> Value:
    """Index of the largest element along `axis` (None: in the flattened tensor), or of the first NaN."""
    x, axis = _arg_axis(x, axis, "argmax")
    return _argmax(x, axis=axis, keepdims=keeps(keepdims))


@like_first
def argmin(x: Value, axis: int | None = None, keepdims: bool = False) -> Value:
    """Index of the smallest element along `axis` (None: in the flattened tensor), or of the first NaN."""
    x, axis = _arg_axis(x, axis, "argmin")
    return _argmin(x, axis=axis, keepdims=keeps(keepdims))


@like_first
def all(x: Value, axis: Axes = None, keepdims: bool = False) -> Value:
    """Whether all elements hold, over `axis`."""
    x = operand(x, "all")
    return _all(x, axis=several_axes(axis, x.shape, scalars=True), keepdims=keeps(keepdims))


@like_first
def any(x: Value, axis: Axes = None, keepdims: bool = False) -> Value:
    """Whether any element holds, over `axis`."""
    x = operand(x, "any")
    return _any(x, axis=several_axes(axis, x.shape, scalars=True), keepdims=keeps(keepdims))


# records of operations, for programs, which tell them apart by these
SUM, MAX, PROD, ARGMAX, ARGMIN = _sum.op, _max.op, _prod.op, _argmax.op, _argmin.op
