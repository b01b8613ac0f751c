"""Sequences of different lengths: where their steps lie in a loop."""

from __future__ import annotations

import numpy as np
from numba import njit

from ..build.fingerprint import kernel
from .task_codes import HEADER, Section


@kernel
def find_segments(steps, lengths, mask, resets, reverse, batch_first, out):
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
        ``HEADER + 7 * S + 3 * B + T + 1 + 3 * T * B`` elements, where S is the rounded sum of B and the number of cuts.
        The first is the number of rows of all steps; then come, for each :class:`.task_codes.Section`, where it begins
        and how long it is; then the sections.

    Returns
    -------
    S, longest : int
        Segments, and the steps of the longest.

    Notes
    -----
    The sections:

    LENGTH, BATCH_ROW : (S,)
        Of each segment, the longest first: its steps, its row. If there are more than B, some empty ones are added: S
        is a rounded number.
    FIRST_STATE, FIRST_GRAD : (S,)
        Where the state before its first step lies, with all that came before it; and running back, with two rows for
        each segment in turn, where the gradient by it lies.
    INITIAL_ROW, RESET_ROW : (S,)
        Its row, if there was no cut before it, and if there was; else -1.
    FINAL_ROW : (S,)
        Its row, if it is the row's last one; else -1.
    LAST_SEGMENT, FINAL_SLOT, FINAL_STATE : (B,)
        The segment that is the last of each row; where its last state lies, with two rows for each segment in turn, and
        with all that came before.
    OFFSETS : (longest + 1,)
        Rows before each step.
    PADDED_ROW : (rows,)
        The row of the caller's arrays, of all its T * B, at each row of each step.
    PACKED_ROW, PACKED_STATE : (T * B,)
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
    head, tail = np.empty(B, np.int64), np.empty(B, np.int64)
    n = 0
    for b in range(B):
        mine, anew = -1, False
        head[b] = n
        if not holes and not cuts:  # the most frequent case
            owner[n], fresh[n], length[n], tail[b] = b, False, lengths[b], n
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
        tail[b] = mine

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
    at = HEADER
    lengths_out, at = _section(out, Section.LENGTH, at, size)
    owner_out, at = _section(out, Section.BATCH_ROW, at, size)
    begins, at = _section(out, Section.FIRST_STATE, at, size)
    ends, at = _section(out, Section.FIRST_GRAD, at, size)
    last, at = _section(out, Section.LAST_SEGMENT, at, B)
    turn, at = _section(out, Section.FINAL_SLOT, at, B)
    final, at = _section(out, Section.FINAL_STATE, at, B)
    offsets, at = _section(out, Section.OFFSETS, at, longest + 1)
    offsets[0] = 0
    for t in range(longest):
        offsets[t + 1] = offsets[t] + begin[t + 1]
    rows = offsets[longest]
    out[0] = rows
    source, at = _section(out, Section.PADDED_ROW, at, rows)
    now, at = _section(out, Section.PACKED_ROW, at, T * B)
    late, at = _section(out, Section.PACKED_STATE, at, T * B)
    if cuts:
        carried, at = _section(out, Section.INITIAL_ROW, at, size)
        fresh_out, at = _section(out, Section.RESET_ROW, at, size)
        closes, at = _section(out, Section.FINAL_ROW, at, size)
        carried[:], fresh_out[:], closes[:] = -1, -1, -1
        fresh_out[n:] = 0
    else:  # each segment is a row
        for section in (Section.INITIAL_ROW, Section.RESET_ROW, Section.FINAL_ROW):
            out[section], out[section + 1] = out[Section.BATCH_ROW], 0 if section == Section.RESET_ROW else size
        carried, fresh_out, closes = owner_out, owner_out, owner_out
    rank = np.empty(n, np.int64)
    for s in range(n, size):
        lengths_out[s], owner_out[s], begins[s], ends[s] = 0, 0, rows + s, s
    for s in range(n):
        at = begin[longest - length[s]]
        begin[longest - length[s]] += 1
        rank[s] = at
        lengths_out[at], owner_out[at] = length[s], owner[s]
        begins[at] = offsets[longest - length[s]] + at
        ends[at] = (length[s] & 1) * size + at
        if cuts and fresh[s]:
            fresh_out[at] = owner[s]
        elif cuts:
            carried[at] = owner[s]
    for b in range(B):
        last[b] = rank[tail[b]]
        turn[b], final[b] = (longest & 1) * size + last[b], rows + last[b]
        if cuts:
            closes[last[b]] = b

    if rows < T * B:
        now[:], late[:] = -1, -1
    along, across = (1, T) if batch_first else (B, 1)
    if not holes and not cuts:
        first, stride = np.empty(n, np.int64), -along if reverse else along
        for r in range(n):
            first[r] = (longest - 1 if reverse else lengths_out[r] - longest) * along + owner_out[r] * across
        for t in range(longest):
            start, stop = offsets[t], offsets[t + 1]
            part = source[start:stop]
            for r in range(stop - start):
                part[r] = first[r] + t * stride
                flat = np.uint64(part[r])  # unsigned, or each index is asked whether it counts from the end
                now[flat], late[flat] = start + r, stop + r
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
def _section(out, section, at, size):
    """The section of `size` elements that begins at `at`, and where the next one does."""
    out[section], out[section + 1] = at, size
    return out[at : at + size], at + size


@njit(error_model="numpy")
def _cut(resets, step, b, length, reverse):
    """Whether row b begins anew before `step` is run; what lies past its length is not read."""
    at = step + 1 if reverse else step
    return at < length and resets[at, b]
