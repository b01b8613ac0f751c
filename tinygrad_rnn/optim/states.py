"""Reads an optimiser's state dict: everything is checked before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import numpy as np

from ..checks import is_number
from ..core import Tensor
from ..errors import CheckpointError
from .buckets import State


class Groups(Protocol):
    """Fields of an :class:`.Optimizer` that are read: its parameters and options."""

    param_groups: list[dict[str, Any]]
    defaults: dict[str, Any]
    slots: ClassVar[tuple[str, ...]]

    def _check(self, options: dict[str, Any]) -> None: ...


def read_state(
    optimizer: Groups, state_dict: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], dict[Tensor, tuple[int, State]]]:
    """The options of every group, and step and state arrays of every parameter, as `optimizer` keeps them.

    Raises
    ------
    CheckpointError
        If `state_dict` does not fit `optimizer`.
    """
    if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= set(state_dict):
        got = f"the keys {sorted(map(str, state_dict))}" if isinstance(state_dict, Mapping) else _kind(state_dict)
        raise CheckpointError(f"state_dict: got {got}, wanted 'state' and 'param_groups'")
    saved_groups = state_dict["param_groups"]
    sizes, own = _sizes(saved_groups), [len(group["params"]) for group in optimizer.param_groups]
    if sizes != own:
        raise CheckpointError(f"state_dict: got groups of {sizes} parameters, wanted {own}")
    groups = [
        _options(optimizer, i, group, saved)
        for i, (group, saved) in enumerate(zip(optimizer.param_groups, saved_groups))
    ]
    by_number: dict[int, Tensor] = {}
    for group, saved in zip(optimizer.param_groups, saved_groups):
        for number, p in zip(saved["params"], group["params"]):
            by_number[_whole("the number of a parameter", number)] = p
    if len(by_number) != sum(own):
        raise CheckpointError("state_dict: got one number for several parameters, wanted one for each")
    states: dict[Tensor, tuple[int, State]] = {}
    entries = state_dict["state"]
    if not isinstance(entries, Mapping):
        raise CheckpointError(f"state_dict: got {_kind(entries)} as 'state', wanted a dict")
    for key, entry in entries.items():
        number = _whole("the number of a parameter", key)
        if number not in by_number:
            raise CheckpointError(f"state_dict: got a state for parameter {key}, wanted 0 to {len(by_number) - 1}")
        p = by_number[number]
        if not isinstance(entry, Mapping):
            raise CheckpointError(f"state_dict: got {_kind(entry)} as the state of parameter {key}, wanted a dict")
        arrays = {
            n: _array(f"{n} of parameter {key}", entry[n], p) for n in optimizer.slots if entry.get(n) is not None
        }
        step = _whole(f"step of parameter {key}", entry["step"]) if "step" in entry else 1
        if step and (arrays or not optimizer.slots):
            states[p] = (step, arrays)
    return groups, states


def _sizes(groups: Any) -> list[int]:
    try:
        return [len(group["params"]) for group in groups]
    except (TypeError, KeyError, IndexError):
        raise CheckpointError(
            "state_dict: got 'param_groups' without their parameters, wanted a list of dicts"
        ) from None


def _options(optimizer: Groups, number: int, group: dict[str, Any], saved: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a saved group, of the types of this optimiser's and in their ranges."""
    where = f"state_dict: group {number}"
    missing = [name for name in optimizer.defaults if name not in saved]
    if missing:
        name = type(optimizer).__name__
        raise CheckpointError(f"{where}: got no option {missing[0]!r}, wanted the state of {name}")
    options = {}
    for name in (*optimizer.defaults, "initial_lr"):
        if name not in saved:
            continue
        value, like = saved[name], optimizer.defaults.get(name, 0.0)
        value = tuple(value) if isinstance(value, list) else value
        if not _alike(value, like):
            raise CheckpointError(f"{where}: got {value!r} as {name}, wanted {_kind(like)}")
        options[name] = value
    try:
        optimizer._check({**group, **options})
    except (TypeError, ValueError) as e:
        raise CheckpointError(f"{where}: {e}") from e
    return options


def _alike(value: Any, like: Any) -> bool:
    """Whether `value` may stand where `like` does: numbers for numbers, truth values for truth values."""
    if isinstance(like, bool | np.bool_):
        return isinstance(value, bool | np.bool_)
    if isinstance(like, int | float | np.number):
        return is_number(value)
    if isinstance(like, tuple | list):
        return isinstance(value, tuple) and len(value) == len(like) and all(map(_alike, value, like))
    return like is None or isinstance(value, type(like))


def _array(name: str, value: Any, p: Tensor) -> np.ndarray:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as e:
        raise CheckpointError(f"state_dict: {name}: cannot be read as an array: {e}") from e
    if array.dtype.kind != "f":
        raise CheckpointError(f"state_dict: {name}: got dtype {array.dtype}, wanted {p.dtype}")
    if array.shape != p.shape:
        raise CheckpointError(f"state_dict: {name}: got shape {array.shape}, wanted {p.shape}")
    return np.array(array, p.dtype)


def _whole(name: str, value: Any) -> int:
    """A number from 0 on; torch keeps steps as tensors of floats, JSON keys of dicts as strings."""
    try:
        number = int(value)
        if number >= 0 and number == float(value) and not isinstance(value, bool):
            return number
    except (TypeError, ValueError, OverflowError):
        pass
    raise CheckpointError(f"state_dict: got {value!r} as {name}, wanted a whole number from 0 on")


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "True or False"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, tuple):
        return f"{len(value)} numbers"
    return type(value).__name__
