"""Printer of schedules and buffers, in a form that people read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from ..ir.heads import heads_of
from ..ir.printer import Printer, is_reduction
from ..ir.symbol import Symbol
from ..ir.weight_slices import WeightSlice, resolve_slice
from .buffers import Buffer, BufferKind, Place, Sum
from .schedule import Product, Schedule

MANY = 24  # values whose names are printed
SHAPES = {
    BufferKind.EXTERNAL: "(T, B, {})",
    BufferKind.STATES: "(T + 1, B, {})",
    BufferKind.DOUBLE_BUFFER: "(2, B, {})",
    BufferKind.PER_STEP: "(T, B, {})",
    BufferKind.SCRATCH: "(B, {})",
    BufferKind.ACCUMULATOR: "(B, {})",
    BufferKind.PARTIAL_SUM: "(B or less, {})",
}
CONTENTS = {
    BufferKind.STATES: "state before each step, and the last",
    BufferKind.DOUBLE_BUFFER: "carried from step to step",
    BufferKind.ACCUMULATOR: "added up over time",
    BufferKind.PARTIAL_SUM: "added up over time and a few rows",
    BufferKind.PER_STEP: "one row for each step",
}


class SchedulePrinter(Printer):
    """Spells out symbols, and the products, rows and levels of a loop."""

    def product(self, product: Product) -> str:
        """Text of one call of the matrix tile; members are side by side."""
        members, lead, terms = product.members, product.members[0], []
        for run in product.sources:
            if len(members) == 1:
                a = _side_by_side([self.name(lead.terms[i][0]) for i in run])
                terms.append(f"{a} @ {self.joined([lead.terms[i][1] for i in run], 0)}")
                continue
            for i in run:
                terms.append(f"{self.name(lead.terms[i][0])} @ {self.joined([m.terms[i][1] for m in members], 1)}")
        if len({len(m.bias) for m in members}) == 1:
            terms += [self.joined(list(biases), -1) for biases in zip(*(m.bias for m in members))]
        else:
            terms.append(" | ".join(" + ".join(self.name(v) for v in m.bias) or "0" for m in members).join("[]"))
        out = _side_by_side(
            [m.out.name + (f" without {self._sum(m.epilogue_terms)}" if m.epilogue_terms else "") for m in members]
        )
        verb = "+=" if lead.initial_terms else "="
        return f"{out} {verb} {' + '.join(terms)} -> {product.buffer.name}"

    def joined(self, parts: list[Symbol], axis: int) -> str:
        """Parts of parameters next to each other along `axis`; neighbours are printed as one."""
        if any(heads_of(p) is not None for p in parts):
            return _side_by_side([self.name(p) for p in parts])
        views = [resolve_slice(p) for p in parts]
        out = [views[0]]
        for view in views[1:]:
            last, (base_axis, start, stop) = list(out[-1].axes), view.axes[axis]
            before = last[axis]
            last[axis] = view.axes[axis]
            if out[-1].base is view.base and tuple(last) == view.axes and before[::2] == (base_axis, start):
                last[axis] = (base_axis, before[1], stop)
                out[-1] = WeightSlice(view.base, tuple(last))
            else:
                out.append(view)
        return _side_by_side([self.view(v) for v in out])

    def schedule(self, schedule: Schedule, repeated: Collection[int] = ()) -> list[str]:
        """Lines for the levels of a loop: products over all rows, then values that are stored row by row.

        Those of `repeated` levels are left out.
        """
        products: dict[int, list[Product]] = {}
        for p in schedule.products:
            products.setdefault(p.level, []).append(p)
        stores: dict[int, dict[str, list[str]]] = {}  # level -> buffer -> values
        for s in schedule.order:
            if is_reduction(s) and schedule.level_of(s) - 1 not in repeated:
                text = f"{s.name} = {self.expression(s)}"
                buffer = schedule.places[s.uid].buffer.name
                stores.setdefault(schedule.level_of(s) - 1, {}).setdefault(buffer, []).append(text)
        for store in schedule.stores:
            value = self._sum(store.value.terms) if isinstance(store.value, Sum) else store.value.name
            stores.setdefault(store.level, {}).setdefault(store.place.buffer.name, []).append(value)
        lines = []
        for level in range(schedule.levels):
            if level in repeated:
                if level - 1 not in repeated:
                    lines.append("levels that do the same again")
                continue
            lines += [f"level {level}: product {self.product(p)}" for p in products.get(level, ())]
            if level in stores:
                rows = "; ".join(f"{', '.join(values)} -> {name}" for name, values in stores[level].items())
                lines.append(f"level {level}: rows {rows}")
        return lines

    def _sum(self, values) -> str:
        return " + ".join(self.name(v) for v in values)


def _side_by_side(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"[{' | '.join(parts)}]"


def contents(schedule: Schedule) -> dict[Buffer, list[str]]:
    """Names of the values in the parts of each buffer."""
    held: dict[Buffer, dict[Place, str]] = {}

    def add(place: Place, name: str) -> None:
        held.setdefault(place.buffer, {}).setdefault(Place(place.buffer, place.part, place.start), name)

    for s in sorted(schedule.live.values(), key=lambda s: (s.leaf is None, s.uid)):
        acc = schedule.accumulations.get(s.uid)
        places = [schedule.sources.get(s.uid), schedule.places.get(s.uid), schedule.kept.get(s.uid)]
        places.append(schedule.joins.get(s.uid))
        places.append(acc.place if acc is not None else None)
        for place in places:
            if place is not None:
                add(place, s.name)
    for store in schedule.stores:
        if isinstance(store.value, Symbol):
            add(store.place, store.value.name)
    return {b: [found[p] for p in sorted(found, key=lambda p: (p.part, p.start))] for b, found in held.items()}


def describe_buffers(schedule: Schedule, buffers: Iterable[Buffer]) -> list[str]:
    """Names, shapes, contents and owners of buffers, without sizes."""
    kept, held, lines = {place.buffer.name for place in schedule.kept.values()}, contents(schedule), []
    for buffer in buffers:
        if buffer.kind is BufferKind.EXTERNAL:
            owner = "the caller's"
        elif buffer.owner != schedule.prefix:
            owner = "kept by the forward loop"
        elif buffer.name in kept and buffer.owner == "f_":
            owner = "kept for the backward loop"
        elif buffer.name in kept:
            owner = "kept for the products and sums after the loop"
        else:
            owner = CONTENTS.get(buffer.kind, "of one step")
        if buffer.result:
            owner += ", a result"
        names = held.get(buffer, [])
        if len(names) > MANY:
            names = [*names[:MANY], "..."]
        shape = SHAPES[buffer.kind].format(" ".join(names) or "features")
        lines.append(f"{buffer.name}: {shape}, {owner}")
    return lines


def describe(
    schedule: Schedule,
    buffers: Sequence[Buffer] = (),
    repeated: Collection[int] = (),
    in_text: Callable[[Buffer], bool] = lambda buffer: True,
) -> list[str]:
    """Lines for the head of a source: levels, then buffers; without sizes.

    Those of `repeated` levels are left out, and buffers that are not `in_text`.
    """
    shown = [b for b in buffers if in_text(b)]
    more = ["others for the values of repetitions"] if len(shown) < len(buffers) else []
    levels = SchedulePrinter(sizes=False).schedule(schedule, repeated)
    return [*levels, "", *describe_buffers(schedule, shown), *more]
