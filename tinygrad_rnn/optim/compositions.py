"""Schedules of a function, and schedules one after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from ..checks import is_number, shown
from ..errors import CheckpointError
from .checks import whole
from .optimizer import Optimizer
from .schedule import Schedule


class LambdaLR(Schedule):
    """The initial learning rate times a function of the number of the epoch.

    Parameters
    ----------
    optimizer : Optimizer
    lr_lambda : callable, or list of callables
        ``lr_lambda(epoch)``, a factor from 0 on; one for all groups, or one for each. It is no part of the state.

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> from tinygrad_rnn.optim import SGD, LambdaLR
    >>> optimizer = SGD([tr.tensor([1.0], requires_grad=True)], lr=0.5)
    >>> schedule = LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch))
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]]):
        found: list[Any] = list(lr_lambda) if isinstance(lr_lambda, list | tuple) else [lr_lambda]
        if not found or not all(map(callable, found)):
            raise TypeError(f"lr_lambda: got {shown(lr_lambda)}, wanted a function of the epoch, or a list of them")
        if isinstance(lr_lambda, list | tuple) and isinstance(optimizer, Optimizer):
            groups = len(optimizer.param_groups)
            if len(found) != groups:
                raise ValueError(f"lr_lambda: got {len(found)} functions, wanted one for each of {groups} groups")
        self._functions = found
        super().__init__(optimizer)

    def _begin_groups(self) -> None:
        for i, group in enumerate(self.optimizer.param_groups[self._groups :], self._groups):
            group["lr"] = self._rate(i, group.setdefault("initial_lr", group["lr"]))
        self._groups = len(self.optimizer.param_groups)

    def _rate(self, number: int, initial: float) -> float:
        factor = self._functions[min(number, len(self._functions) - 1)](self.last_epoch)
        if not is_number(factor) or not 0 <= factor < math.inf:
            raise ValueError(f"lr_lambda: returned {shown(factor)}, wanted a number from 0 on, at {self.last_epoch}")
        return initial * float(factor)

    def _is_foreseeable(self) -> bool:
        return False  # functions may look at anything

    def step(self, metric: float | None = None) -> None:
        """Go one epoch further."""
        self._begin_groups()
        self.last_epoch += 1
        for i, group in enumerate(self.optimizer.param_groups):
            group["lr"] = self._rate(i, group["initial_lr"])


class SequentialLR(Schedule):
    """Schedules one after the other: each begins at its milestone, with the initial learning rate.

    Parameters
    ----------
    optimizer : Optimizer
    schedulers : list of Schedule
        Of this optimiser.
    milestones : list of int
        The epochs, rising, at which the second, the third ... takes over.

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> from tinygrad_rnn.optim import SGD, ExponentialLR, LinearWarmup, SequentialLR
    >>> optimizer = SGD([tr.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> parts = [LinearWarmup(optimizer, 2, start_factor=0.5), ExponentialLR(optimizer, 0.1)]
    >>> schedule = SequentialLR(optimizer, parts, milestones=[2])
    >>> rates = schedule.get_last_lr()
    >>> for _ in range(3):
    ...     schedule.step()
    ...     rates += schedule.get_last_lr()
    >>> rates
    [0.5, 0.75, 1.0, 0.1]
    """

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[Schedule], milestones: Sequence[int]):
        if not isinstance(schedulers, list | tuple) or not schedulers:
            raise TypeError(f"schedulers: got {shown(schedulers)}, wanted a list of schedules")
        for schedule in schedulers:
            if not isinstance(schedule, Schedule):
                raise TypeError(f"schedulers: got {type(schedule).__name__}, wanted a Schedule")
            if schedule.optimizer is not optimizer:
                raise ValueError("schedulers: got a schedule of another optimizer, wanted those of one")
        if not isinstance(milestones, list | tuple):
            raise TypeError(f"milestones: got {shown(milestones)}, wanted a list of whole numbers")
        self.milestones = [whole("milestones", m) for m in milestones]
        if len(self.milestones) != len(schedulers) - 1 or any(a >= b for a, b in pairwise(self.milestones)):
            raise ValueError(
                f"milestones: got {self.milestones} for {len(schedulers)} schedules, wanted rising numbers, one fewer"
            )
        self._schedulers = list(schedulers)
        self.needs_metric = any(s.needs_metric for s in schedulers)
        super().__init__(optimizer)
        self._schedulers[0].restart()

    def step(self, metric: float | None = None) -> None:
        """Go one epoch further; `metric` goes to a schedule that needs it."""
        self.last_epoch += 1
        number = sum(self.last_epoch >= m for m in self.milestones)
        if self.last_epoch in self.milestones:
            self._schedulers[number].restart()
        else:
            schedule = self._schedulers[number]
            schedule.step(metric) if schedule.needs_metric else schedule.step()

    def state_dict(self) -> dict[str, Any]:
        """The states of this schedule and of its parts."""
        return {**super().state_dict(), "schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken; see :meth:`Schedule.load_state_dict`."""
        self._check_state(state_dict)
        for schedule, state in zip(self._schedulers, state_dict["schedulers"]):
            schedule.load_state_dict(state)
        super().load_state_dict(state_dict)

    def _check_state(self, state_dict):
        super()._check_state(state_dict)
        parts = state_dict.get("schedulers")
        if not isinstance(parts, list | tuple) or len(parts) != len(self._schedulers):
            raise CheckpointError(
                f"state_dict: got no states of {len(self._schedulers)} schedules, wanted them as 'schedulers'"
            )
        for schedule, state in zip(self._schedulers, parts):
            schedule._check_state(state)
