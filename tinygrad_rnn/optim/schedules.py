"""Learning-rate schedules.

Every schedule changes ``group["lr"]`` of its optimiser by what one step makes of it, rather than
overwriting it, so that several may act on one optimiser.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from ..errors import CheckpointError
from .optimizer import Optimizer


class Schedule:
    """Base of the schedules; a new one defines `_next`.

    Parameters
    ----------
    optimizer : Optimizer

    Attributes
    ----------
    last_epoch : int
        How often :meth:`step` was called: epochs, or updates, as the training loop has it.
    needs_metric : bool
        Whether :meth:`step` wants the loss.
    """

    needs_metric: bool = False
    _moving: ClassVar[tuple[str, ...]] = ("last_epoch",)  # the state; the rest comes from the constructor

    def __init__(self, optimizer: Optimizer):
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer: got {type(optimizer).__name__}, wanted an Optimizer")
        self.optimizer = optimizer
        self.last_epoch = 0
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])

    def _next(self, lr: float, initial: float) -> float:
        """The learning rate at `last_epoch`, after `lr` at the one before."""
        raise NotImplementedError

    def step(self, metric: float | None = None) -> None:
        """Go one epoch (or update) further; `metric` is only for schedules that need it."""
        self.last_epoch += 1
        for group in self.optimizer.param_groups:
            group["lr"] = self._next(group["lr"], group.setdefault("initial_lr", group["lr"]))

    def get_last_lr(self) -> list[float]:
        """The present learning rate of every group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule stands: plain numbers. The learning rates are in the optimiser's state."""
        return {name: getattr(self, name) for name in self._moving}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken; the options stay those of this schedule."""
        missing = [name for name in self._moving if name not in state_dict]
        if missing:
            raise CheckpointError(f"state_dict: got the keys {sorted(state_dict)}, wanted {missing[0]!r} among them")
        for name in self._moving:
            setattr(self, name, state_dict[name])

    def __repr__(self) -> str:
        options = {k: v for k, v in vars(self).items() if k != "optimizer" and not k.startswith("_")}
        return f"{type(self).__name__}({', '.join(f'{k}={v}' for k, v in options.items())})"


class StepLR(Schedule):
    """Multiply the learning rate by `gamma` every `step_size` epochs.

    Parameters
    ----------
    optimizer : Optimizer
    step_size : int
    gamma : float

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> from tinygrad_rnn.optim import SGD, StepLR
    >>> schedule = StepLR(SGD([tr.tensor([1.0], requires_grad=True)], lr=1.0), step_size=2, gamma=0.5)
    >>> for _ in range(4):
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1):
        self.step_size = _positive("step_size", step_size)
        self.gamma = gamma
        super().__init__(optimizer)

    def _next(self, lr, initial):
        return lr if self.last_epoch % self.step_size else lr * self.gamma


class MultiStepLR(Schedule):
    """Multiply the learning rate by `gamma` at each of the epochs `milestones`.

    Parameters
    ----------
    optimizer : Optimizer
    milestones : iterable of int
        An epoch that is named twice counts twice.
    gamma : float
    """

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1):
        self.milestones = sorted(_positive("milestones", m) for m in milestones)
        self.gamma = gamma
        super().__init__(optimizer)

    def _next(self, lr, initial):
        return lr * self.gamma ** self.milestones.count(self.last_epoch)


class ExponentialLR(Schedule):
    """Multiply the learning rate by `gamma` every epoch.

    Parameters
    ----------
    optimizer : Optimizer
    gamma : float
    """

    def __init__(self, optimizer: Optimizer, gamma: float):
        self.gamma = gamma
        super().__init__(optimizer)

    def _next(self, lr, initial):
        return lr * self.gamma


class CosineAnnealingLR(Schedule):
    r"""Half a cosine from the initial learning rate down to `eta_min` at epoch `T_max` (then up again).

    :math:`\eta_t = \eta_{min} + \frac12 (\eta_0 - \eta_{min}) (1 + \cos(\pi t / T_{max}))`.

    Parameters
    ----------
    optimizer : Optimizer
    T_max : int
    eta_min : float

    References
    ----------
    Loshchilov, Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017 (without the restarts).
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0):
        self.T_max = _positive("T_max", T_max)
        self.eta_min = eta_min
        super().__init__(optimizer)

    def _next(self, lr, initial):
        t, period = self.last_epoch, self.T_max
        if (t - 1 - period) % (2 * period) == 0:  # out of the minimum, where the ratio below is 0 / 0
            return lr + (initial - self.eta_min) * (1 - math.cos(math.pi / period)) / 2
        ratio = (1 + math.cos(math.pi * t / period)) / (1 + math.cos(math.pi * (t - 1) / period))
        return ratio * (lr - self.eta_min) + self.eta_min


class LinearWarmup(Schedule):
    """Raise the learning rate in a straight line from `start_factor` times its value to its value.

    Parameters
    ----------
    optimizer : Optimizer
    warmup_steps : int
        After so many steps the full learning rate is reached.
    start_factor : float
        Above 0, at most 1.
    after : Schedule, optional
        Takes over from there; this schedule steps it.

    References
    ----------
    Goyal et al., "Accurate, large minibatch SGD", 2017, section 2.2.

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> from tinygrad_rnn.optim import SGD, ExponentialLR, LinearWarmup
    >>> optimizer = SGD([tr.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule = LinearWarmup(optimizer, 2, start_factor=0.5, after=ExponentialLR(optimizer, 0.1))
    >>> rates = [optimizer.param_groups[0]["lr"]]
    >>> for _ in range(3):
    ...     schedule.step()
    ...     rates.append(optimizer.param_groups[0]["lr"])
    >>> rates
    [0.5, 0.75, 1.0, 0.1]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_steps: int,
        start_factor: float = 1 / 3,
        after: Schedule | None = None,
    ):
        self.warmup_steps = _positive("warmup_steps", warmup_steps)
        if not 0 < start_factor <= 1:
            raise ValueError(f"start_factor: got {start_factor}, wanted above 0 and at most 1")
        if after is not None and after.optimizer is not optimizer:
            raise ValueError("after: got a schedule of another optimizer, wanted one of the same")
        self.start_factor = start_factor
        self.after = after
        self.needs_metric = after is not None and after.needs_metric
        super().__init__(optimizer)
        for group in optimizer.param_groups:
            group["lr"] *= start_factor

    def _next(self, lr, initial):
        rise = 1 - self.start_factor
        return lr * (1 + rise / (self.warmup_steps * self.start_factor + (self.last_epoch - 1) * rise))

    def step(self, metric: float | None = None) -> None:
        """Go one step further; `metric` goes to the schedule `after`."""
        if self.last_epoch < self.warmup_steps:
            super().step()
        else:
            self.last_epoch += 1
            if self.after is not None:
                self.after.step(metric)

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule, and the one after it, stand."""
        return {**super().state_dict(), "after": None if self.after is None else self.after.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken."""
        if (state_dict.get("after") is None) != (self.after is None):
            raise CheckpointError(
                "state_dict: got the state of a warm-up "
                f"{'without' if self.after else 'with'} a schedule after it, wanted one as this"
            )
        super().load_state_dict(state_dict)
        if self.after is not None:
            self.after.load_state_dict(state_dict["after"])


class ReduceLROnPlateau(Schedule):
    """Multiply the learning rate by `factor` when a metric has not improved for more than `patience` epochs.

    Parameters
    ----------
    optimizer : Optimizer
    mode : "min" or "max"
        Which way the metric improves.
    factor : float
        Below 1.
    patience : int
    threshold : float
        Smaller changes are no improvement.
    threshold_mode : "rel" or "abs"
        Whether `threshold` is a share of the best value.
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
        if not factor < 1:
            raise ValueError(f"factor: got {factor}, wanted below 1")
        if mode not in ("min", "max"):
            raise ValueError(f"mode: got {mode!r}, wanted 'min' or 'max'")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"threshold_mode: got {threshold_mode!r}, wanted 'rel' or 'abs'")
        super().__init__(optimizer)
        groups = len(optimizer.param_groups)
        self.min_lrs = [float(m) for m in min_lr] if isinstance(min_lr, Iterable) else [float(min_lr)] * groups
        if len(self.min_lrs) != groups:
            raise ValueError(f"min_lr: got {len(self.min_lrs)} values, wanted {groups}, one for each group")
        self.mode, self.factor, self.patience = mode, factor, patience
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.cooldown, self.eps = cooldown, eps
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = 0

    def step(self, metric: float | None = None) -> None:
        """Count one epoch with this value of the metric."""
        if metric is None:
            raise ValueError("metric: got none, wanted the value to watch, such as the validation loss")
        metric = float(metric)
        self.last_epoch += 1
        if self._improves(metric):
            self.best, self.num_bad_epochs = metric, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, lowest in zip(self.optimizer.param_groups, self.min_lrs):
                lr = max(group["lr"] * self.factor, lowest)
                if group["lr"] - lr > self.eps:
                    group["lr"] = lr
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def _improves(self, metric: float) -> bool:
        sign = 1 if self.mode == "max" else -1
        if self.threshold_mode == "rel":
            return sign * metric > sign * self.best * (1 + sign * self.threshold)
        return sign * metric > sign * self.best + self.threshold


def _positive(name: str, value: int) -> int:
    if value != int(value) or value < 1:
        raise ValueError(f"{name}: got {value}, wanted a whole number of at least 1")
    return int(value)
