"""Twins of the stages of programs, on arrays of any strides."""

from __future__ import annotations

import numpy as np


def copy(source: np.ndarray, target: np.ndarray, add: bool) -> None:
    """``target[...] = source``, or ``+=`` if `add`."""
    for index in np.ndindex(*source.shape):
        target[index] = target[index] + source[index] if add else source[index]


def clear(target: np.ndarray) -> None:
    """Set all elements to zero."""
    target[...] = 0
