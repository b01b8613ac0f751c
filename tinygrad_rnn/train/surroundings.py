"""Checks of environments, of what they bring, and of what a recurrent core takes of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..checks import shown
from ..errors import DataError, ShapeError
from ..recurrent.layers.multilayer import RNNBase


def check(environments: Any) -> None:
    """Raise unless these are vector environments that begin a new episode in the step that ends one."""
    for name in ("num_envs", "reset", "step"):
        if not hasattr(environments, name):
            raise TypeError(
                f"environments: got {type(environments).__name__} without {name}, wanted vector environments as "
                "gymnasium's: gymnasium.make_vec(...)"
            )
    metadata = getattr(environments, "metadata", None) or {}
    mode = str(metadata.get("autoreset_mode", "same_step")).lower()
    if "same" not in mode:
        raise DataError(
            f"environments: got autoreset_mode {mode}, wanted SAME_STEP: SyncVectorEnv(..., autoreset_mode="
            "gymnasium.vector.AutoresetMode.SAME_STEP)"
        )


def check_core(core: Any, shape: tuple[int, ...]) -> None:
    """Raise unless a core reads observations of this shape, time first and forwards."""
    for name in ("batch_first", "bidirectional", "reverse"):
        if getattr(core, name, False):
            raise ValueError(f"policy.core: got a layer with {name}=True, wanted one that reads (T, B, ...) forwards")
    if not isinstance(core, RNNBase):
        return
    wanted = (shape[0], core.input_size)
    if len(shape) > 2:
        raise ShapeError(
            f"environments: got observations of shape {shape}, wanted {wanted}: flatten them, or take nn.Recurrent "
            "around a cell of such arrays"
        )
    if shape != wanted:
        raise ShapeError(f"environments: got observations of shape {shape}, wanted {wanted} as policy.core")


def observed(observations: Any, size: int) -> np.ndarray:
    """Observations of so many environments, as finite numbers (B, ...)."""
    if isinstance(observations, dict | tuple):
        kind = type(observations).__name__
        raise DataError(f"environments: got observations in a {kind}, wanted an array: gymnasium's FlattenObservation")
    array = np.asarray(observations)
    if array.ndim < 2 or len(array) != size:
        raise ShapeError(
            f"environments: got observations of shape {array.shape}, wanted ({size}, ...); whole numbers one-hot"
        )
    if array.dtype.kind not in "biuf":
        raise DataError(f"environments: got observations of {array.dtype}, wanted numbers")
    if not np.isfinite(array).all():
        raise DataError("environments: got observations with NaN or infinity")
    return array


def outcome(result: Any, size: int) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, Any]:
    """What a step of so many environments brought: observations, rewards, ends of both kinds, infos."""
    if not (isinstance(result, tuple) and len(result) == 5):
        what = f"{len(result)} values" if isinstance(result, tuple) else type(result).__name__
        raise DataError(
            f"environments: got {what} from step, wanted observations, rewards, terminations, truncations, infos"
        )
    observations, *columns, infos = result
    arrays = []
    for name, column in zip(("rewards", "terminations", "truncations"), columns):
        array = np.asarray(column)
        if array.shape != (size,):
            raise ShapeError(f"environments: got {name} of shape {array.shape}, wanted ({size},)")
        if array.dtype.kind not in ("biuf" if name == "rewards" else "bi"):
            raise DataError(f"environments: got {name} of {array.dtype}, wanted numbers, and truth values for ends")
        arrays.append(array)
    rewards, terminated, cut = arrays[0].astype(np.float64), arrays[1].astype(bool), arrays[2].astype(bool)
    if not np.isfinite(rewards).all():
        raise DataError(f"environments: got rewards with NaN or infinity: {shown(rewards.tolist())}")
    return observations, rewards, terminated, cut, infos
