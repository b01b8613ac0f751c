"""Softmax cross-entropy as one operation: for classes, and for shares of all classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core import Lowering, Traceable, as_tensor, primitive, vjp_by_replay
from ..core.aliases import Value
from ..core.inplace import values_of
from ..errors import ShapeError
from .elementwise import where
from .loss import pick_class
from .softmax import log_softmax
from .twins import flat, kernels

# ---- reductions


def _reduced(losses: np.ndarray, reduction: str, scale: float, shape: tuple[int, ...]) -> Any:
    if reduction == "none":
        return losses.reshape(shape)
    return np.add.reduce(losses) * losses.dtype.type(scale)


def _cotangents(g: np.ndarray, reduction: str, scale: float, rows: int) -> np.ndarray:
    """Those of the losses of single rows."""
    return np.array(g).reshape(-1) if reduction == "none" else np.full(rows, g * g.dtype.type(scale))


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

    @property
    def valid(self) -> np.ndarray:
        return self.of_rows >= 0


def as_classes(
    name: str, target: Value, classes: int, weight: np.ndarray | None, dtype: np.dtype, ignore_index: int
) -> Classes:
    """Class indices, checked, and the weights of their rows.

    Raises
    ------
    IndexError
        If one is out of range; it is named.
    """
    index = np.asarray(values_of(target))
    ignored = index == ignore_index
    some = np.count_nonzero(ignored) > 0
    kept = index[~ignored] if some else index
    if kept.size:
        low, high = kept.min(), kept.max()
        if low < 0 or high >= classes:
            bad = int(low if low < 0 else high)
            raise IndexError(f"{name}: target: got class {bad}, wanted 0 to {classes - 1}, or {ignore_index}")
    index = np.array(index, np.int64)
    if some:
        index[ignored] = -1
    if weight is None:
        rows = np.ones(index.shape, dtype)
    else:
        rows = np.asarray(weight[index], dtype) if classes else np.zeros(index.shape, dtype)
    if some:
        rows[ignored] = 0
    return Classes(index, rows)


def mean_scale(weights: np.ndarray) -> float:
    """``1 / weights.sum()``; 0 if every row is ignored."""
    if not weights.size:
        raise ShapeError("mean: got no rows, wanted at least one")
    total = float(weights.sum(dtype=np.float64))
    return 1.0 / total if total else 0.0


class _Forward(NamedTuple):
    """What the forward pass leaves for the backward pass; of the caller's memory it holds the logits only."""

    of: np.ndarray  # the logits, as they were given
    x: np.ndarray  # the same, flat
    targets: tuple  # classes as the kernels take them
    tops: np.ndarray
    logs: np.ndarray
    scale: float


def _class_forward(
    x: np.ndarray, target: np.ndarray, weight: tuple, reduction: str, ignore_index: int, smoothing: float
) -> tuple[_Forward, np.ndarray]:
    classes = x.shape[-1]
    per_class = weight[0] if weight else None
    index, rows = as_classes("cross_entropy", target, classes, per_class, x.dtype, ignore_index)
    scale = mean_scale(rows) if reduction == "mean" else 1.0
    spread = np.empty(0, x.dtype)
    if smoothing:
        spread = np.ones(classes, x.dtype) if per_class is None else np.array(per_class)
        spread *= smoothing / max(1, classes)
    targets = index.reshape(-1), rows.reshape(-1), spread, 1.0 - smoothing
    tops, logs, losses = np.empty((3, index.size), x.dtype)
    run = _Forward(x, flat(x), targets, tops, logs, scale)
    kernel = kernels("cross_entropy", x.size).class_forward
    kernel(run.x, classes, *targets, tops, logs, losses, 0, index.size)
    return run, losses


def _class_on_tape(
    x: Value, target: Value, *weight: Value, reduction: str, ignore_index: int, smoothing: float
) -> Value:
    per_class = values_of(weight[0]) if weight else None
    targets = as_classes("cross_entropy", target, x.shape[-1], per_class, x.dtype, ignore_index)
    logp = log_softmax(x, -1)
    loss = class_losses(logp, targets, reduction)
    if not smoothing:
        return loss
    spread = -(logp if per_class is None else logp * per_class).sum(-1) * (smoothing / max(1, x.shape[-1]))
    if not targets.valid.all():
        spread = where(targets.valid, spread, 0.0)
    return loss * (1.0 - smoothing) + _in_total(spread, targets, reduction)


def class_losses(logp: Value, targets: Classes, reduction: str) -> Value:
    """Negative log-likelihoods of classes, from log-probabilities (..., C)."""
    loss = -pick_class(logp, index=np.maximum(targets.of_rows, 0)) * targets.weights
    if not targets.valid.all():  # a product would carry infinities into the sum
        loss = where(targets.valid, loss, 0.0)
    return _in_total(loss, targets, reduction)


def _in_total(losses: Value, targets: Classes, reduction: str) -> Value:
    if reduction == "none":
        return losses
    return losses.sum() if reduction == "sum" else losses.sum() * mean_scale(targets.weights)


def _class_vjp(
    g: Value, y: Value, x: Value, target: Value, *weight: Value, needs: Sequence[bool], saved: dict, **how: Any
) -> list[Value]:
    if isinstance(g, Traceable):  # gradients of gradients: in operations, which have rules themselves
        losses = _class_on_tape(x, target, *weight, **how)
        return vjp_by_replay([losses], {0: g}, [x, target, *weight], [needs[0], *[False] * (1 + len(weight))], True)
    run = saved.get("run")
    if run is None or run.of is not x:
        run, _ = _class_forward(x, target, weight, **how)
    out = np.empty(x.shape, x.dtype)
    c = _cotangents(g, how["reduction"], run.scale, run.tops.size)
    kernel = kernels("cross_entropy", x.size).class_backward
    kernel(run.x, x.shape[-1], *run.targets, run.tops, run.logs, c, out.reshape(-1), 0, run.tops.size)
    return [out, None, *[None for _ in weight]]


@primitive(joint_vjp=_class_vjp, saves=(0, 1, 2), floats=True, untyped=(1,), owns_gradients=True)
def class_cross_entropy(
    x: Value, target: Value, *weight: Value, reduction: str, ignore_index: int, smoothing: float, saved: dict
) -> Value:
    """Cross-entropy of logits (..., C) and classes (...), with constant weights (C,) of classes, if any.

    `saved` is an empty dict, which takes up what the gradient needs.
    """
    run, losses = _class_forward(x, target, weight, reduction, ignore_index, smoothing)
    saved["run"] = run
    return _reduced(losses, reduction, run.scale, x.shape[:-1])


# ---- targets that are shares of all classes


def _share_forward(
    x: np.ndarray, target: np.ndarray, weight: tuple, reduction: str, smoothing: float
) -> tuple[_Forward, np.ndarray]:
    classes, rows = x.shape[-1], int(np.prod(x.shape[:-1], dtype=int))
    if reduction == "mean" and not rows:
        raise ShapeError(f"mean: got an empty axis in shape {x.shape[:-1]}, wanted at least one element")
    tops, logs, losses = np.empty((3, rows), x.dtype)
    run = _Forward(x, flat(x), (), tops, logs, 1.0 / rows if reduction == "mean" else 1.0)
    kernel = kernels("cross_entropy", x.size).share_forward
    kernel(run.x, classes, *_shares(target, weight, classes, smoothing), tops, logs, losses, 0, rows)
    return run, losses


def _shares(target: np.ndarray, weight: tuple, classes: int, smoothing: float) -> tuple:
    """Targets as the kernels take them."""
    per_class = flat(weight[0]) if weight else np.ones(classes, target.dtype)
    return flat(target), per_class, 1.0 - smoothing, smoothing / max(1, classes)


def _share_on_tape(
    x: Value, target: Value, *weight: Value, reduction: str, smoothing: float, saved: dict | None = None
) -> Value:
    if smoothing:
        target = target * (1.0 - smoothing) + smoothing / max(1, x.shape[-1])
    logp = log_softmax(x, -1)
    for w in weight:
        logp = logp * w
    losses = -(target * logp).sum(-1)
    return losses.mean() if reduction == "mean" else losses.sum() if reduction == "sum" else losses


def _share_vjp(
    g: Value, y: Value, x: Value, target: Value, *weight: Value, needs: Sequence[bool], saved: dict, **how: Any
) -> list[Value]:
    if isinstance(g, Traceable):
        x, target = as_tensor(x), as_tensor(target)
        losses = _share_on_tape(x, target, *weight, **how)
        return vjp_by_replay([losses], {0: g}, [x, target, *weight], [*needs[:2], *[False] * len(weight)], True)
    run = saved.get("run")
    if run is None or run.of is not x:
        run, _ = _share_forward(x, target, weight, **how)
    c = _cotangents(g, how["reduction"], run.scale, run.tops.size)
    targets = _shares(target, weight, x.shape[-1], how["smoothing"])
    dx = dt = None
    if needs[0]:
        dx = np.empty(x.shape, x.dtype)
        kernel = kernels("cross_entropy", x.size).share_backward
        kernel(run.x, x.shape[-1], *targets, run.tops, run.logs, c, dx.reshape(-1), 0, run.tops.size)
    if needs[1]:
        logp = run.x.reshape(run.tops.size, x.shape[-1]) - run.tops[:, None]
        logp -= run.logs[:, None]
        logp *= targets[1]
        logp *= (-targets[2] * c)[:, None]
        dt = logp.reshape(x.shape)
    return [dx, dt, *[None for _ in weight]]


@primitive(
    joint_vjp=_share_vjp,
    saves=(0, 1, 2),
    lowering=Lowering(decompose=_share_on_tape),
    floats=True,
    owns_gradients=True,
)
def share_cross_entropy(
    x: Value, target: Value, *weight: Value, reduction: str, smoothing: float, saved: dict
) -> Value:
    """Cross-entropy of logits and shares (..., C), with constant weights (C,) of classes, if any.

    `saved` is an empty dict, which takes up what the gradient needs.
    """
    run, losses = _share_forward(x, target, weight, reduction, smoothing)
    saved["run"] = run
    return _reduced(losses, reduction, run.scale, x.shape[:-1])
