"""The parts of a trainer, as the functions that update, describe, save and restore them take it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core import Tensor
from ..optim import Optimizer, Schedule
from .alone import Alone
from .position import Position
from .state import TrainingState


class Parts:
    """The attributes that a trainer is made of, and those of its progress.

    Attributes
    ----------
    ranks : Alone
        The processes that share the training.
    state : TrainingState
        Counters, history and best weights.
    position : Position
        The place in the batches.
    """

    model: Any
    optimizer: Optimizer
    loss_fn: Callable[..., Tensor] | None
    step_fn: Callable[[Any], Tensor] | None
    schedule: Schedule | None
    step_schedule: Schedule | None
    clip_norm: float | None
    clip_value: float | None
    nonfinite: str
    metrics: dict[str, Callable[[Any, Any], Any]]
    callbacks: list[Any]
    ranks: Alone
    state: TrainingState
    position: Position
