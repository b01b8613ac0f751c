"""Everything that a trainer is in the middle of, as one nest of arrays and numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import config
from ..core import Tensor
from ..errors import CheckpointError
from .stopping import Best

if TYPE_CHECKING:
    from .trainer import Trainer

NUMBERS = ("epoch", "steps", "step_in_epoch", "seconds", "loss", "_loss_sum", "_norm_sum", "_seconds_before")
SCHEDULES = ("schedule", "step_schedule")


def weights(trainer: Trainer) -> dict[str, np.ndarray]:
    """Copies of the model's state, or, if it has no state dict, of the optimiser's parameters."""
    if hasattr(trainer.model, "state_dict"):
        return {name: np.array(value) for name, value in trainer.model.state_dict().items()}
    return {str(i): p.data.copy() for i, p in enumerate(_parameters(trainer))}


def set_weights(trainer: Trainer, arrays: dict[str, np.ndarray]) -> None:
    """The inverse of :func:`weights`."""
    if hasattr(trainer.model, "load_state_dict"):
        trainer.model.load_state_dict(arrays)
        return
    params = _parameters(trainer)
    shapes = [arrays[name].shape for name in arrays]
    if list(arrays) != [str(i) for i in range(len(params))] or shapes != [p.shape for p in params]:
        raise CheckpointError(f"model: got parameters of shapes {shapes}, wanted {[p.shape for p in params]}")
    with config.no_grad():
        for p, array in zip(params, arrays.values()):
            p.copy_(array)


def collect(trainer: Trainer, loader: Any) -> dict[str, Any]:
    """The state of `trainer`; `loader` is that of its loader."""
    schedules = {name: getattr(trainer, name) for name in SCHEDULES}
    return {
        "numbers": {name: getattr(trainer, name) for name in NUMBERS},
        "best": vars(trainer.best),
        "history": trainer.history,
        "model": weights(trainer),
        "best_model": trainer._best_weights,
        "optimizer": trainer.optimizer.state_dict(),
        "schedules": {name: None if s is None else s.state_dict() for name, s in schedules.items()},
        "loader": loader,
        "generator": config.generator().bit_generator.state,
    }


def restore(trainer: Trainer, state: dict[str, Any]) -> None:
    """The inverse of :func:`collect`, except for the loader."""
    for name, saved in state["schedules"].items():
        if (saved is None) != (getattr(trainer, name) is None):
            got, wanted = ("none", "one") if saved is None else ("one", "none")
            raise CheckpointError(f"{name}: got {got} in the file, wanted {wanted} as in this trainer")
    set_weights(trainer, state["model"])
    trainer.optimizer.load_state_dict(state["optimizer"])
    for name, saved in state["schedules"].items():
        if saved is not None:
            getattr(trainer, name).load_state_dict(saved)
    for name, number in state["numbers"].items():
        setattr(trainer, name, number)
    trainer.best = Best(**state["best"])
    trainer.history = state["history"]
    trainer._best_weights = state["best_model"]
    config.generator().bit_generator.state = state["generator"]


def _parameters(trainer: Trainer) -> list[Tensor]:
    return [p for group in trainer.optimizer.param_groups for p in group["params"]]
