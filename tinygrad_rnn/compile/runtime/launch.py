"""A loop with the jobs before and after it, done by one jitted call if they are small."""

from __future__ import annotations

import itertools
import operator
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import config
from ..codegen.layout import Layout
from . import threads

ALL = np.full(1, np.iinfo(np.int64).max)  # as many rows as there are


class LaunchPlan:
    """A loop for one T and one batch, with its jobs, over arrays that are known by name and given as a list.

    Parameters
    ----------
    layout : Layout
    d : int64 array
        The loop's integers.
    batch : int
        Rows of the loop.
    work : int
        Multiply-adds of the loop.
    before : list of jobs
        They are done in order.
    after : lists of jobs
        Phases, in order. Threads share the first: its jobs are independent, but for products that add to what the job
        before them wrote.
    names : list of str
        Of the arrays that :meth:`run` is given, in order; the first is "arena".
    inside : dict
        Names of ranges of other arrays: name -> (array, offset).
    """

    def __init__(
        self,
        layout: Layout,
        d: np.ndarray,
        batch: int,
        work: int,
        before: list[tuple],
        after: list[list[tuple]],
        names: list[str],
        inside: dict | None = None,
    ):
        from ...kernels.loops import tasks as kernels

        self._kernels, self._layout, self._batch, self._work, self.d = kernels, layout, batch, work, d
        phases = [before, *after]
        bounds = [0, *itertools.accumulate(map(len, phases))]
        self._before = bounds[1]
        self._jobs_work = np.concatenate([[0], np.cumsum([_work(job) for phase in phases for job in phase])])
        starts = [i for i, job in enumerate(after[0], bounds[1]) if not _continues(job)]
        self._groups = np.array([*starts, bounds[2]])  # of the first phase after the loop
        self._small = work < 2 * threads.WORTH and self._jobs_work[-1] < 2 * threads.WORTH
        self._known: _Known | None = None
        self._number([job for phase in phases for job in phase], names, inside or {})

    def _number(self, jobs: list[tuple], names: list[str], inside: dict) -> None:
        """Number the arrays: those given directly, others that are new with each call, parameters."""
        direct = self._kernels.LOOSE
        resolved = [_resolve(job, inside) for job in jobs]
        own = [inside.get(name, (name, 0)) for name in ["arena" if a == "ws" else a for a in self._layout.arrays]]
        used = dict.fromkeys([name for name, _ in own] + [n for _, named in resolved for n in named.values()])
        parameters = [name for name in used if name[0] == "b"]  # they seldom move
        others = ["arena", *(name for name in used if name[0] != "b" and name != "arena")]
        others += ["arena"] * (direct - len(others))
        numbers = {name: i for i, name in reversed(list(enumerate(others + parameters)))}
        self._loose = _getter([names.index(name) for name in others[:direct]])
        self._has_more = len(others) > direct
        self._more = _getter([names.index(name) for name in others[direct:]])
        self._parameters = _getter([names.index(name) for name in parameters])
        self._first_parameter = len(others)
        self._count = len(others) + len(parameters) + 1  # the last holds the numbers of the step
        self._own = [self._count - 1, 0, *(n for name, offset in own for n in (numbers[name], offset))]
        self.jobs = np.zeros((len(jobs), self._kernels.COLUMNS), np.int64)
        for row, (job, named) in zip(self.jobs, resolved):
            row[: len(job)] = [numbers[named[i]] if i in named else x for i, x in enumerate(job)]

    # ---- arguments of the jitted functions

    def _know(self, parameters: tuple) -> _Known:
        """Remember where the parameters are."""
        at, layout = self._kernels, self._layout
        places = np.zeros((self._count, 2), np.int64)
        for i, array in enumerate([*parameters, layout.numbers], self._first_parameter):
            places[i] = _place(array)
        numbers = [0, self._before, len(self.jobs), layout.sizes.panel, layout.address, 0, self._batch, self._count]
        todo = np.array([*numbers, *[0] * 8, *self._own], np.int64)
        for i, array in ((at.D, self.d), (at.JOBS, self.jobs), (at.PLACES, places), (at.STEPS, ALL)):
            todo[2 * i : 2 * i + 2] = _place(array)
        references = [weakref.ref(array) for array in parameters]
        self._known = known = _Known(references, places, todo)  # at once: another thread may be reading the old one
        return known

    def _move(self, known: _Known, parameters: tuple) -> _Known:
        """Remember where those parameters are that are no longer where they were."""
        references, places, todo = [*known.parameters], known.places.copy(), known.todo.copy()
        for i, array in enumerate(parameters):
            if references[i]() is not array:
                references[i], places[self._first_parameter + i] = weakref.ref(array), _place(array)
        at = 2 * self._kernels.PLACES
        todo[at : at + 2] = _place(places)
        self._known = known = _Known(references, places, todo)
        return known

    def _todo(self, arrays: Sequence[np.ndarray]) -> _Known:
        """What is to be done with these arrays: everything."""
        known, parameters = self._known, self._parameters(arrays)
        if known is None:
            known = self._know(parameters)
        for old, new in zip(known.parameters, parameters):
            if old() is not new:
                known = self._move(known, parameters)
                break
        if self._has_more:
            put, places, todo = self._kernels.put, known.places.copy(), known.todo.copy()
            for i, array in enumerate(self._more(arrays), self._kernels.LOOSE):
                put(places, i, array)
            put(todo.reshape(-1, 2), self._kernels.PLACES, places.ravel())
            known = _Known(known.parameters, places, todo)
        return known

    # ---- running

    def run(
        self,
        arrays: Sequence[np.ndarray],
        d: np.ndarray | None = None,
        steps: np.ndarray = ALL,
        lengths: np.ndarray | None = None,
    ) -> None:
        """Do everything.

        Parameters
        ----------
        arrays : list of 1-D arrays
            Parameters may have more axes.
        d : int64 array
            The loop's integers, if they are not always the same.
        steps : int64 array
            How many rows there are of all steps, and which are moved where to.
        lengths : array
            Steps of each row, if they are not alike.
        """
        known, run = self._todo(arrays), self._kernels.run
        todo, loose = known.todo, self._loose(arrays)
        if d is not None:
            todo = todo.copy()
            self._kernels.put(todo.reshape(-1, 2), self._kernels.D, d)
            self._kernels.put(todo.reshape(-1, 2), self._kernels.STEPS, steps)
        if self._small or config.get_num_threads() == 1:
            run(todo, *loose)
        else:
            # it holds `self`, and so the code of the loop, as long as a thread is in it
            self._share(lambda *part: self._kernels.run(_part(todo, *part), *loose), lengths)

    def _share(self, do: Callable[[int, int, int, int], None], lengths: np.ndarray | None) -> None:
        """Let threads do it: ``do(first job, last job, first row, last row)``."""
        do(0, self._before, 0, 0)
        together = self._layout.rows_together(self._batch)
        if lengths is None:
            threads.run(lambda begin, end: do(0, 0, begin, end), self._batch, self._work, together)
        else:
            work = np.concatenate([[0], np.cumsum(lengths)]) * self._layout.multiplications
            threads.run_weighted(lambda begin, end: do(0, 0, begin, end), work, together)
        groups, before = self._groups, self._jobs_work[self._groups]
        threads.run_weighted(lambda a, b: do(groups[a], groups[b], 0, 0), before - before[0])
        if groups[-1] < len(self.jobs):
            do(groups[-1], len(self.jobs), 0, 0)

    def prepare(self, arrays: Sequence[np.ndarray]) -> tuple[int, np.ndarray]:
        """Do the jobs before the loop; the loop's address, and the table of its arrays, for who calls it alone."""
        known = self._todo(arrays)  # to its end: it holds the arrays whose addresses it tells
        todo = _part(known.todo, 0, self._before, 0, 0)
        places = self._kernels.lay(todo, *self._loose(arrays))
        self._kernels.work(todo, places, arrays[0])
        return self._layout.address, places[self._count :]


class _Known(NamedTuple):
    """Where the parameters are, and what is to be done if they are there."""

    parameters: list[weakref.ref]  # a table must not keep parameters alive that were replaced
    places: np.ndarray
    todo: np.ndarray


def _place(array: np.ndarray) -> tuple[int, int]:
    """Address and elements."""
    return array.ctypes.data, array.size


def _continues(job: tuple) -> bool:
    """Whether the job adds to what the one before it wrote, so that one thread has to do both."""
    from ...kernels.loops.tasks import PRODUCT

    return job[0] == PRODUCT and job[12] != 0


def _part(todo: np.ndarray, first: int, last: int, begin: int, end: int) -> np.ndarray:
    """Only these jobs, and only these rows of the loop."""
    todo = todo.copy()
    todo[:3] = first, last, last
    todo[5:7] = begin, end
    return todo


def _getter(indices: list[int]) -> Callable[[Sequence], tuple]:
    """A function that takes these out of a sequence."""
    if len(indices) < 2:
        return lambda arrays: tuple([arrays[i] for i in indices])
    return operator.itemgetter(*indices)


def _resolve(job: tuple, inside: dict[str, tuple[str, int]]) -> tuple[list, dict[int, str]]:
    """The job with offsets in whole arrays, and the names in it by position."""
    from ...kernels.loops.tasks import OFFSETS

    row: list[Any] = list(job)
    named: dict[int, str] = {}
    for name_at, offset_at in OFFSETS[job[0]]:
        name, offset = inside.get(job[name_at], (job[name_at], 0))
        row[offset_at] += offset
        named[name_at] = name
    return row, named


def _work(job: tuple) -> float:
    """Multiply-adds of a product; other jobs count a little for each element."""
    from ...kernels.loops.tasks import PRODUCT, PRODUCT_TN, SUM_ROWS

    if job[0] == PRODUCT:
        return job[5] * job[6] * job[9]
    if job[0] == PRODUCT_TN:
        return job[8] * job[9] * job[10]
    return 4.0 * job[5] * job[6] if job[0] == SUM_ROWS else 1.0
