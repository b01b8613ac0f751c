"""How many batches share an update, and what those that wait for it have come to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..core import Tensor
from ..errors import NonFiniteError


class NonFiniteGradient(NonFiniteError):
    """The gradient of one batch holds NaN or infinity.

    Attributes
    ----------
    parameter : Tensor
        The first one that has such a gradient.
    """

    def __init__(self, parameter: Tensor):
        super().__init__("gradients: got NaN or infinity")
        self.parameter = parameter


@dataclass
class Accumulation:
    """Batches whose gradients add up in the parameters, until there is one update by their mean.

    Attributes
    ----------
    every : int
        Batches of an update.
    waiting : int
        Those whose gradients are in the parameters, and had no update yet.
    """

    every: int = 1
    waiting: int = 0

    @property
    def plain(self) -> bool:
        """Whether the next batch has an update of its own."""
        return self.every == 1 and not self.waiting

    def batches(self, updates: int) -> int:
        """How many batches so many updates take from here on."""
        return max(updates * self.every - self.waiting, min(updates, 1))

    def count(self, batches: int) -> int:
        """Count batches; how many updates there were with them."""
        updates, self.waiting = divmod(self.waiting + batches, self.every)
        return updates

    # ---- on the tape

    def add(self, params: Sequence[Tensor], gradients: Callable[[], float], watch: bool) -> float:
        """Add the gradients of a batch to those that wait; its loss.

        Parameters
        ----------
        params : sequence of Tensor
        gradients : callable
            Leaves the gradients of the batch alone in the parameters, and returns its loss.
        watch : bool
            Raise NonFiniteGradient if one of them is not finite. Whatever is raised, those that wait stay as they were.
        """
        before = [p.grad if self.waiting else None for p in params]
        try:
            loss = gradients()
            if watch:
                check_gradients(params, [None if p.grad is None else p.grad._array for p in params])
        except BaseException:
            for p, grad in zip(params, before):
                p.grad = grad
            raise
        for p, grad in zip(params, before):
            if grad is not None:
                p.grad = grad if p.grad is None else Tensor(grad._array + p.grad._array)
        self.waiting += 1
        return loss

    @property
    def full(self) -> bool:
        """Whether those that wait are enough for an update."""
        return self.waiting >= self.every

    def take(self, params: Sequence[Tensor]) -> None:
        """Put the mean of the gradients that wait in place of their sum, and let none wait any more."""
        count, self.waiting = self.waiting, 0
        for p in params:
            if p.grad is not None:
                p.grad = Tensor(p.grad._array / count)


def check_gradients(params: Sequence[Tensor], grads: Sequence[np.ndarray | None]) -> None:
    """Raise NonFiniteGradient if the gradient of a parameter is there, and not finite."""
    for p, grad in zip(params, grads):
        if grad is not None and not np.isfinite(grad).all():
            raise NonFiniteGradient(p)
