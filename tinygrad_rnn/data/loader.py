"""Batches of examples: in order or shuffled, of similar length if wanted, reproducible from a seed."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..checks import flag, shown
from ..config import generator
from ..errors import CheckpointError, DataError, ShapeError
from ._checks import as_any, as_array, integer, integer_array, listed, stacked
from .epoch import Epoch

_ALL = slice(None)


def stack_examples(examples: list) -> Any:
    """Stack examples of equal shape along a new first axis; examples that are tuples field by field.

    Examples
    --------
    >>> stack_examples([([1, 2], 0), ([3, 4], 1)])
    (array([[1, 2],
           [3, 4]]), array([0, 1]))
    """
    examples = listed("examples", examples)
    if not examples:
        raise DataError("examples: got none, wanted at least one")
    if isinstance(examples[0], tuple):
        for i, example in enumerate(examples):
            if not isinstance(example, tuple) or len(example) != len(examples[0]):
                wanted = f"a tuple of {len(examples[0])} as the first one is"
                raise TypeError(f"examples[{i}]: got {reprlib.repr(example)}, wanted {wanted}")
        return tuple(stack_examples(list(field)) for field in zip(*examples))
    arrays = [as_array(f"examples[{i}]", example) for i, example in enumerate(examples)]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise ShapeError(
            f"examples: got the shapes {', '.join(map(str, sorted(shapes)))} in one batch, wanted one shape; "
            "pass collate=pad_sequences or a function of your own"
        )
    return stacked(arrays)


class DataLoader:
    """Iterates over batches of arrays or examples.

    Every ``iter(loader)`` runs one epoch. The order of epoch e follows from the seed and e alone.

    Parameters
    ----------
    data : ndarray, tuple of ndarray, or sequence of examples
        An array gives batches that are arrays, a tuple of arrays gives tuples, also with tuples in it, such as
        ``((inputs, lengths), targets)``; any other sequence (a list, or anything with ``len`` and integer indexing)
        gives ``collate([example, ...])``.
    batch_size : int
    shuffle : bool
    drop_last : bool
        Leave out batches with fewer than `batch_size` examples (with buckets, the last one of every bucket).
    seed : int, optional
        Of the shuffling; drawn from the package's generator unless given.
    lengths : sequence of int, shape (N,), optional
        Lengths of the examples, for `bucket`.
    bucket : int or increasing sequence of int, optional
        Put examples of similar length into a batch: a width w collects the lengths 0..w, w+1..2w, ...; bounds
        [a, b] collect 0..a, a+1..b and all beyond b.
    collate : callable, optional
        Makes the batch that is handed out: from the list of examples (:func:`stack_examples` unless given;
        :func:`pad_sequences` pads them), or from the sliced array or tuple of arrays.
    batch_axis : int or tuple of int
        Axis of the arrays along which the examples lie: 1 for (T, B, features); a tuple for one per array.

    Raises
    ------
    DataError
        If there is no example.
    ShapeError
        If arrays or lengths disagree about the number of examples.

    Notes
    -----
    Batches that need no gathering (in order, or of size 1) are views of the arrays; the others are copies.

    Examples
    --------
    >>> x, y = np.arange(10).reshape(5, 2), np.arange(5)
    >>> for inputs, targets in DataLoader((x, y), batch_size=3):
    ...     print(inputs.shape, targets)
    (3, 2) [0 1 2]
    (2, 2) [3 4]

    Sequences of different lengths, padded to the longest of their batch:

    >>> from tinygrad_rnn.data import pad_sequences
    >>> texts = [[1, 2, 3], [4], [5, 6, 7, 8], [9]]
    >>> loader = DataLoader(texts, 2, lengths=[3, 1, 4, 1], bucket=2, collate=pad_sequences)
    >>> for padded, lengths in loader:
    ...     print(padded.tolist(), lengths)
    [[4], [9]] [1 1]
    [[1, 2, 3, 0], [5, 6, 7, 8]] [3 4]
    """

    def __init__(
        self,
        data: np.ndarray | tuple[np.ndarray, ...] | Sequence,
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int | None = None,
        lengths: Sequence[int] | np.ndarray | None = None,
        bucket: int | Sequence[int] | None = None,
        collate: Callable[[Any], Any] | None = None,
        batch_axis: int | tuple[int, ...] = 0,
    ):
        self.data = data
        self.batch_size = integer("batch_size", batch_size, 1)
        self.shuffle = flag("shuffle", shuffle)
        self.drop_last = flag("drop_last", drop_last)
        if collate is not None and not callable(collate):
            raise TypeError(f"collate: got {shown(collate)}, wanted a function of the examples of a batch")
        self.collate = collate
        if seed is not None:
            seed = integer("seed", seed, 0, 2**128)
        elif shuffle:
            seed = int(generator().integers(2**63))
        self.seed = seed

        self._arrays: list[tuple[np.ndarray, int]] | None = None  # with their batch axes
        if isinstance(data, (np.ndarray, tuple)):
            self._arrays = _with_axes(tuple(_leaves(data)) if isinstance(data, tuple) else (data,), batch_axis)
            self._count = self._arrays[0][0].shape[self._arrays[0][1]]
        else:
            if not isinstance(batch_axis, int) or batch_axis != 0:
                raise ValueError(f"batch_axis: got {batch_axis} for a sequence of examples, wanted arrays to slice")
            _require_examples(data)
            self._count = len(data)
            self.collate = collate or stack_examples
        if self._count == 0:
            raise DataError("data: got no examples, wanted at least one")

        self._buckets = _buckets(lengths, bucket, self._count)
        whole, extra = np.divmod([len(members) for members in self._buckets], self.batch_size)
        self._batches = int(whole.sum() if self.drop_last else (whole + (extra > 0)).sum())
        if self._batches == 0:
            raise ValueError(
                f"batch_size: got {batch_size} with drop_last=True for {self._count} examples, "
                "which leaves no batch; wanted a smaller one"
            )
        self._epoch, self._position, self._started = 0, 0, False

    def __len__(self) -> int:
        """Batches per epoch."""
        return self._batches

    def __iter__(self) -> Iterator[Any]:
        return map(self.batch, self.rows())

    def rows(self) -> Iterator[Any]:
        """As iteration, but of which rows each batch has: a slice, or an array of integers; see :meth:`batch`."""
        return iter(self.epoch())

    def epoch(self, count: int = 1) -> Epoch:
        """Begin an epoch, or go on with the one of a loaded state; returns which rows its batches have.

        With `count`, those of so many epochs, one after the other.
        """
        count = integer("count", count, 1)
        if self._started:  # an epoch that was left early is not taken up again
            self._epoch, self._position = self._epoch + max(1, -(-self._position // self._batches)), 0
        self._started = True
        first, *others = [
            Epoch(*self._order(epoch), self.batch_size, self._count, self._batches, self._position, self._move)
            for epoch in range(self._epoch, self._epoch + count)
        ]
        return first.before(others) if others else first

    def unread(self, count: int) -> None:
        """Note that the last `count` of :meth:`rows` were not used yet; if negative, that they were."""
        self._position -= count

    def batch(self, rows: Any) -> Any:
        """The batch of some rows, as iteration hands it out."""
        return self._examples(rows) if self._arrays is None else self._slices(rows)

    @property
    def size(self) -> int:
        """How many examples there are."""
        return self._count

    @property
    def in_order(self) -> bool:
        """Whether batches hold the examples in their order."""
        return not self.shuffle and len(self._buckets) == 1

    @property
    def sliced(self) -> list[tuple[np.ndarray, int]] | None:
        """The arrays of which a batch is nothing but rows, with their batch axes; None if it is more.

        Those of nested tuples come in order.
        """
        return self._arrays if self.collate is None and isinstance(self.data, tuple) else None

    def _move(self, position: int) -> None:
        self._position = position

    def _order(self, epoch: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Order of the examples, and sizes of the batches; None if they lie in order, or are all alike."""
        size = self.batch_size
        rng = None if self.seed is None or not self.shuffle else np.random.default_rng([self.seed, epoch])
        if len(self._buckets) == 1:
            return None if rng is None else rng.permutation(self._count), None
        batches = []
        for members in self._buckets:
            order = members if rng is None else rng.permutation(members)
            stop = len(order) - len(order) % size if self.drop_last else len(order)
            batches += [order[first : first + size] for first in range(0, stop, size)]
        if rng is not None:
            batches = [batches[i] for i in rng.permutation(len(batches))]
        return np.concatenate(batches), np.array([len(batch) for batch in batches])

    def _slices(self, index: slice | np.ndarray) -> Any:
        """The batch of arrays at `index`."""
        assert self._arrays is not None
        if isinstance(index, slice):
            parts = [a[index] if axis == 0 else a[(_ALL,) * axis + (index,)] for a, axis in self._arrays]
        else:
            parts = [a.take(index, axis) for a, axis in self._arrays]
        batch = _nested(self.data, iter(parts)) if isinstance(self.data, tuple) else parts[0]
        return batch if self.collate is None else self.collate(batch)

    def _examples(self, index: slice | np.ndarray) -> Any:
        """The batch of examples at `index`."""
        assert self.collate is not None
        places = range(self._count)[index] if isinstance(index, slice) else index.tolist()
        return self.collate([self.data[i] for i in places])

    def state_dict(self) -> dict[str, int | None]:
        """The position of the loader, as plain integers.

        Taken between two batches, it lets a new loader of the same data go on with the very next batch.
        """
        more, position = divmod(self._position, self._batches)
        return {
            "seed": self.seed,
            "epoch": self._epoch + more,
            "position": position,
            "examples": self._count,
            "batches": self._batches,
        }

    def load_state_dict(self, state: Mapping[str, int | None]) -> None:
        """Go on where :meth:`state_dict` was taken: the next ``iter(loader)`` begins there.

        Raises
        ------
        CheckpointError
            If the state comes from a loader of other data or another batch size.
        """
        own = self.state_dict()
        if not isinstance(state, Mapping) or set(state) != set(own):
            keys = f"the keys {sorted(map(str, state))}" if isinstance(state, Mapping) else type(state).__name__
            raise CheckpointError(f"state: got {keys}, wanted {sorted(own)}")
        for key, value in state.items():
            if not ((isinstance(value, int) and value >= 0) or (key == "seed" and value is None)):
                raise CheckpointError(f"state: got {value!r} for {key}, wanted an integer >= 0")
        for key in ("examples", "batches"):
            if state[key] != own[key]:
                raise CheckpointError(f"state: got {state[key]} {key}, wanted {own[key]} as this loader has")
        if self.shuffle and state["seed"] is None:
            raise CheckpointError("state: got no seed, wanted one as this loader shuffles")
        epoch, position = state["epoch"], state["position"]
        assert epoch is not None and position is not None
        if position >= self._batches:
            raise CheckpointError(f"state: got position {position}, wanted less than {self._batches} batches")
        self.seed, self._epoch, self._position = state["seed"], epoch, position
        self._started = False


def _require_examples(data) -> None:
    """Raise `TypeError` unless `data` is a sequence: has a length, and examples by their number."""
    named = "a dict" if isinstance(data, Mapping) else f"a {type(data).__name__} with keys" * hasattr(data, "keys")
    if named:  # a number would be looked up as one of them
        hint = "a tuple of its arrays, such as tuple(data.values()) or data.to_numpy()"
        raise TypeError(f"data: got {named}, wanted an array, a tuple of arrays or a sequence of examples; pass {hint}")
    if isinstance(data, (str, bytes)) or not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        raise TypeError(f"data: got {type(data).__name__}, wanted arrays or a sequence of examples")


def _leaves(nest: tuple) -> Iterator[Any]:
    """What is in a tuple, and in the tuples in it."""
    for item in nest:
        if type(item) is tuple:
            yield from _leaves(item)
        else:
            yield item


def _nested(like: tuple, leaves: Iterator[Any]) -> tuple:
    """The leaves in tuples as those of `like`."""
    return tuple([_nested(item, leaves) if type(item) is tuple else next(leaves) for item in like])


def _with_axes(arrays: tuple[np.ndarray, ...], batch_axis: int | tuple[int, ...]) -> list[tuple[np.ndarray, int]]:
    """Arrays with their batch axes, counted from the front; all hold as many examples."""
    for array in arrays:
        if not isinstance(array, np.ndarray):
            hint = "take .to_numpy()" if hasattr(array, "to_numpy") else "examples go in a list"
            raise TypeError(f"data: got a tuple that holds {type(array).__name__}, wanted arrays; {hint}")
    if not arrays:
        raise DataError("data: got an empty tuple, wanted at least one array")
    axes = batch_axis if isinstance(batch_axis, tuple) else (batch_axis,) * len(arrays)
    if len(axes) != len(arrays):
        raise ValueError(f"batch_axis: got {len(axes)} axes, wanted one for each of {len(arrays)} arrays")
    pairs = []
    for i, (array, axis) in enumerate(zip(arrays, axes)):
        axis = integer("batch_axis", axis, -(2**31))
        if not -array.ndim <= axis < array.ndim:
            raise ShapeError(f"data[{i}]: got shape {array.shape}, wanted an axis {axis} (batch_axis)")
        pairs.append((array, axis % array.ndim))
    counts = [array.shape[axis] for array, axis in pairs]
    if len(set(counts)) > 1:
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise ShapeError(f"data: got the shapes {shapes}, wanted the same number of examples; got {counts}")
    return pairs


def _buckets(lengths, bucket, count: int) -> list[np.ndarray]:
    """Indices of the examples of every bucket that is not empty, from short to long."""
    if (lengths is None) != (bucket is None):
        missing = "lengths" if lengths is None else "bucket"
        raise ValueError(f"{missing}: got None, wanted both lengths and bucket, or neither")
    if lengths is None:
        return [np.arange(count)]
    lengths = integer_array("lengths", lengths).astype(np.int64)
    if lengths.shape != (count,):
        raise ShapeError(f"lengths: got shape {lengths.shape}, wanted ({count},), one per example")
    if lengths.min() < 0:
        raise DataError(f"lengths[{lengths.argmin()}]: got {lengths.min()}, wanted at least 0")
    if as_any("bucket", bucket).ndim == 0:
        bounds = np.arange(integer("bucket", bucket, 1), lengths.max(), bucket)
    else:
        bounds = integer_array("bucket", bucket)
        if bounds.ndim != 1 or (np.diff(bounds, prepend=0) <= 0).any():
            raise ValueError(f"bucket: got {shown(bucket)}, wanted a width or increasing bounds >= 1")
    bins = np.digitize(lengths, bounds, right=True)
    return [np.flatnonzero(bins == b) for b in np.unique(bins)]
