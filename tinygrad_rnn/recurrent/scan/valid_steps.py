"""Sequence masks: `lengths`, `mask` and `resets`, checked and combined to the steps that count."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import ops
from ...config import grad_mode
from ...core import Tensor
from ...core.dtype import as_array
from ...errors import DTypeError, ShapeError
from .axis_layout import SequenceLayout


class ValidSteps:
    """The steps of a batch that count, and those before which rows are reset; time-major.

    Attributes
    ----------
    time : int
        T.
    lengths : int64 array (B,)
        Steps of each row that count, from the first on.
    mask : bool array (T, B) or None
        Of these, the ones that count; None: all.
    resets : bool array (T, B) or None
        Steps before which a row is reset; None: none. Entries past a row's length are ignored.
    """

    def __init__(self, time: int, lengths: np.ndarray, mask: np.ndarray | None, resets: np.ndarray | None):
        self.time, self.lengths, self.mask, self.resets = time, lengths, mask, resets
        self._segments: dict[tuple, Any] = {}

    def in_running_order(self, reverse: bool) -> tuple[np.ndarray | None, np.ndarray | None]:
        """(valid, resets), bool (T, B) in execution order; None where all are valid, or none is reset.

        A reset before step t cuts between steps t - 1 and t, whichever way they are run.
        """
        within = np.arange(self.time)[:, None] < self.lengths
        valid = within if self.mask is None else within & self.mask
        resets = None if self.resets is None else within & self.resets
        if reverse:
            valid = valid[::-1]
            if resets is not None:
                # a cut before step t is, backwards, one before step t - 1
                resets = np.concatenate([np.zeros_like(resets[:1]), resets[:0:-1]])
        return None if valid.all() else valid, resets

    def part(self, start: int, stop: int) -> ValidSteps | None:
        """The valid steps of a chunk of time; None if all are, and no row is reset."""
        lengths = np.clip(self.lengths - start, 0, stop - start)
        mask, resets = (None if a is None else a[start:stop] for a in (self.mask, self.resets))
        plain = (mask is None or mask.all()) and (resets is None or not resets.any())
        return None if plain and lengths.min() == stop - start else ValidSteps(stop - start, lengths, mask, resets)

    def segments(self, layout: SequenceLayout) -> Any:
        """Segments of packed rows, as a compiled loop takes them."""
        # found once for all layers of a direction
        key = layout.reverse, layout.batch_first
        found = self._segments.get(key)
        if found is None:
            found = self._segments[key] = _segments()(self.time, self.lengths, self.mask, self.resets, *key)
        return found


@functools.cache
def _segments() -> Any:
    from ...compiler import Segments  # at first use, as importing the compiler takes a while

    return Segments


class StepsReader(NamedTuple):
    """Reader of the valid steps at each run of a program, from some of `lengths`, `mask` and `resets`.

    Attributes
    ----------
    owner : str
        The name of the layer or cell in errors.
    names : tuple of str
        Which of them are given.
    batch_first : bool
    in_range : bool
        The lengths are within the steps if those that they are computed of are, which were checked.
    """

    owner: str
    names: tuple[str, ...]
    batch_first: bool
    in_range: bool = False

    def read(self, lead: tuple, arrays: Sequence[np.ndarray]) -> ValidSteps | None:
        """The valid steps of an input whose first two axes are `lead`; None if all are."""
        return read_valid_steps(self.owner, lead, **dict(zip(self.names, arrays)), batch_first=self.batch_first)


class TracedSteps(NamedTuple):
    """Valid steps in a function that is being traced: values of its program, and what will read them."""

    reader: StepsReader
    values: tuple[Any, ...]

    @property
    def are_checked(self) -> bool:
        """Whether the lengths are known before a run, and checked then."""
        given = dict(zip(self.reader.names, self.values))
        return "lengths" not in given or grad_mode.tracer.is_known(given["lengths"])

    def part(self, start: int, stop: int) -> tuple[Any, ...]:
        """The values for the steps from `start` to `stop`; lengths count from `start` on."""
        found = []
        for name, value in zip(self.reader.names, self.values):
            if name == "lengths":
                rest = value.astype(np.int64) - start
                found.append(ops.minimum(ops.maximum(rest, 0), stop - start))
            else:
                found.append(value[:, start:stop] if self.reader.batch_first else value[start:stop])
        return tuple(found)

    def cut(self, step: int) -> Any:
        """Which rows are reset before a step that counts."""
        given = dict(zip(self.reader.names, self.values))
        resets = given["resets"][:, step] if self.reader.batch_first else given["resets"][step]
        if "lengths" not in given:
            return resets
        return ops.logical_and(resets, given["lengths"].astype(np.int64) > step)


def _traced_steps(owner: str, lead: tuple, given: dict[str, Any], batch_first: bool) -> TracedSteps:
    """Valid steps as values of a program: shapes and dtypes are checked now, the rest at each run."""
    trace = grad_mode.tracer
    values = {name: trace.lift(v if isinstance(v, Tensor) else np.asarray(v)) for name, v in given.items()}
    with trace.suspended():
        alike = {name: np.zeros(v.shape, v.dtype) for name, v in values.items()}
        read_valid_steps(owner, lead, **alike, batch_first=batch_first)
    time = lead[1 if batch_first else 0]
    lengths = values.get("lengths")
    if lengths is not None and trace.is_known(lengths):
        # of one batch, or of all that are to come
        trace.check([lengths], lambda array: _read_lengths(owner, array, time, len(array)) and None)
    return TracedSteps(StepsReader(owner, tuple(values), batch_first), tuple(values.values()))


def read_valid_steps(
    owner: str, lead: tuple, lengths: Any = None, mask: Any = None, resets: Any = None, batch_first: bool = False
) -> Any:
    """The :class:`ValidSteps` that the arguments describe; None if all are valid, and no row is reset.

    In a function that is being traced they are :class:`TracedSteps`.

    Parameters
    ----------
    owner : str
        The name of the layer or cell in errors.
    lead : (int, int)
        The first two axes of the input: (T, B), or with `batch_first` (B, T).
    lengths : ints (B,), optional
        Steps of each row that count, from the first on; from 0 to T.
    mask : bools (T, B), optional
        Steps that count. With `lengths` too, those count that both let pass.
    resets : bools (T, B), optional
        Steps before which a row is reset, also where `mask` leaves the step out. Entries past a row's length are not
        read.
    batch_first : bool
        `mask` and `resets` are (B, T).

    Raises
    ------
    ShapeError, DTypeError, ValueError
        If an argument has the wrong shape, dtype or range.
    """
    if lengths is None and mask is None and resets is None:
        return None
    if grad_mode.tracer is not None and grad_mode.tracer.whole:
        given = {"lengths": lengths, "mask": mask, "resets": resets}
        return _traced_steps(owner, lead, {n: v for n, v in given.items() if v is not None}, batch_first)
    time, batch = lead[::-1] if batch_first else lead
    axes = "(B, T)" if batch_first else "(T, B)"
    mask = None if mask is None else read_mask(owner, "mask", mask, lead, axes)
    resets = None if resets is None else read_mask(owner, "resets", resets, lead, axes)
    if batch_first:
        mask, resets = (None if a is None else a.T for a in (mask, resets))
    # what changes nothing is dropped: the loop without segments is faster
    mask = None if mask is None or mask.all() else mask
    resets = None if resets is None or not resets.any() else resets
    if lengths is None:
        lengths, full = np.full(batch, time), True
    else:
        lengths, full = _read_lengths(owner, lengths, time, batch)
    if full and mask is None and resets is None:
        return None
    return ValidSteps(time, lengths, mask, resets)


def _read_lengths(owner: str, lengths: Any, time: int, batch: int) -> tuple[np.ndarray, bool]:
    """The lengths as int64, and whether all are T."""
    if isinstance(lengths, Tensor):
        lengths = lengths.data
    array = lengths if isinstance(lengths, np.ndarray) else as_array(lengths, f"{owner}: lengths")
    if array.shape != (batch,):
        raise ShapeError(f"{owner}: lengths: got shape {array.shape}, wanted ({batch},), one for each row")
    if array.dtype.kind not in "iu":
        raise DTypeError(f"{owner}: lengths: got {array.dtype}, wanted integers")
    some = array.tolist() if batch < 64 else None  # Python finds the least of a few numbers faster
    low, high = (min(some), max(some)) if some else (np.minimum.reduce(array), np.maximum.reduce(array))
    if low < 0 or high > time:
        row = int(np.argmin(array) if low < 0 else np.argmax(array))
        raise ValueError(f"{owner}: lengths: got {array[row]} for row {row}, wanted 0 to {time}, the steps there are")
    return np.array(array, np.int64), low == time  # a copy, as the backward pass may read it too


def read_mask(owner: str, name: str, mask: Any, shape: tuple, axes: str) -> np.ndarray:
    """A copy of `mask`, checked to be bool and of this shape; the backward pass may read it too.

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
