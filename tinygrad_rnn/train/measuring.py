"""Metrics while training: a user's functions of predictions and targets, averaged over batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import config
from ..checks import shown
from ..core import Tensor, tree

Update = Callable[[Any], tuple[float, float | None]]  # as in updates
Functions = Mapping[str, Callable[[Any, Any], Any]]


def values(functions: Functions, predictions: Any, targets: Any) -> dict[str, float]:
    """Each metric of predictions and targets, which it gets as tensors of its own without a graph.

    Raises
    ------
    TypeError
        If one is no single number.
    """
    with config.no_grad():
        found = {}
        for name, function in functions.items():
            found[name] = _number(name, function(_copied(predictions), _copied(targets)))
        return found


def detached(nest: Any) -> Any:
    """A nest whose tensors have no graph."""
    return tree.map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, nest)


def _copied(nest: Any) -> Any:
    """A nest with copies of tensors and arrays, in which a metric may write."""
    return tree.map(lambda leaf: leaf.copy() if isinstance(leaf, Tensor | np.ndarray) else leaf, nest)


def _number(name: str, value: Any) -> float:
    """What a metric has returned, as a float."""
    array = value.data if isinstance(value, Tensor) else np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "biuf":
        raise TypeError(f"metrics[{name!r}]: got {shown(value)}, wanted a single number from the function")
    return float(array.reshape(())[()])


class Watch:
    """Measures the batches of updates, each with the predictions that its loss was computed from.

    Parameters
    ----------
    functions : mapping
    """

    def __init__(self, functions: Functions):
        self.functions = functions
        self._found: dict[str, float] | None = None  # of the batch at hand

    def note(self, predictions: Any, targets: Any) -> None:
        """Measure the batch at hand, if it was not: some optimisers compute their loss several times."""
        if self._found is None:
            self._found = values(self.functions, predictions, targets)

    def noting(self, loss: Callable[..., Any]) -> Callable[..., Any]:
        """The loss, which is measured where it is computed."""

        def noted(predictions: Any, targets: Any) -> Any:
            value = loss(predictions, targets)
            self.note(predictions, targets)
            return value

        return noted

    def around(self, update: Update, sums: Callable[[], dict[str, float]], of_all: Callable[[Any], Any]) -> Update:
        """An update that adds the metrics of its batch to ``sums()``, unless it raises.

        ``of_all(found)`` are those of the whole batch, from those of the part that is run here.
        """

        def measured(batch: Any) -> tuple[float, float | None]:
            self._found = None
            result = update(batch)
            total = sums()
            found: dict[str, float] = of_all(self._found or {})
            for name, value in found.items():
                total[name] = total.get(name, 0.0) + value
            return result

        return measured


class Means:
    """Weighted means of several numbers, by name."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.weight = 0.0

    def add(self, numbers: Mapping[str, float], weight: float = 1.0) -> None:
        """Count the numbers of one batch."""
        self.weight += weight
        for name, value in numbers.items():
            self.sums[name] = self.sums.get(name, 0.0) + weight * value

    def result(self) -> dict[str, float]:
        """The means."""
        return {name: total / self.weight for name, total in self.sums.items()}
