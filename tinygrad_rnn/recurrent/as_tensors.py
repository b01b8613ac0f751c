"""Inputs and states as tensors: arrays are cast to the dtype of a cell, tensors have to be of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import config
from ..core import Tensor, is_float, tree
from ..core.dtype import as_array
from ..errors import DTypeError, OutOfMemoryError, ShapeError


def as_input(x, dtype: np.dtype, argument: str) -> Tensor:
    """`x` as a tensor of `dtype`, or of integers; only arrays are cast.

    While gradients are recorded it has memory of its own, so that the backward pass does not see what the caller
    writes to the array meanwhile.
    """
    if isinstance(x, Tensor):
        if x.dtype != dtype and is_float(x.dtype):
            if config.grad_mode.tracer is not None and config.grad_mode.tracer.is_array(x):
                return x.astype(dtype)
            raise DTypeError(f"{argument}: got a {x.dtype} tensor, wanted {dtype} as the cell; cast one of them")
        return x
    array = x if isinstance(x, np.ndarray) else _read(x, argument)
    copy = True if config.grad_mode.enabled else None
    if array.dtype.kind != "f":
        array, dtype = as_array(array, argument), array.dtype
    try:
        return Tensor(np.array(array, dtype, copy=copy))
    except MemoryError as error:
        from ..compiler import format_bytes  # at first use, as importing the compiler takes a while

        size = format_bytes(array.size * np.dtype(dtype).itemsize)
        raise OutOfMemoryError(
            f"{argument}: got shape {array.shape}, of which a copy needs {size}, which is not there; a smaller batch "
            "or shorter sequences need less"
        ) from error


def example_of_step(example, batch: int, dtype: np.dtype, name: str) -> tuple[list[Tensor], Any]:
    """The tensors (B, ...) of an example of one step's input, and the structure of their nest.

    Raises
    ------
    ShapeError
        If one has not `batch` rows.
    """
    leaves, structure = tree.flatten(example)
    rows = [as_input(x, dtype, f"{name}: example") for x in leaves]
    for x in rows:
        if not x.shape or x.shape[0] != batch:
            raise ShapeError(f"{name}: example: got shape {x.shape}, wanted ({batch}, ...)")
    return rows, structure


def _read(x, argument: str) -> np.ndarray:
    try:
        return np.asarray(x)
    except (ValueError, TypeError):  # a nest that NumPy cannot read: as_array() says why
        return as_array(x, argument)


def as_state(s, dtype: np.dtype, argument: str) -> Tensor:
    """`s` as a tensor of a state; arrays are cast to `dtype`."""
    if not isinstance(s, Tensor):
        s = as_input(s, dtype, argument)
        if np.can_cast(s.dtype, dtype, "same_kind"):
            s = Tensor(s.data.astype(dtype, copy=False))
    if s.dtype != dtype:
        raise DTypeError(f"{argument}: got a {s.dtype} tensor, wanted {dtype}")
    return s


def kind_of(value) -> str:
    """The kind of a value in words, for messages."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {value.shape}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return type(value).__name__
