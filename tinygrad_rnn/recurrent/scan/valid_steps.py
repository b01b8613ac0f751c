"""Which steps of a batch are run: what `lengths`, `mask` and `resets` say, checked and brought together."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ...core import Tensor
from ...core.dtype import as_array
from ...errors import DTypeError, ShapeError
from .axis_layout import Arrangement


class Steps:
    """The steps of a batch that count, and where rows begin anew; time first.

    Attributes
    ----------
    time : int
        T.
    lengths : int64 array (B,)
        Steps of each row that count, from the first on.
    mask : bool array (T, B) or None
        Of these, the ones that count.
    resets : bool array (T, B) or None
        Before which steps a row begins anew. What lies past a row's length means nothing.
    """

    def __init__(self, time: int, lengths: np.ndarray, mask: np.ndarray | None, resets: np.ndarray | None):
        self.time, self.lengths, self.mask, self.resets = time, lengths, mask, resets
        self._segments: dict[tuple, Any] = {}

    def running(self, reverse: bool) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Which steps count, and before which a row begins anew, as (T, B) in running order; None for all and for none.

        A reset before step t parts steps t - 1 and t, whichever way they are run.
        """
        within = np.arange(self.time)[:, None] < self.lengths
        valid = within if self.mask is None else within & self.mask
        starts = None if self.resets is None else within & self.resets
        if reverse:
            valid = valid[::-1]
            if starts is not None:
                starts = np.concatenate([np.zeros_like(starts[:1]), starts[:0:-1]])
        return None if valid.all() else valid, starts

    def part(self, start: int, stop: int) -> Steps | None:
        """Those of a stretch of time; None if every step of it counts and no row begins anew."""
        lengths = np.clip(self.lengths - start, 0, stop - start)
        mask, resets = (None if a is None else a[start:stop] for a in (self.mask, self.resets))
        plain = (mask is None or mask.all()) and (resets is None or not resets.any())
        return None if plain and lengths.min() == stop - start else Steps(stop - start, lengths, mask, resets)

    def segments(self, arrange: Arrangement) -> Any:
        """The steps as a compiled loop takes them."""
        key = arrange.reverse, arrange.batch_first
        found = self._segments.get(key)
        if found is None:
            found = self._segments[key] = _segments()(self.time, self.lengths, self.mask, self.resets, *key)
        return found


@functools.cache
def _segments() -> Any:
    from ...compile import Segments  # the compiler is loaded at first use

    return Segments


def read_steps(
    owner: str, lead: tuple, lengths: Any = None, mask: Any = None, resets: Any = None, batch_first: bool = False
) -> Steps | None:
    """What the arguments of a layer or of :func:`scan` mean; None if every step counts and no row begins anew.

    Parameters
    ----------
    owner : str
        Who is named in errors.
    lead : (int, int)
        The first two axes of the input: (T, B), or with `batch_first` (B, T).
    lengths : ints (B,), optional
        Steps of each row that count, from the first on; from 0 to T.
    mask : bools (T, B), optional
        Steps that count. With `lengths` too, those count that both let pass.
    resets : bools (T, B), optional
        Before which steps a row begins anew, also where `mask` leaves the step out. What lies past a row's length is
        not read.
    batch_first : bool
        `mask` and `resets` are (B, T).

    Raises
    ------
    ShapeError, DTypeError, ValueError
        If an argument has the wrong shape, dtype or range.
    """
    if lengths is None and mask is None and resets is None:
        return None
    time, batch = lead[::-1] if batch_first else lead
    axes = "(B, T)" if batch_first else "(T, B)"
    mask = None if mask is None else read_mask(owner, "mask", mask, lead, axes)
    resets = None if resets is None else read_mask(owner, "resets", resets, lead, axes)
    if batch_first:
        mask, resets = (None if a is None else a.T for a in (mask, resets))
    mask = None if mask is None or mask.all() else mask
    resets = None if resets is None or not resets.any() else resets
    if lengths is None:
        lengths, full = np.full(batch, time), True
    else:
        lengths, full = _read_lengths(owner, lengths, time, batch)
    if full and mask is None and resets is None:
        return None
    return Steps(time, lengths, mask, resets)


def _read_lengths(owner: str, lengths: Any, time: int, batch: int) -> tuple[np.ndarray, bool]:
    """The lengths, and whether all are T."""
    if isinstance(lengths, Tensor):
        lengths = lengths.data
    array = lengths if isinstance(lengths, np.ndarray) else as_array(lengths, f"{owner}: lengths")
    if array.shape != (batch,):
        raise ShapeError(f"{owner}: lengths: got shape {array.shape}, wanted ({batch},), one for each row")
    if array.dtype.kind not in "iu":
        raise DTypeError(f"{owner}: lengths: got {array.dtype}, wanted integers")
    some = array.tolist() if batch < 64 else None  # of a few numbers, Python's least is found faster
    low, high = (min(some), max(some)) if some else (np.minimum.reduce(array), np.maximum.reduce(array))
    if low < 0 or high > time:
        row = int(np.argmin(array) if low < 0 else np.argmax(array))
        raise ValueError(f"{owner}: lengths: got {array[row]} for row {row}, wanted 0 to {time}, the steps there are")
    return np.array(array, np.int64), low == time  # a copy, as the backward pass may read it too


def read_mask(owner: str, name: str, mask: Any, shape: tuple, axes: str) -> np.ndarray:
    """A bool array of a shape whose axes have names; a copy, as the backward pass may read it too.

    Raises
    ------
    ShapeError, DTypeError
        If `mask` has another shape or dtype.
    """
    array = np.array(mask.data if isinstance(mask, Tensor) else as_array(mask, f"{owner}: {name}"))
    if array.shape != shape:
        raise ShapeError(f"{owner}: {name}: got shape {array.shape}, wanted {shape}, which is {axes} of the input")
    if array.dtype.kind != "b":
        raise DTypeError(f"{owner}: {name}: got {array.dtype}, wanted bool")
    return array
