"""Workers: threads that wait for jobs on a board, and how jobs are offered to them.

A worker may take a job up as long as the offer stands; whoever made it withdraws what nobody took up. So a thread that
the system does not let run keeps nobody waiting. For a while after its last job a worker looks for the next one; then
it sleeps, until an offer wakes it. All functions are in the language of :mod:`..build.translate`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from numba import njit

from ..build.native import Native
from ..build.python_functions import python_function
from ..threads.atomics import acquire, atomic_load, atomic_store, atomic_swap, call_address, free, give_way, pause
from ..threads.job_codes import (
    ACCEPTED,
    BYTES,
    IDLE,
    MOST_WORKERS,
    OFFERED,
    OPEN,
    OVER,
    SEATS_AT,
    SLOT,
    TAKEN,
    WITHDRAWN,
    WORKING,
    Board,
    Job,
    Worker,
)
from ..threads.member import PATIENCE
from .arguments import integers_on_stack, lock, python_integer, read_arrays, unlock
from .records import integers_at, record_at

RESTLESS = 2500  # pauses, some 100 us, before a worker without work sleeps
ASLEEP_AT, JOB, SEAT, RANK = 1, 3, 4, 5  # integers in a worker's slot; the first is its state


@njit(error_model="numpy")
def wait_until(address: int, value: int) -> None:
    """Wait until the integer at an address is this one."""
    tries = 0
    while atomic_load(address) != value:
        tries += 1
        if tries < PATIENCE:
            pause()
        else:
            give_way()


# ---- offers, by those who have a job


@njit(error_model="numpy")
def choose_workers(board: int, job: int, wanted: int) -> int:
    """Take idle workers, at most so many, for the seats of a job; returns how many there are."""
    there, found, worker = record_at(board, 0, Board).workers, 0, 0
    seats = integers_at(job + SEATS_AT * SLOT * BYTES, MOST_WORKERS)
    while found < wanted and worker < there:
        worker += 1
        slot = board + worker * SLOT * BYTES
        if atomic_swap(slot, IDLE, TAKEN):
            seats[found] = slot
            found += 1
            own = integers_at(slot, SLOT)
            own[JOB] = job
            own[SEAT] = found
            own[RANK] = 0
    return found


@njit(error_model="numpy")
def wake_two(job: int, first: int) -> None:
    """Wake the workers of two seats: each wakes two more, so that many are soon awake."""
    seats = integers_at(job + SEATS_AT * SLOT * BYTES, MOST_WORKERS)
    for seat in range(first, min(first + 2, record_at(job, 0, Job).seats)):
        if atomic_swap(seats[seat] + ASLEEP_AT * BYTES, 1, 0):
            free(record_at(seats[seat], 0, Worker).lock)


@njit(error_model="numpy")
def open_offers(job: int) -> None:
    """Offer a job to the workers in its seats."""
    seats = integers_at(job + SEATS_AT * SLOT * BYTES, MOST_WORKERS)
    for seat in range(record_at(job, 0, Job).seats):
        atomic_store(seats[seat], OFFERED)
    wake_two(job, 0)


@njit(error_model="numpy")
def wait_for_workers(job: int, patience: int) -> None:
    """Wait until all workers have taken a job up, but so many pauses at most."""
    seats, tries = integers_at(job + SEATS_AT * SLOT * BYTES, MOST_WORKERS), 0
    for seat in range(record_at(job, 0, Job).seats):
        while tries < patience and atomic_load(seats[seat]) == OFFERED:
            tries += 1
            pause()


@njit(error_model="numpy")
def close_offers(job: int) -> int:
    """Withdraw a job from those who have not taken it up; returns how many have."""
    seats = integers_at(job + SEATS_AT * SLOT * BYTES, 2 * MOST_WORKERS)
    members = 0
    for seat in range(record_at(job, 0, Job).seats):
        if seats[MOST_WORKERS + seat] == OPEN:
            withdrawn = atomic_swap(seats[seat], OFFERED, IDLE)
            seats[MOST_WORKERS + seat] = WITHDRAWN if withdrawn else ACCEPTED
        if seats[MOST_WORKERS + seat] == ACCEPTED:
            members += 1
    return members


@njit(error_model="numpy")
def rank_members(job: int) -> None:
    """Number those who have taken a job up, and are still at it, from 1 on."""
    seats = integers_at(job + SEATS_AT * SLOT * BYTES, 2 * MOST_WORKERS)
    members = 0
    for seat in range(record_at(job, 0, Job).seats):
        if seats[MOST_WORKERS + seat] == ACCEPTED:
            members += 1
            integers_at(seats[seat], SLOT)[RANK] = members


# ---- work, by the workers


def _work(kind: int, arguments: int, count: int) -> int:
    """The slot of a worker, which this thread becomes until it is told to end."""
    given = integers_on_stack(2)
    if not read_arrays(kind, arguments, count, 1, given):
        return 0
    slot = given[0]
    thread, asleep, tries = unlock(), slot + ASLEEP_AT * BYTES, 0
    while atomic_load(slot) != OVER:
        if atomic_swap(slot, OFFERED, WORKING):
            own = record_at(slot, 0, Worker)
            wake_two(own.job, 2 * own.seat)
            call_address(record_at(own.job, 0, Job).function, own.job, slot)
            atomic_store(slot, IDLE)
            tries = 0
        elif tries < RESTLESS:
            tries += 1
            pause()
        else:
            tries = 0
            atomic_store(asleep, 1)
            state = atomic_load(slot)
            if (state != OFFERED and state != OVER) or not atomic_swap(asleep, 1, 0):
                acquire(record_at(slot, 0, Worker).lock, 1)  # or it is free already
    lock(thread)
    return python_integer(0)


def _end(kind: int, arguments: int, count: int) -> int:
    """The slot of a worker, which is to end when its job is done."""
    given = integers_on_stack(2)
    if not read_arrays(kind, arguments, count, 1, given):
        return 0
    slot = given[0]
    thread = unlock()
    while not atomic_swap(slot, IDLE, OVER):
        give_way()
    if atomic_swap(slot + ASLEEP_AT * BYTES, 1, 0):
        free(record_at(slot, 0, Worker).lock)
    lock(thread)
    return python_integer(0)


@functools.cache
def functions() -> tuple[Callable[[Any], int], Callable[[Any], int]]:
    """``work(slot)`` makes a worker of a thread, and ``end(slot)`` lets it return; compiled or loaded."""
    made = Native(_work, _end)
    work, end = (python_function(__name__, n, at, made) for n, at in zip(("work", "end"), made.addresses))
    return work, end
