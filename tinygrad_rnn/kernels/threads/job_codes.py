"""Records of the tables that threads share, field by name; without Numba."""

from __future__ import annotations

from typing import NamedTuple

BYTES = 8  # of an integer
SLOT = 16  # integers between two that different threads write to: lines of the cache come in pairs
MOST_WORKERS = 127
MOST_PHASES = 8


class Member(NamedTuple):
    """A thread that does its part of each step of a loop."""

    rank: int  # from 0 on
    members: int  # of all members
    barrier: int  # address of two slots: how many have arrived, how often all have


class Board(NamedTuple):
    """The first slot of the board on which workers find work; behind it is a slot for each of them."""

    limit: int  # threads that may work at a time
    callers: int  # launches that are being shared, or done by one thread for want of others
    workers: int  # that were started


class Worker(NamedTuple):
    """A worker's slot of the board."""

    state: int
    asleep: int  # 1: it waits for its lock, or is about to
    lock: int  # address of a lock of Python's
    job: int  # address of a Job
    seat: int  # its number among those that the job was offered to, from 1 on
    rank: int  # its number among those that took the job up before each step was shared, from 1 on


# States of a worker: nobody's, being given a job, offered one, at work, told to end.
IDLE, TAKEN, OFFERED, WORKING, OVER = range(5)


class Job(NamedTuple):
    """A launch that is shared; its memory is laid out as below, in slots."""

    function: int  # address of the C function of a worker's part: it takes the addresses of the job and of the worker
    launch: int  # address of the launch table
    addresses: int  # of the spans of its arrays
    threads: int  # that are worth it: as many ranges of rows there are
    by_step: bool  # members share each step; else a range of rows is one thread's
    members: int  # who share each step
    seats: int  # workers that the job was offered to
    missing: int  # how often there was no memory


# Slots of a job's memory behind its record: the number of the phase at hand, from 1 on; a barrier (two slots); how many
# workers have left; for each phase, parts that were begun and parts that are done. Then come two tables of workers:
# their slots, and what became of the offer.
PHASE_AT, BARRIER_AT, LEFT_AT, PHASES_AT = 1, 2, 4, 5
SEATS_AT = PHASES_AT + 2 * MOST_PHASES
JOB_SIZE = SEATS_AT * SLOT + 2 * (MOST_WORKERS + 1)  # integers
OPEN, ACCEPTED, WITHDRAWN = range(3)  # what became of an offer
DONE = MOST_PHASES + 1  # the phase after the last one


class Phase(NamedTuple):
    """A part of a launch; the next one begins when all of it is done."""

    kind: int
    first: int  # task, or group of tasks
    last: int  # the one behind the last


# Kinds of phases: tasks in order, by whoever calls; groups of tasks in any order, by all; the loop.
IN_ORDER, GROUPS, LOOP = range(3)
