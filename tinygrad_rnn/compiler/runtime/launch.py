"""Launches of a loop with the tasks before and after it: one jitted call for all if they are small."""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable, Collection, Sequence
from time import perf_counter_ns
from typing import NamedTuple

import numpy as np

from ...kernels.loops.task_codes import (
    COLUMNS,
    DIRECT_ARRAYS,
    KINDS,
    LAUNCH_AT,
    Clear,
    Launch,
    Pack,
    Span,
    Task,
    Vector,
    integers_of,
    operands_of,
    with_arrays,
)
from ..codegen.array_names import ARENA
from ..codegen.layout import Layout
from .costs import cost_of_loop
from .pieces import Sizes
from .sharing import LoopShare, Sharing, share
from .threads import workers
from .trials import Trials

ALL_ROWS = np.full(1, np.iinfo(np.int64).max)  # a row table: steps have as many rows as there are


class LaunchPlan:
    """Launch of a bound loop with its tasks, over arrays that are named once and given as a list.

    Parameters
    ----------
    layout : Layout
    d : int64 array
        The loop's integers.
    time, batch : int
        Steps and rows of the loop.
    before : list of tasks
        They are done in order by one thread. If several do them, what is cleared comes first, what is packed last.
    after : lists of tasks
        Phases, in order. The first may be shared, if it is products and sums alone: its tasks are independent, but for
        products that add to what the task before them wrote.
    names : list of str
        Of the arrays that :meth:`run` is given, in order; the first is the arena.
    captures : collection of str
        Those of them that are seldom replaced: parameters, and what is computed from parameters.
    suballocated : dict
        Names of parts of other arrays: name -> where it begins.
    """

    def __init__(
        self,
        layout: Layout,
        d: np.ndarray,
        time: int,
        batch: int,
        before: list[Task],
        after: list[list[Task]],
        names: list[str],
        captures: Collection[str],
        suballocated: dict[str, Vector],
    ):
        from ...kernels.loops import launches  # by way of the room, which Ctrl-C cannot leave halfway

        self._kernels = launches.calls(layout.dtype)
        self._layout, self._batch, self.d = layout, batch, d
        tasks = [task for phase in (before, *after) for task in phase]
        self._before, self._last = len(before), len(tasks)
        self._sharing = self._share(time, before, after) if self._kernels.part else None
        tasks += [] if self._sharing is None else self._sharing.tasks
        self._trials = Trials()
        self._bound: _BoundLaunch | None = None
        self._number(tasks, names, captures, suballocated)

    def _share(self, time: int, before: list[Task], after: list[list[Task]]) -> Sharing | None:
        layout = self._layout
        clears = [task for task in before if isinstance(task, Clear)]
        packs = [task for task in before if isinstance(task, Pack)]
        others = [task for task in before if not isinstance(task, Clear | Pack)]
        loop = LoopShare(cost_of_loop(layout), time, self._batch, layout.rows_per_group(self._batch))
        sizes = Sizes(layout.sizes.lanes, layout.sizes.panel, layout.dtype.itemsize)
        last = [task for phase in after[1:] for task in phase]
        return share([clears, others, packs], loop, after[0], last, self._last, sizes)

    def _number(
        self, tasks: list[Task], names: list[str], captures: Collection[str], suballocated: dict[str, Vector]
    ) -> None:
        """Number the arrays: those given directly, others that are new with each call, captures."""

        def whole(name: str, at: int = 0) -> Vector:
            array, offset = suballocated.get(name, Vector(name, 0))
            return Vector(array, offset + at)

        tasks = [with_arrays(task, whole) for task in tasks]
        own = [whole(name) for name in self._layout.arrays]  # of the loop
        used = dict.fromkeys([array for array, _ in own] + [o.array for task in tasks for o in operands_of(task)])
        known = [name for name in used if name in captures]
        others = [ARENA, *(name for name in used if name not in captures and name != ARENA)]
        others += [ARENA] * (DIRECT_ARRAYS - len(others))  # a call always gives so many
        numbers = {name: i for i, name in reversed(list(enumerate(others + known)))}  # the first one, if repeated
        self._direct = _getter([names.index(name) for name in others[:DIRECT_ARRAYS]])
        self._has_more = len(others) > DIRECT_ARRAYS
        self._more = _getter([names.index(name) for name in others[DIRECT_ARRAYS:]])
        self._captures = _getter([names.index(name) for name in known])
        self._first_capture = len(others)
        self._count = len(others) + len(known) + 1  # the last holds the numbers of the step
        own = [Vector(self._count - 1, 0), *(Vector(numbers[array], at) for array, at in own)]
        self._own = integers_of(own)
        self.tasks = np.zeros((len(tasks), COLUMNS), np.int64)
        for row, task in zip(self.tasks, tasks):
            record = integers_of(with_arrays(task, lambda array, at: (numbers[array], at)))
            row[: 1 + len(record)] = KINDS[type(task)], *record

    # ---- arguments of the jitted functions

    def _bind(self, captures: tuple) -> _BoundLaunch:
        """The launch table for these captures, kept for the next call."""
        layout = self._layout
        addresses = np.zeros((self._count, 2), np.int64)
        for i, array in enumerate([*captures, layout.numbers], self._first_capture):
            addresses[i] = _span(array)
        launch = Launch(
            first=0,
            middle=self._before,
            last=self._last,
            panel=layout.sizes.panel,
            loop=layout.address,
            begin=0,
            end=self._batch,
            arrays=self._count,
            dims=_span(self.d),
            tasks=_span(self.tasks),
            addresses=_span(addresses),
            row_table=_span(ALL_ROWS),
        )
        if self._sharing is not None:
            launch = launch._replace(**self._sharing.fields(self._kernels.part))
        table = np.array([*integers_of(launch), *self._own], np.int64)
        references = [weakref.ref(array) for array in captures]
        self._bound = bound = _BoundLaunch(references, addresses, table)  # at once: other threads may read the old one
        return bound

    def _rebind(self, bound: _BoundLaunch, captures: tuple) -> _BoundLaunch:
        """The launch table for captures of which some are other arrays now."""
        references, addresses, table = [*bound.captures], bound.addresses.copy(), bound.table.copy()
        for i, array in enumerate(captures):
            if references[i]() is not array:
                references[i], addresses[self._first_capture + i] = weakref.ref(array), _span(array)
        _set_span(table, LAUNCH_AT.addresses, addresses)
        self._bound = bound = _BoundLaunch(references, addresses, table)
        return bound

    def _bound_to(self, arrays: Sequence[np.ndarray]) -> _BoundLaunch:
        """The launch table for these arrays."""
        bound, captures = self._bound, self._captures(arrays)
        if bound is None:
            bound = self._bind(captures)
        for old, new in zip(bound.captures, captures):
            if old() is not new:
                bound = self._rebind(bound, captures)
                break
        if self._has_more:
            set_span, addresses, table = self._kernels.set_span, bound.addresses.copy(), bound.table.copy()
            flat = addresses.ravel()
            for i, array in enumerate(self._more(arrays), DIRECT_ARRAYS):
                set_span(flat, 2 * i, array)
            set_span(table, LAUNCH_AT.addresses.address, flat)
            bound = _BoundLaunch(bound.captures, addresses, table)
        return bound

    # ---- running

    def run(
        self,
        arrays: Sequence[np.ndarray],
        d: np.ndarray | None = None,
        row_table: np.ndarray = ALL_ROWS,
        lengths: np.ndarray | None = None,
    ) -> None:
        """Execute tasks, loop and tasks.

        Parameters
        ----------
        arrays : list of 1-D arrays
            Captures may have more axes.
        d : int64 array
            The loop's integers, if they are not always the same.
        row_table : int64 array
            How many rows there are of all steps, and which are moved where to.
        lengths : array
            Steps of each row, if they are not alike.
        """
        bound, run = self._bound_to(arrays), self._kernels.run
        table, direct = self._over_steps(bound.table, d, row_table, lengths), self._direct(arrays)
        if self._sharing is None:
            run(table, *direct)
            return
        workers.ready()
        if d is not None or workers.limit == 1:  # other steps, so it is not the same work
            run(table, *direct)
            return
        shared = self._trials.next_is_shared()
        if not shared:
            table = table.copy()
            table[LAUNCH_AT.choices.size] = 0
        begin = perf_counter_ns()
        run(table, *direct)
        self._trials.note(shared, perf_counter_ns() - begin)

    def _over_steps(
        self, table: np.ndarray, d: np.ndarray | None, row_table: np.ndarray, lengths: np.ndarray | None
    ) -> np.ndarray:
        """The launch table, with the loop's integers and the rows of all steps where these change."""
        if d is not None:
            table = table.copy()
            self._kernels.set_span(table, LAUNCH_AT.dims.address, d)
            self._kernels.set_span(table, LAUNCH_AT.row_table.address, row_table)
            if lengths is not None and self._sharing is not None:
                self._kernels.set_span(table, LAUNCH_AT.lengths.address, lengths)
        return table

    def bound_tables(
        self,
        arrays: Sequence[np.ndarray],
        d: np.ndarray | None = None,
        row_table: np.ndarray = ALL_ROWS,
        lengths: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The launch table and the addresses of these arrays, for calls by others as long as the arrays stay.

        Parameters are those of :meth:`run`.
        """
        bound = self._bound_to(arrays)
        table = self._over_steps(bound.table, d, row_table, lengths)
        return table, self._kernels.resolve_addresses(table, *self._direct(arrays))

    def prepare(self, arrays: Sequence[np.ndarray]) -> tuple[int, np.ndarray]:
        """Execute the tasks before the loop; returns its address and the spans of its arrays."""
        bound = self._bound_to(arrays)  # to its end: it holds the arrays whose addresses it tells
        table = _part(bound.table, 0, self._before, 0, 0)
        addresses = self._kernels.resolve_addresses(table, *self._direct(arrays))
        self._kernels.execute(table, addresses, arrays[0])
        return self._layout.address, addresses[2 * self._count :]


class _BoundLaunch(NamedTuple):
    """A launch table for captures that lie where they did when it was made."""

    captures: list[weakref.ref]  # a table must not keep parameters alive that were replaced
    addresses: np.ndarray
    table: np.ndarray


def _span(array: np.ndarray) -> Span:
    return Span(array.ctypes.data, array.size)


def _set_span(table: np.ndarray, at: Span, array: np.ndarray) -> None:
    table[at.address], table[at.size] = _span(array)


def _part(table: np.ndarray, first: int, last: int, begin: int, end: int) -> np.ndarray:
    """The launch of these tasks alone, and of these rows of the loop, by one thread."""
    at, table = LAUNCH_AT, table.copy()
    table[at.first], table[at.middle], table[at.last] = first, last, last
    table[at.begin], table[at.end] = begin, end
    table[at.choices.size] = 0
    return table


def _getter(indices: list[int]) -> Callable[[Sequence], tuple]:
    """A function that takes these elements of a sequence."""
    if len(indices) < 2:
        return lambda arrays: tuple([arrays[i] for i in indices])
    return operator.itemgetter(*indices)
