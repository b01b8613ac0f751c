"""N-gram models, the baseline of language models."""

from __future__ import annotations

import numpy as np

from ..errors import DataError
from ._checks import integer, integer_array, require_range


class NGramModel:
    """Counts of runs of `order` symbols, smoothed by those of shorter runs (Witten and Bell 1991).

    ``p(c | ab) = (n(abc) + k(ab) p(c | b)) / (n(ab) + k(ab))``, where n counts and k(ab) is the number of
    different symbols seen after ab; below the single symbols stands the uniform distribution.

    Parameters
    ----------
    ids : array_like of int, (N,)
        The text to count.
    order : int
        Length of the runs: 3 for a trigram model.
    size : int
        Number of symbols there are.

    Raises
    ------
    DataError
        If `ids` is shorter than `order`, or a symbol is out of range.
    OverflowError
        If runs cannot be numbered with 63 bits.

    Examples
    --------
    >>> model = NGramModel([0, 1, 0, 1, 0, 2], order=2, size=3)
    >>> model.probabilities([0])  # after a 0: 1 twice, 2 once
    array([0.17777778, 0.53333333, 0.28888889])
    """

    def __init__(self, ids, order: int, size: int):
        order, size = self.order, self.size = integer("order", order, 1), integer("size", size, 1)
        ids = _symbols("ids", ids, size)
        if len(ids) < order:
            raise DataError(f"ids: got {len(ids)} symbols, wanted at least order = {order}")
        if size**order >= 2**63:
            raise OverflowError(f"order: got {order} for {size} symbols, wanted one with {size}**order < 2**63")
        self._tables = []  # for each length of context: runs and their counts, contexts and what followed them
        for context in range(order):
            runs, counts = np.unique(self._codes(ids, context + 1), return_counts=True)
            heads, first = np.unique(runs // size, return_index=True)
            totals = np.add.reduceat(counts, first)
            kinds = np.diff([*first, len(runs)])
            self._tables.append((runs, counts, heads, totals, kinds))

    def _codes(self, ids: np.ndarray, length: int) -> np.ndarray:
        """A number for each run of `length` symbols."""
        stop = len(ids) - length + 1
        codes = np.zeros(max(stop, 0), np.int64)
        for i in range(length):
            codes = codes * self.size + ids[i : i + stop]
        return codes

    def probabilities(self, context) -> np.ndarray:
        """The distribution of the symbol that follows `context`, (size,)."""
        context = _symbols("context", context, self.size)[-(self.order - 1) :] if self.order > 1 else np.zeros(0, int)
        p = np.full(self.size, 1.0 / self.size)
        for length in range(len(context) + 1):
            head = self._codes(context[len(context) - length :], length)[0] if length else 0
            p = self._refine(p, length, np.full(self.size, head), np.arange(self.size))
        return p

    def cross_entropy(self, ids) -> float:
        """Mean of ``-log p`` over a text, in nats per symbol (divide by ``log 2`` for bits).

        The first symbols have shorter contexts.
        """
        ids = _symbols("ids", ids, self.size)
        if not len(ids):
            raise DataError("ids: got an empty text, wanted at least one symbol")
        p = np.full(len(ids), 1.0 / self.size)
        for length in range(min(self.order, len(ids))):
            heads = self._codes(ids[:-1], length) if length else np.zeros(len(ids), np.int64)
            p[length:] = self._refine(p[length:], length, heads[: len(ids) - length], ids[length:])
        return float(-np.log(p).mean())

    def _refine(self, p: np.ndarray, length: int, heads: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Probabilities of `ids` after `heads`, of `length` symbols, from those in a shorter context."""
        runs, counts, known, totals, kinds = self._tables[length]
        at = np.searchsorted(known, heads).clip(max=len(known) - 1)
        seen = known[at] == heads
        total, kind = np.where(seen, totals[at], 0), np.where(seen, kinds[at], 0)
        codes = heads * self.size + ids
        at = np.searchsorted(runs, codes).clip(max=len(runs) - 1)
        count = np.where(runs[at] == codes, counts[at], 0)
        return np.where(seen, (count + kind * p) / np.maximum(total + kind, 1), p)


def _symbols(name: str, ids, size: int) -> np.ndarray:
    array = integer_array(name, ids)
    if array.ndim != 1:
        raise DataError(f"{name}: got shape {array.shape}, wanted (N,)")
    require_range(name, array, size)
    return array.astype(np.int64)
