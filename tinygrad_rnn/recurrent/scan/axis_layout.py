"""Converts batch_first and reverse to the time-major, forward order of the loop, and back."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ... import ops


class SequenceLayout(NamedTuple):
    """The axes and the direction of inputs, outputs and final states, as the caller has them.

    Attributes
    ----------
    batch_first : bool
        Sequences are (B, T, ...) instead of (T, B, ...).
    reverse : bool
        Steps run from the last to the first; outputs stay at their inputs' places.
    layer_axis : bool
        Final states get a first axis of length 1, as layers stack theirs.
    """

    batch_first: bool = False
    reverse: bool = False
    layer_axis: bool = False

    @property
    def batch_axis(self) -> int:
        return 0 if self.batch_first else 1

    @property
    def is_identity(self) -> bool:
        """Whether sequences are time-major and in running order already."""
        return not (self.batch_first or self.reverse)

    def to_time_major(self, x: Any) -> Any:
        """A sequence, array or tensor, as (T, B, ...) in running order."""
        if self.batch_first:
            x = x.swapaxes(0, 1)
        return _flip(x) if self.reverse else x

    def from_time_major(self, y: Any) -> Any:
        """The inverse of :meth:`to_time_major`."""
        if self.reverse:
            y = _flip(y)
        return y.swapaxes(0, 1) if self.batch_first else y


def is_contiguous(a: np.ndarray, dtype: np.dtype) -> bool:
    """Whether a loop takes the array without a copy: its dtype, C order, aligned, writable."""
    return a.dtype is dtype and a.flags.carray  # a read-only array is another type to Numba: another compilation


def as_contiguous(a: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The array itself if a loop takes it without a copy, else a copy that it takes."""
    return a if is_contiguous(a, dtype) else np.array(a, dtype, order="C")


def _flip(x: Any) -> Any:
    return x[::-1] if isinstance(x, np.ndarray) else ops.flip(x, 0)
