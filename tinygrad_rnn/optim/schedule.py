"""The base of learning-rate schedules: groups, states, checks.

Every schedule changes ``group["lr"]`` of its optimiser by what one step makes of it, rather than
overwriting it, so that several may act on one optimiser. States hold the learning rates as well, so that a
schedule may be made and loaded before or after the state of its optimiser. No rate falls below 0, as a cosine's
might where another schedule acts on it too.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, ClassVar

from ..checks import is_number
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
        self._groups = 0  # that have begun
        self._begin_groups()

    def _begin_groups(self) -> None:
        """Begin with the groups that are new: all at first, later those that were added."""
        groups = self.optimizer.param_groups
        for group in groups[self._groups :]:
            initial = group.setdefault("initial_lr", group["lr"])
            group["lr"] = self._begin(group["lr"], initial)
        self._groups = len(groups)

    def _begin(self, lr: float, initial: float) -> float:
        """The learning rate of a group that begins at `last_epoch`."""
        return lr

    def _next(self, lr: float, initial: float) -> float:
        """The learning rate at `last_epoch`, after `lr` at the one before."""
        raise NotImplementedError

    def step(self, metric: float | None = None) -> None:
        """Go one epoch (or update) further; `metric` is only for schedules that need it."""
        self._begin_groups()
        self.last_epoch += 1
        for group in self.optimizer.param_groups:
            group["lr"] = max(self._next(group["lr"], group["initial_lr"]), 0.0)

    def preview(self, count: int) -> list[list[dict[str, Any]]] | None:
        """The options of all groups at each of the next `count` updates, with a step after each.

        Nothing is changed. There are fewer where a step is refused, as beyond the end of a cycle. None if they cannot
        be known before: what users write may look at more than the number of steps.

        Examples
        --------
        >>> import tinygrad_rnn as tr
        >>> from tinygrad_rnn.optim import SGD, ExponentialLR
        >>> schedule = ExponentialLR(SGD([tr.tensor([1.0], requires_grad=True)], lr=1.0), 0.5)
        >>> [group["lr"] for (group,) in schedule.preview(3)], schedule.get_last_lr()
        ([1.0, 0.5, 0.25], [1.0])
        """
        if not self._is_foreseeable():
            return None
        shell = object.__new__(type(self.optimizer))
        shell.param_groups = [dict(group) for group in self.optimizer.param_groups]
        ahead, found = copy.deepcopy(self, {id(self.optimizer): shell}), []
        for _ in range(count):
            found.append([dict(group) for group in shell.param_groups])
            try:
                ahead.step()
            except ValueError:
                break
        return found

    def _is_foreseeable(self) -> bool:
        """Whether all that it looks at is the number of steps."""
        parts = [s for v in vars(self).values() for s in (v if isinstance(v, list | tuple) else [v])]
        own = type(self).__module__.startswith(f"{__package__}.") and not self.needs_metric
        return own and all(s._is_foreseeable() for s in parts if isinstance(s, Schedule))

    def restart(self) -> None:
        """Begin anew at epoch 0, with the initial learning rates."""
        self.last_epoch = self._groups = 0
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self._begin_groups()

    def get_last_lr(self) -> list[float]:
        """The present learning rate of every group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """The state of the schedule: its class, plain numbers, and the learning rates of the groups."""
        state = {name: getattr(self, name) for name in self._moving}
        return {"schedule": type(self).__name__, **state, "lrs": [float(lr) for lr in self.get_last_lr()]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken; the options stay those of this schedule.

        The optimiser's state may be loaded before or after, and before or after the schedule is made.

        Raises
        ------
        CheckpointError
            If the state is of another schedule or number of groups; nothing is changed then.
        """
        self._check_state(state_dict)
        for name in self._moving:
            setattr(self, name, state_dict[name])
        for group, lr in zip(self.optimizer.param_groups, state_dict["lrs"]):
            group["lr"] = lr

    def _check_state(self, state_dict: Mapping[str, Any]) -> None:
        """Raise CheckpointError if `state_dict` does not fit."""
        if not isinstance(state_dict, Mapping):
            raise CheckpointError(f"state_dict: got {type(state_dict).__name__}, wanted a dict")
        missing = [name for name in (*self._moving, "schedule", "lrs") if name not in state_dict]
        if missing:
            keys = sorted(map(str, state_dict))
            raise CheckpointError(f"state_dict: got the keys {keys}, wanted {missing[0]!r} among them")
        kind = state_dict["schedule"]
        if not isinstance(kind, str) or kind != type(self).__name__:
            raise CheckpointError(f"state_dict: got a {kind}, wanted a {type(self).__name__} as here")
        for name in self._moving:
            value, own = state_dict[name], getattr(self, name)
            counts = isinstance(own, int)
            if not is_number(value) or (counts and not (isinstance(value, int) and value >= 0)):
                wanted = "a whole number from 0 on" if counts else "a number"
                raise CheckpointError(f"state_dict: {name}: got {value!r}, wanted {wanted}")
        lrs, groups = state_dict["lrs"], len(self.optimizer.param_groups)
        if not isinstance(lrs, list | tuple) or not all(is_number(lr) and 0 <= lr < math.inf for lr in lrs):
            raise CheckpointError(f"state_dict: lrs: got {lrs!r}, wanted the learning rates of the groups")
        if len(lrs) != groups:
            raise CheckpointError(f"state_dict: got {len(lrs)} groups, wanted {groups} as the optimizer has")

    def __repr__(self) -> str:
        options = {k: v for k, v in vars(self).items() if k != "optimizer" and not k.startswith("_")}
        return f"{type(self).__name__}({', '.join(f'{k}={v}' for k, v in options.items())})"
