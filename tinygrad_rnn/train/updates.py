"""One update, from a batch to new parameters; and the error that says what was not finite in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..errors import NonFiniteDataError, NonFiniteError
from ..optim import Optimizer, clip_grad_norm_, clip_grad_value_
from . import resume
from .accumulation import Accumulation, NonFiniteGradient
from .batches import find_nonfinite
from .checks import has_plain_step
from .gradients import GradientsOf
from .parts import Parts
from .tbptt import TruncatedBPTT

# From a batch to its loss, and the norm of the gradients that it was updated with, 0 if not measured; None if the batch
# waits for an update with others.
Update = Callable[[Any], tuple[float, float | None]]


class Outcome(NamedTuple):
    """What came of some batches.

    Attributes
    ----------
    losses : list of float
        Of those that were finite.
    norms : list of float or None
        For each of them that of the gradients of its update; None if it waits for one.
    batch : Any
        The one after these that was not finite, if `error` is there.
    error : FloatingPointError or None
    """

    losses: list[float]
    norms: list[float | None]
    batch: Any = None
    error: FloatingPointError | None = None


def outcomes(update: Update, batches: Iterable[Any]) -> Iterator[Outcome]:
    """Update with batches one by one."""
    for batch in batches:
        yield outcome(update, batch)


def outcome(update: Update, batch: Any) -> Outcome:
    """Update with one batch."""
    try:
        loss, norm = update(batch)
    except FloatingPointError as error:
        return Outcome([], [], batch, error)
    return Outcome([loss], [norm])


def updater(trainer: Parts, gradients: GradientsOf, accumulation: Accumulation) -> Update:
    """A function that updates with a batch, or with the last one of those that share an update.

    It raises FloatingPointError before the update if the loss or a gradient is not finite, unless the trainer
    ignores that.
    """
    how = trainer.clip_norm, trainer.clip_value, trainer.nonfinite != "ignore"
    update = updater_of(trainer.optimizer, accumulation, *how)
    return lambda batch: update(lambda: gradients(batch))


def updater_of(
    optimizer: Optimizer, accumulation: Accumulation, clip_norm: float | None, clip_value: float | None, watch: bool
) -> Callable[[Callable[[], float]], tuple[float, float | None]]:
    """A function that updates by gradients: it takes what leaves those of a batch, and returns its loss."""
    how = clip_norm, clip_value, watch
    apply, params = applier(optimizer, *how), resume.parameters(optimizer)

    def update(gradients):
        if optimizer.needs_closure:
            return by_closure(optimizer, gradients, *how), 0.0
        if accumulation.plain:
            value = gradients()
            return value, apply()
        value = accumulation.add(params, gradients, watch)
        if not accumulation.full:
            return value, None
        accumulation.take(params)
        return value, apply()

    return update


def by_closure(
    optimizer: Optimizer, closure: Callable[[], float], clip_norm: float | None, clip_value: float | None, watch: bool
) -> float:
    """Update by an optimiser that computes loss and gradients several times; the first loss."""
    if clip_norm is not None or clip_value is not None:
        kind = type(optimizer).__name__
        raise ValueError(f"clip_norm, clip_value: got {clip_norm}, {clip_value}, wanted None, as {kind} cannot clip")
    return float(optimizer.step(closure, error_if_nonfinite=watch))


def applier(
    optimizer: Optimizer, clip_norm: float | None, clip_value: float | None, watch: bool
) -> Callable[[], float]:
    """A function that clips the gradients, updates, and returns the norm before clipping, or 0.

    With `watch` it raises FloatingPointError before the update if a gradient is not finite.
    """
    params = resume.parameters(optimizer)
    checks = has_plain_step(optimizer)  # a user's own step need not check gradients

    def apply():
        norm = 0.0
        if clip_value is not None:
            if watch:
                clip_grad_norm_(params, math.inf, error_if_nonfinite=True)
            clip_grad_value_(params, clip_value)
        if clip_norm is None and checks:
            optimizer.step(error_if_nonfinite=watch)
        elif clip_norm is None:
            if watch:
                clip_grad_norm_(params, math.inf, error_if_nonfinite=True)
            optimizer.step()
        else:
            norm = clip_grad_norm_(params, clip_norm, error_if_nonfinite=watch)
            optimizer.step()
        return norm

    return apply


def describe(trainer: Parts, train: Any, batch: Any, where: str, error: FloatingPointError) -> FloatingPointError:
    """The error that says what is not finite in the batch, or the update, called `where`, and why."""
    if isinstance(train, TruncatedBPTT):
        batch = train.inputs[batch.first : batch.stop], train.targets[batch.first : batch.stop]
    data = None if batch is None else find_nonfinite(batch, trainer.step_fn is None)
    if data is not None:
        return NonFiniteDataError(f"{data} in {where}, wanted finite numbers ({error})")
    text = str(error).partition(", wanted")[0]
    if text.startswith("loss: "):
        return NonFiniteError(f"{text} for {where}, wanted a finite number")
    params = resume.parameters(trainer.optimizer)
    culprit = error.parameter if isinstance(error, NonFiniteGradient) else None
    for name, p in zip(resume.names(trainer.model, trainer.optimizer), params):
        if p is culprit or (culprit is None and p.grad is not None and not np.isfinite(p.grad.data).all()):
            text = text if text.startswith("gradients: ") else "gradients: got NaN or infinity"
            return NonFiniteError(f"{text} for {where}, wanted finite ones; look at {name}")
    error.args = (f"{error}, for {where}",)  # raised elsewhere, such as by detect_anomaly()
    return error
