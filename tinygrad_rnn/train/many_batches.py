"""Updates over the rows of arrays: many in one native call where they can be."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..data import DataLoader
from ..optim import Schedule
from .program_updates import ProgramUpdates
from .updates import Outcome, Update, outcome

CHUNK = 0.05  # seconds after which many updates come back to Python


class ManyBatches:
    """Updates with batches that are rows of a loader's arrays: many in one native call where they can be.

    Parameters
    ----------
    loader : DataLoader
        One for which :meth:`fits`.
    updates : callable
        ``updates()`` is what makes updates by programs.
    update : callable
        Updates with one batch, by `updates` or otherwise.
    schedule : Schedule, optional
        Whoever takes the outcomes makes a step of it after each update.
    """

    def __init__(
        self,
        loader: DataLoader,
        updates: Callable[[], ProgramUpdates],
        update: Update,
        schedule: Schedule | None = None,
    ):
        self.loader, self.updates, self.update, self.schedule = loader, updates, update, schedule
        self.rows = np.arange(loader.size)
        self.native: Any = None  # a ManySteps, once there is one; False if there is none in this epoch
        self.most = 1  # steps of one call, so that it takes no longer than CHUNK

    @staticmethod
    def fits(loader: Any) -> bool:
        """Whether the batches of a loader are nothing but rows of its arrays."""
        return type(loader) is DataLoader and loader.sliced is not None

    def epoch(self, batches: Iterator[Any], left: Callable[[], int]) -> Iterator[Outcome]:
        """Update with the batches that have the next rows of the loader, as long as ``left() > 0``."""
        loader, self.native = self.loader, self.native or None
        while (n := left()) > 0 and (taken := list(itertools.islice(batches, min(self.most, n)))):
            while taken:
                order = self._alike(taken)
                if order:
                    found = self._run(order)
                    del taken[: len(found.losses) + (found.error is not None)]
                else:
                    rows = taken.pop(0)
                    found = outcome(self.update, loader.batch(rows))
                    self._prepare(rows)
                loader.unread(len(taken))  # as of now, for checkpoints
                yield found
                loader.unread(-len(taken))

    def _alike(self, taken: list) -> list[np.ndarray]:
        """The rows of the next batches that one native call can do."""
        if not self.native:
            return []
        order, size = [self.rows[r] for r in taken], self.native.rows
        sizes = [r.size for r in order]
        if sizes.count(size) < len(sizes):
            order = order[: next(i for i, n in enumerate(sizes) if n != size)]
        if not order:
            return []
        if self.updates().program_of(self.loader.batch(taken[0]))[1] is not self.native.step:
            self.native = None  # it changed: another one, from the next step on
            return []
        try:
            self.native.read(order)
        except (IndexError, ValueError):  # the step that meets it says where
            self.native = False
            return []
        return order

    def _run(self, order: list[np.ndarray]) -> Outcome:
        started = time.perf_counter()
        losses, norms = self.native.run(order)
        seconds = (time.perf_counter() - started) / max(len(losses), 1)
        self.most = int(min(max(CHUNK / seconds, 1), self.native.most))
        try:
            self.native.step.check()
        except FloatingPointError as error:
            return Outcome(losses.tolist(), norms.tolist(), self.loader.batch(order[len(losses)]), error)
        return Outcome(losses.tolist(), norms.tolist())

    def _prepare(self, rows: Any) -> None:
        """Make the native call of many steps, after a first one of their kind."""
        step, size = self.updates().last, self.rows[rows].size
        if step is None or self.native is not None or size < min(self.loader.batch_size, self.loader.size):
            return
        from .many_steps import many_steps  # at first use, as importing the compiler takes a while

        self.native = many_steps(step, self.loader.sliced or [], size, self.schedule) or False
        self.most = min(2, self.native.most) if self.native else 1
