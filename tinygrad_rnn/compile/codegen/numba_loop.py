"""Emission: a schedule becomes the readable source of one Numba function on SIMD lanes.

The source holds no sizes. Row strides, part offsets and widths come in as integers ``d``, numbers of the step as ``k``,
so that one program in one dtype is one file, whatever T, the batch and the layer sizes are.

Sequences need not be of one length: they end together, the longest first, so that a step takes the first rows of the
batch only. The end of ``d`` holds the number of rows before each step; step t has ``d[.. + t + 1] - d[.. + t]`` rows.
"""

from __future__ import annotations

from typing import Any

from ..ir.printer import is_reduction
from ..ir.symbol import Symbol
from ..schedule.buffers import Buffer, Place
from ..schedule.extents import row_classes, width_classes
from ..schedule.printer import SchedulePrinter, describe
from ..schedule.schedule import Product, Schedule
from .vector_loop import Sweep

# written into the source; other numbers may be a cell's settings
LITERALS = {0.0: "zero", 1.0: "one", 2.0: "two", 0.5: "half", -1.0: "minus_one"}


class Emitter:
    """Writes the source of one loop, and notes which integers, numbers and vectors it wants.

    Attributes
    ----------
    ints : list of tuple
        What to put into ``d``: ("at", buffer, part, start), ("ld", buffer), ("width", uid), ("packed", product,
        source), ("bias", product), ("vector", uid), ("vector_ld", uid), ...
    buffers : list of Buffer
        Those that the loop reads or writes.
    numbers : list of float
        What to put into ``k``.
    arrays : list of str
        Those that the loop takes after ``d`` and ``k``.
    vectors : dict
        uid -> Symbol: invariants that elementwise maths reads.
    """

    def __init__(self, schedule: Schedule, name: str, reverse: bool):
        self.schedule = schedule
        self.name = name
        self.reverse = reverse
        self.width_class = width_classes(schedule)
        self.row_class = row_classes(schedule, self.width_class)
        self.local: set[tuple] = set()  # parts of scratch buffers that only one loop over rows touches
        self._begin()
        self._emit()
        self.local = {part for part, loops in self.touched.items() if len(loops) == 1 and None not in loops}
        self._begin()
        self.source = self._emit()

    def _begin(self) -> None:
        self.ints: list[tuple] = []
        self.int_names: dict[tuple, str] = {}
        self.literals: set[float] = set()
        self.starts: dict[str, str] = {}  # of the only row of local parts: name -> code
        self.row_starts: dict[str, str] = {}  # of the rows of the loop over rows at hand: code -> name
        self.row_values: dict[int, str] = {}  # numbers of the row at hand that a sweep has computed: uid -> name
        self.assigned: dict[str, int] = {}  # names of variables, and how often they were asked for
        self.numbers: list[float] = []
        self.vectors: dict[int, Symbol] = {}
        self.buffers: list[Buffer] = []
        self.loops: list[tuple[int, list[Symbol]]] = []  # level, and what is computed in each sweep over a row
        self.touched: dict[tuple, set] = {}  # (buffer, part) -> loops over rows; None: a product
        self.loop: int | None = None

    # ---- names

    def array(self, buffer: Buffer) -> str:
        """The array that holds `buffer`: its own, this loop's workspace, or the forward loop's."""
        if not any(buffer is b for b in self.buffers):
            self.buffers.append(buffer)
        return buffer.name if buffer.alone else "ws" if buffer.home == self.schedule.prefix else "fw"

    def int(self, *key) -> str:
        if key not in self.int_names:
            kind = key[0]
            count = sum(k[0] == kind for k in self.ints)
            if kind == "at":
                part, start = key[2:]
                label = f"{key[1].name}_at{part or ''}" + (f"_{count}" if start else "")
            else:
                label = f"{key[1].name}_ld" if kind == "ld" else f"{kind}_{count}"
            self.int_names[key] = label
            self.ints.append(key)
        return self.int_names[key]

    def number(self, value: float) -> str:
        value = float(value)
        if value in LITERALS:
            self.literals.add(value)
            return LITERALS[value]
        if value not in self.numbers:
            self.numbers.append(value)
        return f"k_{self.numbers.index(value)}"

    def unique(self, name: str) -> str:
        """A name that is assigned to in one place only: a value, where others are variables in memory at first."""
        count = self.assigned[name] = self.assigned.get(name, 0) + 1
        return name if count == 1 else f"{name}_{count}"

    # ---- addresses

    def ld(self, buffer: Buffer) -> str:
        """Elements of a row of a buffer; buffers with rows alike share it."""
        return self.int("ld", self.row_class.get(buffer, buffer))

    def row(self, place: Place) -> str:
        """Element offset of row ``b`` of a place at this time step; writes down what it is computed from."""
        buffer = place.buffer
        at = self._at(place)
        if buffer.kind == "scratch":
            key = buffer, place.part
            self.touched.setdefault(key, set()).add(self.loop)
            if key in self.local:  # one row for all of them stays in the cache
                name = f"{at}_b0"
                self.starts[name] = f"{at} + {self._rows_before(place, 'b0')}"
                return name
        code = self._rows_before(place, "b")
        if code not in self.row_starts:
            self.row_starts[code] = self.unique("row")
        name = self.row_starts[code]
        return f"{at} + {name}" if at else name

    def first_row(self, place: Place) -> str:
        """The same of row ``b0``, in one expression."""
        at, before = self._at(place), self._rows_before(place, "b0")
        return f"{at} + {before}" if at else before

    def _at(self, place: Place) -> str:
        """Where a buffer, and a place in its rows, begins."""
        whole = place.buffer.alone and not place.part and not place.start
        return "" if whole else self.int("at", place.buffer, place.part, place.start)

    def _rows_before(self, place: Place, b: str) -> str:
        """Elements of the rows of a buffer that lie before row `b` of this time step."""
        kind, late, ld = place.buffer.kind, place.late, self.ld(place.buffer)
        if kind == "sum":
            return f"({b} >> {self.int('together', None)}) * {ld}"
        if kind in ("scratch", "total"):
            return f"{b} * {ld}"
        if kind == "ring":
            slot = "s" if self.reverse else "t"
            return f"(({f'({slot} + 1)' if late else slot} & 1) * B + {b}) * {ld}"
        return f"({'after' if late else 'first'} + {b}) * {ld}"

    # ---- the function

    def _emit(self) -> str:
        body: list[str] = []
        schedule = self.schedule
        level = 0
        while level < schedule.levels:
            for product in schedule.products:
                if product.level == level:
                    body += self._product(product)
            last = level + 1
            while last < schedule.levels and not any(p.level == last for p in schedule.products):
                last += 1
            self.loop = level
            body += self._rows(range(level, last))
            self.loop, level = None, last
        time = ["for s in range(T):", "    t = T - 1 - s"] if self.reverse else ["for t in range(T):"]
        table = 2 + len(self.ints)
        time += [f"    {name} = integer(d, {table + i} + t)" for i, name in enumerate(("first", "after"))]
        time += ["    end = min(b1, after - first)"]
        time += ["    if end <= b0:", "        continue"]
        loop = time + ["    " + line for line in body] if body else ["pass"]
        head = [f"{name} = vsplat({x!r}, k)" for x, name in LITERALS.items() if x in self.literals]
        head += [f"k_{i} = vsplat(k[{i}], k)" for i in range(len(self.numbers))]
        head += [f"{name} = integer(d, {i + 2})" for i, name in enumerate(self.int_names[key] for key in self.ints)]
        head += [f"{name} = {code}" for name, code in self.starts.items()]
        self.arrays = ["w", "ws", *(["fw"] if self.reverse else []), *(b.name for b in self.buffers if b.alone)]
        lines = [
            f"def {self.name}_loop(b0, b1, d, k, {', '.join(self.arrays)}):",
            *(f"    # {line}".rstrip() for line in describe(schedule, self.buffers)),
            "    T = integer(d, 0)",
            "    B = integer(d, 1)",
            *("    " + line for line in head + loop),
            "",
            "",
            "@loop",
            f"def {self.name}(b0, b1, a):",
            *(f"    {name} = array(a, {i})" for i, name in enumerate(["k", *self.arrays], 1)),
            f"    {self.name}_loop(b0, b1, integers(a, 0), k, {', '.join(self.arrays)})",
        ]
        return "\n".join(lines) + "\n"

    def _product(self, product: Product) -> list[str]:
        lead = product.members[0]
        for place in (*(m.place for m in product.members), *(self.schedule.place_of(a) for a, _ in lead.terms)):
            assert place is not None
            self.touched.setdefault((place.buffer, place.part), set()).add(None)
        out = self.array(product.buffer)
        assert lead.place is not None
        offset, ldc = self.first_row(lead.place), self.ld(product.buffer)
        columns = self.int("columns", product)
        lines = [f"# {SchedulePrinter(sizes=False).product(product)}"]
        operands = []
        for i, run in enumerate(product.sources):
            place = self.schedule.place_of(lead.terms[run[0]][0])
            depth, packed = self.int("depth", product, i), self.int("packed", product, i)
            a = f"{self.array(place.buffer)}, {self.first_row(place)}, {self.ld(place.buffer)}"
            operands.append((a, depth, packed))
        if not any(m.before for m in product.members):
            (a, depth, packed), second = operands[0], operands[1:2]
            a2, depth2, packed2 = second[0] if second else (a, "0", packed)
            lines.append(
                f"gemm2({a}, {depth}, w, {packed}, {a2}, {depth2}, w, {packed2}, w, {self.int('bias', product)}, "
                f"end - b0, {columns}, {out}, {offset}, {ldc})"
            )
            operands = operands[2:]
        for a, depth, packed in operands:
            lines.append(f"gemm({a}, end - b0, {depth}, w, {packed}, {columns}, {out}, {offset}, {ldc}, True)")
        return lines

    # ---- elementwise maths, row by row

    def _rows(self, levels) -> list[str]:
        lines: list[str] = []
        self.row_starts, self.row_values = {}, {}
        for level in levels:
            stores = [s for s in self.schedule.stores if s.level == level]
            reductions = [
                s for s in self.schedule.order if is_reduction(s) and self.schedule.level_of(s.args[0]) == level
            ]
            groups: dict[Any, tuple[list, list]] = {}
            for store in stores:
                key = "1" if store.width == 1 else self.width_class[store.shaped.uid]
                groups.setdefault(key, ([], []))[0].append(store)
            for r in reductions:
                groups.setdefault(self.width_class[r.args[0].uid], ([], []))[1].append(r)
            for key in sorted(groups, key=str):
                lines += Sweep(self, level, key).emit(*groups[key])
        lines = [f"{name} = {code}" for code, name in self.row_starts.items()] + lines
        return ["for b in range(b0, end):", *("    " + line for line in lines)] if lines else []
