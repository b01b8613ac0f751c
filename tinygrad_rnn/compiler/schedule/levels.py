"""Levels: when each value of a step is computed: early, or later where that saves a sweep or a store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..ir.printer import is_reduction
from ..ir.program_ops import EXPAND, GATHER, JOIN
from ..ir.rearranged import axes_of, fit, starts
from ..ir.symbol import Symbol
from .buffers import Place
from .gemm_fusion import Accumulation

READS_A_ROW = (EXPAND, GATHER)  # operations that read features of a row at other places than their own
MORE = 2  # levels that one sweep less over a matrix is worth: they are sweeps over few features


class Levels:
    """The level of each value of a loop, operands first.

    Parameters
    ----------
    order : list of Symbol
        The values that the loop computes.
    sources : mapping
        uid -> Place of what is there before.
    accumulations : mapping
        uid -> Accumulation.
    floors : mapping
        Width of rows -> the level before which no sweep goes along their axes.

    Attributes
    ----------
    later : set of uids
        Reductions that go over what was stored a level before.
    apart : set of uids
        Values in a place, as their axes do not fit to those of what reads them.
    late : dict
        uid of an accumulation -> its terms that are not there before its product.
    """

    def __init__(
        self,
        order: Sequence[Symbol],
        sources: Mapping[int, Place],
        accumulations: Mapping[int, Accumulation],
        floors: Mapping[int, int] | None = None,
    ):
        self.order, self.sources, self.accumulations, self.floors = order, sources, accumulations, floors or {}
        self.level: dict[int, int] = {}
        self.starts: dict[int, set[int]] = {}  # where axes begin in what a value is computed from in one sweep
        self.later: set[int] = set()
        self.apart: set[int] = set()
        self.late: dict[int, list[Any]] = {}
        for s in order:
            self.level[s.uid] = self._find(s)

    def _find(self, s: Symbol) -> int:
        acc = self.accumulations.get(s.uid)
        if acc is not None:
            ready = max(self.of(a) for a, _ in acc.terms)
            # the tile can only start from terms that are there before it runs
            late = self.late[s.uid] = [t for t in acc.initial_terms if self.of(t) > ready]
            return max([ready + 1, *self._together(s, late)])
        if s.op in READS_A_ROW:
            (a,) = s.args
            self.starts[s.uid] = starts(s.static["dims"]) if s.op is EXPAND else set()
            return self.of(a) + (not self.is_written_early(a))
        if s.lowering.kind == "reduce":  # its total is known after a sweep over all features
            own = starts(axes_of(s.static["along"])) if "along" in s.static else set()
            if not fit(own | self.starts.get(s.args[0].uid, set())):
                self.apart.add(s.args[0].uid)
                self.later.add(s.uid)
            return max(self.of_pass(s, a) for a in s.args) + 1
        if s.op is JOIN:
            return max(self.of(a) for a in s.args) + 1
        return max([self.floors.get(s.width, 0), *self._together(s, s.varying_operands)])

    def _together(self, s: Symbol, operands: Iterable[Any]) -> list[int]:
        """Levels at which operands can be read; if their axes do not fit together, those are stored before."""
        operands = list(operands)
        found = {a.uid: self.starts[a.uid] for a in operands if isinstance(a, Symbol) and self.starts.get(a.uid)}
        units = set().union(*found.values())
        if fit(units):
            self.starts[s.uid] = units
            return [self.of(a) for a in operands]
        self.apart |= found.keys()
        return [self.of(a) + (isinstance(a, Symbol) and a.uid in found) for a in operands]

    def of(self, s: Any) -> int:
        return self.level.get(s.uid, 0) if isinstance(s, Symbol) else 0

    def of_pass(self, r: Symbol, a: Symbol) -> int:
        """The level at which a reduction goes over its operand `a`."""
        floor = self.floors.get(a.width, 0) if "along" in r.static else 0
        return max(floor, self.of(a) + (r.uid in self.later))

    def is_written_early(self, a: Symbol) -> bool:
        """Whether a row is in its place before the sweeps of its level."""
        if a.uid in self.sources or a.op is None or a.op is JOIN or a.lowering.kind == "reduce":
            return True
        return a.uid in self.accumulations and not self.late[a.uid]

    def sweeps(self, results: Iterable[Symbol]) -> dict[int, set[int]]:
        """For each width of rows with axes the levels of the sweeps over them."""
        found: dict[int, set[int]] = {}
        for r in self.order:
            if is_reduction(r) and "along" in r.static:
                found.setdefault(r.args[0].width, set()).add(self.of_pass(r, r.args[0]))
        for s in results:
            if s.width in found and s.uid not in self.sources and s.uid not in self.accumulations:
                found[s.width].add(self.of(s))
        return found

    def sink(self, results: Iterable[Symbol]) -> None:
        """Compute what is known from the beginning where it is first read, if rows are as wide there.

        Otherwise it would be written at first, and be read again from memory; and what repetitions of one thing read
        would be computed for all of them before the first.
        """
        fixed = {s.uid for s in results} | self.apart
        for acc in self.accumulations.values():
            late = self.late[acc.out.uid]
            fixed.update(t.uid for t in acc.initial_terms if not any(t is e for e in late) and isinstance(t, Symbol))
            fixed.update(a.uid for a, _ in acc.terms)
        first: dict[int, int] = {}  # uid -> the first level that reads it
        for s in reversed(self.order):
            if s.lowering.kind == "elementwise" and s.uid not in self.accumulations and s.op not in READS_A_ROW:
                if self.level[s.uid] == 0 and s.uid not in fixed:
                    self.level[s.uid] = first.get(s.uid, 0)
                reads = {a.uid: self.level[s.uid] if a.width == s.width else 0 for a in s.varying_operands}
            elif s.lowering.kind == "reduce":
                reads = {a.uid: self.of_pass(s, a) for a in s.varying_operands}
            else:
                reads = dict.fromkeys([a.uid for a in s.varying_operands], 0)
            for uid, level in reads.items():
                first[uid] = min(level, first.get(uid, level))


def find_levels(
    order: Sequence[Symbol],
    sources: Mapping[int, Place],
    accumulations: Mapping[int, Accumulation],
    results: Sequence[Symbol],
) -> Levels:
    """The earliest levels; sweeps over the largest rows with axes wait for each other if that saves one.

    A matrix that is a state does not stay in the first-level cache from one sweep to the next.
    """
    best = Levels(order, sources, accumulations)
    sweeps = best.sweeps(results)
    if not sweeps:
        best.sink(results)
        return best
    width = max(sweeps)
    most = max(best.level.values()) + MORE
    for floor in sorted(sweeps[width])[1:]:
        found = Levels(order, sources, accumulations, {width: floor})
        # products wait for nothing, as those of one level share a call, and threads meet between levels with products
        same = all(found.of(acc.out) == best.of(acc.out) for acc in accumulations.values())
        fewer = len(found.sweeps(results)[width]) < len(sweeps[width])
        if same and fewer and max(found.level.values()) <= most:
            best, sweeps = found, found.sweeps(results)
    best.sink(results)
    return best
