"""Vector loops: the code of elementwise maths and reductions over the features of one row."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from ..ir.lane_language import Code, Input, elementwise_code, reduction_code, walk
from ..ir.printer import is_reduction
from ..ir.program_ops import CAST, EXPAND, GATHER, JOIN, LOOKUP, SLICE
from ..ir.symbol import Symbol
from ..schedule.buffers import BufferKind, Place, Store, Sum
from ..schedule.schedule import Schedule
from .addresses import NAME, AddressBook
from .array_names import PACKED
from .loop_writer import LoopWriter
from .repetitions import BETWEEN_LINES, Repetitions

MANY = 24  # stores in one sweep
Piece = tuple[Symbol, int]  # of a row that a reduction goes over: the reduction, and which of its operands


class VectorLoop:
    """A fused elementwise loop over the features of a row: the values of one level and one width.

    Parameters
    ----------
    book : AddressBook
    writer : LoopWriter
    level : int
    key : int or "1"
        The uid of the first value of this width, see :func:`.equal_widths`; "1": numbers of a row, without a loop.
    """

    def __init__(self, book: AddressBook, writer: LoopWriter, level: int, key: Any):
        self.book, self.writer = book, writer
        self.schedule = book.schedule
        self.level = level
        self.scalar = key == "1"
        self.key = key
        self.head: list[str] = []  # once per row
        self.body: list[str] = []  # once per vector of features
        self.tail: list[str] = []  # once per row, after the features
        # numbers of this row that earlier sweeps of the same loop over rows have left in variables
        self.names = dict(book.row_values)  # uid -> variable
        self.j, self.live, self.left = (book.unique(name) for name in ("j", "live", "left"))
        self.computed: list[Symbol] = []

    def emit(self, stores: list[Store], pieces: list[Piece], rolling: Repetitions | None = None) -> list[str]:
        """Lines of the loop that writes these values, and reduces these pieces of rows.

        With `rolling`, lines that repeat each other become loops.
        """
        book, writer = self.book, self.writer
        self._store_all(stores)
        for r, i in pieces:
            self._reduce(r, i)
        if self.scalar or not self.body:
            return self.head + self.body + self.tail
        self._roll(rolling, [self.head, self.tail])
        n = book.int("width", self.key)
        lanes = {self.left: writer.lanes_left(n, self.j), self.live: writer.first_lanes(f"{n} - {self.j}")}
        used = [writer.assign(name, code) for name, code in lanes.items() if any(name in line for line in self.body)]
        return self.head + writer.vectors(self.j, n, used + self.body) + self.tail

    def _roll(self, rolling: Repetitions | None, around: list[list[str]]) -> None:
        """Let repetitions in the body be loops; `around` are the lines before and behind it."""
        if rolling is not None:
            outside = {name for lines in around for line in lines for name in NAME.findall(line)}

            def rolled(body: list[str]) -> list[str]:
                parts = rolling.roll([[line] for line in body], BETWEEN_LINES, outside)
                return [line for part in parts for line in part]

            # in this order first: a sum over all repetitions may else be behind them
            early = rolled(self._computed_early())
            self.body = early if len(early) < len(self.body) else rolled(self.body)

    def _computed_early(self) -> list[str]:
        """The lines of the body, those that compute as soon as what they read is loaded."""
        computed = {self.names[s.uid] for s in self.computed if s.uid in self.names}
        after: dict[str, int] = {}  # name -> the line without which it cannot be computed
        order = []
        for i, line in enumerate(self.body):
            name, at = self.writer.defined(line), i
            if name in computed:
                at = max((after[n] for n in NAME.findall(line) if n != name and n in after), default=i)
            if name:
                after[name] = at
            order.append((at, i))
        return [self.body[i] for _, i in sorted(order)]

    # ---- reductions

    def _reduce(self, r: Symbol, i: int) -> None:
        """Write the reduction of one operand of `r` into its total; the last operand finishes it."""
        book, writer = self.book, self.writer
        code = reduction_code(r.op, r.static)  # type: ignore[arg-type]
        statics = self._statics(r, code.combine, code.finish, code.each)
        total = book.unique(f"r{r.uid}")
        start = writer.constant(code.init) if math.isinf(code.init) else self._number(code.init)

        def combined(a: str, b: str, lines: list[str]) -> str:
            # an operand that is written down twice would be computed twice
            if sum(node == Input(1) for node in walk(code.combine.tree)) > 1 and not b.isidentifier():
                name = book.unique(f"{r.name}_x")
                lines.append(writer.assign(name, b))
                b = name
            return writer.expression(code.combine.tree, [a, b], statics)

        x = writer.expression(code.each.tree, [self.value(r.args[i], False)], statics)
        self.head.append(writer.assign(total, start))
        # lanes beyond the row hold anything: they count as the neutral number
        self.body.append(writer.assign(total, combined(total, writer.select(self.live, x, start), self.body)))
        lines, value = writer.across(total, code.combine.tree, book.unique)
        self.tail += lines
        done = book.pieces[r.uid] = book.pieces.get(r.uid, 0) + 1
        place = self.schedule.places[r.uid]
        if done > 1:
            # the earlier operands' total: in a variable, or stored if a product has come in between
            before = book.row_values.get(r.uid) or writer.broadcast(book.array(place.buffer), book.row(place))
            before, value = self._named(r, before), self._named(r, value)
            value = combined(before, value, self.tail)
        if done == len(r.args) and code.finish.tree != Input(0):
            value = writer.expression(code.finish.tree, [self._named(r, value)], statics)
        name = book.row_values[r.uid] = self._named(r, value)
        if (place.buffer, place.part) not in book.local or r.uid in self.schedule.read_elsewhere:
            kept = writer.select(name, self._number(1), self._number(0)) if self._is_mask(r, done) else name
            self.tail.append(writer.store(book.array(place.buffer), book.row(place), kept))

    def _named(self, r: Symbol, value: str) -> str:
        if value in self.book.assigned:
            return value
        name = self.book.unique(r.name)
        self.tail.append(self.writer.assign(name, value))
        return name

    @staticmethod
    def _is_mask(r: Symbol, done: int) -> bool:
        return r.dtype.kind == "b" and done == len(r.args)

    # ---- stores

    def _store_all(self, stores: list[Store]) -> None:
        if len(stores) > MANY:  # each when its value is there, so that registers are free again
            stores = sorted(stores, key=lambda s: s.value.uid if isinstance(s.value, Symbol) else s.shaped.uid)
        for store in stores:
            self._store(store)

    def _store(self, store: Store) -> None:
        """Write the code of a store, unless the value is there: a source, or a reduction, which stores itself."""
        book, writer, place = self.book, self.writer, store.place
        if (
            isinstance(store.value, Symbol)
            and self.schedule.places.get(store.value.uid) == place
            and (is_reduction(store.value) or store.value.uid in self.schedule.sources)
        ):
            return
        if isinstance(store.value, Sum):
            x = self.writer.add([self.value(t, self.scalar) for t in store.value.terms])
        else:
            # computed, and not loaded from the place to which it is about to go
            x = self.value(store.value, self.scalar, fresh=True)
            if store.value.dtype.kind == "b":
                # buffers hold numbers of one dtype
                x = writer.select(x, self._number(1), self._number(0))
        array, at = book.array(place.buffer), book.row(place) + ("" if self.scalar else f" + {self.j}")
        if store.add:
            x = self.writer.add([writer.load(array, at), x])
        self._write(store, array, at, x)

    def _write(self, store: Store, array: str, at: str, x: str) -> None:
        writer = self.writer
        if store.masked:
            self.body.append(writer.store(array, at, x, "1" if self.scalar else self.left))
            return
        if store.zero_padded:
            live = writer.first_lanes("1") if self.scalar else self.live
            x = writer.select(live, x, self._number(0))
        self.body.append(writer.store(array, at, x))

    # ---- values

    def value(self, s: Any, scalar: bool, fresh: bool = False) -> str:
        """Name of the variable that holds `s`; writes the code that loads or computes it if need be."""
        schedule = self.schedule
        if not isinstance(s, Symbol):
            return self._number(s)
        if s.uid in self.names:
            return self.names[s.uid]
        scalar = scalar or (s.width == 1 if s.varying else s.shape[-1:] in ((), (1,)))
        # a number that is the same for all features is computed once per row, before the loop over features
        out = self.body if self.scalar or not scalar else self.head
        if not s.varying:
            code = self._invariant(s)
        elif s.uid in schedule.sources:
            code = self._load(s, schedule.sources[s.uid], scalar)
        elif s.op is SLICE or s.op is JOIN:
            code = self._load(s, schedule.place_of(s), scalar)
        elif (
            s.uid in schedule.places
            and (not fresh or is_reduction(s) or s.uid in schedule.accumulations)
            and is_stored(schedule, s, self.level)
        ):
            code = self._load(s, schedule.places[s.uid], scalar)
        elif s.uid in schedule.accumulations:
            acc = schedule.accumulations[s.uid]
            assert acc.place is not None
            code = self.writer.add(
                [self._load(s, acc.place, scalar), *(self.value(t, scalar) for t in acc.epilogue_terms)]
            )
        elif s.op is GATHER:
            code = self._picked(s, scalar)
        elif s.op is LOOKUP:
            code = self._looked_up(s, scalar)
        elif s.op is EXPAND:
            return self._repeated(s)
        else:
            code = self._compute(s, scalar)
        name = self.names[s.uid] = self.book.unique(s.name)
        out.append(self.writer.assign(name, code))
        if scalar and s.varying:
            self.book.row_values[s.uid] = name
        return name

    def _number(self, value: float) -> str:
        return self.book.number(value)

    def _statics(self, s: Symbol, *codes: Code) -> dict[str, str]:
        """Names of the vectors of static parameters that expressions read."""
        return {name: self._number(s.static[name]) for code in codes for name in sorted(code.statics)}

    def _compute(self, s: Symbol, scalar: bool) -> str:
        self.computed.append(s)
        if s.op is CAST and s.dtype.kind == "b":
            return self.writer.is_true(self.value(s.args[0], scalar))
        if s.op is CAST:
            return self.writer.select(self.value(s.args[0], scalar), self._number(1), self._number(0))
        code = elementwise_code(s.op, len(s.args), s.static)  # type: ignore[arg-type]
        args = [self.value(a, scalar) for a in s.args]
        return self.writer.expression(code.tree, args, self._statics(s, code))

    def _picked(self, s: Symbol, scalar: bool) -> str:
        """Features of another row, by constant numbers; neighbours are loaded as they lie there."""
        place, table = self.schedule.place_of(s.args[0]), s.static["table"]
        if table.start is not None:
            return self._load(s, replace(place, start=place.start + table.start), scalar)
        code = self.writer.gather(self.book.array(place.buffer), self.book.row(place), self.book.table(table), self.j)
        return self.writer.is_true(code) if s.dtype.kind == "b" else code

    def _looked_up(self, s: Symbol, scalar: bool) -> str:
        """Numbers of a parameter, at places that are computed."""
        (table, places), book = s.args, self.book
        array = book.parameter(table)
        count = book.int("size", table.size, array)
        return self.writer.look_up(array, self.value(places, scalar), count)

    def _repeated(self, s: Symbol) -> str:
        raise AssertionError(f"{s.name} is repeated along axes of a row, in a loop without axes")

    def _load(self, s: Symbol, place: Place, scalar: bool) -> str:
        array, at = self.book.array(place.buffer), self.book.row(place)
        if scalar:
            code = self.writer.broadcast(array, at)
        else:
            # rows of the caller's are not padded: a whole vector would reach beyond the end of the array
            code = self.writer.load(
                array, f"{at} + {self.j}", self.left if place.buffer.kind is BufferKind.EXTERNAL else ""
            )
        return self.writer.is_true(code) if s.dtype.kind == "b" else code

    def _invariant(self, s: Symbol) -> str:
        """The expression that loads an invariant from the packed parameters."""
        book = self.book
        book.vectors[s.uid] = s
        at = book.int("vector", s.uid)
        rows = s.ndim == 2 and s.shape[0] != 1
        if rows:
            at = f"{at} + b * {book.int('vector_ld', s.uid)}"
        if s.shape[-1:] not in ((), (1,)):
            at += f" + {self.j}"
        # packing has copied a lone number to all lanes of a vector, but one for each row to its first lane only
        code = self.writer.broadcast(PACKED, at) if rows and s.shape[1] == 1 else self.writer.load(PACKED, at)
        return self.writer.is_true(code) if s.dtype.kind == "b" else code


def is_stored(schedule: Schedule, s: Symbol, level: int) -> bool:
    """Whether the place of `s` is written before the loops over features of a level run."""
    acc = schedule.accumulations.get(s.uid)
    if acc is not None:
        return not acc.epilogue_terms or schedule.level_of(s) < level
    return is_reduction(s) or schedule.level_of(s) < level
