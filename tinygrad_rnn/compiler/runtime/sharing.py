"""How threads share a launch: its phases, and how many threads it is worth.

Results are the same, to the last bit, whatever is decided here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...kernels.loops.task_codes import Span, Task
from ...kernels.threads.job_codes import GROUPS, IN_ORDER, LOOP, MOST_PHASES, Phase
from .costs import LoopCost
from .pieces import Sizes, in_any_order, pieces
from .threads import workers

# Nanoseconds, if all threads sleep when a launch begins; they are awake after a few hundred if one has just ended.
BEGIN, WAKE = 4000.0, 800.0  # a shared launch, and one for each thread
MEETING, MEETING_THREAD = 400.0, 80.0  # of threads that share a step, and more for each
PHASE = 300.0  # of a phase that threads share
WORTH = 30_000.0  # a launch that takes less alone is not shared
GAIN = 0.85  # of the time that it takes alone: more is not worth it
TOGETHER = 0.9  # of the time that ranges of rows take: sharing steps fares worse where other programs take cores
SLACK = 1.04  # of the shortest time that fewer threads may take
PAUSE = 40.0
LONGEST_WAIT = 60_000.0  # for threads that are to share steps
COUNTS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64)


class LoopShare(NamedTuple):
    """A loop that may be shared."""

    cost: LoopCost
    time: int
    batch: int
    group: int  # rows that have to be in one thread


class Sharing(NamedTuple):
    """What a shared launch does, in tables of :class:`.Launch`.

    Attributes
    ----------
    tasks : list of tasks
        Pieces, which come behind the tasks of the launch.
    phases, groups, choices : int64 arrays
    group, patience : int
    """

    tasks: list[Task]
    phases: np.ndarray
    groups: np.ndarray
    choices: np.ndarray
    group: int
    patience: int

    def fields(self, part: int) -> dict[str, Any]:
        """Fields of :class:`.Launch`; `part` is the address of the code of a worker's part."""
        spans = {name: Span(a.ctypes.data, a.size) for name, a in zip(("phases", "groups", "choices"), self[1:4])}
        return {**spans, "group": self.group, "patience": self.patience, "part": part, "board": workers.address}


class _Phases:
    """Phases as they are collected, with what each takes alone and what its longest piece takes."""

    def __init__(self, first: int, sizes: Sizes):
        self.first, self.sizes = first, sizes
        self.tasks: list[Task] = []
        self.phases: list[Phase] = []
        self.groups: list[tuple[int, int]] = []
        self.times: list[tuple[float, float]] = []

    def add(self, tasks: Sequence[Task], in_order: bool = False) -> None:
        """A phase of tasks: in any order, if they are of kinds that have pieces, and may be."""
        if not tasks:
            return
        shared, at = in_any_order(tasks) and not in_order, self.first + len(self.tasks)
        groups = pieces(tasks, self.sizes) if shared else [list(tasks)]
        found = []
        for group in groups:
            found.append((sum(map(self.sizes.cost, group)), at, at + len(group)))
            at += len(group)
            self.tasks += group
        self.times.append((sum(cost for cost, *_ in found), max(found)[0]))
        if not shared or len(found) == 1:
            self.phases.append(Phase(IN_ORDER, found[0][1], at))
            return
        found.sort(reverse=True)  # large ones first, so that threads end together
        self.phases.append(Phase(GROUPS, len(self.groups), len(self.groups) + len(found)))
        self.groups += [(begin, end) for _, begin, end in found]


def share(
    before: Sequence[Sequence[Task]],
    loop: LoopShare | None,
    after: Sequence[Task],
    last: Sequence[Task],
    first: int,
    sizes: Sizes,
) -> Sharing | None:
    """How threads share a launch; None if one thread is as fast.

    Parameters
    ----------
    before : lists of tasks
        Phases. Tasks of one may be done in any order where all are products, sums of rows, or pack or clear; but for
        products that add to what the task before them wrote.
    loop : LoopShare or None
        What comes next.
    after : list of tasks
        Another such phase.
    last : list of tasks
        They are done in order.
    first : int
        Number of the first task that is not of the launch as one thread does it.
    sizes : Sizes
    """
    alone = sum(sizes.cost(task) for tasks in (*before, after, last) for task in tasks)
    alone += 0.0 if loop is None else loop.time * loop.cost.of_rows(loop.batch)
    if alone < WORTH:
        return None
    found = _Phases(first, sizes)
    for tasks in before:
        found.add(tasks)
    if loop is not None:
        found.phases.append(Phase(LOOP, 0, 0))
    found.add(after)
    found.add(last, in_order=True)
    if len(found.phases) > MOST_PHASES:
        return None
    choices = _choices(alone, found.times, loop)
    if max(choices) < 4:
        return None
    tables = _table(found.phases), _table(found.groups), _table(choices)
    patience = int(min(alone / 8, LONGEST_WAIT) / PAUSE)
    return Sharing(found.tasks, *tables, 1 if loop is None else loop.group, patience)


def _table(rows: Sequence) -> np.ndarray:
    return np.array(rows, np.int64).ravel()


def _choices(alone: float, times: list[tuple[float, float]], loop: LoopShare | None) -> list[int]:
    """For each number of free threads, twice as many as are worth it, + 1 if they share each step."""
    best, choice = alone * GAIN, 2
    found = [2, 2]
    for n in COUNTS[1:]:
        total, together = (0.0, False) if loop is None else _loop_time(loop, n)
        total += BEGIN + WAKE * n + sum(max(longest, whole / n) + PHASE for whole, longest in times)
        found += [choice] * (n - len(found))
        if total * SLACK < best:
            best, choice = total, 2 * n + together
        found.append(choice)
    return found


def _loop_time(loop: LoopShare, n: int) -> tuple[float, bool]:
    """What a loop takes that so many threads share, and whether they share each step."""
    cost, time, batch, group = loop
    rows = math.ceil(batch / group / min(n, batch // group or 1)) * group
    by_rows = cost.of_rows(rows)
    by_step = cost.of_rows(batch, 1 / n) - cost.row * (batch - rows)
    by_step += cost.meetings * (MEETING + MEETING_THREAD * n)
    together = cost.meetings > 0 and by_step < TOGETHER * by_rows
    return time * (by_step if together else by_rows), together
