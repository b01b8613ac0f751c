"""Plain NumPy twin of the kernel in `gradient_step`, on the arrays that its table points to."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

Array = np.ndarray


def add_gradients(parts: Iterable[tuple[Array, Array | None, Array]]) -> None:
    """Add ``left.T @ right`` to each target, or the sum of the rows of `left`, which hold it."""
    for left, right, target in parts:
        target += left.sum(axis=0).reshape(target.shape) if right is None else left.T @ right
