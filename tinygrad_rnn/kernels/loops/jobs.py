"""A launch that several threads share, phase by phase.

Groups of tasks, and ranges of rows, go to whoever asks for the next one, so that nobody waits for a thread that comes
late or not at all. Where members share each step they have to be there: those who are, when the loop begins, do it. All
functions are in the language of :mod:`..build.translate`.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from ..gemm.tile import never_inline
from ..threads.atomics import atomic_add, atomic_load, atomic_store, give_way, pause
from ..threads.job_codes import (
    BARRIER_AT,
    BYTES,
    DONE,
    GROUPS,
    IN_ORDER,
    JOB_SIZE,
    LEFT_AT,
    MOST_WORKERS,
    PHASE_AT,
    PHASES_AT,
    SLOT,
    Board,
    Job,
    Phase,
    Worker,
)
from ..threads.member import PATIENCE
from .arguments import address_of, integers_on_stack
from .entry import call_loop
from .records import integers_at, integers_in, record_at
from .task_codes import Launch
from .tasks import execute_tasks
from .workers import choose_workers, close_offers, open_offers, rank_members, wait_for_workers, wait_until

SPAN = 16  # bytes
CALLERS, PHASE_SIZE, MISSING, MEMBERS, SEATS = 1, 3, 7, 5, 6  # integers


@njit(error_model="numpy")
def first_of_range(launch_at: int, part: int, parts: int) -> int:
    """The first row of the loop's range number `part`; ranges are of whole groups, and equally long."""
    launch = record_at(launch_at, 0, Launch)
    if part == parts:
        return launch.end
    row = launch.end * part // parts
    if launch.lengths.size > 0:
        lengths, steps, total = integers_in(launch.lengths), 0, integers_in(launch.row_table)[0]
        row = 0
        while row < launch.end and steps < total * part // parts:
            steps += lengths[row]
            row += 1
    return row // launch.group * launch.group


@njit(error_model="numpy")
def do_phase(job_at: int, number: int, rank: int, like: Any) -> None:
    """This thread's part of a phase: of the phase with this number, from 1 on."""
    never_inline()
    job = record_at(job_at, 0, Job)
    launch = record_at(job.launch, 0, Launch)
    phase = record_at(launch.phases.address, PHASE_SIZE * (number - 1), Phase)
    begun = job_at + (PHASES_AT + 2 * (number - 1)) * SLOT * BYTES
    done, loop_table = begun + SLOT * BYTES, job.addresses + SPAN * launch.arrays
    if phase.kind == GROUPS:
        groups, missing = integers_in(launch.groups), 0
        group = phase.first + atomic_add(begun, 1)
        while group < phase.last:
            missing += execute_tasks(job.launch, job.addresses, groups[2 * group], groups[2 * group + 1], like)
            if missing > 0:
                atomic_add(job_at + MISSING * BYTES, missing)
            atomic_add(done, 1)
            group = phase.first + atomic_add(begun, 1)
    elif job.by_step != 0:
        member = integers_on_stack(3)
        member[0] = rank
        member[1] = job.members
        member[2] = job_at + BARRIER_AT * SLOT * BYTES
        call_loop(launch.loop, 0, launch.end, loop_table, address_of(member))
        atomic_add(done, 1)
    else:
        part = atomic_add(begun, 1)
        while part < job.threads:
            begin = first_of_range(job.launch, part, job.threads)
            end = first_of_range(job.launch, part + 1, job.threads)
            if begin < end:
                call_loop(launch.loop, begin, end, loop_table, 0)
            atomic_add(done, 1)
            part = atomic_add(begun, 1)


def part_of_job(job_at: int, slot: int, like: Any) -> None:
    """A worker's part of a job, until that is done."""
    at, tries, seen = job_at + PHASE_AT * SLOT * BYTES, 0, 0
    number = atomic_load(at)
    while number != DONE:
        if number != seen:
            do_phase(job_at, number, record_at(slot, 0, Worker).rank, like)
            seen = number
            tries = 0
        elif tries < PATIENCE:
            tries += 1
            pause()
        else:
            give_way()
        number = atomic_load(at)
    atomic_add(job_at + LEFT_AT * SLOT * BYTES, 1)  # from here on the job's memory may be something else


@njit(error_model="numpy")
def _phases(job_at: int, like: Any) -> int:
    """Do a job together with whoever takes it up; returns how often there was no memory."""
    never_inline()
    job = record_at(job_at, 0, Job)
    launch, own = record_at(job.launch, 0, Launch), integers_at(job_at, SLOT)
    at, missing, members, parts = job_at + PHASE_AT * SLOT * BYTES, 0, 0, 0
    for i in range(launch.phases.size // PHASE_SIZE):
        phase = record_at(launch.phases.address, PHASE_SIZE * i, Phase)
        if phase.kind == IN_ORDER:
            missing += execute_tasks(job.launch, job.addresses, phase.first, phase.last, like)
            continue
        parts = job.threads
        if phase.kind == GROUPS:
            parts = phase.last - phase.first
        elif job.by_step != 0:
            wait_for_workers(job_at, launch.patience)
            parts = 1 + close_offers(job_at)
            own[MEMBERS] = parts
            rank_members(job_at)
            if parts == 1:
                call_loop(launch.loop, 0, launch.end, job.addresses + SPAN * launch.arrays, 0)
                continue
        atomic_store(at, i + 1)
        do_phase(job_at, i + 1, 0, like)
        wait_until(job_at + (PHASES_AT + 2 * i + 1) * SLOT * BYTES, parts)
    atomic_store(at, DONE)
    members = close_offers(job_at)
    wait_until(job_at + LEFT_AT * SLOT * BYTES, members)
    return missing + own[MISSING]


@njit(error_model="numpy")
def share(launch_at: int, addresses: int, like: Any) -> int:
    """Do a launch with as many threads as it is worth and as there are; -1 if that is this one alone."""
    never_inline()
    launch = record_at(launch_at, 0, Launch)
    callers = launch.board + CALLERS * BYTES
    free = record_at(launch.board, 0, Board).limit - atomic_add(callers, 1)
    choice = integers_in(launch.choices)[max(0, min(free, launch.choices.size - 1))]
    threads, missing = choice >> 1, -1
    if threads > 1:
        room = address_of(integers_on_stack(JOB_SIZE + SLOT))
        job_at = room + SLOT * BYTES - room % (SLOT * BYTES)
        own = integers_at(job_at, JOB_SIZE)
        for i in range(JOB_SIZE):
            own[i] = 0
        own[0] = launch.part
        own[1] = launch_at
        own[2] = addresses
        own[3] = threads
        own[4] = choice & 1
        seats = choose_workers(launch.board, job_at, min(threads - 1, MOST_WORKERS))
        own[SEATS] = seats
        if seats > 0:
            open_offers(job_at)
            missing = _phases(job_at, like)
    atomic_add(callers, -1)
    return missing
