"""Segments of sequences with lengths, masks and resets: only the steps that count are run.

A row of the batch falls into *segments*: the steps of one sequence that count. Segments are rows of the loop. They are
sorted by length and end together, so that a step takes the first rows of the batch, and ever more of them:

    segment 0   x x x x x x        step 0 has 1 row, steps 1 to 3 have 2, steps 4 and 5 have 3;
    segment 1     x x x x x        rows lie one after the other without gaps, step by step
    segment 2           x x

Why they end and do not begin together: the state before a step then lies in the same place as the step's other rows,
so that gradients of matrices are still one large product over all rows. What does not count is never read.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ...kernels.loops.task_codes import HEADER, Section

_NONE = np.zeros((0, 0), bool)


@functools.cache
def _kernels() -> Any:
    from ...kernels.loops import segments  # Numba is loaded at first use

    return segments


def _section(section: Section) -> functools.cached_property[np.ndarray]:
    """A view of a section of the table."""

    at = int(section)  # arithmetic on members of an enum is slow

    def view(self: Segments) -> np.ndarray:
        start, size = self.table[at : at + 2].tolist()
        return self.table[start : start + size]

    return functools.cached_property(view)


class Segments:
    """Layout of the steps of a batch that count.

    Parameters
    ----------
    time : int
        T of the caller's arrays.
    lengths, mask, resets, reverse, batch_first
        See :func:`~tinygrad_rnn.kernels.loops.segments.find_segments`; `mask` and `resets` may be None.

    Attributes
    ----------
    lead : (int, int)
        The first two axes of the caller's arrays.
    time, batch, rows : int
        Steps and rows of the loop, and how many (step, row) there are.
    slots : int
        Of these for each row of the loop, rounded up: so tables that are bound for a few sizes serve all batches.
    table : array
        The row table, see :func:`~tinygrad_rnn.kernels.loops.segments.find_segments`; what follows are views of it.
    offsets : array (time + 1,)
        Rows before each step.
    lengths, batch_row, reset_row : arrays (batch,)
        Of each segment: its steps, its row of the caller's batch, and, if there are resets, that row again where it
        follows one, else -1.
    last_segment : array (B,)
        The segment whose final state is the row's.
    padded_row, packed_row : arrays
        The row of the caller's arrays for each row of the loop, and the inverse, -1 where a step does not count.
    next_state : array (rows,)
        For each row of each step, the row of the state after it.
    """

    def __init__(
        self,
        time: int,
        lengths: np.ndarray,
        mask: np.ndarray | None = None,
        resets: np.ndarray | None = None,
        reverse: bool = False,
        batch_first: bool = False,
    ):
        kernels = _kernels()
        B = len(lengths)
        self.lead = (B, time) if batch_first else (time, B)
        most = B if resets is None else rounded(B + int(np.count_nonzero(resets)))
        self.table = np.empty(HEADER + 7 * most + 3 * B + time + 1 + 4 * time * B, np.int64)
        self.batch, self.time = kernels.find_segments(
            time, lengths, _or_none(mask), _or_none(resets), reverse, batch_first, 0, self.table
        )
        self.rows = int(self.table[0])
        self.slots = rounded(-(-self.rows // self.batch) or 1)

    offsets = _section(Section.OFFSETS)
    lengths = _section(Section.LENGTH)
    batch_row = _section(Section.BATCH_ROW)
    reset_row = _section(Section.RESET_ROW)
    last_segment = _section(Section.LAST_SEGMENT)
    padded_row = _section(Section.PADDED_ROW)
    packed_row = _section(Section.PACKED_ROW)
    next_state = _section(Section.NEXT_STATE)

    def steps(self, head: np.ndarray) -> np.ndarray:
        """The integers of a loop: `head`, then the rows before each step."""
        d = np.concatenate((head, self.offsets))
        d[0] = self.time
        return d


def _or_none(a: np.ndarray | None) -> np.ndarray:
    return _NONE if a is None else np.ascontiguousarray(a)


def rounded(n: int) -> int:
    """`n`, rounded up to four binary digits: so that few sizes occur."""
    step = max(1, 1 << max(0, int(n).bit_length() - 4))
    return -(-n // step) * step
