"""Stopping rules: limits, early stopping, and the best loss so far."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..checks import number
from .checks import check_positive


@dataclass
class Stopping:
    """The stopping rules of one run; None switches a rule off.

    Attributes
    ----------
    below : float
        Stop after an epoch with a loss (of the validation, if there is one) below this.
    patience : int
        Stop after so many epochs in a row that did not improve the best loss by more than `min_delta`.
    max_steps : int
        Stop after so many updates, counted from the trainer's beginning.
    max_seconds : float
        Stop after so many seconds of training, counted from the trainer's beginning.
    """

    below: float | None = None
    patience: int | None = None
    min_delta: float = 0.0
    max_steps: int | None = None
    max_seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("patience", "max_steps", "max_seconds"):
            check_positive(name, getattr(self, name), whole=name != "max_seconds")
        if self.below is not None:
            number("below", self.below, fits=lambda below: below == below)
        number("min_delta", self.min_delta, "at least 0", lambda delta: delta >= 0)

    def after_step(self, steps: int, seconds: float) -> str | None:
        """The reason to stop after this update, or None."""
        if self.max_steps is not None and steps >= self.max_steps:
            return f"max_steps: {steps} updates"
        if self.max_seconds is not None and seconds >= self.max_seconds:
            return f"max_seconds: {seconds:.1f} seconds"
        return None

    def after_epoch(self, loss: float, best: Best) -> str | None:
        """The reason to stop after this epoch, or None."""
        if self.below is not None and loss < self.below:
            return f"below: a loss of {loss:.6g}"
        if self.patience is not None and best.bad_epochs >= self.patience:
            return f"patience: {best.bad_epochs} epochs without improvement on {best.loss:.6g}"
        return None


@dataclass
class Best:
    """The best loss so far, and how many epochs ago it was."""

    loss: float = math.inf
    epoch: int = 0
    bad_epochs: int = 0

    def update(self, loss: float, epoch: int, min_delta: float) -> bool:
        """Count one epoch; True if it is the best so far."""
        if loss < self.loss - min_delta:
            self.loss, self.epoch, self.bad_epochs = loss, epoch, 0
            return True
        self.bad_epochs += 1
        return False
