"""How threads share a launch: its phases, and how many threads it is worth.

Results are the same, to the last bit, whatever is decided here: tasks are cut by shapes alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ...kernels.loops.task_codes import Clear, Pack, Product, SumRows, Task, TransposedProduct
from ...kernels.threads.job_codes import GROUPS, IN_ORDER, LOOP, Phase
from .costs import LoopCost, cost_of_task

PIECE = 1 << 16  # elements that are cleared or packed as one task

# Nanoseconds, if all threads sleep when a launch begins; they are awake after a few hundred if one has just ended.
BEGIN, WAKE = 4000.0, 800.0  # a shared launch, and one for each thread
MEETING, MEETING_THREAD = 400.0, 80.0  # of threads that share a step, and more for each
WORTH = 30_000.0  # a launch that takes less alone is not shared
GAIN = 0.85  # of the time that it takes alone: more is not worth it
TOGETHER = 0.9  # of the time that ranges of rows take: sharing steps fares worse where other programs take cores
SLACK = 1.04  # of the shortest time that fewer threads may take
PAUSE = 40.0
LONGEST_WAIT = 60_000.0  # for threads that are to share steps
COUNTS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64)


class Sharing(NamedTuple):
    """Tables of :class:`.Launch`, and when waiting for a thread that is late is no longer worth it."""

    phases: np.ndarray
    groups: np.ndarray
    choices: np.ndarray
    patience: int


def cut(tasks: Sequence[Task], panel: int) -> list[list[Task]]:
    """Tasks before a loop, in phases: what is cleared, in pieces; what is not; what is packed, in pieces."""
    clears = [piece for task in tasks if isinstance(task, Clear) for piece in _clears(task)]
    packs = [piece for task in tasks if isinstance(task, Pack) for piece in _packs(task, panel)]
    return [clears, [task for task in tasks if not isinstance(task, Clear | Pack)], packs]


def _clears(task: Clear) -> Iterator[Task]:
    for at in range(0, task.size, PIECE):
        target = task.target._replace(at=task.target.at + at)
        yield Clear(target, min(PIECE, task.size - at))


def _packs(task: Pack, panel: int) -> Iterator[Task]:
    """Pieces of whole panels, but for those that the rectangle begins or ends in."""
    width = max(1, PIECE // (task.rows * panel)) * panel
    bounds = [0, *range(width - task.column % panel, task.columns, width), task.columns]
    for begin, end in itertools.pairwise(bounds):
        if begin < end:
            at = task.source.at + begin * (task.source.ld if task.transposed else 1)
            source = task.source._replace(at=at)
            yield task._replace(source=source, columns=end - begin, column=task.column + begin)


def _in_any_order(tasks: Sequence[Task]) -> bool:
    return all(isinstance(task, Clear | Pack | Product | TransposedProduct | SumRows) for task in tasks)


def _continues(task: Task) -> bool:
    """Whether the task adds to what the one before it wrote, so that one thread has to do both."""
    return isinstance(task, Product) and task.accumulate


def share(
    before: Sequence[list[Task]],
    after: Sequence[list[Task]],
    loop: LoopCost,
    time: int,
    batch: int,
    group: int,
    lanes: int,
    itemsize: int,
) -> Sharing | None:
    """How threads share a launch; None if one thread is as fast.

    Parameters
    ----------
    before, after : lists of tasks
        Phases. Tasks of those before the loop, and of the first one after it, may be done in any order where all are
        products, sums of rows, or pieces of what is packed or cleared; but for products that add to what the task
        before them wrote.
    loop : LoopCost
    time, batch : int
    group : int
        Rows that have to be in one thread.
    lanes, itemsize : int
        Numbers of a vector, bytes of a number.
    """
    phases: list[Phase] = []
    groups: list[list[int]] = []
    times: list[tuple[float, float]] = []
    at, alone = 0, time * loop.of_rows(batch)
    for i, tasks in enumerate([*before, None, *after]):
        if tasks is None:
            phases.append(Phase(LOOP, 0, 0))
            continue
        costs = [cost_of_task(task, lanes, itemsize) for task in tasks]
        alone += sum(costs)
        if i > len(before) + 1 or not _in_any_order(tasks):
            phases.append(Phase(IN_ORDER, at, at + len(tasks)))
            times.append((sum(costs), sum(costs)))
        elif tasks:
            starts = [n for n, task in enumerate(tasks) if not _continues(task)]
            found = [(sum(costs[a:b]), at + a, at + b) for a, b in zip(starts, [*starts[1:], len(tasks)])]
            found.sort(reverse=True)  # large ones first, so that threads end together
            phases.append(Phase(GROUPS, len(groups), len(groups) + len(found)))
            groups += [bounds for _, *bounds in found]
            times.append((sum(costs), found[0][0]))
        at += len(tasks)
    if alone < WORTH:
        return None
    choices = _choices(alone, times, loop, time, batch, group)
    if max(choices) < 4:
        return None
    patience = int(min(alone / 8, LONGEST_WAIT) / PAUSE)
    return Sharing(_table(phases), _table(groups), _table(choices), patience)


def _table(rows: Sequence) -> np.ndarray:
    return np.array(rows, np.int64).ravel()


def _choices(
    alone: float, times: list[tuple[float, float]], loop: LoopCost, time: int, batch: int, group: int
) -> list[int]:
    """For each number of free threads, twice as many as are worth it, + 1 if they share each step."""
    best, choice = alone * GAIN, 2
    found = [2, 2]
    for n in COUNTS[1:]:
        rows = math.ceil(batch / group / min(n, batch // group or 1)) * group
        by_rows = loop.of_rows(rows)
        by_step = loop.of_rows(batch, 1 / n) - loop.row * (batch - rows)
        by_step += loop.meetings * (MEETING + MEETING_THREAD * n)
        together = loop.meetings > 0 and by_step < TOGETHER * by_rows
        total = time * min(by_rows, by_step if together else by_rows) + BEGIN + WAKE * n
        total += sum(max(longest, whole / n) for whole, longest in times)
        found += [choice] * (n - len(found))
        if total * SLACK < best:
            best, choice = total, 2 * n + together
        found.append(choice)
    return found
