"""From batches to losses: conversion to tensors, the loss of a pair, and checks with their errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..core import Tensor
from ..core.dtype import as_array
from ..errors import DataError, ShapeError


def tensor_maker(dtype: np.dtype) -> Callable[..., Any]:
    """A function from arrays to tensors; floating-point arrays are cast to `dtype`, tensors pass."""
    ndarray = np.ndarray

    def tensor(array, name="batch"):
        if type(array) is not ndarray:
            if isinstance(array, Tensor):
                return array
            array = as_array(array, name, dtype=dtype)
        if array.dtype is not dtype and array.dtype.kind == "f":
            array = array.astype(dtype, copy=False)
        return Tensor(array)

    return tensor


def pair_loss(model: Callable, loss: Callable, tensor: Callable) -> Callable[[Any], Tensor]:
    """A function from a batch ``(inputs, targets)`` to its loss; a tuple of inputs is several arguments."""

    def loss_of(batch):
        inputs, targets = read_pair(batch)
        if type(inputs) is tuple:
            return loss(model(*[tensor(x, "inputs") for x in inputs]), tensor(targets, "targets"))
        return loss(model(tensor(inputs, "inputs")), tensor(targets, "targets"))

    return loss_of


def read_pair(batch: Any) -> tuple[Any, Any]:
    """Inputs and targets of a batch.

    Raises
    ------
    DataError
        If it is no pair.
    """
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        kind = type(batch).__name__
        raise DataError(f"batch: got {kind}, wanted a pair (inputs, targets); else pass step={_hint(batch)}")
    inputs, targets = batch
    return inputs, targets


def _hint(batch: Any) -> str:
    if isinstance(batch, tuple | list):
        return f"; it holds {len(batch)}: several inputs are one tuple, ((a, b), targets)"
    return f"; its shape is {batch.shape}" if isinstance(batch, np.ndarray | Tensor) else ""


def check_batches(name: str, data: Any, pair: bool) -> None:
    """Raise unless `data` can be an iterable of batches."""
    wanted = "wanted an iterable of batches: a list of pairs, or DataLoader((inputs, targets), batch_size)"
    if isinstance(data, type):
        raise TypeError(f"{name}: got the class {data.__name__}, {wanted}")
    if pair and isinstance(data, np.ndarray | Tensor):
        raise DataError(f"{name}: got one array of shape {data.shape}, {wanted}")
    if pair and isinstance(data, tuple) and data and all(isinstance(part, np.ndarray | Tensor) for part in data):
        raise DataError(f"{name}: got a tuple of {len(data)} arrays, {wanted}; all at once: [(inputs, targets)]")
    if isinstance(data, str | bytes | dict) or not isinstance(data, Iterable):
        raise TypeError(f"{name}: got {type(data).__name__}, {wanted}")


def number_of(loss: Any) -> float:
    """The value of a loss, checked to be a tensor with one element."""
    if not isinstance(loss, Tensor):
        raise TypeError(f"loss: got {type(loss).__name__} from the loss function, wanted a Tensor with one element")
    if loss.size != 1:
        raise ShapeError(f"loss: got shape {loss.shape} from the loss function, wanted one element; take its mean")
    return loss.item()


def find_nonfinite(batch: Any, pair: bool) -> str | None:
    """The name of the array of `batch` that holds NaN or infinity, with the entry; None if all are finite."""
    arrays = batch if isinstance(batch, tuple | list) else (batch,)
    names = ("inputs", "targets") if pair else tuple(f"array {i}" for i in range(len(arrays)))
    if pair and type(arrays[0]) is tuple:
        names = (*(f"inputs[{i}]" for i in range(len(arrays[0]))), "targets")
        arrays = (*arrays[0], *arrays[1:])
    if not pair and isinstance(batch, dict):
        names, arrays = tuple(map(repr, batch)), tuple(batch.values())
    for name, array in zip(names, arrays):
        values = array.data if isinstance(array, Tensor) else array
        if isinstance(values, np.ndarray) and values.dtype.kind == "f" and not np.isfinite(values).all():
            at = tuple(np.argwhere(~np.isfinite(values))[0].tolist())
            return f"{name}: got {values[at]} at {at}"
    return None
