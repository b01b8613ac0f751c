"""The plain NumPy twin of the kernel in `segments`."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray


def find_segments(
    T: int, lengths: Array, mask: Array, resets: Array, reverse: bool, batch_first: bool
) -> tuple[Array, ...]:
    """NumPy twin in whole arrays: numbers of segments, and places in them, are running sums."""
    valid, starts = in_running_order(T, lengths, mask if len(mask) else None, resets if len(resets) else None, reverse)
    B = len(lengths)
    part = np.cumsum(np.zeros_like(valid) if starts is None else starts, axis=0)
    first = np.cumsum(part[-1] + 1) - (part[-1] + 1)  # segment of each row
    final = first + part[-1]
    steps, rows = np.nonzero(valid)
    segment = (part + first)[steps, rows]
    lengths = np.bincount(segment, minlength=final[-1] + 1)
    before = np.cumsum(lengths) - lengths
    place = (np.cumsum(valid, axis=0)[steps, rows] - 1) - (before[segment] - before[first[rows]])

    kept = lengths > 0
    kept[final] = True
    n = int(kept.sum())
    size = rounded(n) if n > B else n
    fresh = np.ones(len(kept), bool)
    fresh[first] = False
    order = np.argsort(-lengths[kept], kind="stable")
    rank = np.empty(n, int)
    rank[order] = np.arange(n)
    rank = rank[np.cumsum(kept) - 1]  # of each segment, the empty ones included

    def sorted_by_length(values: Array, spare: Any) -> Array:
        return np.concatenate([values[kept][order], np.full(size - n, spare, values.dtype)])

    longest = int(lengths.max())
    starting = np.bincount(longest - lengths[kept], minlength=longest)[:longest]
    offsets = np.concatenate([[0], np.cumsum(np.cumsum(starting))])
    time = longest - lengths[segment] + place
    at = offsets[time] + rank[segment]
    steps = T - 1 - steps if reverse else steps
    flat = rows * T + steps if batch_first else steps * B + rows
    source = np.empty(len(at), int)
    source[at] = flat
    now, late = np.full(T * B, -1), np.full(T * B, -1)
    now[flat], late[flat] = at, offsets[time + 1] + rank[segment]
    owner = np.repeat(np.arange(B), part[-1] + 1)
    length = sorted_by_length(lengths, 0)
    return (
        length,
        sorted_by_length(owner, 0),
        offsets[longest - length] + np.arange(size),
        sorted_by_length(fresh, True),
        rank[final],
        offsets,
        source,
        now,
        late,
    )


def in_running_order(
    T: int, lengths: Array, mask: Array | None, resets: Array | None, reverse: bool
) -> tuple[Array, Array | None]:
    """Valid steps, and those before which a row is reset, bool (T, B) in the order in which they run."""
    within = np.arange(T)[:, None] < lengths
    valid = within if mask is None else within & mask
    starts = None if resets is None else within & resets
    if reverse:
        valid = valid[::-1]
        starts = None if starts is None else np.concatenate([np.zeros_like(starts[:1]), starts[:0:-1]])
    return valid, starts


def rounded(n: int) -> int:
    """`n`, rounded up to four binary digits: so that few sizes occur."""
    step = max(1, 1 << max(0, int(n).bit_length() - 4))
    return -(-n // step) * step
