"""Rows of a batch in states of any nest: which axis they are along, and some of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import Tensor, tree


def take_rows(state: Any, index: np.ndarray, axes: Sequence[int | None]) -> Any:
    """The rows `index` of every tensor in a state, along its own axis; the whole of those that have none."""
    leaves, structure = tree.flatten(state)
    taken = []
    for leaf, axis in zip(leaves, axes):
        if axis is None:
            taken.append(leaf)
            continue
        array = np.take(_values(leaf), index, axis)
        taken.append(Tensor(array) if isinstance(leaf, Tensor) else array)
    return tree.unflatten(structure, taken)


def axes_that_grow(few: Any, more: Any) -> list[int | None]:
    """The axis of the rows of each tensor in a state: the one that differs with more of them; or None."""
    shapes = ([_values(leaf).shape for leaf in tree.flatten(state)[0]] for state in (few, more))
    return [next((i for i, (a, b) in enumerate(zip(*pair)) if a != b), None) for pair in zip(*shapes)]


def _values(value: Any) -> np.ndarray:
    return value.data if isinstance(value, Tensor) else np.asarray(value)
