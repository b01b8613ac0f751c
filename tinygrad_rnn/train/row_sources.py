"""Batches that are nothing but rows of arrays: those of a loader, and the windows of a stream."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..core import Tensor, tree
from ..data import DataLoader
from ..data.epoch import Epoch
from .tbptt import TruncatedBPTT, Window

Rows = tuple[np.ndarray, ...]  # of a batch: for each group of arrays the rows that it takes


class Source(NamedTuple):
    """An array of whose rows an input of a program is made.

    Attributes
    ----------
    array : ndarray
    axis : int
        Along which its rows lie.
    group : int
        Which of the rows of a batch it takes.
    """

    array: np.ndarray
    axis: int
    group: int


class Carry(NamedTuple):
    """Values that go from one step to the next one.

    Attributes
    ----------
    outputs : list of int
        Numbers of the results of the program, for each of its first inputs the one that it is in the next step.
    structure : Structure
        Of their nest.
    """

    outputs: list[int]
    structure: Any


class Batches(NamedTuple):
    """Batches of one kind, one after the other.

    Attributes
    ----------
    length : int
        How many there are.
    rows : Rows
        Of all of them.
    """

    length: int
    rows: Rows


class LoaderRows:
    """The batches of a loader.

    Parameters
    ----------
    loader : DataLoader
        One for which :meth:`fits`.
    """

    def __init__(self, loader: DataLoader):
        self.loader = loader
        self._epoch: Epoch  # what was begun last

    @staticmethod
    def fits(loader: Any) -> bool:
        """Whether the batches of a loader are nothing but rows of its arrays."""
        return type(loader) is DataLoader and loader.sliced is not None

    def begin(self, loader: DataLoader, batches: int = 1) -> Epoch:
        """Begin an epoch, or as many whole ones as there are in so many batches; returns their batches."""
        self._epoch = loader.epoch(max(1, batches // len(loader)))
        return self._epoch

    @staticmethod
    def take(batches: Epoch, most: int) -> range:
        """The numbers of the next batches, at most so many."""
        return batches.take(most)

    def batch(self, item: int) -> Any:
        """The batch, as iteration hands it out."""
        return self.loader.batch(self._epoch[item])

    def unread(self, count: int) -> None:
        """Note that the last `count` items were not used yet; if negative, that they were."""
        self.loader.unread(count)

    def kind(self, item: int) -> int:
        """Equal for batches that one program can take."""
        return self._epoch.size_of(item)

    def is_typical(self, item: int) -> bool:
        """Whether more of this kind may come."""
        return self.kind(item) >= min(self.loader.batch_size, self.loader.size)

    def rows(self, item: int) -> Rows:
        """The rows of a batch."""
        return (self._epoch.rows(range(item, item + 1)),)

    def alike(self, items: range, kind: int) -> Batches:
        """The rows of the first batches, up to one that is not of this kind."""
        items = self._epoch.alike(items, kind)
        return Batches(len(items), (self._epoch.rows(items),) if items else ())

    def sources(self, item: int) -> list[Source]:
        """The arrays for the inputs of the program of a batch, those that are carried left out."""
        return [Source(a, axis, 0) for a, axis in self.loader.sliced or []]

    def carry(self, found: Any) -> Carry | None:
        """What a step hands to the next one; None if that cannot be done in a native call."""
        return Carry([], None)

    def state(self) -> Sequence[np.ndarray]:
        """What the next step is handed."""
        return ()

    def accept(self, state: Any) -> None:
        """Go on from what a step has handed on."""


class StreamWindows:
    """The windows of a stream.

    Parameters
    ----------
    stream : TruncatedBPTT
    """

    def __init__(self, stream: TruncatedBPTT):
        self.stream = stream

    @staticmethod
    def begin(stream: TruncatedBPTT, batches: int = 1) -> Iterator[Window]:
        """The windows of an epoch; those of the next one go on from another state."""
        return iter(stream)

    @staticmethod
    def take(windows: Iterator[Window], most: int) -> list[Window]:
        """The next windows, at most so many."""
        return list(itertools.islice(windows, most))

    def batch(self, item: Window) -> Any:
        """The batch: the window."""
        return item

    def unread(self, count: int) -> None:
        """Note that the last `count` windows were not used yet; if negative, that they were."""
        self.stream.unread(count)

    def kind(self, item: Window) -> Hashable:
        """Equal for windows that one program can take."""
        start, carry, first, stop = item
        return carry - start, first - start, stop - start, start > 0

    def is_typical(self, item: Window) -> bool:
        """Whether more of this kind may come: it begins with a state, and is as long as all but the last ones."""
        return item.start > 0 and item.stop - item.first == self.stream.k1

    def rows(self, item: Window) -> Rows:
        """The time steps of a window: those of its pieces, and those of its targets."""
        return tuple([np.arange(begin, end) for begin, end in [*item.pieces(), (item.first, item.stop)]])

    def alike(self, items: Sequence[Window], kind: Hashable) -> Batches:
        """The rows of the first windows, up to one that is not of this kind."""
        alike = itertools.takewhile(lambda item: self.kind(item) == kind, items)
        order = [self.rows(item) for item in alike]
        return Batches(len(order), tuple([np.concatenate(parts) for parts in zip(*order)]))

    def sources(self, item: Window) -> list[Source]:
        """The arrays for the inputs of the program of a window, the state left out."""
        stream, found = self.stream, []
        count = len(item.pieces())
        for group in range(count):
            found.append(Source(stream.inputs, 0, group))
            if stream.resets is not None:
                found.append(Source(stream.resets, 0, group))
        return [*found, Source(stream.targets, 0, count)]

    def carry(self, found: Any) -> Carry | None:
        """What a window hands to the next one; None if that cannot be done in a native call.

        The state has to be the first inputs of the program, and the next state results of it, in the same nest.
        """
        capture, arguments = found.capture, found.arguments
        leaves, structure = tree.flatten(self.stream.state)
        given = arguments.values[: len(leaves)]
        if len(given) < len(leaves) or any(a is not b for a, b in zip(leaves, given)):
            return None
        numbers = [_Number(i) for i in range(len(capture.results))]
        after, nest = tree.flatten(capture.nest(numbers, arguments.values, found.tensors)[1])
        if nest != structure or not leaves or not all(type(a) is _Number for a in after):
            return None
        for a, kind, symbol in zip(after, arguments.kinds, capture.inputs):
            s = capture.results[a.value]
            alike = s.shape == kind.shape and s.dtype == kind.dtype == symbol.dtype and s.dtype.kind in "fiu"
            if not alike or capture.trace.is_array(s) is not kind.is_array or s.uid in capture.scalars:
                return None
        return Carry([a.value for a in after], structure)

    def state(self) -> Sequence[np.ndarray]:
        """The state before the next window."""
        leaves, _ = tree.flatten(self.stream.state)
        return [a._array if isinstance(a, Tensor) else a for a in leaves]

    def accept(self, state: Any) -> None:
        """Go on from a state."""
        self.stream.accept(state)


@dataclass(eq=False)
class _Number:
    """Stands for a result of a program."""

    value: int


def source_of(loader: Any) -> LoaderRows | StreamWindows | None:
    """The rows that the batches of a loader are; None if they are something else."""
    if isinstance(loader, TruncatedBPTT):
        return StreamWindows(loader) if type(loader) is TruncatedBPTT else None
    return LoaderRows(loader) if LoaderRows.fits(loader) else None
