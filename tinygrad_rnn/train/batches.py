"""From the batches of a loader to losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core import Tensor
from ..errors import DataError


def tensor_maker(dtype: np.dtype) -> Callable[[Any], Any]:
    """A function from arrays to tensors; floating-point arrays are cast to `dtype`, tensors pass."""
    ndarray = np.ndarray

    def tensor(array):
        if type(array) is not ndarray:
            if isinstance(array, Tensor):
                return array
            array = np.asarray(array)
        if array.dtype is not dtype and array.dtype.kind == "f":
            array = array.astype(dtype, copy=False)
        return Tensor(array)

    return tensor


def pair_loss(model: Callable, loss: Callable, tensor: Callable) -> Callable[[Any], Tensor]:
    """A function from a batch ``(inputs, targets)`` to its loss; inputs that are a tuple are several arguments."""

    def loss_of(batch):
        try:
            inputs, targets = batch
        except (TypeError, ValueError):
            kind = type(batch).__name__
            raise DataError(f"batch: got {kind}, wanted a pair (inputs, targets); else pass step=") from None
        if type(inputs) is tuple:
            return loss(model(*map(tensor, inputs)), tensor(targets))
        return loss(model(tensor(inputs)), tensor(targets))

    return loss_of


def check_finite(batch: Any, pair: bool, where: str) -> None:
    """Raise DataError if an array in `batch` holds NaN or infinity; `where` names the batch."""
    arrays = batch if isinstance(batch, tuple | list) else (batch,)
    names = ("inputs", "targets") if pair else tuple(f"array {i}" for i in range(len(arrays)))
    if pair and type(arrays[0]) is tuple:
        names = (*(f"inputs[{i}]" for i in range(len(arrays[0]))), "targets")
        arrays = (*arrays[0], *arrays[1:])
    for name, array in zip(names, arrays):
        values = array.data if isinstance(array, Tensor) else np.asarray(array)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            at = tuple(np.argwhere(~np.isfinite(values))[0].tolist())
            raise DataError(f"{name}: got {values[at]} at {at} in {where}, wanted finite numbers")
