"""A step over what was packed before: run only while that is what it was, to the last bit, and looked at if asked for.

Who writes into an array leaves no trace, so the arrays are compared with copies of them. Large ones are compared a part
at a time: one line of so many, another one at each call.
"""

from __future__ import annotations

import numpy as np
from numba import types

from ..build.fingerprint import kernel
from .entry import call_loop, float32, float64, words
from .tasks import outer

LINE = 16  # words of four bytes: a cache line
LOOP, PLACES, ROWS, ITEM, PHASE, EVERY, WATCHED, RESULTS, MOVED = range(9)  # numbers of a step
USED = 5  # pairs of address and elements in front of those of its arrays
CHANGED, DONE, SUSPECT = range(3)  # what a step tells


@kernel
def differs(step, first):
    """Whether any two of the watched arrays differ in the lines ``first, first + step[EVERY], ...`` of LINE words."""
    here, every = step.ctypes.data, step[EVERY]
    for i in range(USED, USED + 2 * step[WATCHED], 2):
        a, b = words(here, i), words(here, i + 1)
        different = types.int32(0)
        if every == 1:
            for j in range(a.size):
                different |= a[j] ^ b[j]
        else:
            whole = a.size // LINE
            for line in range(first, whole, every):
                for j in range(line * LINE, line * LINE + LINE):
                    different |= a[j] ^ b[j]
            for j in range(whole * LINE, a.size):
                different |= a[j] ^ b[j]
        if different != 0:
            return True
    return False


@kernel
def _is_finite(x, ld, width):
    bad = False
    for start in range(0, x.size, ld):
        for j in range(start, start + width):
            bad |= not np.isfinite(x[j])
    return not bad


@kernel
def _move(x, out, ld, width):
    for start in range(0, x.size, ld):
        for j in range(start, start + width):
            out[j] = x[j]


@kernel
def are_finite(step):
    """Whether the results hold neither NaN nor infinity."""
    here, double = step.ctypes.data, step[ITEM] == 8
    first = USED + 2 * step[WATCHED]
    for i in range(first, first + 2 * step[RESULTS], 2):
        ld, width = step[2 * i + 2], step[2 * i + 3]
        if double:
            fine = _is_finite(float64(here, i), ld, width)
        else:
            fine = _is_finite(float32(here, i), ld, width)
        if not fine:
            return False
    return True


@kernel
def go_on(step):
    """Put the new states where a step finds the present ones."""
    here, double = step.ctypes.data, step[ITEM] == 8
    first = USED + 2 * step[WATCHED] + 2 * step[RESULTS]
    for i in range(first, first + 3 * step[MOVED], 3):
        ld, width = step[2 * i + 4], step[2 * i + 5]
        if double:
            _move(float64(here, i), float64(here, i + 1), ld, width)
        else:
            _move(float32(here, i), float32(here, i + 1), ld, width)


@outer
def has_changed(step):
    """Whether a watched array is no longer what it was; of large ones, the lines whose turn it is."""
    if step[EVERY] > 1:
        step[PHASE] = (step[PHASE] + 1) % step[EVERY]
    return differs(step, step[PHASE])


@outer
def run_step(step, watch, look):
    """One step.

    Parameters
    ----------
    step : 1-D int64
        The loop at the address LOOP takes its arrays from the table at the address PLACES, and all of ROWS. Its
        floats have ITEM bytes. PHASE says which of EVERY lines of the watched arrays were compared last. From 2 * USED
        on, address and elements of arrays: WATCHED times an array and its copy, in words of four bytes; RESULTS times
        one, and as another pair, the distance of its rows and their elements; MOVED times a new state, the present one,
        and the same pair.
    watch : bool
        Run nothing if :func:`has_changed`.
    look : bool
        Do not :func:`go_on` unless the results :func:`are_finite`.

    Returns
    -------
    int
        CHANGED, DONE or SUSPECT.
    """
    if watch and has_changed(step):
        return CHANGED
    call_loop(step[LOOP], 0, step[ROWS], step[PLACES])
    if look and not are_finite(step):
        return SUSPECT
    go_on(step)
    return DONE
