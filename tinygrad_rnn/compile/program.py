"""Printing programs and schedules in a form that people read.

Names of leaves come in as ``names`` (uid -> name); without one, a leaf is called as in the generated source. With
``sizes=False`` nothing is printed that differs between two layers of one kind, so that it may stand in that source.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .places import Buffer, Place
from .schedule import Product, Schedule
from .symbol import Symbol, behind
from .views import View, resolve

INFIX = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/", "matmul": "@", "less": "<", "less_equal": "<=",
    "greater": ">", "greater_equal": ">=", "equal": "==", "not_equal": "!=", "logical_and": "&", "logical_or": "|",
    "bitwise_and": "&", "bitwise_or": "|", "bitwise_xor": "^",
}  # fmt: skip
KINDS = {
    "user": "(T, B, {})", "history": "(T + 1, B, {})", "ring": "(2, B, {})", "series": "(T, B, {})",
    "scratch": "(B, {})", "total": "(B, {})", "sum": "(B or less, {})",
}  # fmt: skip


class Printer:
    """Spells out symbols.

    Parameters
    ----------
    names : mapping
        uid of a leaf -> its name.
    sizes : bool
        Whether column ranges are printed.
    """

    def __init__(self, names: Mapping[int, str] | None = None, sizes: bool = True):
        self.names = names or {}
        self.sizes = sizes

    def name(self, s: Any) -> str:
        """How an operand is written: a name, a number, or a part of a parameter."""
        if not isinstance(s, Symbol):
            return f"{s:g}" if self.sizes else "a number"
        if s.uid in self.names:
            return self.names[s.uid]
        return s.name if s.varying else self.view(resolve(s))

    def view(self, view: View) -> str:
        """A rectangle of a parameter, such as ``weight_ih[0:8].T``."""
        base, ranges = view.base, {axis: (start, stop) for axis, start, stop in view.axes}
        index = []
        for axis, n in enumerate(base.shape):
            start, stop = ranges.get(axis, (0, n))
            index.append(":" if (start, stop) == (0, n) else f"{start}:{stop}" if self.sizes else "...")
        while index and index[-1] == ":":
            index.pop()
        part = f"[{', '.join(index)}]" if index else ""
        name = self.names.get(base.uid, base.name)
        return f"{name}{part}{'.T' if view.transposed else ''}"

    def expression(self, s: Symbol) -> str:
        """What `s` is computed from."""
        args = [self.name(a) for a in s.args]
        name = s.op.name if s.op is not None else s.name
        if name in INFIX:
            return f"{args[0]} {INFIX[name]} {args[1]}"
        if name == "negative":
            return f"-{args[0]}"
        if name == "slice":
            return f"{args[0]}[:, {s.static['start']}:{s.static['stop']}]"
        if name == "alias":
            return f"{args[0]}[:, 0]" if s.ndim == 1 else f"{args[0]}[:, None]"
        if name.startswith("output") and "index" in s.static:  # of an operation with several results
            return f"{args[0]}[{s.static['index']}]"
        if name == "zero":
            return "0"
        if name == "getitem":
            return self.view(resolve(s)) if resolve(s).base is not s else f"{args[0]}[{s.static['index']}]"
        if is_reduction(s) and s.varying:
            return f"{name}({args[0]})"  # along features
        static = [f"{k}={v}" for k, v in s.static.items() if k not in ("rank", "shape")]
        return f"{name}({', '.join(args + static)})"

    def line(self, s: Symbol) -> str:
        """``name = expression``, with what it is."""
        shape = ["B", *map(str, s.shape[1:])] if s.varying else [str(n) for n in s.shape]
        kind = " bool" if s.dtype.kind == "b" else ""
        return f"{s.name:<5}= {self.expression(s):<44} # ({', '.join(shape)}{',' if len(shape) == 1 else ''}){kind}"

    def listing(self, roots: Iterable[Symbol], known: Iterable[int] = ()) -> list[str]:
        """A line for each value behind `roots`, in order of computation; values in `known` are given."""
        return [self.line(s) for s in computed(roots, known) if not self._is_part(s)]

    def _is_part(self, s: Symbol) -> bool:
        """Whether `s` is printed as a part of a parameter where it is used."""
        return not s.varying and resolve(s).base is not s

    # ---- schedules

    def product(self, product: Product) -> str:
        """What one call of the matrix tile computes; members stand side by side."""
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
        out = _side_by_side([m.out.name + (f" without {self._sum(m.after)}" if m.after else "") for m in members])
        verb = "+=" if lead.before else "="
        return f"{out} {verb} {' + '.join(terms)} -> {product.buffer.name}"

    def joined(self, parts: list[Symbol], axis: int) -> str:
        """Parts of parameters next to each other along `axis`; neighbours are printed as one."""
        views = [resolve(p) for p in parts]
        out = [views[0]]
        for view in views[1:]:
            last, (base_axis, start, stop) = list(out[-1].axes), view.axes[axis]
            before = last[axis]
            last[axis] = view.axes[axis]
            if out[-1].base is view.base and tuple(last) == view.axes and before[::2] == (base_axis, start):
                last[axis] = (base_axis, before[1], stop)
                out[-1] = View(view.base, tuple(last))
            else:
                out.append(view)
        return _side_by_side([self.view(v) for v in out])

    def schedule(self, schedule: Schedule) -> list[str]:
        """The levels of a loop: products over all rows, then what is computed and stored row by row."""
        lines = []
        for level in range(schedule.levels):
            lines += [f"level {level}: product {self.product(p)}" for p in schedule.products if p.level == level]
            stores: dict[str, list[str]] = {}
            for s in schedule.order:
                if is_reduction(s) and schedule.level_of(s.args[0]) == level:
                    text = f"{s.name} = {self.expression(s)}"
                    stores.setdefault(schedule.places[s.uid].buffer.name, []).append(text)
            for store in schedule.stores:
                if store.level == level:
                    value = store.value.name if isinstance(store.value, Symbol) else self._sum(store.value[1])
                    stores.setdefault(store.place.buffer.name, []).append(value)
            if stores:
                rows = "; ".join(f"{', '.join(values)} -> {name}" for name, values in stores.items())
                lines.append(f"level {level}: rows {rows}")
        return lines

    def _sum(self, values) -> str:
        return " + ".join(self.name(v) for v in values)


def _side_by_side(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"[{' | '.join(parts)}]"


def computed(roots: Iterable[Symbol], known: Iterable[int] = ()) -> list[Symbol]:
    """Every value behind `roots` that is neither a leaf nor in `known`, in order of computation."""
    stop = set(known)
    found = behind(roots, lambda s: [] if s.uid in stop else s.operands)
    return sorted((s for s in found if s.leaf is None and s.uid not in stop), key=lambda s: s.uid)


def is_reduction(s: Symbol) -> bool:
    return s.op is not None and s.op.lowering is not None and s.op.lowering.kind == "reduce"


def contents(schedule: Schedule, buffer: Buffer) -> list[str]:
    """What the parts of `buffer` hold, by name."""
    held: dict[Place, str] = {}
    for s in sorted(schedule.live.values(), key=lambda s: (s.leaf is None, s.uid)):
        acc = schedule.accumulations.get(s.uid)
        places = [schedule.sources.get(s.uid), schedule.places.get(s.uid), schedule.kept.get(s.uid)]
        places.append(acc.place if acc is not None else None)
        for place in places:
            if place is not None and place.buffer is buffer:
                held.setdefault(Place(buffer, place.part, place.start), s.name)
    for store in schedule.stores:
        place = store.place
        if place.buffer is buffer and isinstance(store.value, Symbol):
            held.setdefault(Place(buffer, place.part, place.start), store.value.name)
    return [held[place] for place in sorted(held, key=lambda p: (p.part, p.start))]


def describe_buffer(schedule: Schedule, buffer: Buffer) -> str:
    """A buffer's name, shape, contents and owner, without sizes."""
    kept = {place.buffer.name for place in schedule.kept.values()}
    if buffer.kind == "user":
        owner = "the caller's"
    elif buffer.home != schedule.prefix:
        owner = "kept by the forward loop"
    elif buffer.name in kept and buffer.home == "f_":
        owner = "kept for the backward loop"
    elif buffer.name in kept:
        owner = "kept for the products and sums after the loop"
    else:
        owner = {
            "history": "state before each step, and the last",
            "ring": "carried from step to step",
            "total": "added up over time",
            "sum": "added up over time and a few rows",
            "series": "one row for each step",
        }.get(buffer.kind, "of one step")
    if buffer.result:
        owner += ", a result"
    shape = KINDS[buffer.kind].format(" ".join(contents(schedule, buffer)) or "features")
    return f"{buffer.name}: {shape}, {owner}"


def describe(schedule: Schedule, buffers: Iterable[Buffer] = ()) -> list[str]:
    """A loop in words for the head of its source: levels, then buffers; without sizes."""
    return [*Printer(sizes=False).schedule(schedule), "", *(describe_buffer(schedule, b) for b in buffers)]
