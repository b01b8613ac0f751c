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
        if type(array) is not ndarray or array.dtype.kind not in "biuf":
            if isinstance(array, Tensor):
                return array
            array = as_array(array, name, dtype=dtype)
        if array.dtype is not dtype and array.dtype.kind == "f":
            array = array.astype(dtype, copy=False)
        return Tensor(array)

    return tensor


def pair_loss(model: Callable, loss: Callable, tensor: Callable) -> Callable[[Any], Tensor]:
    """A function from a batch ``(inputs, targets)`` to its loss."""

    def loss_of(batch):
        inputs, targets = read_pair(batch)
        return loss(call(model, inputs, tensor), tensors(targets, "targets", tensor))

    return loss_of


def call(model: Callable, inputs: Any, tensor: Callable) -> Any:
    """The model's result; a tuple of inputs is several arguments, a dict those of these names."""
    if type(inputs) is dict:
        return model(**tensors(inputs, "inputs", tensor))
    if type(inputs) is tuple:
        return model(*[tensor(x, f"inputs[{i}]") for i, x in enumerate(inputs)])
    return model(tensor(inputs, "inputs"))


def tensors(part: Any, name: str, tensor: Callable) -> Any:
    """The inputs or the targets of a batch as a tensor, or as a tuple or dict of them."""
    if type(part) is dict:
        return {key: tensor(x, f"{name}[{key!r}]") for key, x in part.items()}
    if type(part) is tuple and any(isinstance(x, np.ndarray | Tensor) for x in part):
        return tuple([tensor(x, f"{name}[{i}]") for i, x in enumerate(part)])
    return tensor(part, name)


def read_pair(batch: Any) -> tuple[Any, Any]:
    """Inputs and targets of a batch.

    Raises
    ------
    DataError
        If it is no pair.
    """
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        kind = type(batch).__name__
        raise DataError(
            f"batch: got {kind}, wanted a pair (inputs, targets){_hint(batch)}; a Trainer with step= takes others"
        )
    inputs, targets = batch
    return inputs, targets


def _hint(batch: Any) -> str:
    if isinstance(batch, tuple | list):
        return f": it holds {len(batch)}, and several inputs are one tuple, ((a, b), targets)"
    return f": its shape is {batch.shape}" if isinstance(batch, np.ndarray | Tensor) else ""


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
    if pair and isinstance(data, list | tuple) and data:  # now, and not after an epoch of training
        read_pair(data[0])


def number_of(loss: Any) -> float:
    """The value of a loss, checked to be a tensor with one element."""
    if not isinstance(loss, Tensor):
        raise TypeError(f"loss: got {type(loss).__name__} from the loss function, wanted a Tensor with one element")
    if loss.size != 1:
        raise ShapeError(f"loss: got shape {loss.shape} from the loss function, wanted one element; take its mean")
    return loss.item()


def find_nonfinite(batch: Any, pair: bool) -> str | None:
    """The name of the array of `batch` that holds NaN or infinity, with the entry; None if all are finite."""
    if pair:
        inputs, targets = batch
        named = [*_parts("inputs", inputs), *_parts("targets", targets)]
    elif isinstance(batch, dict):
        named = [(repr(name), array) for name, array in batch.items()]
    else:
        arrays = batch if isinstance(batch, tuple | list) else (batch,)
        named = [(f"array {i}", array) for i, array in enumerate(arrays)]
    for name, array in named:
        values = array.data if isinstance(array, Tensor) else array
        if isinstance(values, np.ndarray) and values.dtype.kind == "f" and not np.isfinite(values).all():
            at = tuple(np.argwhere(~np.isfinite(values))[0].tolist())
            return f"{name}: got {values[at]} at {at}"
    return None


def _parts(name: str, part: Any) -> list[tuple[str, Any]]:
    """The arrays of the inputs or of the targets, with names."""
    if type(part) is dict:
        return [(f"{name}[{key!r}]", array) for key, array in part.items()]
    if type(part) is tuple:
        return [(f"{name}[{i}]", array) for i, array in enumerate(part)]
    return [(name, part)]
