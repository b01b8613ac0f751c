"""New tensors: constants, ranges, random values."""

from __future__ import annotations

import numpy as np

from .. import config
from ..core import Tensor, check_dtype


def _dtype(dtype) -> np.dtype:
    return config.get_default_dtype() if dtype is None else check_dtype(dtype)


def zeros(shape, dtype=None) -> Tensor:
    """Zeros of `shape` (an int or a tuple)."""
    return Tensor(np.zeros(shape, _dtype(dtype)))


def ones(shape, dtype=None) -> Tensor:
    """Ones of `shape` (an int or a tuple)."""
    return Tensor(np.ones(shape, _dtype(dtype)))


def full(shape, value, dtype=None) -> Tensor:
    """`value` everywhere."""
    return Tensor(np.full(shape, value, _dtype(dtype)))


def zeros_like(x, dtype=None) -> Tensor:
    """Zeros shaped as `x`, of its dtype unless given."""
    return Tensor(np.zeros(x.shape, x.dtype if dtype is None else check_dtype(dtype)))


def ones_like(x, dtype=None) -> Tensor:
    """Ones shaped as `x`, of its dtype unless given."""
    return Tensor(np.ones(x.shape, x.dtype if dtype is None else check_dtype(dtype)))


def eye(n, m=None, dtype=None) -> Tensor:
    """The identity matrix, (n, n) or (n, m)."""
    return Tensor(np.eye(n, m, dtype=_dtype(dtype)))


def arange(start, stop=None, step=1, dtype=None) -> Tensor:
    """Evenly spaced values, as ``numpy.arange``; floats get the default dtype."""
    values = np.arange(start, stop, step) if stop is not None else np.arange(0, start, step)
    if dtype is not None or values.dtype.kind == "f":
        values = values.astype(_dtype(dtype))
    return Tensor(values)


def randn(shape, dtype=None) -> Tensor:
    """Standard normal values from the package's generator (:func:`tinygrad_rnn.seed`)."""
    return Tensor(np.asarray(config.generator().standard_normal(shape, dtype=_dtype(dtype))))
