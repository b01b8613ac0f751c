"""Nested loops over the features of one row that lie along several axes, the last one in vectors."""

from __future__ import annotations

import math
from typing import Any

from ...errors import CompileError
from ..ir.lane_language import Input, Tree, reduction_code, walk
from ..ir.printer import is_reduction
from ..ir.program_ops import EXPAND, GATHER, JOIN, SLICE
from ..ir.rearranged import Dims, axes_of, fit, starts
from ..ir.symbol import Symbol
from ..schedule.buffers import BufferKind, Place, Store, Sum
from ..schedule.schedule import Schedule
from .addresses import AddressBook
from .loop_writer import LoopWriter
from .repetitions import Repetitions
from .vector_loop import Piece, VectorLoop, is_stored

Sweep = tuple[list[Store], list[Piece], list[int]]  # what one nest of loops computes, and its units


class NestedLoop(VectorLoop):
    """A vector loop with a loop around it for each axis but the last.

    Parameters
    ----------
    units : list of int
        Features that one turn of each outer loop goes over, from the outermost on; the last is the length of the axis
        in vectors.
    """

    def __init__(self, book: AddressBook, writer: LoopWriter, level: int, key: Any, units: list[int]):
        super().__init__(book, writer, level, key)
        self.units = units
        self.width = book.schedule.live[key].width
        self.counters = [book.unique("axis") for _ in units]
        self.bases = [book.unique("base") for _ in units]
        self.lane = book.unique("lane")  # the first of a vector, within the last axis
        self.before: list[list[str]] = [[] for _ in units]  # in each loop, before the one in it
        self.after: list[list[str]] = [[] for _ in units]

    def emit(self, stores: list[Store], pieces: list[Piece], rolling: Repetitions | None = None) -> list[str]:
        writer = self.writer
        self._store_all(stores)
        for r, i in pieces:
            self._reduce(r, i)
        if not self.body:
            return self.head + self.tail
        self._roll(rolling, [self.head, self.tail, *self.before, *self.after])
        last = self._size(self.units[-1], "unit", len(self.units) - 1)
        lanes = {self.left: writer.lanes_left(last, self.lane), self.live: writer.first_lanes(f"{last} - {self.lane}")}
        used = [writer.assign(name, code) for name, code in lanes.items() if any(name in line for line in self.body)]
        place = writer.assign(self.j, f"{self.bases[-1]} + {self.lane}")
        lines = writer.vectors(self.lane, last, [place, *used, *self.body])
        # from the innermost loop out: loop k turns once for each of its units in a unit of the loop around it
        whole = [self.width, *self.units]
        for k in reversed(range(len(self.units))):
            base = f"{self.counters[k]} * {self._size(self.units[k], 'unit', k)}"
            if k:
                base = f"{self.bases[k - 1]} + {base}"
            lines = [writer.assign(self.bases[k], base), *self.before[k], *lines, *self.after[k]]
            lines = writer.repeat(self.counters[k], self._size(whole[k] // whole[k + 1], "turns", k), lines)
        return self.head + lines + self.tail

    def _size(self, n: int, *whose: Any) -> str:
        """Name of a size, which is no number in the source."""
        return self.book.int("size", n, self.book.loop, self.level, self.key, *whose)

    # ---- where the features of operands are

    def _offset(self, dims: Dims, whose: Any, loops: int) -> tuple[str, int]:
        """Offset of what has some axes of the row, in the outer `loops`; and how many of them it depends on."""
        terms, depth = [], 0
        for k in range(loops):
            # features behind an axis, in the row and in what has some of its axes only
            flat, own = 1, 1
            for n, kept in reversed(dims):
                if flat <= self.units[k] < flat * n:
                    if kept:
                        stride = self._size(self.units[k] // flat * own, "stride", whose, k)
                        terms.append(f"{self.counters[k]} * {stride}")
                        depth = k + 1
                    break
                flat, own = flat * n, own * n if kept else own
        return " + ".join(terms), depth

    def _at(self, row: str, offset: str) -> str:
        return f"{row} + {offset}" if offset else row

    def _repeated(self, s: Symbol) -> str:
        book, writer, dims = self.book, self.writer, s.static["dims"]
        place = self.schedule.place_of(s.args[0])
        array, row = book.array(place.buffer), book.row(place)
        offset, depth = self._offset(dims, s.uid, len(self.units))
        at = book.unique("at")
        known = self.before[depth - 1] if depth else self.head
        known.append(writer.assign(at, self._at(row, offset)))
        if dims[-1][1]:
            count = self.left if place.buffer.kind is BufferKind.EXTERNAL else ""
            code, out = writer.load(array, f"{at} + {self.lane}", count), self.body
        else:
            code, out = writer.broadcast(array, at), known
        name = self.names[s.uid] = book.unique(s.name)
        out.append(writer.assign(name, writer.is_true(code) if s.dtype.kind == "b" else code))
        return name

    # ---- stores

    def _write(self, store: Store, array: str, at: str, x: str) -> None:
        """Lanes beyond the axis belong to the next ones: they are left alone."""
        if store.zero_padded:
            self._clear_end(store.place)
        self.body.append(self.writer.store(array, at, x, self.left))

    def _clear_end(self, place: Place) -> None:
        """Let lanes behind a row be zero, as products read it as a whole."""
        array, row = self.book.array(place.buffer), self.book.row(place)
        last = self.book.int("last_vector", place.buffer.parts[place.part])
        # first of all: what belongs to the row is then written over these zeros
        self.head.append(self.writer.store(array, f"{row} + {last}", self._number(0)))

    # ---- reductions

    def _reduce(self, r: Symbol, i: int) -> None:
        if "along" not in r.static:
            super()._reduce(r, i)
            return
        book, writer = self.book, self.writer
        code = reduction_code(r.op, r.static)  # type: ignore[arg-type]
        statics = self._statics(r, code.combine, code.finish, code.each)
        start = writer.constant(code.init) if math.isinf(code.init) else self._number(code.init)
        x = writer.expression(code.each.tree, [self.value(r.args[0], False)], statics)
        _, length, inner = r.static["along"]
        dims = axes_of(r.static["along"])
        place = self.schedule.places[r.uid]
        array, row = book.array(place.buffer), book.row(place)
        if any(store.place == place and store.zero_padded for store in self.schedule.stores):
            self._clear_end(place)
        around = sum(unit >= length * inner for unit in self.units)
        before, after = (self.before[around - 1], self.after[around - 1]) if around else (self.head, self.tail)
        at = book.unique("at")
        before.append(writer.assign(at, self._at(row, self._offset(dims, r.uid, around)[0])))

        def combined(a: str, b: str) -> str:
            if sum(node == Input(1) for node in walk(code.combine.tree)) > 1 and not b.isidentifier():
                name = book.unique(f"{r.name}_x")
                self.body.append(writer.assign(name, b))
                b = name
            return writer.expression(code.combine.tree, [a, b], statics)

        def finished(value: str, out: list[str]) -> str:
            name = book.unique(r.name)
            out.append(writer.assign(name, value))
            if code.finish.tree != Input(0):
                value, name = writer.expression(code.finish.tree, [name], statics), book.unique(r.name)
                out.append(writer.assign(name, value))
            return writer.select(name, self._number(1), self._number(0)) if r.dtype.kind == "b" else name

        if inner == 1:
            self._reduce_last_axis(r, array, at, (before, after), (start, x), code.combine.tree, combined, finished)
            return
        # a total for each feature of the axes behind: in its place, as there are more than registers
        n = self._size(inner, "inner", r.uid)
        i2 = book.unique("inner")
        before += writer.vectors(i2, n, [writer.store(array, f"{at} + {i2}", start, writer.lanes_left(n, i2))])
        deep = book.unique("at")
        self.before[-1].append(writer.assign(deep, self._at(row, self._offset(dims, r.uid, len(self.units))[0])))
        so_far = book.unique(f"{r.name}_total")
        self.body.append(writer.assign(so_far, writer.load(array, f"{deep} + {self.lane}")))
        new = book.unique(f"{r.name}_total")
        self.body.append(writer.assign(new, combined(so_far, x)))
        self.body.append(writer.store(array, f"{deep} + {self.lane}", new, self.left))
        if code.finish.tree != Input(0):
            i2 = book.unique("inner")
            lines: list[str] = []
            value = finished(writer.load(array, f"{at} + {i2}"), lines)
            lines.append(writer.store(array, f"{at} + {i2}", value, writer.lanes_left(n, i2)))
            after += writer.vectors(i2, n, lines)

    def _reduce_last_axis(
        self,
        r: Symbol,
        array: str,
        at: str,
        around: tuple[list[str], list[str]],
        numbers: tuple[str, str],
        combine: Tree,
        combined: Any,
        finished: Any,
    ) -> None:
        """A total for each turn of the outer loops, in a register."""
        (before, after), (start, x), writer = around, numbers, self.writer
        total = self.book.unique(f"r{r.uid}")
        before.append(writer.assign(total, start))
        self.body.append(writer.assign(total, combined(total, writer.select(self.live, x, start))))
        lines, value = writer.across(total, combine, self.book.unique)
        after += lines
        after.append(writer.store(array, at, finished(value, after), "1"))


# ---- which values go through one nest of loops


def sweeps(schedule: Schedule, level: int, stores: list[Store], pieces: list[Piece]) -> list[Sweep]:
    """What is stored and reduced by each nest of loops: all by one, if their axes fit together."""
    found: list[tuple[list[Store], list[Piece], set[int]]] = []
    items: list[Any] = [*stores, *pieces]
    known: dict[int, frozenset[int]] = {}
    for item in items:
        units = _units(schedule, level, item, known)
        if not fit(units):
            value = item.value if isinstance(item, Store) else item[0]
            where = value.where if isinstance(value, Symbol) else "?"
            raise CompileError(f"a value at {where}: its axes cut a row in ways that no nest of loops has")
        for sweep in found:
            if fit(units | sweep[2]):
                break
        else:
            sweep = ([], [], set())
            found.append(sweep)
        (sweep[0] if isinstance(item, Store) else sweep[1]).append(item)
        sweep[2].update(units)
    return [(s, p, sorted(units, reverse=True)) for s, p, units in found]


def _units(schedule: Schedule, level: int, item: Store | Piece, known: dict[int, frozenset[int]]) -> set[int]:
    """Features behind each place where axes begin, of all that is computed for a store or a reduction.

    Those of operands are `known` by uid once they were looked for, as values share most of what they are computed from.
    """
    if isinstance(item, Store):
        if not isinstance(item.value, Sum):
            found, operands = _own_units(schedule, level, item.value, True)
            return found.union(*(_units_behind(schedule, level, s, known) for s in operands))
        return set().union(*(_units_behind(schedule, level, t, known) for t in item.value.terms))
    r, i = item
    along = starts(axes_of(r.static["along"])) if "along" in r.static else set()
    return along | _units_behind(schedule, level, r.args[i], known)


def _units_behind(schedule: Schedule, level: int, root: Any, known: dict[int, frozenset[int]]) -> frozenset[int]:
    if not isinstance(root, Symbol):
        return frozenset()
    stack = [root]
    while stack:
        s = stack[-1]
        if s.uid not in known:
            found, operands = _own_units(schedule, level, s, False)
            missing = [a for a in operands if a.uid not in known]
            if missing:
                stack += missing
                continue
            known[s.uid] = frozenset(found).union(*(known[a.uid] for a in operands))
        stack.pop()
    return known[root.uid]


def _own_units(schedule: Schedule, level: int, s: Any, fresh: bool) -> tuple[set[int], list[Symbol]]:
    """What a value itself adds, and what it is computed from here; a `fresh` one is not stored yet."""
    if not isinstance(s, Symbol) or not s.varying or s.uid in schedule.sources or s.op is SLICE or s.op is JOIN:
        return set(), []
    acc = schedule.accumulations.get(s.uid)
    kept = not fresh or is_reduction(s) or acc is not None
    if s.uid in schedule.places and kept and is_stored(schedule, s, level):
        return set(), []
    operands: Any = ()
    if acc is not None:
        operands = acc.epilogue_terms
    elif s.op is EXPAND:
        return set(starts(s.static["dims"])), []
    elif s.op is not GATHER and not is_reduction(s):
        operands = s.args
    return set(), [a for a in operands if isinstance(a, Symbol)]
