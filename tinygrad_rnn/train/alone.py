"""What a training asks of the processes that share it, answered by one that has no others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..optim import Optimizer

GradientsOf = Callable[[Any], float]  # as in `gradients`, which needs what needs this


class Alone:
    """The only process of a training; :class:`Ranks` has the same methods for several.

    Attributes
    ----------
    rank, size : int
        Which process this is, of how many.
    """

    rank, size = 0, 1

    def begin(self, trainer: Any, train: Any, limits: tuple) -> Any:
        """What this process trains with of the batches `train`, at the beginning of :meth:`Trainer.fit`."""
        return train

    def part(self, data: Any, model: Any) -> Any:
        """The part of batches that this process evaluates."""
        return data

    def gradients(self, gradients: GradientsOf, optimizer: Optimizer, train: Any) -> GradientsOf:
        """Losses and gradients of whole batches, from those of this process's parts."""
        return gradients

    def weighed(self, names: Iterable[str], numbers: dict[str, float], data: Any) -> dict[str, float]:
        """Means over a whole batch or all streams, from those over the part of this process; of `names`."""
        return numbers

    def agree(self, value: Any) -> Any:
        """What process 0 has decided, as by a clock."""
        return value

    def first(self, value: Any) -> Any:
        """What the first of the processes has that has something, such as a reason to stop; None if none has."""
        return value

    def signal(self, number: int | None) -> int | None:
        """The signal that came to one of the processes, if any."""
        return number

    def by_first(self, function: Callable[[], None]) -> None:
        """Let process 0 do something, such as to write a file; what it raises is raised by all."""
        function()

    def states(self, generators: dict[str, Any]) -> dict[str, Any]:
        """The states of random generators, for a checkpoint."""
        return {**generators, "others": None}

    def own_states(self, saved: dict[str, Any]) -> dict[str, Any]:
        """Those of this process among the states in a checkpoint."""
        return saved

    def resumed(self, saved: dict[str, Any]) -> None:
        """Draw on where a checkpoint was taken, once the generators have its states."""

    def failed(self) -> None:
        """End the other processes, if an error is this one's alone and they would wait for it in vain."""


ALONE = Alone()
