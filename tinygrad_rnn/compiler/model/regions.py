"""Partition of a program into regions, which one loop over rows computes, and single operations."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ...config import get_default_dtype
from ..ir.symbol import Symbol
from .rows import Access, Layouts, is_view, layouts, matrix_of, stored

WIDE = 4096  # features of a row, where a region may have rows of any width
MOST_VALUES = 120  # of a region: the time of compiling grows faster than a loop's length
WINDOW = 1200  # operations among which regions are formed: the time for that grows faster than their number
NEAR = 32  # of the readers of a value, how many next ones are tried to join with each
FEW_ROWS, FEW_NUMBERS = 64, 4  # that compute numbers for themselves, and how many


@dataclass(frozen=True, eq=False)
class Region:
    """Operations that one loop over rows computes.

    All values are stored in order, so that one of `rows` times n elements is n features for each row, whatever its
    shape. Views are not part of a region: values are named by what :func:`~.rows.stored` gives.

    Attributes
    ----------
    rows : int
    dtype : float32 or float64
        Of all numbers in it; truth values come and go as zeros and ones of this dtype.
    values : tuple of Symbol
        What it computes, operands first.
    outputs : tuple of Symbol
        Of `values`, those that are read outside.
    numbers : tuple of Symbol
        Single numbers that each row computes for itself, before `values`, from others that are given.
    """

    rows: int
    dtype: np.dtype
    values: tuple[Symbol, ...]
    outputs: tuple[Symbol, ...]
    numbers: tuple[Symbol, ...] = ()

    @cached_property
    def inputs(self) -> tuple[Symbol, ...]:
        """Values that it reads by rows."""
        return self._read(Access.ROWS)

    @cached_property
    def bases(self) -> tuple[Symbol, ...]:
        """Values that it reads and that are the same for all rows: vectors, numbers and matrices."""
        return self._read(Access.VECTOR, Access.MATRIX)

    def accesses(self, s: Symbol) -> list[tuple[Access, Any]]:
        """How one of `values` reads each argument, and the value whose memory that is."""
        return [(how, source(a, how)) for a, how in zip(s.args, layouts(s)[self.rows])]

    def _read(self, *kinds: Access) -> tuple[Symbol, ...]:
        own = {s.uid for s in (*self.numbers, *self.values)}
        found = [a for s in self.values for how, a in self.accesses(s) if how in kinds]
        if Access.VECTOR in kinds:
            found += [stored(a) for s in self.numbers for a in s.operands]
        return tuple({a.uid: a for a in found if isinstance(a, Symbol) and a.uid not in own}.values())

    def __repr__(self) -> str:
        return f"Region({self.rows} rows: {', '.join(s.operation for s in self.values)})"


def source(a: Any, how: Access) -> Any:
    """The value whose memory an argument is, which a loop reads in one of the ways."""
    if not isinstance(a, Symbol):
        return a
    return stored(matrix_of(a)) if how is Access.MATRIX else stored(a)


class _Stage:
    """A region in the making, or (without `rows`) a single operation.

    Attributes
    ----------
    mask : int
        The bits of its values.
    before, after : int
        Those of all that it needs and that need it, directly or not.
    needs, needed_by : sets of int
        The numbers of the values on the other side of its edges.
    """

    def __init__(self, index: int, s: Symbol, found: Layouts, dtype: np.dtype | None):
        self.indices, self.mask = [index], 1 << index
        self.values, self.layouts = [s], {s.uid: found}
        self.rows = set(found)
        self.dtype = dtype
        self.before = self.after = 0
        self.needs: set[int] = set()
        self.needed_by: set[int] = set()

    def reads(self, rows: int | None = None) -> Iterable[tuple[Symbol, Access]]:
        """The values that it reads, with how; `rows` stands for all that are possible."""
        for s in self.values:
            found = self.layouts[s.uid]
            if not found:
                yield from ((stored(a), Access.NUMBER) for a in s.operands)
            for r in self.rows if rows is None else (rows,):
                for a, how in zip(s.args, found.get(r, ())):
                    if isinstance(a, Symbol):
                        yield source(a, how), how


class _Partition:
    """The stages of a program, and which needs which: at first one for each operation, then joined."""

    def __init__(self, values: Sequence[Symbol]):
        self.of: dict[int, _Stage] = {}  # by uid of a value
        self.owner: list[_Stage] = []  # by the number of a value
        for s in values:
            if not is_view(s):
                self._add(s)
        for z in reversed(self.owner):
            for i in z.needed_by:
                z.after |= self.owner[i].mask | self.owner[i].after
        while self._join_readers():
            pass

    def _add(self, s: Symbol) -> None:
        floats = [a.dtype for a in (s, *s.operands) if a.dtype.kind == "f"]
        index = len(self.owner)
        stage = self.of[s.uid] = _Stage(index, s, layouts(s), floats[0] if floats else None)
        self.owner.append(stage)
        for a, _ in stage.reads():
            if (other := self.of.get(a.uid)) is not None:
                stage.before |= other.mask | other.before
                stage.needs |= {*other.indices}
                other.needed_by.add(index)

    def stages(self) -> list[_Stage]:
        """All of them, in the order of their first values."""
        return list({id(z): z for z in self.owner}.values())

    def _merge(self, a: _Stage, b: _Stage) -> bool:
        """Make one region of two, of which the first does not need the second, if that can be."""
        if b.before & a.after or (a.dtype and b.dtype and a.dtype != b.dtype):
            return False  # something between the two, or of different kinds
        if len(a.values) + len(b.values) > MOST_VALUES:
            return False
        read = [(r, how) for r in a.rows & b.rows for x, how in b.reads(r) if self.of.get(x.uid) is a]
        rows = (a.rows & b.rows) - {r for r, how in read if how is not Access.ROWS}
        if not rows:
            return False
        a.rows, a.dtype = rows, a.dtype or b.dtype
        order = sorted([*zip(a.indices, a.values), *zip(b.indices, b.values)])
        a.indices, a.values = [i for i, _ in order], [s for _, s in order]
        a.layouts |= b.layouts
        a.mask |= b.mask
        a.needs, a.needed_by = a.needs | b.needs, a.needed_by | b.needed_by
        a.before, a.after = (a.before | b.before) & ~a.mask, (a.after | b.after) & ~a.mask
        for i, s in zip(b.indices, b.values):
            self.owner[i] = self.of[s.uid] = a
        self._spread(a)
        return True

    def _spread(self, merged: _Stage) -> None:
        """Let all that a merged stage needs know of what it leads to, and the other way round."""
        stack = [(self.owner[i], merged.mask | merged.after) for i in merged.needs]
        while stack:
            z, bits = stack.pop()
            new = bits & ~(z.after | z.mask)
            if new and z is not merged:
                z.after |= new
                stack += [(self.owner[i], new) for i in z.needs]
        stack = [(self.owner[i], merged.mask | merged.before) for i in merged.needed_by]
        while stack:
            z, bits = stack.pop()
            new = bits & ~(z.before | z.mask)
            if new and z is not merged:
                z.before |= new
                stack += [(self.owner[i], new) for i in z.needed_by]

    def _join_readers(self) -> bool:
        """Join regions that compute and read the same rows, the largest first; then those that read the same."""
        values: dict[int, Symbol] = {}
        readers: dict[int, dict[int, _Stage]] = {}
        for z in self.stages():
            for x, how in z.reads():
                if how is Access.ROWS:
                    values[x.uid] = x
                    readers.setdefault(x.uid, {})[id(z)] = z
        largest = sorted(values, key=lambda uid: -values[uid].size)
        computed = [(self.of[uid], z) for uid in largest if uid in self.of for z in readers[uid].values()]
        given = [pair for uid in largest for pair in _neighbours([*readers[uid].values()])]
        for pairs in (computed, given):
            some = False
            for pair in pairs:
                a, b = (self.of[z.values[0].uid] for z in pair)
                if a is not b:
                    some |= self._merge(*((b, a) if a.before & b.mask else (a, b)))
            if some:
                return True
        return False

    def ordered(self) -> list[_Stage]:
        """The stages, each after those that it needs; otherwise as in the program."""
        missing: dict[int, set[int]] = {}
        ready: list[tuple[int, _Stage]] = []
        for z in self.stages():
            missing[id(z)] = {id(self.owner[i]) for i in z.needs} - {id(z)}
            if not missing[id(z)]:
                ready.append((z.indices[0], z))
        found: list[_Stage] = []
        while ready:
            z = heapq.heappop(ready)[1]
            found.append(z)
            for after in {id(self.owner[i]): self.owner[i] for i in z.needed_by}.values():
                if id(z) in missing[id(after)]:
                    missing[id(after)].remove(id(z))
                    if not missing[id(after)]:
                        heapq.heappush(ready, (after.indices[0], after))
        return found


def _neighbours(stages: list[_Stage]) -> Iterable[tuple[_Stage, _Stage]]:
    """Pairs of stages that are not far from each other: there may be thousands."""
    for i, z in enumerate(stages):
        yield from ((z, other) for other in stages[i + 1 : i + 1 + NEAR])


def partition(
    values: Sequence[Symbol], outputs: Sequence[Symbol], dtype: np.dtype | None = None
) -> list[Region | Symbol]:
    """Regions and single operations that compute `outputs`, in an order in which they can run.

    Parameters
    ----------
    values : sequence of Symbol
        All computed values of a program that :func:`~.simplify.simplify` gave, operands first.
    outputs : sequence of Symbol
    dtype : float32 or float64, optional
        Of regions in which there are no floats; the default dtype if not given.

    Returns
    -------
    list of Region and Symbol
        Views are among the symbols where single operations read them. What nothing needs is left out.
    """
    stages: list[_Stage] = []
    of: dict[int, _Stage] = {}
    for first in range(0, len(values), WINDOW):  # what lies between two operations of a window lies in it
        found = _Partition(values[first : first + WINDOW])
        stages += found.ordered()
        of |= found.of
    given = {s.uid for s in values}
    needed: dict[int, Symbol] = {}  # by uid, what a stage after the one at hand reads
    plan: list[list[Region | Symbol]] = []

    def need(s: Symbol, views: bool) -> list[Symbol]:
        """Note that a value is read; the views of it that are read as they are."""
        found: list[Symbol] = []
        while is_view(s):
            found.insert(0, s)
            s = s.args[0]
        needed[s.uid] = s
        return found if views else []

    last = [v for s in outputs for v in need(s, True)]
    for stage in reversed(stages):
        wanted = [s for s in stage.values if s.uid in needed]
        if not wanted:
            continue
        if not stage.rows:
            (s,) = stage.values
            plan.append([*[v for a in s.operands for v in need(a, True)], s])
            continue
        rows = _choose(stage)
        region = Region(rows, stage.dtype or dtype or get_default_dtype(), tuple(stage.values), tuple(wanted))
        region = replace(region, numbers=_numbers(region, of))
        for a in (*region.inputs, *region.bases):
            need(a, False)
        plan.append([region])
    flat: list[Region | Symbol] = []
    seen: set[int] = set()
    for part in [v for parts in reversed(plan) for v in parts] + last:
        if isinstance(part, Region):
            flat.append(part)
        elif part.uid not in seen and part.uid in given:
            seen.add(part.uid)
            flat.append(part)
    return flat


def _numbers(region: Region, of: dict[int, _Stage]) -> tuple[Symbol, ...]:
    """Single numbers that a region of few rows reads and may as well compute: a stage less."""
    found: dict[int, Symbol] = {}
    stack = [a for a in (*region.bases, *region.inputs) if region.rows <= FEW_ROWS]
    while stack:
        s = stack.pop()
        single = s.uid in of and of[s.uid].layouts[s.uid] and s.lowering.kind == "elementwise"
        if single and all(a.size == 1 and a.dtype == region.dtype for a in (s, *s.operands)):
            found[s.uid] = s
            stack += [stored(a) for a in s.operands]
    return tuple([found[uid] for uid in sorted(found)]) if len(found) <= FEW_NUMBERS else ()


def _choose(stage: _Stage) -> int:
    """Of the possible numbers of rows, the least with rows that are not too wide."""
    widest = {r: max(s.size for s in stage.values) // r for r in stage.rows}
    narrow = [r for r in stage.rows if widest[r] <= WIDE]
    return min(narrow or [max(r for r in stage.rows if widest[r] > 1)])
