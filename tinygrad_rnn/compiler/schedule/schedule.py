"""Schedule of a loop: the order of values, the sweep that computes each, and its buffer.

A step becomes *levels*. A level is some matrix products over all rows, then elementwise maths row by row. A value's
level is the first at which its operands are ready: a product comes one level after its left operand, a reduction one
level after its operand's loop. Sums of products and what is added to them are one accumulation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..ir.heads import heads_of
from ..ir.program_ops import CONCAT, JOIN, SLICE
from ..ir.symbol import Symbol
from ..ir.weight_slices import resolve_slice
from .buffers import Buffer, BufferKind, LoopOutput, Place, Store, Sum
from .gemm_fusion import Accumulation, find_accumulations
from .levels import READS_A_ROW, find_levels

FEW = 2  # products that begin from the same terms
CHEAP = 5  # values that cost no more than this are computed again: a store and a load cost as much


@dataclass(eq=False)
class Product:
    """One call of the matrix tile: accumulations with the same left operands, side by side."""

    level: int
    members: list[Accumulation]
    buffer: Buffer
    sources: list[list[int]] = field(default_factory=list)  # runs of term indices whose operands are side by side

    def has_heads(self, run: list[int]) -> bool:
        """Whether a run is one operand with a matrix for each head."""
        return heads_of(self.members[0].terms[run[0]][1]) is not None


class Schedule:
    """A loop as levels of products and sweeps over rows, with buffers for what passes between them.

    Parameters
    ----------
    outputs : list of LoopOutput
        Values that have to be stored, and where.
    sources : dict
        uid -> Place of time-varying values that are there before the step runs.
    prefix : str
        Names of new buffers start with it.
    per_step : iterable of Symbol
        Values that must be kept for all time steps; ``kept[uid]`` says where.
    adjacent : list of lists of Symbol
        Which of them are best laid side by side, and in which order.
    """

    def __init__(
        self,
        outputs: list[LoopOutput],
        sources: dict[int, Place],
        prefix: str = "",
        per_step: Iterable[Symbol] = (),
        adjacent: Sequence[list[Symbol]] = (),
    ):
        self.sources = dict(sources)
        self.prefix = prefix
        self.per_step = {s.uid: s for s in per_step}
        self.adjacent = {s.uid: group for group in adjacent for s in group}
        self.kept: dict[int, Place] = {}
        self.outputs = _split_outputs(outputs)
        self.buffers: list[Buffer] = []
        self.products: list[Product] = []
        self.stores: list[Store] = []
        self.places: dict[int, Place] = {}  # of values computed in this loop
        self.joins: dict[int, Place] = {}  # of rows whose parts are stored side by side
        self._find_uses()
        self.read_elsewhere = {
            s.args[0].uid for s in self.order if s.op in READS_A_ROW
        }  # from memory, and not lane by lane
        self.accumulations = find_accumulations(self.order, self.uses, self.sources, self.per_step)
        results = [*(r.value for r in self.outputs), *self.per_step.values()]
        self.found = find_levels(self.order, self.sources, self.accumulations, results)
        for uid, late in self.found.late.items():
            acc = self.accumulations[uid]
            acc.initial_terms = [t for t in acc.initial_terms if not any(t is e for e in late)]
            acc.epilogue_terms, acc.level = late, 1 + max(self.level_of(a) for a, _ in acc.terms)
        # places that are given come first: a product may store its result there, and readers share it
        self._place_outputs()
        self._place_joins()
        self._place_operands()
        self._form_products()
        self._place_shared()
        self.stores.sort(key=lambda s: s.level)
        self.levels = 1 + max([0, *(p.level for p in self.products), *(s.level for s in self.stores)])

    # ---- the graph between sources and outputs

    def _args(self, s: Symbol) -> list[Symbol]:
        """Varying operands of `s` inside this loop."""
        if s.uid in self.sources or not s.varying:
            return []
        return s.varying_operands

    def _find_uses(self) -> None:
        """Collect the values of the loop, operands first, and count how often each is read."""
        self.live: dict[int, Symbol] = {}
        self.uses: dict[int, int] = {}
        stack = [r.value for r in self.outputs] + list(self.per_step.values())
        for s in stack:
            self.uses[s.uid] = self.uses.get(s.uid, 0) + 1
        while stack:
            s = stack.pop()
            if s.uid in self.live:
                continue
            self.live[s.uid] = s
            if s.op is SLICE:  # columns of what is there already
                self.sources[s.uid] = self.place_of(s)
            for a in self._args(s):
                self.uses[a.uid] = self.uses.get(a.uid, 0) + 1
                stack.append(a)
        # numbers grow as values are recorded: operands come before their users
        self.order = [self.live[uid] for uid in sorted(self.live) if uid not in self.sources]

    def level_of_pass(self, r: Symbol, a: Symbol) -> int:
        """The level at which a reduction goes over its operand `a`."""
        return self.found.of_pass(r, a)

    def level_of(self, s: Any) -> int:
        return self.found.of(s)

    # ---- places

    def buffer(self, kind: BufferKind, name: str, joinable: bool = False) -> Buffer:
        name = f"{self.prefix}{name}{len(self.buffers)}"
        b = Buffer(name, kind, owner=self.prefix, joinable=joinable)
        self.buffers.append(b)
        return b

    def _new_part(self, buffer: Buffer, s: Symbol) -> Place:
        buffer.parts.append(s.width)
        return Place(buffer, len(buffer.parts) - 1)

    def _place_outputs(self) -> None:
        """Let products store results where they are to be left; others are stored by sweeps."""
        for r in self.outputs:
            acc = self.accumulations.get(r.value.uid)
            part = r.place.start == 0 and r.place.buffer.parts[r.place.part] == r.value.width
            # the tile overwrites what a place holds, in whole panels
            whole = part and not r.add
            if (
                acc is not None
                and not acc.epilogue_terms
                and acc.place is None
                and whole
                and r.place.buffer.kind is not BufferKind.EXTERNAL
            ):
                acc.place = r.place
                self.places.setdefault(r.value.uid, r.place)
                continue
            self.stores.append(Store(r.value, r.place, self.level_of(r.value), r.value.width, r.add, masked=not part))
            if whole and r.value.uid not in self.sources:
                self.places.setdefault(r.value.uid, r.place)

    def _place_joins(self) -> None:
        """Give each join a place, where the sweeps of its parts store them."""
        for s in self.order:
            if s.op is not JOIN:
                continue
            place = self.joins[s.uid] = self._new_part(self.buffer(BufferKind.SCRATCH, "joined"), s)
            start = 0
            for part in s.args:
                self.stores.append(
                    Store(part, replace(place, start=start), self.level_of(part), part.width, masked=True)
                )
                start += part.width

    def _place_operands(self) -> None:
        """Give left operands of products a place, those of one accumulation side by side; then kept values."""
        for s in self.order:
            acc = self.accumulations.get(s.uid)
            if acc is None:
                continue
            unplaced: list[Symbol] = []
            for a, _ in acc.terms:
                inner = self.accumulations.get(a.uid)
                there = a.uid in self.sources or a.uid in self.places or a.uid in self.joins
                if there or (inner is not None and not inner.epilogue_terms):
                    continue
                # side by side, so that the tile reads them as one operand
                if not any(a is b for b in unplaced):
                    unplaced.append(a)
            if unplaced:
                self._lay_out(unplaced)
        for uid, s in sorted(self.per_step.items()):
            acc = self.accumulations.get(uid)
            place = self.sources.get(uid) or self.places.get(uid)
            if place is None or not place.buffer.kind.over_time:
                if acc is not None and not acc.epilogue_terms and acc.place is None:
                    acc.place = self.places[uid] = self._new_part(self.buffer(BufferKind.PER_STEP, "kept"), s)
                elif place is None:
                    self._lay_out([v for v in self.adjacent.get(uid, [s]) if v is s or self._is_unplaced(v)])
                else:  # it is where the next step overwrites it
                    place = self._new_part(self.buffer(BufferKind.PER_STEP, "kept"), s)
                    self.stores.append(Store(s, place, self.level_of(s), s.width, zero_padded=True))
                    self.kept[uid] = place
            self.kept.setdefault(uid, self.sources.get(uid) or self.places[uid])

    def _is_unplaced(self, s: Symbol) -> bool:
        """Whether `s` has no place yet, and no product stores it."""
        acc = self.accumulations.get(s.uid)
        return s.uid not in self.sources and s.uid not in self.places and (acc is None or bool(acc.epilogue_terms))

    def _lay_out(self, values: list[Symbol]) -> None:
        kept = any(v.uid in self.per_step for v in values)
        buffer = self.buffer(BufferKind.PER_STEP if kept else BufferKind.SCRATCH, "rows", joinable=True)
        for v in values:
            place = self.places[v.uid] = self._new_part(buffer, v)
            self.stores.append(Store(v, place, self.level_of(v), v.width, zero_padded=True))

    def _form_products(self) -> None:
        """Join accumulations with the same left operands, level by level, and store what they begin from."""
        groups: dict[Any, list[Accumulation]] = {}
        for s in self.order:
            acc = self.accumulations.get(s.uid)
            if acc is None:
                continue
            fixed = s.uid if acc.place is not None else None  # one with a place of its own is a call of its own
            # those that agree in all of this are columns of one product
            terms = tuple((a.uid, heads_of(w) is None) for a, w in acc.terms)
            key = (acc.level, terms, bool(acc.initial_terms), fixed)
            groups.setdefault(key, []).append(acc)
        begins = Counter(
            self._begins_with(Sum(tuple(acc.initial_terms + acc.bias)))
            for acc in self.accumulations.values()
            if acc.initial_terms
        )
        for (level, _, _, fixed), members in sorted(groups.items(), key=lambda kv: kv[0][0]):
            # neighbouring columns of one matrix side by side are packed in one piece
            members.sort(key=lambda m: resolve_slice(m.terms[0][1]).axes[1][1:])
            if fixed is None:
                buffer = self.buffer(BufferKind.SCRATCH, "sums")
                for acc in members:
                    acc.place = self._new_part(buffer, acc.out)
                    if not acc.epilogue_terms:
                        self.places.setdefault(acc.out.uid, acc.place)
            else:
                assert members[0].place is not None
                buffer = members[0].place.buffer
            for acc in members:
                if acc.initial_terms:
                    when = max([0, *(self.level_of(t) for t in acc.initial_terms)])
                    value = Sum(tuple(acc.initial_terms + acc.bias))
                    # what many products begin from is written for each just before it, while it is in the cache
                    same = self._begins_with(value)
                    when = acc.level - 1 if begins[same] > FEW else when
                    assert acc.place is not None
                    self.stores.append(Store(value, acc.place, when, acc.out.width, out=acc.out))
                    acc.bias = []
            buffer.of_products = True
            product = Product(level, members, buffer)
            product.sources = self._runs(members[0])
            self.products.append(product)

    @staticmethod
    def _begins_with(value: Sum) -> tuple:
        """What a sum adds up, in a form that can be compared."""
        return tuple(t.uid if isinstance(t, Symbol) else ("number", t) for t in value.terms)

    def _runs(self, acc: Accumulation) -> list[list[int]]:
        """Runs of terms whose operands are neighbouring parts of one buffer, read as one operand."""
        runs: list[list[int]] = []
        heads = [heads_of(w) is not None for _, w in acc.terms]
        for i, (a, _) in enumerate(acc.terms):
            place = self.place_of(a)
            last = self.place_of(acc.terms[runs[-1][-1]][0]) if runs else None
            near = last is not None and last.joins(place) and not (heads[i] or heads[runs[-1][-1]])
            if near and place.buffer.joinable and place.buffer.owner == self.prefix:
                runs[-1].append(i)
                continue
            runs.append([i])
        return runs

    def place_of(self, s: Symbol) -> Place:
        if s.uid in self.sources:
            return self.sources[s.uid]
        if s.op is SLICE:
            whole = self.place_of(s.args[0])
            return replace(whole, start=whole.start + s.static["start"])
        return self.joins.get(s.uid) or self.places[s.uid]

    # ---- values that several loops need

    def cost(self, s: Any, given: set[int], budget: int) -> int:
        """Price of computing `s` again from stored values, counting no further than `budget`."""
        if not isinstance(s, Symbol) or not s.varying:
            return 0
        if s.uid in self.sources or s.uid in self.places or s.uid in self.joins or s.uid in given:
            return 0
        if s.uid in self.accumulations or s.lowering.kind == "reduce":
            return budget + 1
        total = s.lowering.cost
        for a in s.args if s.op not in READS_A_ROW else ():  # that is in a place
            if total > budget:
                break
            total += self.cost(a, given, budget - total)
        return total

    def _place_shared(self) -> None:
        """Give a place to totals, and to values that later levels read, unless recomputing is cheap."""
        scratch: Buffer | None = None
        # values with level and width of the sweep that reads them
        work = [(s.value, s.level, s.width) for s in self.stores]
        for s in self.order:
            if s.lowering.kind == "reduce":
                work += [(a, self.level_of_pass(s, a), a.width) for a in s.args]
                # a total is complete only after a sweep over all features: whoever reads it comes later
                scratch = scratch or self.buffer(BufferKind.SCRATCH, "shared")
                self.places.setdefault(s.uid, self._new_part(scratch, s))
            for a in [*(s.args if s.op in READS_A_ROW else ()), *([s] if s.uid in self.found.apart else ())]:
                there = a.uid in self.places or a.uid in self.sources or a.uid in self.joins
                if not there and a.lowering.kind != "reduce":
                    scratch = scratch or self.buffer(BufferKind.SCRATCH, "shared")
                    place = self.places[a.uid] = self._new_part(scratch, a)
                    self.stores.append(Store(a, place, self.level_of(a), a.width))
                    work.append((a, self.level_of(a), a.width))
        seen: set = set()
        while work:
            value, level, width = work.pop()
            if isinstance(value, Sum):
                work += [(t, level, width) for t in value.terms]
                continue
            if not isinstance(value, Symbol) or not value.varying or value.uid in self.sources:
                continue
            if (value.uid, level, width) in seen:
                continue
            seen.add((value.uid, level, width))
            acc = self.accumulations.get(value.uid)
            if acc is not None:
                work += [(t, level, width) for t in acc.epilogue_terms]
                continue
            if value.lowering.kind == "reduce" or value.op in READS_A_ROW or value.op is JOIN:
                continue
            mine = self.level_of(value)
            # a value is stored at its own level, and whatever it reads there has to be there as well
            if mine < level and value.uid not in self.places and self.cost(value, set(), CHEAP) > CHEAP:
                scratch = scratch or self.buffer(BufferKind.SCRATCH, "shared")
                place = self.places[value.uid] = self._new_part(scratch, value)
                self.stores.append(Store(value, place, mine, value.width))
                work.append((value, mine, value.width))
                continue
            if mine < level and value.uid in self.places:
                continue
            work += [(a, level, width) for a in self._args(value)]


def _split_outputs(outputs: list[LoopOutput]) -> list[LoopOutput]:
    """The outputs, with concatenations as one output for each piece."""
    out = []
    for r in outputs:
        if r.value.op is not CONCAT and r.value.op is not JOIN:
            out.append(r)
            continue
        start = r.place.start
        for part in r.value.args:
            out.append(LoopOutput(part, Place(r.place.buffer, r.place.part, start, r.place.next_step), r.add))
            start += part.width
    return out
