"""Learning-rate schedules that follow the number of epochs, or of updates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from ..checks import not_negative, shown
from ..errors import CheckpointError
from .checks import whole
from .optimizer import Optimizer
from .schedule import Schedule


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
        self.step_size = whole("step_size", step_size)
        self.gamma = not_negative("gamma", gamma)
        super().__init__(optimizer)

    def _next(self, lr, initial):
        return lr if self.last_epoch % self.step_size else lr * self.gamma


class MultiStepLR(Schedule):
    """Multiply the learning rate by `gamma` at each of the epochs `milestones`.

    Parameters
    ----------
    optimizer : Optimizer
    milestones : iterable of int
        An epoch that is named twice counts twice; 0 is the beginning, before the first step.
    gamma : float
    """

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1):
        if not isinstance(milestones, Iterable):
            raise TypeError(f"milestones: got {shown(milestones)}, wanted an iterable of whole numbers")
        self.milestones = sorted(whole("milestones", m, least=0) for m in milestones)
        self.gamma = not_negative("gamma", gamma)
        super().__init__(optimizer)

    def _begin(self, lr, initial):
        return lr if self.last_epoch else self._next(lr, initial)

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
        self.gamma = not_negative("gamma", gamma)
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
        self.T_max = whole("T_max", T_max)
        self.eta_min = not_negative("eta_min", eta_min)
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
        self.warmup_steps = whole("warmup_steps", warmup_steps)
        if not 0 < not_negative("start_factor", start_factor) <= 1:
            raise ValueError(f"start_factor: got {start_factor}, wanted above 0 and at most 1")
        if after is not None and not isinstance(after, Schedule):
            raise TypeError(f"after: got {type(after).__name__}, wanted a Schedule")
        if after is not None and after.optimizer is not optimizer:
            raise ValueError("after: got a schedule of another optimizer, wanted one of the same")
        self.start_factor = start_factor
        self.after = after
        self.needs_metric = after is not None and after.needs_metric
        super().__init__(optimizer)

    def _begin(self, lr, initial):
        part = min(self.last_epoch / self.warmup_steps, 1.0)
        return lr * (self.start_factor + part * (1 - self.start_factor))

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
        """The states of the schedule and of the one after it."""
        return {**super().state_dict(), "after": None if self.after is None else self.after.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken; see :meth:`Schedule.load_state_dict`."""
        super().load_state_dict(state_dict)
        if self.after is not None:
            self.after.load_state_dict(state_dict["after"])

    def _check_state(self, state_dict):
        if isinstance(state_dict, Mapping) and (state_dict.get("after") is None) != (self.after is None):
            raise CheckpointError(
                "state_dict: got the state of a warm-up "
                f"{'without' if self.after else 'with'} a schedule after it, wanted one as this"
            )
        super()._check_state(state_dict)
        if self.after is not None:
            self.after._check_state(state_dict["after"])
