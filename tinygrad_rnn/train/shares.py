"""The part of each batch that one of several processes trains with."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import config
from ..core import tree
from ..data import DataLoader
from ..errors import DataError, ShapeError
from ..recurrent.rows import axes_that_grow, take_rows
from . import randomness
from .tbptt import TruncatedBPTT

Gather = Callable[[Any], list]  # from what each process has to the list of all


def bounds(count: int, rank: int, size: int) -> tuple[int, int]:
    """First and last (exclusive) of `count` rows that belong to process `rank` of `size`."""
    return count * rank // size, count * (rank + 1) // size


class LoaderShare:
    """Some rows of each batch of a DataLoader; the order of the batches is that of one process.

    Attributes
    ----------
    weight : float
        The share of the last batch in its whole.
    """

    def __init__(self, loader: DataLoader, rank: int, size: int):
        self.loader, self.rank, self.size = loader, rank, size
        self.weight = 1.0

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        """The parts of the batches; None where there are fewer rows than processes, and none for this one."""
        for rows in self.loader.rows():
            if isinstance(rows, slice):
                start, stop = rows.start, min(rows.stop, self.loader.size)
                first, last = bounds(stop - start, self.rank, self.size)
                count, part = stop - start, slice(start + first, start + last)
            else:
                first, last = bounds(len(rows), self.rank, self.size)
                count, part = len(rows), rows[first:last]
            self.weight = (last - first) / count
            yield self.loader.batch(part) if last > first else None

    def state_dict(self) -> dict[str, Any]:
        return self.loader.state_dict()

    def load_state_dict(self, state: Any) -> None:
        self.loader.load_state_dict(state)

    def fingerprint(self) -> tuple:
        """What has to be alike in all processes."""
        return "DataLoader", self.loader.state_dict(), checksum(self.loader.data)


class StreamShare(TruncatedBPTT):
    """Some of the parallel streams of a TruncatedBPTT; its state dict is that of all streams.

    Attributes
    ----------
    weight : float
        The share of its streams in all.
    """

    def __init__(self, whole: TruncatedBPTT, rank: int, size: int, gather: Gather, model: Callable):
        streams = whole.inputs.shape[1]
        if streams < size:
            raise ShapeError(f"train: got {streams} streams, wanted at least one for each of {size} processes")
        self.first, self.last = bounds(streams, rank, size)
        part = slice(self.first, self.last)
        resets = None if whole.resets is None else whole.resets[:, part]
        super().__init__(whole.inputs[:, part], whole.targets[:, part], whole.k1, whole.k2, resets)
        self.whole, self.gather, self.model = whole, gather, model
        self.weight = (self.last - self.first) / streams

    def state_dict(self) -> dict[str, Any]:
        """As that of the whole, from the states of all processes: all of them have to call it."""
        saved = super().state_dict()
        parts = self.gather(saved["state"])
        if saved["state"] is not None:
            leaves = [tree.flatten(part)[0] for part in parts]
            axes = self._batch_axes()
            whole = [
                mine if axis is None else np.concatenate(pieces, axis)
                for mine, axis, pieces in zip(leaves[0], axes, zip(*leaves))
            ]
            saved["state"] = tree.unflatten(tree.flatten(saved["state"])[1], whole)
        return saved

    def load_state_dict(self, state_dict: Any) -> None:
        """Go on with this process's streams where the state dict of the whole was taken."""
        super().load_state_dict(state_dict)
        if self._state is None:
            return
        self._state = take_rows(self._state, np.arange(self.first, self.last), self._batch_axes())

    def _batch_axes(self) -> list[int | None]:
        """Along which axis of each array of the state the streams lie."""
        generators = {**randomness.shared_generators(), **randomness.find({"model": self.model})}
        before = randomness.states(generators)
        states = []
        with config.no_grad():
            for count in (2, 3):
                inputs = np.repeat(self.inputs[:1, :1], count, axis=1)
                more = {} if self.resets is None else {"resets": np.repeat(self.resets[:1, :1], count, axis=1)}
                _, state = self.model(self.tensor(inputs), None, **more)
                states.append(state)
        randomness.restore(generators, before)
        return axes_that_grow(*states)

    tensor: Callable[[Any], Any]  # what makes the model's inputs of arrays, set by the training

    def fingerprint(self) -> tuple:
        """What has to be alike in all processes."""
        whole = self.whole
        return "TruncatedBPTT", whole.k1, whole.k2, checksum((whole.inputs, whole.targets, whole.resets))


def share_of(data: Any, rank: int, size: int, gather: Gather, model: Callable) -> Any:
    """The part of some batches that is a process's own.

    Raises
    ------
    DataError
        If it cannot be told which rows a batch has.
    """
    if isinstance(data, DataLoader):
        return LoaderShare(data, rank, size)
    if isinstance(data, TruncatedBPTT):
        return StreamShare(data, rank, size, gather, model)
    raise DataError(
        f"train: got {type(data).__name__}, wanted a DataLoader or a TruncatedBPTT, whose rows several processes can "
        "share"
    )


def checksum(data: Any) -> Any:
    """Shapes and contents of the arrays in a nest, as a number each."""
    if isinstance(data, np.ndarray):
        return data.shape, data.dtype.str, zlib.crc32(np.ascontiguousarray(data).view(np.uint8).data)
    if isinstance(data, tuple | list):
        return type(data).__name__, [checksum(part) for part in data]
    return type(data).__name__
