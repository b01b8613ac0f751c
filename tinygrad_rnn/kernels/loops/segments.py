"""Segments: layout of sequences of different lengths, with masks and resets, as rows of a loop."""

from __future__ import annotations

import numpy as np
from numba import njit

from ..build.fingerprint import kernel
from .task_codes import HEADER, Section

Array = np.ndarray


@kernel
def find_segments(
    steps: int, lengths: Array, mask: Array, resets: Array, reverse: bool, batch_first: bool, least: int, out: Array
) -> tuple[int, int]:
    """Table of the segments of a batch, sorted by length, and of where their steps lie in a loop.

    A segment is a part of a row without a reset inside, of which some steps count. Segments end together: the last
    step of the loop is that of all.

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
    least : int
        Add empty segments until there are so many, at least.
    out : int64
        ``HEADER + 7 * S + 3 * B + T + 1 + 4 * T * B`` elements, where S is `least`, or the rounded sum of B and the
        number of resets if that is more. The first is the number of rows of all steps; then come, for each
        :class:`.task_codes.Section`, where it begins and how long it is; then the sections.

    Returns
    -------
    S, longest : int
        Segments, and the steps of the longest.

    Notes
    -----
    The sections:

    LENGTH, BATCH_ROW : (S,)
        Of each segment, the longest first: its steps, its row. If there are more than B, some empty ones are added: S
        is a rounded number, so that tables that are bound for a few sizes serve all batches.
    FIRST_STATE, FIRST_GRAD : (S,)
        The row of the state before its first step, in a buffer of all steps; and the row of the gradient by it, in a
        buffer of the last two steps of the backward loop.
    INITIAL_ROW, RESET_ROW : (S,)
        Its row, if it begins with the row's initial state, and if it begins after a reset; else -1.
    FINAL_ROW : (S,)
        Its row, if it is the row's last one; else -1.
    LAST_SEGMENT, FINAL_SLOT, FINAL_STATE : (B,)
        The last segment of each row; the row of its last state, in a buffer of the last two steps, and in one of all.
    OFFSETS : (longest + 1,)
        Rows before each step.
    PADDED_ROW : (rows,)
        The row of the caller's arrays, of all its T * B, at each row of each step.
    PACKED_ROW, PACKED_STATE : (T * B,)
        The inverse: where each row lies, and where the state after it lies; -1 where it does not count.
    NEXT_STATE : (rows,)
        The row of the state after each row of each step, in a buffer of all steps.
    """
    # One long body: its parts would hand each other all of these sections.
    T, B = steps, len(lengths)
    has_mask, has_resets = len(mask) > 0, len(resets) > 0
    most = B
    if has_resets:
        for t in range(T):
            for b in range(B):
                most += resets[t, b]
    length, row, is_reset = np.zeros(most, np.int64), np.empty(most, np.int64), np.empty(most, np.bool_)
    head, tail = np.empty(B, np.int64), np.empty(B, np.int64)  # first and last segment of each row
    n = _cut_rows(T, lengths, mask, resets, reverse, length, row, is_reset, head, tail)

    longest = 0
    for s in range(n):
        longest = max(longest, length[s])
    # a counting sort: begin[d] is the next place for a segment that is d steps shorter than the longest
    begin = np.zeros(longest + 2, np.int64)
    for s in range(n):
        begin[longest - length[s] + 1] += 1
    for i in range(1, longest + 2):
        begin[i] += begin[i - 1]
    size = max(least, _rounded(n) if n > B else n)
    at = HEADER
    lengths_out, at = _section(out, Section.LENGTH, at, size)
    batch_row, at = _section(out, Section.BATCH_ROW, at, size)
    first_state, at = _section(out, Section.FIRST_STATE, at, size)
    first_grad, at = _section(out, Section.FIRST_GRAD, at, size)
    last_segment, at = _section(out, Section.LAST_SEGMENT, at, B)
    final_slot, at = _section(out, Section.FINAL_SLOT, at, B)
    final_state, at = _section(out, Section.FINAL_STATE, at, B)
    offsets, at = _section(out, Section.OFFSETS, at, longest + 1)
    offsets[0] = 0
    for t in range(longest):
        # step t has all segments that are at most t steps shorter than the longest
        offsets[t + 1] = offsets[t] + begin[t + 1]
    rows = offsets[longest]
    out[0] = rows
    padded_row, at = _section(out, Section.PADDED_ROW, at, rows)
    packed_row, at = _section(out, Section.PACKED_ROW, at, T * B)
    packed_state, at = _section(out, Section.PACKED_STATE, at, T * B)
    next_state, at = _section(out, Section.NEXT_STATE, at, rows)
    if has_resets:
        initial_row, at = _section(out, Section.INITIAL_ROW, at, size)
        reset_row, at = _section(out, Section.RESET_ROW, at, size)
        final_row, at = _section(out, Section.FINAL_ROW, at, size)
        initial_row[:], reset_row[:], final_row[:] = -1, -1, -1
        reset_row[n:] = 0
    else:  # each segment is a row: the sections are the same as BATCH_ROW, or empty
        for section in (Section.INITIAL_ROW, Section.RESET_ROW, Section.FINAL_ROW):
            out[section], out[section + 1] = out[Section.BATCH_ROW], 0 if section == Section.RESET_ROW else size
        initial_row, reset_row, final_row = batch_row, batch_row, batch_row
    rank = np.empty(n, np.int64)
    for s in range(n, size):
        # without a step, what it begins with is what it ends with: its state lies among the last ones
        lengths_out[s], batch_row[s], first_state[s], first_grad[s] = 0, 0, rows + s, s
    for s in range(n):
        at = begin[longest - length[s]]
        begin[longest - length[s]] += 1
        rank[s] = at
        lengths_out[at], batch_row[at] = length[s], row[s]
        first_state[at] = offsets[longest - length[s]] + at
        # the two slots take turns: this one is written by the last of its steps back
        first_grad[at] = (length[s] & 1) * size + at
        if has_resets and is_reset[s]:
            reset_row[at] = row[s]
        elif has_resets:
            initial_row[at] = row[s]
    for b in range(B):
        # the states after the last step lie behind the rows of all steps
        last_segment[b] = rank[tail[b]]
        final_slot[b], final_state[b] = (longest & 1) * size + last_segment[b], rows + last_segment[b]
        if has_resets:
            final_row[last_segment[b]] = b

    # else every step counts, and each element is written below
    if rows < T * B:
        packed_row[:], packed_state[:] = -1, -1
    along, across = (1, T) if batch_first else (B, 1)  # from one step to the next, and from one row of the batch
    if not has_mask and not has_resets:
        first, stride = np.empty(n, np.int64), -along if reverse else along
        for r in range(n):
            # a segment as long as the longest would begin here; shorter ones begin at later steps
            first[r] = (longest - 1 if reverse else lengths_out[r] - longest) * along + batch_row[r] * across
        for t in range(longest):
            start, stop = offsets[t], offsets[t + 1]
            part = padded_row[start:stop]
            for r in range(stop - start):
                part[r] = first[r] + t * stride
                flat = np.uint64(part[r])  # unsigned, or each index is asked whether it counts from the end
                packed_row[flat], packed_state[flat], next_state[start + r] = start + r, stop + r, stop + r
        return size, longest
    left = np.zeros(B, np.int64)  # steps of the segment at hand of each row
    for t in range(T):
        step = T - 1 - t if reverse else t
        for b in range(B):
            if step >= lengths[b] or (has_mask and not mask[step, b]):
                continue
            if left[b] == 0:
                left[b] = length[head[b]]
                head[b] += 1
            r, time, there = rank[head[b] - 1], longest - left[b], step * along + b * across
            left[b] -= 1
            padded_row[offsets[time] + r], next_state[offsets[time] + r] = there, offsets[time + 1] + r
            packed_row[there], packed_state[there] = offsets[time] + r, offsets[time + 1] + r
    return size, longest


@njit(error_model="numpy")
def _cut_rows(
    T: int, lengths: Array, mask: Array, resets: Array, reverse: bool, length: Array, row: Array, is_reset: Array,
    head: Array, tail: Array,
) -> int:  # fmt: skip
    """Number of segments, row after row; of each: steps, row, whether it follows a reset."""
    n, has_mask, has_resets = 0, len(mask) > 0, len(resets) > 0
    for b in range(len(lengths)):
        current, after_reset = -1, False
        head[b] = n
        if not has_mask and not has_resets:  # the most frequent case
            row[n], is_reset[n], length[n], tail[b] = b, False, lengths[b], n
            n += 1
            continue
        for t in range(T):
            step = T - 1 - t if reverse else t
            if has_resets and _is_cut(resets, step, b, lengths[b], reverse):
                current, after_reset = -1, True
            if step < lengths[b] and (not has_mask or mask[step, b]):
                if current < 0:
                    current = n
                    row[n], is_reset[n] = b, after_reset
                    n += 1
                length[current] += 1
        if current < 0:  # the last segment of a row has its final state, even without steps
            current = n
            row[n], is_reset[n] = b, after_reset
            n += 1
        tail[b] = current
    return n


@njit(error_model="numpy")
def _rounded(n: int) -> int:
    """n, rounded up to four binary digits, so that few sizes occur."""
    unit = 1
    while unit * 16 <= n:
        unit *= 2
    return (n + unit - 1) // unit * unit


@njit(error_model="numpy")
def _section(out: Array, section: int, at: int, size: int) -> tuple[Array, int]:
    """The section of `size` elements that begins at `at`, and where the next one does."""
    out[section], out[section + 1] = at, size
    return out[at : at + size], at + size


@njit(error_model="numpy")
def _is_cut(resets: Array, step: int, b: int, length: int, reverse: bool) -> bool:
    """Whether row b is reset before `step` is run; what lies past its length is not read."""
    at = step + 1 if reverse else step
    return at < length and resets[at, b]
