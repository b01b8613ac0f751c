"""Losses and their gradients in products, elementwise maths and sums of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...core import Op, apply
from ...ops import abs, equal, exp, log, log1p, maximum, not_equal, where
from ...ops import cross_entropy as ce
from ...ops.elementwise import masked_product
from ...ops.loss import LEAST, bernoulli_loss, logistic_loss, squared_error
from ...ops.reduce import MAX, SUM
from .rows import is_view

MOST_CLASSES = 1 << 24  # numbers that float32 tells apart


def _squared_error(trace: Any, x: Any, target: Any, scale: float) -> Any:
    d = x - target
    return (d * d * scale).sum()


def _logistic_loss(trace: Any, x: Any, target: Any) -> Any:
    # not max(x, 0) - x * target: an infinity less a share of it would be NaN
    y = masked_product(1 - target, maximum(x, 0)) + masked_product(target, maximum(-x, 0))
    return y + log1p(exp(-abs(x)))


def _bernoulli_loss(trace: Any, p: Any, target: Any) -> Any:
    return -target * maximum(log(p), LEAST) - (1 - target) * maximum(log1p(-p), LEAST)


# ---- softmax cross-entropy


def _softmax(x: Any) -> tuple[Any, Any, Any]:
    """Log-probabilities, and probabilities times a number for each row, which is the last.

    Whoever asks, for the loss or for its gradient, gets the same values, which are computed once.
    """
    z = x - _last(MAX, x)
    e = exp(z)
    total = _last(SUM, e)
    return z - log(total), e, total


def _last(reduction: Op, x: Any) -> Any:
    return apply(reduction, (x,), {"axis": (x.ndim - 1,), "keepdims": True})


def _reduced(losses: Any, reduction: str, scale: Any) -> Any:
    """The loss, from those of rows (..., 1)."""
    return losses.reshape(losses.shape[:-1]) if reduction == "none" else (losses * scale).sum()


def _classes(
    trace: Any, dtype: np.dtype, classes: int, target: Any, weight: tuple, ignored: int, reduction: str
) -> Any:
    """Which class is each row's, which rows count, their weights, and the scale of the sum of losses.

    Classes are compared with all numbers of classes, as a loop over rows does not look up.
    """
    index = target.astype(dtype)
    at = index.reshape((*index.shape, 1))
    hit = equal(trace.constant(np.arange(classes, dtype=dtype)), at)
    valid = not_equal(at, float(ignored))
    rows: Any = 1.0
    counted = not_equal(index, float(ignored)).astype(dtype)
    if weight:
        rows = _last(SUM, where(hit, weight[0], 0.0))
        counted = counted * rows.reshape(index.shape)
    if reduction != "mean":
        return hit, valid, rows, 1.0
    total = counted.sum()
    none = total == 0
    return hit, valid, rows, where(none, 0.0, 1.0 / where(none, 1.0, total))


def _fits(dtype: np.dtype, classes: int, target: Any) -> bool:
    """Whether a loop can read the targets: integers, of not too many classes."""
    return is_view(target.astype(dtype)) and classes <= MOST_CLASSES


def _class_cross_entropy(
    trace: Any, x: Any, target: Any, *weight: Any, reduction: str, ignore_index: int, smoothing: float,
    saved: dict,
) -> Any:  # fmt: skip
    if not _fits(x.dtype, x.shape[-1], target):
        return NotImplemented
    logp, _, _ = _softmax(x)
    hit, valid, rows, scale = _classes(trace, x.dtype, x.shape[-1], target, weight, ignore_index, reduction)
    losses = _last(SUM, where(hit, logp, 0.0)) * -(rows * (1.0 - smoothing))
    if smoothing:
        spread = _last(SUM, logp * weight[0] if weight else logp)
        losses = losses - spread * (smoothing / x.shape[-1])
    return _reduced(where(valid, losses, 0.0), reduction, scale)


def _class_gradient(
    trace: Any, g: Any, x: Any, target: Any, *weight: Any, reduction: str, ignore_index: int, smoothing: float,
    saved: dict,
) -> Any:  # fmt: skip
    if not _fits(x.dtype, x.shape[-1], target):
        return NotImplemented
    hit, valid, rows, scale = _classes(trace, x.dtype, x.shape[-1], target, weight, ignore_index, reduction)
    c = where(valid, g.reshape((*g.shape, 1)) if reduction == "none" else g * scale, 0.0)
    share = rows * (1.0 - smoothing)
    q = where(hit, share, 0.0) if weight else hit.astype(x.dtype) * share
    if smoothing:
        floor = smoothing / x.shape[-1]
        q = q + (weight[0] * floor if weight else floor)
    return _gradient(x, q, c, _last(SUM, q) if smoothing else rows)


def _gradient(x: Any, q: Any, c: Any, of_row: Any) -> Any:
    """``c * (of_row * p - q)``, in which probabilities `p` of rows that do not count may be NaN."""
    _, e, total = _softmax(x)
    return masked_product(masked_product(c * of_row, 1.0 / total), e) - c * q


def _class_nll(trace: Any, x: Any, target: Any, *weight: Any, reduction: str, ignore_index: int) -> Any:
    if not _fits(x.dtype, x.shape[-1], target):
        return NotImplemented
    hit, valid, rows, scale = _classes(trace, x.dtype, x.shape[-1], target, weight, ignore_index, reduction)
    losses = _last(SUM, where(hit, x, 0.0)) * -rows
    return _reduced(where(valid, losses, 0.0), reduction, scale)


def _class_nll_gradient(
    trace: Any, g: Any, target: Any, *weight: Any, classes: int, reduction: str, ignore_index: int
) -> Any:
    if not _fits(g.dtype, classes, target):
        return NotImplemented
    hit, valid, rows, scale = _classes(trace, g.dtype, classes, target, weight, ignore_index, reduction)
    c = where(valid, g.reshape((*g.shape, 1)) if reduction == "none" else g * scale, 0.0)
    return where(hit, -(c * rows), 0.0)


def _share_cross_entropy(
    trace: Any, x: Any, target: Any, *weight: Any, reduction: str, smoothing: float, saved: dict
) -> Any:
    logp, _, _ = _softmax(x)
    losses = -_last(SUM, _shares(x, target, weight, smoothing) * logp)
    return _reduced(losses, reduction, ce.share_scale(x, reduction))


def _share_gradient(
    trace: Any, g: Any, x: Any, target: Any, *weight: Any, reduction: str, smoothing: float, saved: dict
) -> Any:
    q = _shares(x, target, weight, smoothing)
    return _gradient(x, q, ce.beside(g, reduction, ce.share_scale(x, reduction)), _last(SUM, q))


def _shares(x: Any, target: Any, weight: tuple, smoothing: float) -> Any:
    shares = ce.smoothed(x, target, smoothing)
    return shares * weight[0] if weight else shares


RULES: dict[Op, Callable[..., Any]] = {
    squared_error.op: _squared_error,
    logistic_loss.op: _logistic_loss,
    bernoulli_loss.op: _bernoulli_loss,
    ce.class_nll.op: _class_nll,
    ce.class_nll_gradient.op: _class_nll_gradient,
    ce.class_cross_entropy.op: _class_cross_entropy,
    ce.class_cross_entropy_gradient.op: _class_gradient,
    ce.share_cross_entropy.op: _share_cross_entropy,
    ce.share_cross_entropy_gradient.op: _share_gradient,
}
