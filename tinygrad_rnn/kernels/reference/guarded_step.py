"""Plain NumPy twins of the kernels in `guarded_step`, on the arrays that its tables point to."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

Array = np.ndarray
LINE = 64  # bytes


def differs(watched: Iterable[tuple[Array, Array]], every: int, first: int) -> bool:
    """Whether an array differs from its copy in lines ``first, first + every, ...``, or behind all."""
    for array, copy in watched:
        changed = array.view(np.uint8) != copy.view(np.uint8)
        lines = len(changed) // LINE
        compared = changed[: lines * LINE].reshape(lines, LINE)[first if every > 1 else 0 :: every]
        if compared.any() or changed[lines * LINE :].any():
            return True
    return False


def are_finite(results: Iterable[Array]) -> bool:
    """Whether the results hold neither NaN nor infinity."""
    return all(bool(np.isfinite(rows).all()) for rows in results)


def advance_states(states: Iterable[tuple[Array, Array]]) -> None:
    """Copy the new states to the present ones."""
    for new, present in states:
        present[...] = new


def exchange(words: Array, turns: Iterable[tuple[int, int]]) -> Array:
    """The words of a table after a turn, each of ``(number, difference of bits)``."""
    after = words.copy()
    for i, difference in turns:
        after[i] ^= difference
    return after
