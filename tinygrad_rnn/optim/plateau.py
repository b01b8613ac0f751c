"""A learning-rate schedule that watches a metric."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..checks import not_negative, number, one_of
from .checks import whole
from .optimizer import Optimizer
from .schedule import Schedule


class ReduceLROnPlateau(Schedule):
    """Multiply the learning rate by `factor` after more than `patience` epochs without improvement.

    Parameters
    ----------
    optimizer : Optimizer
    mode : "min" or "max"
        Which way the metric improves.
    factor : float
        At least 0 and below 1.
    patience : int
    threshold : float
        Smaller changes are no improvement.
    threshold_mode : "rel" or "abs"
        Whether `threshold` is a share of the size of the best value, ``abs(best)``: a metric below zero has to
        improve as well (PyTorch takes worse ones for better).
    cooldown : int
        Epochs after a reduction during which nothing is counted.
    min_lr : float or sequence of float
        Lower bound of the learning rate; one for each group if it is a sequence.
    eps : float
        Smaller changes of the learning rate are not made.

    Raises
    ------
    ValueError
        From :meth:`step`, if it gets no metric.
    """

    needs_metric = True
    _moving = ("last_epoch", "best", "num_bad_epochs", "cooldown_counter")

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Iterable[float] = 0.0,
        eps: float = 1e-8,
    ):
        if not 0 <= not_negative("factor", factor) < 1:
            raise ValueError(f"factor: got {factor}, wanted at least 0 and below 1")
        one_of("mode", mode, ("min", "max"))
        one_of("threshold_mode", threshold_mode, ("rel", "abs"))
        super().__init__(optimizer)
        if isinstance(min_lr, Iterable) and not isinstance(min_lr, str):
            self.min_lr: Any = [not_negative("min_lr", m) for m in min_lr]
        else:
            self.min_lr = not_negative("min_lr", min_lr)
        self._lowest()
        self.mode, self.factor, self.patience = mode, factor, whole("patience", patience, least=0)
        self.threshold, self.threshold_mode = not_negative("threshold", threshold), threshold_mode
        self.cooldown, self.eps = whole("cooldown", cooldown, least=0), not_negative("eps", eps)
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = 0

    def step(self, metric: float | None = None) -> None:
        """Count one epoch with this value of the metric."""
        if metric is None:
            raise ValueError("metric: got none, wanted the value to watch, such as the validation loss")
        metric = number("metric", metric)
        lowest = self._lowest()
        self.last_epoch += 1
        if self._improves(metric):
            self.best, self.num_bad_epochs = metric, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, least in zip(self.optimizer.param_groups, lowest):
                lr = max(group["lr"] * self.factor, least)
                if group["lr"] - lr > self.eps:
                    group["lr"] = lr
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def _improves(self, metric: float) -> bool:
        sign = 1 if self.mode == "max" else -1
        if math.isinf(self.best):  # the first one
            return sign * metric > sign * self.best
        if self.threshold_mode == "rel":
            better = 1 if (self.best > 0) == (sign > 0) else -1  # which way the size goes
            return sign * metric > sign * self.best * (1 + better * self.threshold)
        return sign * metric > sign * self.best + self.threshold

    def _lowest(self) -> list[float]:
        """The lower bound of every group."""
        groups = len(self.optimizer.param_groups)
        if isinstance(self.min_lr, float):
            return [self.min_lr] * groups
        if len(self.min_lr) != groups:
            raise ValueError(f"min_lr: got {len(self.min_lr)} values, wanted {groups}, one for each group")
        return self.min_lr
