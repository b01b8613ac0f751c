"""Partition of a program into regions, which one loop over rows computes, and single operations."""

from __future__ import annotations

import itertools
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
    """A region in the making, or (without `rows`) a single operation."""

    def __init__(self, index: int, s: Symbol, found: Layouts, dtype: np.dtype | None):
        self.index, self.bit = index, 1 << index
        self.values, self.layouts = [s], {s.uid: found}
        self.rows = set(found)
        self.dtype = dtype
        self.before = self.after = 0  # sets of the stages that it needs and that need it, as bits

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
        self.stages: dict[int, _Stage] = {}  # by index
        self.of: dict[int, _Stage] = {}  # by uid of a value
        self.place = {s.uid: i for i, s in enumerate(values)}
        for s in values:
            if not is_view(s):
                self._add(s)
        while self._join_readers():
            pass

    def _add(self, s: Symbol) -> None:
        floats = [a.dtype for a in (s, *s.operands) if a.dtype.kind == "f"]
        stage = _Stage(self.place[s.uid], s, layouts(s), floats[0] if floats else None)
        self.stages[stage.index] = self.of[s.uid] = stage
        for a, _ in stage.reads():
            if a.uid in self.of:
                stage.before |= self.of[a.uid].bit | self.of[a.uid].before
        for z in self._of_bits(stage.before):
            z.after |= stage.bit

    def _of_bits(self, bits: int) -> list[_Stage]:
        return [z for z in self.stages.values() if z.bit & bits]

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
        both = a.bit | b.bit
        a.rows, a.dtype = rows, a.dtype or b.dtype
        a.values = sorted(a.values + b.values, key=lambda s: self.place[s.uid])
        a.layouts |= b.layouts
        a.before, a.after = (a.before | b.before) & ~both, (a.after | b.after) & ~both
        self.of |= {s.uid: a for s in b.values}
        del self.stages[b.index]
        for z in self._of_bits(a.before):
            z.after = ((z.after | a.after) & ~b.bit) | a.bit
        for z in self._of_bits(a.after):
            z.before = ((z.before | a.before) & ~b.bit) | a.bit
        return True

    def _join_readers(self) -> bool:
        """Join regions that compute and read the same rows, the largest first; then those that read the same."""
        values: dict[int, Symbol] = {}
        readers: dict[int, list[_Stage]] = {}
        for z in self.stages.values():
            for x, how in z.reads():
                if how is Access.ROWS and z not in readers.setdefault(x.uid, []):
                    values[x.uid] = x
                    readers[x.uid].append(z)
        largest = sorted(values, key=lambda uid: -values[uid].size)
        computed = [(self.of[uid], z) for uid in largest if uid in self.of for z in readers[uid]]
        given = [pair for uid in largest for pair in itertools.combinations(readers[uid], 2)]
        for pairs in (computed, given):
            some = False
            for pair in pairs:
                a, b = (self.of[z.values[0].uid] for z in pair)
                if a is not b:
                    some |= self._merge(*((b, a) if a.before & b.bit else (a, b)))
            # from the beginning, as regions that have grown read other values, and can be joined in other rows
            if some:
                return True
        return False

    def ordered(self) -> list[_Stage]:
        """The stages, each after those that it needs; otherwise as in the program."""
        left = sorted(self.stages.values(), key=lambda z: self.place[z.values[0].uid])
        found: list[_Stage] = []
        done = 0
        while left:
            ready = next(z for z in left if not z.before & ~done)
            left.remove(ready)
            found.append(ready)
            done |= ready.bit
        return found


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
    found = _Partition(values)
    stages = found.ordered()
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
        region = replace(region, numbers=_numbers(region, found.of))
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
