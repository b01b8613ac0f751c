"""Plain NumPy twins of the functions in `mathfn` that NumPy does not have."""

from __future__ import annotations

import math

import numpy as np

Array = np.ndarray


def sigmoid(x: Array) -> Array:
    """``1 / (1 + exp(-x))``, for negative x as ``exp(x) / (1 + exp(x))``."""
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, x.dtype.type(1)) / (1 + e)


def softplus(x: Array) -> Array:
    """``log(1 + exp(x))`` without overflow."""
    return np.where(x < 0, x.dtype.type(0), x) + np.log1p(np.exp(-np.abs(x)))


def erf(x: Array) -> Array:
    """The error function."""
    return np.array([math.erf(v) for v in x.ravel().tolist()], x.dtype).reshape(x.shape)
