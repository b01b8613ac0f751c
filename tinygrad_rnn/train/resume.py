"""The state dict of a trainer: all that is needed to resume; it is restored as a whole or not at all."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import config
from ..core import Tensor
from ..errors import CheckpointError, NonFiniteError
from ..optim import Optimizer
from . import randomness
from .parts import Parts
from .state import TrainingState, Weights, check_weights, entries

SCHEDULES = ("schedule", "step_schedule")
PARTS = ["training", "classes", "parameters", "model", "gradients", "optimizer", *SCHEDULES, "loader", "generators"]


# ---- weights


def parameters(optimizer: Optimizer) -> list[Tensor]:
    """All parameters of an optimiser, group by group."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def names(model: Any, optimizer: Optimizer) -> list[str]:
    """Names of the parameters of an optimiser: those of the model, else their numbers."""
    known = {id(p): name for name, p in model.named_parameters()} if hasattr(model, "named_parameters") else {}
    return [known.get(id(p), f"parameter {i}") for i, p in enumerate(parameters(optimizer))]


def _others(model: Any, optimizer: Optimizer) -> dict[str, Tensor]:
    """Parameters of `optimizer` that the state of the model does not hold."""
    params = parameters(optimizer)
    if not hasattr(model, "state_dict"):
        own: set[int] = set()
    elif hasattr(model, "parameters"):
        own = {id(p) for p in model.parameters()}
    else:
        own = {id(p) for p in params}
    return {f"parameter {i}": p for i, p in enumerate(params) if id(p) not in own}


def weights(model: Any, optimizer: Optimizer) -> Weights:
    """Copies of the model's state, and of parameters of the optimiser that are not in it."""
    out: Weights = {}
    if hasattr(model, "state_dict"):
        out.update((name, np.array(value)) for name, value in model.state_dict().items())
    out.update((name, p.data.copy()) for name, p in _others(model, optimizer).items())
    return out


def set_weights(model: Any, optimizer: Optimizer, arrays: Weights) -> None:
    """The inverse of :func:`weights`."""
    others = _others(model, optimizer)
    if hasattr(model, "load_state_dict"):
        model.load_state_dict({name: array for name, array in arrays.items() if name not in others})
    with config.no_grad():
        for name, p in others.items():
            p.copy_(arrays[name])


def load_best(model: Any, optimizer: Optimizer, state: TrainingState) -> None:
    """Load the weights of the best epoch into the model, and keep those of the last update."""
    if state.best_weights is not None:
        state.last_weights = weights(model, optimizer)
        set_weights(model, optimizer, state.best_weights)


def load_last(model: Any, optimizer: Optimizer, state: TrainingState) -> None:
    """Load the weights of the last update again, unless the best ones were changed since."""
    last, state.last_weights = state.last_weights, None
    if last is not None and _same(weights(model, optimizer), state.best_weights):
        set_weights(model, optimizer, last)


def _same(one: Weights, other: Weights | None) -> bool:
    return other is not None and all(np.array_equal(one[name], array, equal_nan=True) for name, array in other.items())


def check_finite(model: Any, optimizer: Optimizer) -> None:
    """Raise NonFiniteError if a parameter holds NaN or infinity."""
    for name, p in zip(names(model, optimizer), parameters(optimizer)):
        if not np.isfinite(p.data).all():
            at = tuple(np.argwhere(~np.isfinite(p.data))[0].tolist())
            raise NonFiniteError(f"{name}: got {p.data[at]} at {at}, wanted finite weights in a checkpoint")


# ---- everything


def _classes(trainer: Parts) -> dict[str, str | None]:
    parts = {"optimizer": trainer.optimizer, **{name: getattr(trainer, name) for name in SCHEDULES}}
    return {name: None if part is None else type(part).__name__ for name, part in parts.items()}


def _layout(trainer: Parts) -> list[list[Any]]:
    """Name, shape and dtype of every parameter of every group."""
    rest = iter(names(trainer.model, trainer.optimizer))
    return [
        [[next(rest), list(p.shape), p.dtype.name] for p in group["params"]] for group in trainer.optimizer.param_groups
    ]


def _waiting(trainer: Parts) -> Weights:
    """Copies of the gradients of batches that wait for an update with others."""
    if not trainer.state.waiting:
        return {}
    named = zip(names(trainer.model, trainer.optimizer), parameters(trainer.optimizer))
    return {name: p.grad.data.copy() for name, p in named if p.grad is not None}


def _check_waiting(saved: Any, trainer: Parts) -> None:
    """Raise CheckpointError unless these are gradients of some parameters."""
    own = {n: p.data for n, p in zip(names(trainer.model, trainer.optimizer), parameters(trainer.optimizer))}
    check_weights("gradients", saved, {name: own[name] for name in own if not isinstance(saved, dict) or name in saved})


def own_generators(trainer: Parts) -> dict[str, randomness.Generator]:
    """Random generators found on the model and its loss, by path."""
    return randomness.find({"model": trainer.model, "loss": trainer.loss_fn, "step": trainer.step_fn})


def collect(trainer: Parts) -> dict[str, Any]:
    """The state dict of a trainer."""
    schedules = {name: getattr(trainer, name) for name in SCHEDULES}
    return {
        "training": trainer.state.to_dict(),
        "classes": _classes(trainer),
        "parameters": _layout(trainer),
        "model": weights(trainer.model, trainer.optimizer),
        "gradients": _waiting(trainer),
        "optimizer": trainer.optimizer.state_dict(),
        **{name: None if s is None else s.state_dict() for name, s in schedules.items()},
        "loader": trainer.position.to_dict(),
        "generators": trainer.ranks.states(
            {
                "shared": randomness.states(randomness.shared_generators()),
                "own": randomness.states(own_generators(trainer)),
            }
        ),
    }


def restore(trainer: Parts, saved: Any) -> None:
    """The inverse of :func:`collect`: all is checked before anything changes; an error leaves no trace."""
    saved = entries("state", saved, PARTS)
    for name, here in _classes(trainer).items():
        got = entries("classes", saved["classes"], ["optimizer", *SCHEDULES])[name]
        if not isinstance(got, str | None):
            raise CheckpointError(f"{name}: got {type(got).__name__} in the file, wanted the name of a class")
        if got != here:
            if got is None or here is None:
                got, here = ("none", "one") if got is None else ("one", "none")
            raise CheckpointError(f"{name}: got {got} in the file, wanted {here} as in this trainer")
    own = weights(trainer.model, trainer.optimizer)
    check_weights("model", saved["model"], own)
    _check_layout(saved["parameters"], _layout(trainer))
    state = TrainingState.from_dict(saved["training"])
    _check_waiting(saved["gradients"], trainer)
    for name in ("best_weights", "last_weights"):
        if getattr(state, name) is not None:
            check_weights(f"training: {name}", getattr(state, name), own)
    if state.metric_sums and {*state.metric_sums} != {*trainer.metrics}:
        lists = sorted(state.metric_sums), sorted(trainer.metrics)
        raise CheckpointError(f"metrics: got {lists[0]} in the file, wanted {lists[1]} as in this trainer")
    position = trainer.position.from_dict(saved["loader"])
    generators = entries("generators", saved["generators"], ["shared", "own", "others"])
    _check_others(generators["others"])
    generators = trainer.ranks.own_states(generators)
    shared, mine = randomness.shared_generators(), own_generators(trainer)
    randomness.check(shared, generators["shared"], "generators")
    randomness.check(mine, generators["own"], "generators")

    parts = {"optimizer": trainer.optimizer, **{name: getattr(trainer, name) for name in SCHEDULES}}
    before = {name: part.state_dict() for name, part in parts.items() if part is not None}
    try:
        set_weights(trainer.model, trainer.optimizer, saved["model"])
        for name in before:
            try:
                parts[name].load_state_dict(saved[name])
            except CheckpointError as e:
                raise CheckpointError(f"{name}: {e}") from e
    except BaseException:
        set_weights(trainer.model, trainer.optimizer, own)
        for name, old in before.items():
            parts[name].load_state_dict(old)
        raise
    trainer.state, trainer.position = state, position
    if state.waiting:
        for name, p in zip(names(trainer.model, trainer.optimizer), parameters(trainer.optimizer)):
            p.grad = Tensor(np.array(saved["gradients"][name])) if name in saved["gradients"] else None
    randomness.restore(shared, generators["shared"])
    randomness.restore(mine, generators["own"])
    trainer.ranks.resumed(generators)


def _check_others(saved: Any) -> None:
    """Raise CheckpointError unless these can be the states of the generators of other processes."""
    if saved is None:
        return
    if not isinstance(saved, list):
        raise CheckpointError(f"generators: others: got {type(saved).__name__}, wanted a list or nothing")
    for states in saved:
        entries("generators: others", states, ["shared", "own"])


def _check_layout(saved: Any, own: list[list[Any]]) -> None:
    """Raise CheckpointError unless the groups hold the same parameters."""
    if repr(saved) == repr(own):  # whatever the file holds: arrays would not compare to a truth value
        return
    try:
        counts = [len(group) for group in saved]
    except TypeError:
        raise CheckpointError(f"parameters: got {type(saved).__name__}, wanted groups of names") from None
    if counts != [len(group) for group in own]:
        raise CheckpointError(
            f"optimizer: got groups of {counts} parameters in the file, wanted {[len(group) for group in own]}"
        )
    for group, own_group in zip(saved, own):
        for got, wanted in zip(group, own_group):
            if repr(got) != repr(wanted):
                raise CheckpointError(f"optimizer: got the parameter {got} in the file, wanted {wanted}")
