"""How many batches share an update, and how many of them are waiting for it."""

from __future__ import annotations

from dataclasses import dataclass


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

    def count(self, batches: int) -> int:
        """Count batches; how many updates there were with them."""
        updates, self.waiting = divmod(self.waiting + batches, self.every)
        return updates
