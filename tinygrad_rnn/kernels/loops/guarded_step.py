"""A step over prepared arrays that is run only while watched arrays are unchanged.

Whoever writes into an array leaves no trace, so the arrays are compared with copies of them, bit by bit. Large ones are
compared a part at a time: one line of so many, another one at each call. All records are in :mod:`.task_codes`.
Tables are given by address, which takes a call half of the time that an array does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types

from ..build.code_cache import entry_of
from ..build.fingerprint import kernel
from ..simd.types import BOUNDSCHECK
from .entry import call_loop
from .records import float32_in, float64_in, integers_at, record_at, words_in
from .task_codes import CHANGED, DONE, STEP_PHASE, SUSPECT, GuardedStep, Result, State, Turn, Watched, size_of
from .tasks import copy_row

Array = np.ndarray

LINE = 16  # words of four bytes: a cache line
outer: Any = (lambda function: function) if BOUNDSCHECK else kernel  # checked loops are called from Python
HEAD, WATCHED, RESULT, STATE, TURN = map(size_of, (GuardedStep, Watched, Result, State, Turn))


@kernel
def step_of(table: int) -> GuardedStep:
    """The :class:`GuardedStep` at the beginning of a table."""
    return record_at(table, 0, GuardedStep)


@kernel
def differs(table: int, first: int) -> bool:
    """Whether a watched array differs from its copy in the lines ``first, first + every, ...``."""
    step = step_of(table)
    for i in range(step.watched):
        watched = record_at(table, HEAD + i * WATCHED, Watched)
        a, b = words_in(watched.array), words_in(watched.copy)
        different = types.int64(0)  # without a branch in the loops, so that they become vectors
        if step.every == 1:
            # pairs of words, which need not be widened to 64 bits
            x, y = integers_at(watched.array.address, a.size // 2), integers_at(watched.copy.address, a.size // 2)
            for j in range(x.size):
                different |= x[j] ^ y[j]
            if a.size % 2 == 1:
                different |= a[a.size - 1] ^ b[a.size - 1]
        else:
            whole = a.size // LINE
            for line in range(first, whole, step.every):
                for j in range(line * LINE, line * LINE + LINE):
                    different |= a[j] ^ b[j]
            for j in range(whole * LINE, a.size):
                different |= a[j] ^ b[j]
        if different != 0:
            return True
    return False


@njit(error_model="numpy")
def _is_finite(x: Array, ld: int, columns: int) -> bool:
    bad = False
    for start in range(0, x.size, ld):
        for j in range(start, start + columns):
            bad |= not np.isfinite(x[j])
    return not bad


@njit(error_model="numpy")
def _copy(x: Array, out: Array, ld: int, out_ld: int, columns: int) -> None:
    to = 0
    for start in range(0, x.size, ld):
        copy_row(x, start, out, to, columns, columns)
        to += out_ld


@kernel
def are_finite(table: int) -> bool:
    """Whether the results hold neither NaN nor infinity."""
    step = step_of(table)
    first = HEAD + step.watched * WATCHED
    for i in range(step.results):
        result = record_at(table, first + i * RESULT, Result)
        if step.itemsize == 8:
            fine = _is_finite(float64_in(result.span), result.ld, result.columns)
        else:
            fine = _is_finite(float32_in(result.span), result.ld, result.columns)
        if not fine:
            return False
    return True


@kernel
def advance_states(table: int) -> None:
    """Copy the new states to where a step finds the present ones."""
    step = step_of(table)
    first = HEAD + step.watched * WATCHED + step.results * RESULT
    for i in range(step.states):
        state = record_at(table, first + i * STATE, State)
        if step.itemsize == 8:
            _copy(float64_in(state.new), float64_in(state.present), state.ld, state.present_ld, state.columns)
        else:
            _copy(float32_in(state.new), float32_in(state.present), state.ld, state.present_ld, state.columns)


@kernel
def exchange(table: int) -> None:
    """Let new states and present ones change places, by their addresses in tables: nothing is copied."""
    turns = step_of(table).turns
    for i in range(turns.size):
        turn = record_at(turns.address, i * TURN, Turn)
        integers_at(turn.word, 1)[0] ^= turn.difference


@outer
def has_changed(table: int) -> bool:
    """Whether a watched array is no longer what it was; of large ones, the lines whose turn it is."""
    step = step_of(table)
    phase = step.phase
    if step.every > 1:
        phase = integers_at(table, HEAD)[STEP_PHASE] = (step.phase + 1) % step.every
    return differs(table, phase)


@outer
def run_step(table: int, watch: bool, check_finite: bool) -> int:
    """Run one step.

    Parameters
    ----------
    table : int
        The address of integers: a :class:`GuardedStep`, then as many :class:`Watched`, :class:`Result` and
        :class:`State` as it says.
    watch : bool
        Run nothing if :func:`has_changed`.
    check_finite : bool
        Do not :func:`advance_states` unless the results :func:`are_finite`; of a late step, only tell.

    A late step begins with the new states of the one before: it copies them, or lets arrays change places.

    Returns
    -------
    int
        CHANGED, DONE or SUSPECT.
    """
    if watch and has_changed(table):
        return CHANGED
    step = step_of(table)
    if step.late:
        advance_states(table)
        exchange(table)
    call_loop(step.loop, 0, step.rows, step.addresses, 0)
    if check_finite and not are_finite(table):
        return SUSPECT
    if not step.late:
        advance_states(table)
    return DONE


@functools.cache
def step_entry() -> Callable[[int, bool, bool], int]:
    """:func:`run_step`, without a look at the types of its arguments."""
    return entry_of(run_step, types.int64, types.boolean, types.boolean)
