"""One update, from a batch to new parameters; and the error that says what was not finite in it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core import Tensor
from ..errors import NonFiniteDataError, NonFiniteError
from ..optim import Optimizer, clip_grad_norm_, clip_grad_value_
from . import resume
from .batches import find_nonfinite, number_of
from .parts import Parts
from .tbptt import TruncatedBPTT


def updater(trainer: Parts, loss_of: Callable[[Any], Tensor]) -> Callable[[Any], float]:
    """A function that updates the parameters with a batch, and returns its loss.

    It raises FloatingPointError before the update if the loss or a gradient is not finite, unless the trainer
    ignores that.
    """
    optimizer, state = trainer.optimizer, trainer.state
    clip_norm, clip_value, watch = trainer.clip_norm, trainer.clip_value, trainer.nonfinite != "ignore"
    params = resume.parameters(optimizer)
    checks = type(optimizer).step is Optimizer.step  # a user's own step need not check gradients

    def update(batch):
        loss = loss_of(batch)
        value = number_of(loss)
        if watch and not math.isfinite(value):
            raise NonFiniteError(f"loss: got {value}")
        optimizer.zero_grad()
        loss.backward()
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
            state.norm_sum += norm
        return value

    return update


def describe(trainer: Parts, train: Any, batch: Any, where: str, error: FloatingPointError) -> FloatingPointError:
    """The error that says what is not finite in the batch called `where`, and why."""
    if isinstance(train, TruncatedBPTT):
        batch = train.inputs[batch.first : batch.stop], train.targets[batch.first : batch.stop]
    data = find_nonfinite(batch, trainer.step_fn is None)
    if data is not None:
        return NonFiniteDataError(f"{data} in {where}, wanted finite numbers ({error})")
    text = str(error).partition(", wanted")[0]
    if text.startswith("loss: "):
        return NonFiniteError(f"{text} for {where}, wanted a finite number")
    params = resume.parameters(trainer.optimizer)
    for name, p in zip(resume.names(trainer.model, trainer.optimizer), params):
        if p.grad is not None and not np.isfinite(p.grad.data).all():
            text = text if text.startswith("gradients: ") else "gradients: got NaN or infinity"
            return NonFiniteError(f"{text} for {where}, wanted finite ones; look at {name}")
    error.args = (f"{error}, for {where}",)  # raised elsewhere, such as by detect_anomaly()
    return error
