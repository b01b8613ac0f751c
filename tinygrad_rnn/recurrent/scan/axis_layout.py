"""How a caller's sequences lie, and how cells see them: time first, forwards."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ... import ops


class Arrangement(NamedTuple):
    """The axes of inputs, outputs and final states.

    Attributes
    ----------
    batch_first : bool
        Sequences are (B, T, ...) instead of (T, B, ...).
    reverse : bool
        Steps run from the last to the first; outputs stay at their inputs' places.
    stacked : bool
        Final states get a first axis of length 1, as layers stack theirs.
    """

    batch_first: bool = False
    reverse: bool = False
    stacked: bool = False

    @property
    def batch_axis(self) -> int:
        return 0 if self.batch_first else 1

    @property
    def moves(self) -> bool:
        return self.batch_first or self.reverse

    def inward(self, x: Any) -> Any:
        """A sequence, array or tensor, as the loop runs over it."""
        if self.batch_first:
            x = x.swapaxes(0, 1)
        return _flip(x) if self.reverse else x

    def outward(self, y: Any) -> Any:
        """The inverse of :meth:`inward`."""
        if self.reverse:
            y = _flip(y)
        return y.swapaxes(0, 1) if self.batch_first else y


def is_solid(a: np.ndarray, dtype: np.dtype) -> bool:
    """Whether loops take the array as it is; read-only ones would have them compiled anew."""
    return a.dtype is dtype and a.flags.carray


def solid(a: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The array as loops take it: itself if it will do, else a copy."""
    return a if is_solid(a, dtype) else np.array(a, dtype, order="C")


def _flip(x: Any) -> Any:
    return x[::-1] if isinstance(x, np.ndarray) else ops.flip(x, 0)
