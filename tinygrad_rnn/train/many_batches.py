"""Batches that are rows of arrays: many in one native call where they can be."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..optim import Schedule
from .program_updates import ProgramUpdates
from .row_sources import Batches, source_of
from .updates import Outcome, Update, outcome

CHUNK = 0.05  # seconds after which many updates come back to Python


class ManyBatches:
    """Updates with batches that are rows of arrays, many in one native call where they can be.

    Parameters
    ----------
    loader : DataLoader or TruncatedBPTT
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
        loader: Any,
        updates: Callable[[], ProgramUpdates],
        update: Update,
        schedule: Schedule | None = None,
    ):
        self.loader, self.updates, self.update, self.schedule = loader, updates, update, schedule
        self.source: Any = source_of(loader)
        self.native: Any = None  # a ManySteps, once there is one; False if there is none in this epoch
        self.kind: Any = None  # of the batches that it takes
        self.most = 1  # steps of one call, so that it takes no longer than CHUNK
        self._done = 0  # batches of a call that has ended, or was interrupted

    @staticmethod
    def fits(loader: Any) -> bool:
        """Whether the batches of a loader are nothing but rows of arrays."""
        return source_of(loader) is not None

    def begin(self, most: int) -> Any:
        """Begin an epoch of the loader, or as many as one native call can do of so many batches."""
        return self.source.begin(self.loader, min(most, self.most) if self.native else 1)

    def epoch(self, batches: Any, left: Callable[[], int]) -> Iterator[Outcome]:
        """Update with the next batches, of those that the loader's source begins, as long as ``left() > 0``."""
        source, self.native = self.source, self.native or None
        while (n := left()) > 0 and (taken := source.take(batches, min(self.most, n))):
            while taken:
                self._done = 0
                try:
                    order = self._alike(taken)
                    if order is not None:
                        found = self._run(order, taken)
                        used = len(found.losses) + (found.error is not None)
                    else:
                        found, used = outcome(self.update, source.batch(taken[0])), 1
                        self._prepare(taken[0])
                except BaseException:  # of the next batch, which is used up by it, and no others are
                    source.unread(len(taken) - max(self._done, 1))
                    raise
                taken = taken[used:]
                source.unread(len(taken))  # as of now, for checkpoints
                yield found
                source.unread(-len(taken))

    def _alike(self, taken: Sequence) -> Batches | None:
        """The rows of the next batches that one native call can do; None if it can do none."""
        if not self.native:
            return None
        source = self.source
        order = source.alike(taken, self.kind)
        if not order.length:
            return None
        step = self.updates().step_of(source.batch(taken[0]))
        if step is not self.native.step or not self.native.reads(source.sources(taken[0])):
            self.native = None  # it changed: another one, from the next step on
            return None
        if not step.goes_on():
            return None
        try:
            self.native.read(order, source.state())
        except (IndexError, ValueError):  # the step that meets it says where
            self.native = False
            return None
        return order

    def _run(self, order: Batches, taken: Sequence) -> Outcome:
        started, source, native = time.perf_counter(), self.source, self.native
        try:
            losses, norms = native.run(order, source.state())
        finally:
            self._done = native.done
            if native.done:
                source.accept(native.handed_on())
        seconds = (time.perf_counter() - started) / max(len(losses), 1)
        self.most = int(min(max(CHUNK / seconds, 1), native.most))
        try:
            native.step.check()
        except FloatingPointError as error:
            source.accept(native.handed_on_in_vain())
            return Outcome(losses, norms, source.batch(taken[len(losses)]), error)
        return Outcome(losses, norms)

    def _prepare(self, item: Any) -> None:
        """Make the native call of many steps, after a first one of their kind."""
        step, source = self.updates().last, self.source
        if step is None or self.native is not None or not source.is_typical(item):
            return
        self.kind = source.kind(item)
        found, same = self.updates().program_of(source.batch(item))
        carry = source.carry(found) if same is step else None
        from .many_steps import many_steps  # at first use, as importing the compiler takes a while

        self.native = carry is not None and many_steps(
            step, source.sources(item), source.rows(item), carry, found.capture, self.schedule
        )
        self.native = self.native or False
        self.most = min(2, self.native.most) if self.native else 1
