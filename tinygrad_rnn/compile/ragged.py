"""Sequences of different lengths, with holes and with new beginnings: only the steps that count are run.

A row of the batch falls into *segments*: the steps of one sequence that count. Segments are rows of the loop. They are
sorted by length and end together, so that a step takes the first rows of the batch, and ever more of them:

    segment 0   x x x x x x        step 0 has 1 row, steps 1 to 3 have 2, steps 4 and 5 have 3;
    segment 1     x x x x x        rows lie one after the other without gaps, step by step
    segment 2           x x

Why they end and do not begin together: the state before a step then lies in the same place as the step's other rows,
so that gradients of matrices are still one large product over all rows. What does not count is never read.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_NONE = np.zeros((0, 0), bool)


class Ragged:
    """Where the steps of a batch lie.

    Parameters
    ----------
    time : int
        T of the caller's arrays.
    lengths, mask, resets, reverse, batch_first
        See :func:`~tinygrad_rnn.kernels.ragged.lay_rows`; `mask` and `resets` may be None.

    Attributes
    ----------
    lead : (int, int)
        The first two axes of the caller's arrays.
    time, batch, rows : int
        Steps and rows of the loop, and how many (step, row) there are.
    offsets : array (time + 1,)
        Rows before each step.
    source, now, late : arrays
        Which row lies where, see :func:`~tinygrad_rnn.kernels.ragged.lay_rows`.
    lengths, owner, begins : arrays (batch,)
        Of each segment: its steps, its row of the caller's batch, and where the state before its first step lies.
    fresh : bool array (batch,), or None if there are no resets
        Whether it begins anew.
    last : array (B,)
        The segment whose final state is the row's.
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
        from ..kernels.ragged import add_rows, gather_rows, lay_rows

        self._gather, self._add = gather_rows, add_rows
        T, B = time, len(lengths)
        self.lead = (B, T) if batch_first else (T, B)
        most = B if resets is None else rounded(B + int(np.count_nonzero(resets)))
        found = np.empty(4 * most + B + T + 1 + 3 * T * B, np.int64)
        S, T = lay_rows(T, lengths, _or_none(mask), _or_none(resets), reverse, batch_first, found)
        self.time, self.batch = T, S
        self.lengths, self.owner, self.begins, self.fresh = found[:S], found[S : 2 * S], found[2 * S : 3 * S], None
        if resets is not None:
            self.fresh = found[3 * S : 4 * S].astype(bool)
        at = 4 * S + B
        self.last, self.offsets = found[at - B : at], found[at : at + T + 1]
        self.rows = rows = int(self.offsets[T])
        at += T + 1
        self.source, at, size = found[at : at + rows], at + rows, time * B
        self.now, self.late = found[at : at + size], found[at + size : at + 2 * size]

    # ---- from the caller's rows to segments, and back

    def begin(self, carried: np.ndarray, fresh: np.ndarray | None) -> np.ndarray:
        """The state (batch, ...) that each segment begins with."""
        state = carried[self.owner]
        if fresh is not None and self.fresh is not None:
            state[self.fresh] = fresh[self.owner[self.fresh]]
        return state

    def begin_vjp(self, g: np.ndarray, fresh: bool) -> list[np.ndarray]:
        """Cotangents of what :meth:`begin` takes; without `fresh`, of the first alone."""
        out = np.zeros((1 + fresh, len(self.last), *g.shape[1:]), g.dtype)
        if self.fresh is None:
            out[0, self.owner] = g
            return list(out)
        index = self.owner + len(self.last) * self.fresh if fresh else self.owner
        self._add(np.ascontiguousarray(g).reshape(-1), index, out.reshape(-1), g[0].size)
        return list(out)

    def pack(self, x: np.ndarray, empty: Callable[[int], np.ndarray], slots: int) -> np.ndarray:
        """The rows that count of an array (T, B, ...), in a flat array with room for `slots` rows of each segment.

        ``empty(n)`` makes an array of n elements.
        """
        width = x.size // len(self.now)
        out = empty(slots * self.batch * width)
        self._gather(x.reshape(-1), self.source, out, width, 0, self.rows)
        return out

    def unpack(self, rows: np.ndarray, width: int, late: bool, out: np.ndarray) -> np.ndarray:
        """Flat rows (T * B, width) of the caller's from those of the loop; zero where they do not count."""
        self._gather(rows, self.late if late else self.now, out, width, 0, len(self.now))
        return out

    def late_rows(self) -> np.ndarray:
        """For each row of each step, where the state after it lies."""
        counts = np.diff(self.offsets)
        return np.arange(self.rows) + np.repeat(counts, counts)


def _or_none(a: np.ndarray | None) -> np.ndarray:
    return _NONE if a is None else np.ascontiguousarray(a)


def rounded(n: int) -> int:
    """`n`, rounded up to four binary digits: so that few sizes occur."""
    step = max(1, 1 << max(0, int(n).bit_length() - 4))
    return -(-n // step) * step
