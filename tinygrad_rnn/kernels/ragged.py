"""Sequences of different lengths: where their steps lie in a loop, and bringing rows there and back."""

from __future__ import annotations

import numpy as np
from numba import njit

from .fingerprint import kernel
from .lanes import vlanes, vload, vstore


@kernel
def lay_rows(steps, lengths, mask, resets, reverse, batch_first, out):
    """Cut rows of a batch into segments, sort these by length, and lay their steps so that they end together.

    Parameters
    ----------
    steps : int
        T.
    lengths : (B,) int64
        Steps of each row that count, from the first on.
    mask : (T, B) bool, or (0, 0)
        Of these, the ones that count.
    resets : (T, B) bool, or (0, 0)
        Between each step and the one before it a row is cut. Empty segments are left out, unless they are the last of a
        row.
    reverse : bool
        Run from the last step to the first.
    batch_first : bool
        The caller's arrays are (B, T).

    out : int64
        ``4 * S + B + T + 1 + 3 * T * B`` elements, where S is the rounded sum of B and the number of cuts. What is
        found goes there, array after array (each array that a jitted function returns would take a microsecond).

    Returns
    -------
    S, longest : int
        Segments, and the steps of the longest.

    Notes
    -----
    What is found:

    length, owner, begins : (S,)
        Of each segment, the longest first: its steps, its row, and where the state before its first step lies. If there
        are more than B, some empty ones are added: S is a rounded number.
    fresh : (S,)
        Whether there was a cut before it.
    last : (B,)
        The segment that is the last of each row.
    offsets : (longest + 1,)
        Rows before each step.
    source : (rows,)
        The row of the caller's arrays, of all its T * B, at each row of each step.
    now, late : (T * B,)
        The inverse: where each row lies, and where the state after it lies; -1 where it does not count.
    """
    T, B = steps, len(lengths)
    holes, cuts = len(mask) > 0, len(resets) > 0
    most = B
    if cuts:
        for t in range(T):
            for b in range(B):
                most += resets[t, b]
    length, owner, fresh = np.zeros(most, np.int64), np.empty(most, np.int64), np.empty(most, np.bool_)
    head, ends = np.empty(B, np.int64), np.empty(B, np.int64)
    n = 0
    for b in range(B):
        mine, anew = -1, False
        head[b] = n
        if not holes and not cuts:  # the most frequent case
            owner[n], fresh[n], length[n], ends[b] = b, False, lengths[b], n
            n += 1
            continue
        for t in range(T):
            step = T - 1 - t if reverse else t
            if cuts and _cut(resets, step, b, lengths[b], reverse):
                mine, anew = -1, True
            if step < lengths[b] and (not holes or mask[step, b]):
                if mine < 0:
                    mine = n
                    owner[n], fresh[n] = b, anew
                    n += 1
                length[mine] += 1
        if mine < 0:
            mine = n
            owner[n], fresh[n] = b, anew
            n += 1
        ends[b] = mine

    longest = 0
    for s in range(n):
        longest = max(longest, length[s])
    begin = np.zeros(longest + 2, np.int64)  # of those of each length, in the order
    for s in range(n):
        begin[longest - length[s] + 1] += 1
    for i in range(1, longest + 2):
        begin[i] += begin[i - 1]
    size = n
    if n > B:
        unit = 1
        while unit * 16 <= n:
            unit *= 2
        size = (n + unit - 1) // unit * unit
    lengths_out, owner_out, begins = out[:size], out[size : 2 * size], out[2 * size : 3 * size]
    fresh_out, last = out[3 * size : 4 * size], out[4 * size : 4 * size + B]
    offsets = out[4 * size + B : 4 * size + B + longest + 1]
    offsets[0] = 0
    for t in range(longest):
        offsets[t + 1] = offsets[t] + begin[t + 1]
    rank = np.empty(n, np.int64)
    for s in range(n, size):
        lengths_out[s], owner_out[s], fresh_out[s], begins[s] = 0, 0, 1, offsets[longest] + s
    for s in range(n):
        at = begin[longest - length[s]]
        begin[longest - length[s]] += 1
        rank[s] = at
        lengths_out[at], owner_out[at], fresh_out[at] = length[s], owner[s], fresh[s]
        begins[at] = offsets[longest - length[s]] + at

    for b in range(B):
        last[b] = rank[ends[b]]

    at = 4 * size + B + longest + 1
    source, at = out[at : at + offsets[longest]], at + offsets[longest]
    now, late = out[at : at + T * B], out[at + T * B : at + 2 * T * B]
    now[:], late[:] = -1, -1
    along, across = (1, T) if batch_first else (B, 1)
    if not holes and not cuts:
        for t in range(longest):
            for r in range(offsets[t + 1] - offsets[t]):
                step = t - longest + lengths_out[r]
                flat = (lengths_out[r] - 1 - step if reverse else step) * along + owner_out[r] * across
                source[offsets[t] + r] = flat
                now[flat], late[flat] = offsets[t] + r, offsets[t + 1] + r
        return size, longest
    left = np.zeros(B, np.int64)
    for t in range(T):
        step = T - 1 - t if reverse else t
        for b in range(B):
            if step >= lengths[b] or (holes and not mask[step, b]):
                continue
            if left[b] == 0:
                left[b] = length[head[b]]
                head[b] += 1
            r, time, flat = rank[head[b] - 1], longest - left[b], step * along + b * across
            left[b] -= 1
            source[offsets[time] + r] = flat
            now[flat], late[flat] = offsets[time] + r, offsets[time + 1] + r
    return size, longest


@njit(error_model="numpy")
def _cut(resets, step, b, length, reverse):
    """Whether row b begins anew before `step` is run; what lies past its length is not read."""
    at = step + 1 if reverse else step
    return at < length and resets[at, b]


@kernel
def gather_rows(x, index, out, width, start, stop):
    """``out[i] = x[index[i]]`` for rows `start` to `stop` of `width` elements in flat arrays; zeros where it is -1."""
    lanes = vlanes(x)
    for i in range(start, stop):
        at, to = index[i] * width, i * width
        if at < 0:
            for j in range(width):
                out[to + j] = 0
            continue
        if width < lanes:
            for j in range(width):
                out[to + j] = x[at + j]
            continue
        for j in range(0, width - lanes + 1, lanes):
            vstore(out, to + j, vload(x, at + j))
        vstore(out, to + width - lanes, vload(x, at + width - lanes))  # what is left, and some of it again


@kernel
def add_rows(x, index, out, width):
    """``out[index[i]] += x[i]`` for rows of `width` elements in flat arrays, in order."""
    for i in range(len(index)):
        at, to = i * width, index[i] * width
        for j in range(width):
            out[to + j] += x[at + j]
