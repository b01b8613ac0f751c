"""Softmax cross-entropy as one operation: for classes, and for shares of all classes; likelihoods.

Each has its gradient by the logits as a second operation. The forward pass leaves the normalisers of the rows for it in
`saved`, a dict that is empty at first; without them it computes them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..config import grad_mode
from ..core import Lowering, Traceable, primitive
from ..core.aliases import Value
from ..core.inplace import values_of
from ..errors import ShapeError
from .elementwise import masked_product
from .index import all_within
from .reduce import _sum
from .softmax import log_softmax, softmax
from .twins import flat, kernels


class _Forward(NamedTuple):
    """Values that the forward pass leaves for the backward pass; of the caller's memory, logits only."""

    of: np.ndarray  # the logits, as they were given
    x: np.ndarray  # the same, flat
    targets: tuple  # classes as the kernels take them
    tops: np.ndarray
    logs: np.ndarray
    scale: float


# ---- reductions


def _reduced(losses: np.ndarray, reduction: str, scale: float, shape: tuple[int, ...]) -> Any:
    if reduction == "none":
        return losses.reshape(shape)
    return np.add.reduce(losses) * losses.dtype.type(scale)


def _of_rows(g: Any, reduction: str, scale: float, rows: int) -> np.ndarray:
    """Cotangents of the losses of single rows, as the kernels take them."""
    return np.array(g).reshape(-1) if reduction == "none" else np.full(rows, g * g.dtype.type(scale))


def beside(g: Value, reduction: str, scale: float) -> Value:
    """Cotangents of the losses of rows, in operations, with an axis to multiply logits by."""
    return g.reshape((*g.shape, 1)) if reduction == "none" else g * scale


def _total(rows: Value, reduction: str, scale: float) -> Value:
    """The cotangent of `g`, given those of the cotangents of single rows, (..., 1)."""
    return rows.reshape(rows.shape[:-1]) if reduction == "none" else rows.sum() * scale


def _second(u: Value, x: Value, q: Value, c: Value) -> tuple[Value, Value, Value]:
    """Derivatives of ``c * (q.sum(-1) * p - q)``, p being the probabilities, for its cotangent `u`.

    By `c`, by `x`, and by `q`.
    """
    p, of_row = softmax(x, -1), _sum(q, axis=(-1 % len(x.shape),), keepdims=True)
    along = _sum(masked_product(u, p), axis=(-1 % len(x.shape),), keepdims=True)
    by_c = of_row * along - _sum(u * q, axis=(-1 % len(x.shape),), keepdims=True)
    return by_c, masked_product(c * of_row, masked_product(u - along, p)), c * (along - u)


# ---- targets that are classes


class Classes(NamedTuple):
    """Targets of rows.

    Attributes
    ----------
    of_rows : ndarray of int64
        -1 where the row is ignored.
    weights : ndarray
        Of each row: its class's, zero if it is ignored.
    """

    of_rows: np.ndarray
    weights: np.ndarray


def check_classes(name: str, target: Value, classes: int, ignore_index: int) -> None:
    """Refuse classes that are out of range; in a program, before each of its runs.

    Raises
    ------
    IndexError
        It names one.
    """

    def test(index: np.ndarray) -> None:
        if not all_within(index, 0, classes - 1):
            ignored = index == ignore_index
            kept = index[~ignored]
            if kept.size and (kept.min() < 0 or kept.max() >= classes):
                bad = int(kept.min() if kept.min() < 0 else kept.max())
                raise IndexError(f"{name}: target: got class {bad}, wanted 0 to {classes - 1}, or {ignore_index}")

    tracer = grad_mode.tracer
    if tracer is None or not isinstance(target, Traceable):
        test(np.asarray(values_of(target)))
    elif tracer.whole:
        tracer.check([tracer.lift(target)], test)


def as_classes(
    target: np.ndarray, classes: int, weight: np.ndarray | None, dtype: np.dtype, ignore_index: int
) -> Classes:
    """Class indices that were checked, and the weights of their rows."""
    ignored = target == ignore_index
    index = np.minimum(target, classes - 1, dtype=np.int64, casting="unsafe")  # no kernel is to leave its arrays
    if weight is None:
        rows = np.ones(index.shape, dtype)
    else:
        rows = np.asarray(weight.take(index, mode="clip"), dtype) if classes else np.zeros(index.shape, dtype)
    if np.count_nonzero(ignored):
        index, rows = np.where(ignored, -1, index), np.where(ignored, dtype.type(0), rows)
    return Classes(index, rows)


def _mean_scale(weights: np.ndarray) -> float:
    """``1 / weights.sum()``; 0 if every row is ignored."""
    if not weights.size:
        raise ShapeError("mean: got no rows, wanted at least one")
    total = float(weights.sum(dtype=np.float64))
    return 1.0 / total if total else 0.0


def _scaled(weights: np.ndarray, reduction: str) -> float:
    return _mean_scale(weights) if reduction == "mean" else 1.0


def _nll_vjp(
    g: Value, y: Value, x: Value, target: Value, *weight: Value, needs: Sequence[bool], **how: Any
) -> list[Value]:
    return [class_nll_gradient(g, target, *weight, classes=x.shape[-1], **how), None, *map(_none, weight)]


@primitive(joint_vjp=_nll_vjp, saves=(1, 2), floats=True, untyped=(1,), owns_gradients=True)
def class_nll(x: Value, target: Value, *weight: Value, reduction: str, ignore_index: int) -> Value:
    """Negative log-likelihood of classes (...), from log-probabilities (..., C)."""
    classes = x.shape[-1]
    index, rows = as_classes(target, classes, weight[0] if weight else None, x.dtype, ignore_index)
    losses = np.zeros(index.shape, x.dtype)
    valid = index >= 0
    if valid.all():
        losses = -np.take_along_axis(x, index[..., None], -1)[..., 0] * rows
    else:  # a product would carry infinities into the sum
        losses[valid] = -x[valid, index[valid]] * rows[valid]
    return _reduced(losses.reshape(-1), reduction, _scaled(rows, reduction), x.shape[:-1])


def _nll_gradient_vjp(
    u: Value, y: Value, g: Value, target: Value, *weight: Value, needs: Sequence[bool], classes: int, **how: Any
) -> list[Value]:
    return [class_nll(u, target, *weight, **how), None, *map(_none, weight)]  # what is linear is its own derivative


@primitive(joint_vjp=_nll_gradient_vjp, saves=(1, 2), floats=True, untyped=(1,), owns_gradients=True)
def class_nll_gradient(
    g: Value, target: Value, *weight: Value, classes: int, reduction: str, ignore_index: int
) -> Value:
    """Gradient of :func:`class_nll` by the log-probabilities, for the cotangent `g` of its result."""
    index, rows = as_classes(target, classes, weight[0] if weight else None, g.dtype, ignore_index)
    out, valid = np.zeros((index.size, classes), g.dtype), index.reshape(-1) >= 0
    c = _of_rows(g, reduction, _scaled(rows, reduction), index.size) * rows.reshape(-1)
    out[valid, index.reshape(-1)[valid]] = -c[valid]
    return out.reshape((*index.shape, classes))


def _class_targets(
    target: np.ndarray, classes: int, weight: tuple, dtype: np.dtype, ignore_index: int, smoothing: float
) -> tuple:
    """Targets as the kernels take them."""
    per_class = weight[0] if weight else None
    index, rows = as_classes(target, classes, per_class, dtype, ignore_index)
    spread = np.empty(0, dtype)
    if smoothing:
        spread = np.ones(classes, dtype) if per_class is None else np.array(per_class)
        spread *= smoothing / max(1, classes)
    return index.reshape(-1), rows.reshape(-1), spread, 1.0 - smoothing


def _class_forward(
    x: np.ndarray, target: np.ndarray, weight: tuple, reduction: str, ignore_index: int, smoothing: float
) -> tuple[_Forward, np.ndarray]:
    classes = x.shape[-1]
    targets = _class_targets(target, classes, weight, x.dtype, ignore_index, smoothing)
    scale = _scaled(targets[1], reduction)
    tops, logs, losses = np.empty((3, target.size), x.dtype)
    run = _Forward(x, flat(x), targets, tops, logs, scale)
    kernel = kernels("cross_entropy", x.size).class_forward
    kernel(run.x, classes, *targets, tops, logs, losses, 0, target.size)
    return run, losses


def _class_vjp(
    g: Value, y: Value, x: Value, target: Value, *weight: Value, needs: Sequence[bool], **how: Any
) -> list[Value]:
    return [class_cross_entropy_gradient(g, x, target, *weight, **how) if needs[0] else None, None, *map(_none, weight)]


def _none(value: Value) -> None:
    """The cotangent of a constant."""


def _class_second(
    u: Value, y: Value, g: Value, x: Value, target: Value, *weight: Value, needs: Sequence[bool], reduction: str,
    ignore_index: int, smoothing: float, saved: dict,
) -> list[Value]:  # fmt: skip
    per_class, values = tuple(map(values_of, weight)), np.asarray(values_of(target))
    index, rows, spread, keep = _class_targets(values, x.shape[-1], per_class, x.dtype, ignore_index, smoothing)
    scale = _scaled(rows, reduction)
    q = np.zeros((index.size, x.shape[-1]), x.dtype)
    valid = index >= 0
    if smoothing:
        q[valid] = spread
    q[valid, index[valid]] += keep * rows[valid]
    c = beside(g, reduction, scale)
    by_c, by_x, _ = _second(u, x, q.reshape(x.shape), c)
    return [_total(by_c, reduction, scale), by_x, None, *map(_none, weight)]


@primitive(joint_vjp=_class_second, saves=(0, 1, 2, 3), floats=True, untyped=(2,))
def class_cross_entropy_gradient(
    g: Value, x: Value, target: Value, *weight: Value, reduction: str, ignore_index: int, smoothing: float, saved: dict
) -> Value:
    """Gradient of :func:`class_cross_entropy` by the logits, for the cotangent `g` of its result."""
    run = saved.get("run")
    if run is None or run.of is not x:
        run, _ = _class_forward(x, target, weight, reduction, ignore_index, smoothing)
    out = np.empty(x.shape, x.dtype)
    c = _of_rows(g, reduction, run.scale, run.tops.size)
    kernel = kernels("cross_entropy", x.size).class_backward
    kernel(run.x, x.shape[-1], *run.targets, run.tops, run.logs, c, out.reshape(-1), 0, run.tops.size)
    return out


@primitive(joint_vjp=_class_vjp, saves=(0, 1, 2), floats=True, untyped=(1,), owns_gradients=True)
def class_cross_entropy(
    x: Value, target: Value, *weight: Value, reduction: str, ignore_index: int, smoothing: float, saved: dict
) -> Value:
    """Cross-entropy of logits (..., C) and classes (...), with constant weights (C,) of classes, if any."""
    run, losses = _class_forward(x, target, weight, reduction, ignore_index, smoothing)
    saved["run"] = run
    return _reduced(losses, reduction, run.scale, x.shape[:-1])


# ---- targets that are shares of all classes


def _share_targets(target: np.ndarray, weight: tuple, smoothing: float) -> tuple:
    """Targets as the kernels take them."""
    per_class = flat(weight[0]) if weight else np.ones(target.shape[-1], target.dtype)
    return flat(target), per_class, 1.0 - smoothing, smoothing / max(1, target.shape[-1])


def share_scale(x: Value, reduction: str) -> float:
    """What the sum of the losses of rows is multiplied by."""
    rows = int(np.prod(x.shape[:-1], dtype=int))
    if reduction == "mean" and not rows:
        raise ShapeError(f"mean: got an empty axis in shape {tuple(x.shape[:-1])}, wanted at least one element")
    return 1.0 / rows if reduction == "mean" else 1.0


def _share_forward(
    x: np.ndarray, target: np.ndarray, weight: tuple, reduction: str, smoothing: float
) -> tuple[_Forward, np.ndarray]:
    scale, rows = share_scale(x, reduction), int(np.prod(x.shape[:-1], dtype=int))
    tops, logs, losses = np.empty((3, rows), x.dtype)
    run = _Forward(x, flat(x), (), tops, logs, scale)
    kernel = kernels("cross_entropy", x.size).share_forward
    kernel(run.x, x.shape[-1], *_share_targets(target, weight, smoothing), tops, logs, losses, 0, rows)
    return run, losses


def smoothed(x: Value, target: Value, smoothing: float) -> Value:
    """Shares of classes, of which a part is spread over all of them."""
    return target * (1.0 - smoothing) + smoothing / max(1, x.shape[-1]) if smoothing else target


def _decompose_share(x: Value, target: Value, *weight: Value, reduction: str, smoothing: float, saved: dict) -> Value:
    logp = log_softmax(x, -1)
    for w in weight:
        logp = logp * w
    losses = -(smoothed(x, target, smoothing) * logp).sum(-1)
    return losses.mean() if reduction == "mean" else losses.sum() if reduction == "sum" else losses


def _share_vjp(
    g: Value, y: Value, x: Value, target: Value, *weight: Value, needs: Sequence[bool], **how: Any
) -> list[Value]:
    dx = share_cross_entropy_gradient(g, x, target, *weight, **how) if needs[0] else None
    dt = None
    if needs[1]:
        c = beside(g, how["reduction"], share_scale(x, how["reduction"])) * (how["smoothing"] - 1.0)
        dt = log_softmax(x, -1) * (c * weight[0] if weight else c)
    return [dx, dt, *map(_none, weight)]


def _share_second(
    u: Value, y: Value, g: Value, x: Value, target: Value, *weight: Value, needs: Sequence[bool], reduction: str,
    smoothing: float, saved: dict,
) -> list[Value]:  # fmt: skip
    q, scale = smoothed(x, target, smoothing), share_scale(x, reduction)
    for w in weight:
        q = q * w
    by_c, by_x, by_q = _second(u, x, q, beside(g, reduction, scale))
    for w in weight:
        by_q = by_q * w
    return [_total(by_c, reduction, scale), by_x, by_q * (1.0 - smoothing), *map(_none, weight)]


@primitive(joint_vjp=_share_second, saves=(0, 1, 2, 3), floats=True)
def share_cross_entropy_gradient(
    g: Value, x: Value, target: Value, *weight: Value, reduction: str, smoothing: float, saved: dict
) -> Value:
    """Gradient of :func:`share_cross_entropy` by the logits, for the cotangent `g` of its result."""
    run = saved.get("run")
    if run is None or run.of is not x:
        run, _ = _share_forward(x, target, weight, reduction, smoothing)
    out, targets = np.empty(x.shape, x.dtype), _share_targets(target, weight, smoothing)
    c = _of_rows(g, reduction, run.scale, run.tops.size)
    kernel = kernels("cross_entropy", x.size).share_backward
    kernel(run.x, x.shape[-1], *targets, run.tops, run.logs, c, out.reshape(-1), 0, run.tops.size)
    return out


@primitive(
    joint_vjp=_share_vjp,
    saves=(0, 1, 2),
    lowering=Lowering(decompose=_decompose_share),
    floats=True,
    owns_gradients=True,
)
def share_cross_entropy(
    x: Value, target: Value, *weight: Value, reduction: str, smoothing: float, saved: dict
) -> Value:
    """Cross-entropy of logits and shares (..., C), with constant weights (C,) of classes, if any."""
    run, losses = _share_forward(x, target, weight, reduction, smoothing)
    saved["run"] = run
    return _reduced(losses, reduction, run.scale, x.shape[:-1])
