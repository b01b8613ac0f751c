"""Whether an optimiser and its groups hold what they held, as one comparison in machine code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..optim import Optimizer

OFTEN = 64  # times that it was compared in full, after which what it holds is kept to compare with


class OptimizerGuard:
    """Compares an optimiser, its groups, their options and their lists of parameters by identity.

    Parameters
    ----------
    optimizer : Optimizer
    """

    def __init__(self, optimizer: Optimizer):
        self._optimizer, self._compared = optimizer, 0
        self._same: Callable[[], int] | None = None
        self._kept: tuple = ()  # what it is compared with, alive as long as it is

    def holds(self) -> bool:
        """Whether nothing has been set since then; False, too, where nothing is known."""
        return self._same is not None and self._same() == 1

    def compared(self) -> None:
        """Note that it was found to be in order as it is now."""
        self._compared += 1
        if self._compared < OFTEN:
            return
        from ..compiler.runtime.contents import unchanged  # at first use, as importing the compiler takes a while

        self._compared, groups = 0, self._optimizer.param_groups
        spaces: list[dict[str, Any]] = [vars(self._optimizer), *groups]
        dicts = [(d, [*d], [*d.values()]) for d in spaces]
        lists = [(a, [*a]) for a in (groups, *[g["params"] for g in groups])]
        self._same, self._kept = unchanged(dicts, (), lists, ()), (dicts, lists)
