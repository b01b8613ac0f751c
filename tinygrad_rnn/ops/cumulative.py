"""Running sums and products, and differences of neighbours."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..core import Lowering, primitive
from ..core.aliases import Value
from ..core.signatures import like_first
from .arguments import in_loop, integer, one_axis, operand
from .elementwise import where
from .join import concat
from .shape import flip, moveaxis, pad, reshape

MANY = 32  # elements, of which a loop multiplies one after the other


def _cumsum_vjp(g: Value, y: Value, x: Value, axis: int) -> Value:
    return flip(_cumsum(flip(g, axis), axis=axis), axis)  # the transpose runs from the end


def _counted(x: Value) -> Value:
    """Truth values and small integers as what NumPy counts with."""
    return x if x.dtype.kind == "f" else x.astype(np.add.reduce(np.zeros(1, x.dtype)).dtype)


def _decompose_cumsum(x: Value, axis: int) -> Value:
    x, n, step = _counted(x), x.shape[axis], 1
    lead = (slice(None),) * axis
    while step < n:  # each adds to sums of so many elements those before them
        x = x + pad(x, [(step * (i == axis), 0) for i in range(len(x.shape))])[(*lead, slice(0, n))]
        step *= 2
    return x


@primitive(vjps=[_cumsum_vjp], saves=(), lowering=Lowering(decompose=_decompose_cumsum))
def _cumsum(x: Value, axis: int) -> Value:
    return np.cumsum(x, axis=axis)


def _later(x: Value, step: int, of: Value) -> Value:
    """`x` moved by `step` along the last axis; in the gap stand the elements of `of`."""
    return concat([of[..., :step], x[..., :-step]], -1)


def _cumprod_vjp(g: Value, y: Value, x: Value, axis: int) -> Value:
    """The product before i, times ``S[i] = g[i] + x[i + 1] * S[i + 1]``: no division, so zeros do no harm.

    Both are recurrences, done in log2(n) steps of whole arrays.
    """
    n = x.shape[axis]
    if n < 2:
        return g
    x, g = moveaxis(x, axis, -1), moveaxis(g, axis, -1)
    one, zero = where(True, 1.0, x), where(True, 0.0, x)
    before = _later(x, 1, one)
    after = flip(concat([x[..., 1:], one[..., :1]], -1), -1)  # the factor x[i + 1], from the end
    total = flip(g, -1)
    step = 1
    while step < n:
        before = before * _later(before, step, one)
        total = total + concat([zero[..., :step], after[..., step:] * total[..., :-step]], -1)
        after = after * _later(after, step, one)
        step *= 2
    return moveaxis(before * flip(total, -1), -1, axis)


def _decompose_cumprod(x: Value, axis: int) -> Value:
    if not in_loop():
        return NotImplemented
    x, n = _counted(x), x.shape[axis]
    lead = (slice(None),) * axis
    if n > MANY:
        step = 1
        while step < n:  # each is multiplied with the product of so many elements before it
            before = x[(*lead, slice(0, n - step))] * x[(*lead, slice(step, n))]
            x = concat([x[(*lead, slice(0, step))], before], axis)
            step *= 2
        return x
    products = [x[(*lead, slice(0, 1))]]
    for i in range(1, n):  # in NumPy's order, so that it overflows as that does
        products.append(products[-1] * x[(*lead, slice(i, i + 1))])
    return concat(products, axis)


@primitive(vjps=[_cumprod_vjp], saves=(0,), lowering=Lowering(decompose=_decompose_cumprod))
def _cumprod(x: Value, axis: int) -> Value:
    return np.cumprod(x, axis=axis)


def _running(operation: Callable, x: Value, axis: int | None, name: str) -> Value:
    x = operand(x, name)
    if axis is None:
        return operation(reshape(x, -1), axis=0)
    axis = one_axis(axis, x.shape, scalars=True)
    return operation(x if x.shape else reshape(x, 1), axis=axis)


@like_first
def cumsum(x: Value, axis: int | None = None) -> Value:
    """Running sum along `axis`; None runs over the flattened tensor."""
    return _running(_cumsum, x, axis, "cumsum")


@like_first
def cumprod(x: Value, axis: int | None = None) -> Value:
    """Running product along `axis` (None: over the flattened tensor); its gradients hold at zeros too."""
    return _running(_cumprod, x, axis, "cumprod")


@like_first
def diff(x: Value, n: int = 1, axis: int = -1) -> Value:
    """Differences of neighbours along `axis`, ``x[1:] - x[:-1]``, taken `n` times."""
    x, n = operand(x, "diff"), integer(n, "n")
    if n < 0:
        raise ValueError(f"n: got {n}, wanted no negative number")
    axis = one_axis(axis, x.shape)
    lead = (slice(None),) * axis
    for _ in range(min(n, x.shape[axis])):  # then nothing is left
        a, b = x[(*lead, slice(1, None))], x[(*lead, slice(None, -1))]
        x = a != b if x.dtype.kind == "b" else a - b
    return x


CUMSUM = _cumsum.op  # the record, for programs
