"""Order of an epoch, or of some that follow each other: which examples each batch holds."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np


class Epoch:
    """The batches of an epoch, or of some, as the numbers of the examples that they hold.

    Iterating over it gives for each batch a slice, if its examples lie side by side (no copy is needed), else an array.

    Parameters
    ----------
    order : ndarray of int64, or None
        The numbers of all examples, one batch after the other; None if they are in order.
    sizes : ndarray of int64, or None
        Of the batches; None if all have `size` examples but perhaps the last one.
    size, count, batches : int
        Examples of a batch, and in all; batches.
    position : int
        The batch to begin with.
    moved : callable
        ``moved(position)`` is called whenever batches were taken.
    """

    def __init__(
        self,
        order: np.ndarray | None,
        sizes: np.ndarray | None,
        size: int,
        count: int,
        batches: int,
        position: int,
        moved: Callable[[int], None],
    ):
        self.size, self.count, self.batches = size, count, batches
        self._order, self._sizes, self._position, self._moved = order, sizes, position, moved

    def before(self, others: Sequence[Epoch]) -> Epoch:
        """This one and others of the same loader, one after the other."""
        epochs, size = (self, *others), self.size
        orders = [np.arange(e.count) if e._order is None else e._order for e in epochs]
        order = np.concatenate([order[: e.bounds[-1]] for order, e in zip(orders, epochs)])
        sizes = np.concatenate([np.diff(e.bounds) for e in epochs])
        alike = None if bool((sizes[:-1] == size).all()) else sizes
        return Epoch(order, alike, size, len(order), len(sizes), self._position, self._moved)

    def __iter__(self) -> Iterator[slice | np.ndarray]:
        while (number := self._position) < self.batches:
            self._position = number + 1
            self._moved(number + 1)
            yield self[number]

    def __getitem__(self, number: int) -> slice | np.ndarray:
        """The examples of a batch."""
        if self._order is None or (self._sizes is None and self.size == 1):
            first = number * self.size if self._order is None else int(self._order[number])
            return slice(first, first + self.size)
        return self._order[self.bounds[number] : self.bounds[number + 1]]

    def take(self, most: int) -> range:
        """The numbers of the next batches, at most so many; empty at the end."""
        taken = range(self._position, min(self._position + most, self.batches))
        if taken:
            self._position = taken.stop
            self._moved(taken.stop)
        return taken

    @functools.cached_property
    def bounds(self) -> np.ndarray:
        """Where in the order each batch begins, and where the last one ends."""
        if self._sizes is not None:
            return np.concatenate([[0], np.cumsum(self._sizes)])
        return np.minimum(np.arange(self.batches + 1) * self.size, self.count)

    def rows(self, numbers: range) -> np.ndarray:
        """The examples of neighbouring batches, one batch after the other."""
        first, last = int(self.bounds[numbers.start]), int(self.bounds[numbers.stop])
        return np.arange(first, last) if self._order is None else self._order[first:last]

    def size_of(self, number: int) -> int:
        """How many examples a batch holds."""
        return int(self.bounds[number + 1] - self.bounds[number])

    def alike(self, numbers: range, size: int) -> range:
        """The first of these batches, up to one that does not hold so many examples."""
        other = np.diff(self.bounds[numbers.start : numbers.stop + 1]) != size
        return numbers[: int(other.argmax())] if other.any() else numbers
