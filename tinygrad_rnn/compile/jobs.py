"""Tables of jobs: what is done before and after a loop, by one jitted call per phase."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import config
from . import threads
from .layout import Sizes

ALL = np.full(1, np.iinfo(np.int64).max)  # as many rows as there are


class Jobs:
    """A table of jobs over arrays that are known by name, and given as a list.

    Parameters
    ----------
    phases : lists of jobs
        Those of one phase are independent; phases are done in order.
    names : list of str
        Of the arrays that :meth:`run` is given, in order; the first is "arena".
    inside : dict
        Names of ranges of other arrays: name -> (array, offset).
    """

    def __init__(self, phases: list[list[tuple]], names: list[str], sizes: Sizes, inside: dict | None = None):
        from ..kernels.jobs import COLUMNS, LOOSE, run_jobs

        self.run_jobs, self.panel = run_jobs, sizes.panel
        self.phases: list[tuple[int, int]] = []
        work: list[float] = []
        for phase in phases:
            if phase:
                self.phases.append((len(work), len(work) + len(phase)))
                work += [_work(job) for job in phase]
        self.work = np.concatenate([[0], np.cumsum(work)])
        self.small = self.work[-1] < 2 * threads.WORTH
        jobs = [_resolve(job, inside or {}) for phase in phases for job in phase]
        used = dict.fromkeys(name for _, named in jobs for name in named.values() if name != "arena")
        loose = [name for name in used if name[0] != "b"]  # parameters (b) seldom move
        loose, fixed = loose[:LOOSE], loose[LOOSE:] + [name for name in used if name[0] == "b"]
        places = {name: i for i, name in enumerate(["arena", *loose])}
        places |= {name: 1 + LOOSE + i for i, name in enumerate(fixed)}
        self.table = np.zeros((len(jobs), COLUMNS), np.int64)
        for row, (job, named) in zip(self.table, jobs):
            row[: len(job)] = [places[named[i]] if i in named else x for i, x in enumerate(job)]
        spare = ["arena"] * (LOOSE - len(loose))
        self.loose = [names.index(name) for name in [*loose, *spare]]
        self.fixed = [names.index(name) for name in fixed]
        self.addresses = np.zeros(1 + LOOSE + len(fixed), np.int64)
        self.known: list = [None] * len(fixed)

    def _addresses(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        fixed = [arrays[i] for i in self.fixed]
        if not all(map(operator.is_, fixed, self.known)):
            addresses = self.addresses.copy()  # another thread may be reading the old ones
            addresses[len(addresses) - len(fixed) :] = [a.ctypes.data for a in fixed]
            self.addresses, self.known = addresses, fixed
            return addresses
        return self.addresses

    def run(self, arrays: Sequence[np.ndarray], steps: np.ndarray = ALL) -> None:
        """Do them; `steps` says how many rows there are of all steps, and which are moved where to."""
        if not self.phases:
            return
        table = self.table
        given = (self._addresses(arrays), self.panel, steps, arrays[0], *[arrays[i] for i in self.loose])
        if self.small or config.get_num_threads() == 1:
            self.run_jobs(table, 0, len(table), *given)
            return
        for i, (start, stop) in enumerate(self.phases):
            if i or self.work[stop] - self.work[start] < 2 * threads.WORTH:
                self.run_jobs(table, start, stop, *given)
                continue

            def some(a, b, start=start):
                self.run_jobs(table, start + a, start + b, *given)

            threads.run_weighted(some, self.work[start : stop + 1] - self.work[start])


def _resolve(job: tuple, inside: dict[str, tuple[str, int]]) -> tuple[list, dict[int, str]]:
    """The job with offsets in whole arrays, and the names in it by position."""
    from ..kernels.jobs import OFFSETS

    row: list[Any] = list(job)
    named: dict[int, str] = {}
    for name_at, offset_at in OFFSETS[job[0]]:
        name, offset = inside.get(job[name_at], (job[name_at], 0))
        row[offset_at] += offset
        named[name_at] = name
    return row, named


def _work(job: tuple) -> float:
    """Multiply-adds of a product; other jobs count a little for each element."""
    from ..kernels.jobs import PRODUCT, PRODUCT_TN, SUM_ROWS

    if job[0] == PRODUCT:
        return job[5] * job[6] * job[9]
    if job[0] == PRODUCT_TN:
        return job[8] * job[9] * job[10]
    return 4.0 * job[5] * job[6] if job[0] == SUM_ROWS else 1.0
