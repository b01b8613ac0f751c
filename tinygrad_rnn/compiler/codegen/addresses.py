"""Address book of a loop: names of values, and their offsets in buffers as integer expressions.

The expressions are sums, products and shifts of names, which mean the same in Python and in C.
"""

from __future__ import annotations

import re

import numpy as np

from ..ir.rearranged import Table
from ..ir.symbol import Symbol
from ..schedule.buffers import Buffer, BufferKind, Place
from ..schedule.extents import equal_rows, equal_widths
from ..schedule.schedule import Schedule
from .array_names import ARENA, FORWARD_ARENA, PACKED

NAME = re.compile(r"[A-Za-z_]\w*")  # in generated text
MOST_LANES = 16  # of any machine's vectors

# written into the source; other numbers may be a cell's settings
LITERALS = {0.0: "zero", 1.0: "one", 2.0: "two", 0.5: "half", -1.0: "minus_one"}

SUM_SHIFT = ("sum_shift", None)  # the integer that says how many rows share a partial sum


class AddressBook:
    """Names and offsets in a generated loop, with a record of the arguments that it takes.

    Parameters
    ----------
    schedule : Schedule
    reverse : bool
        Whether the loop runs from late steps to early ones.
    local : set of (Buffer, int)
        Parts of scratch buffers that only one loop over rows touches: they have one row.

    Attributes
    ----------
    ints : list of tuple
        What to put into ``dims``: ("at", buffer, part, start), ("ld", buffer), ("width", uid), ("packed", product,
        source), ("bias", product), ("vector", uid), ("vector_ld", uid), ...
    int_names : dict
        Their names.
    keys : dict
        Name -> key of each of them.
    named : set of str
        Names of values and counters.
    repeated : list of lists of tuple
        Tables of integers: keys, for one repetition after the other.
    numbers : list of float
        What to put into ``consts``.
    literals : set of float
        Numbers that the source holds.
    vectors : dict
        uid -> Symbol: invariants that elementwise maths reads.
    looked_up : dict
        Name of an array -> Symbol: parameters of which elementwise maths looks up numbers, where they lie in memory.
    buffers : list of Buffer
        Those that the loop reads or writes.
    starts : dict
        Where a thread's only row of each local part is: name -> expression.
    touched : dict
        (buffer, part) -> loops over rows, by their first level; None is a product.
    """

    def __init__(self, schedule: Schedule, reverse: bool, local: set[tuple[Buffer, int]] = frozenset()):  # type: ignore[assignment]
        self.schedule, self.reverse, self.local = schedule, reverse, local
        self.width_class = equal_widths(schedule)
        self.row_class = equal_rows(schedule, self.width_class)
        self.ints: list[tuple] = []
        self.int_names: dict[tuple, str] = {}
        self.keys: dict[str, tuple] = {}
        self.named: set[str] = set()
        self.repeated: list[list[tuple]] = []
        self.named_buffers: set[Buffer] = set()  # with an offset that has a name
        self.repeated_at: list[int] = []  # where each table begins in `ints`
        self.counts: dict[str, int] = {}  # of integers of each kind
        self.tables: dict[Table, np.ndarray] = {}  # of numbers of features, with more behind them for a whole vector
        self.numbers: list[float] = []
        self.literals: set[float] = set()
        self.vectors: dict[int, Symbol] = {}
        self.looked_up: dict[str, Symbol] = {}
        self.buffers: list[Buffer] = []
        self.known: set[Buffer] = set()  # the same
        self.starts: dict[str, str] = {}
        self.touched: dict[tuple[Buffer, int], set[int | None]] = {}
        self.assigned: dict[str, int] = {}  # names of variables, and how often they were asked for
        self.pieces: dict[int, int] = {}  # of rows that have gone into a total: uid of the reduction -> how many
        self.loop: int | None = None  # over rows, by its first level
        self.row_starts: dict[str, str] = {}  # of the rows of the loop at hand: expression -> name
        self.row_codes: dict[str, str] = {}  # the other way round
        self.row_values: dict[int, str] = {}  # numbers of the row at hand that have been computed: uid -> name

    def begin_rows(self, level: int) -> None:
        """Begin a loop over rows, named by its first level; names of rows and row values are its own."""
        self.loop = level
        self.row_starts, self.row_codes, self.row_values = {}, {}, {}

    def end_rows(self) -> None:
        self.loop = None
        self.row_codes = {}

    # ---- names

    def array(self, buffer: Buffer) -> str:
        """Name of the array that holds `buffer`: its own, this loop's arena or the forward loop's."""
        if buffer not in self.known:
            self.known.add(buffer)
            self.buffers.append(buffer)
        return buffer.name if buffer.standalone else ARENA if buffer.owner == self.schedule.prefix else FORWARD_ARENA

    def parameter(self, s: Symbol) -> str:
        """Name of the array of a parameter as the caller gives it."""
        name = next((name for name, other in self.looked_up.items() if other is s), f"looked_up_{len(self.looked_up)}")
        self.looked_up[name] = s
        return name

    @property
    def arrays(self) -> list[str]:
        """Names of the arrays that the loop takes after ``dims`` and ``consts``."""
        return [
            PACKED,
            ARENA,
            *([FORWARD_ARENA] if self.reverse else []),
            *(b.name for b in self.buffers if b.standalone),
            *self.looked_up,
        ]

    def int(self, *key) -> str:
        """Name of an integer of the loop, by its key; see :attr:`ints`."""
        if key not in self.int_names:
            kind = key[0]
            count = self.counts[kind] = self.counts.get(kind, -1) + 1
            if kind == "at":
                part, start = key[2:]
                label = f"{key[1].name}_at{part or ''}" + (f"_{count}" if start else "")
            else:
                label = f"{key[1].name}_ld" if kind == "ld" else f"{kind}_{count}"
            self.int_names[key] = label
            self.keys[label] = key
            self.ints.append(key)
        return self.int_names[key]

    def number(self, value: float) -> str:
        """Name of a vector with a number in all lanes."""
        value = float(value)
        if value in LITERALS:
            self.literals.add(value)
            return LITERALS[value]
        if value not in self.numbers:
            self.numbers.append(value)
        return f"k_{self.numbers.index(value)}"

    def table(self, table: Table) -> str:
        """Name of the address of a table of numbers."""
        if table not in self.tables:
            self.tables[table] = np.concatenate([table.numbers, np.full(MOST_LANES, -1)])
        return self.int("table", table)

    def unique(self, name: str) -> str:
        """A name that has not been used: assigned to once, it is a value for LLVM and no variable."""
        count = self.assigned[name] = self.assigned.get(name, 0) + 1
        name = name if count == 1 else f"{name}_{count}"
        self.named.add(name)
        return name

    # ---- tables of integers

    def code(self, name: str) -> str:
        """What an offset with a name is computed from: integers; or its name, if it is one of them."""
        return self.starts.get(name) or self.row_codes.get(name) or name

    def repeats(self, rows: list[list[str]]) -> str:
        """Name of where a table of the integers with these names begins."""
        self.repeated.append([self.keys[name] for row in rows for name in row])
        return self.int("repeats", len(self.repeated) - 1)

    def in_text(self, buffer: Buffer) -> bool:
        """Whether the text names a buffer; others are in tables only."""
        return buffer.standalone or not self.repeated or buffer in self.named_buffers

    def finish(self, text: str) -> None:
        """Leave out names that `text` does not use, as tables stand for them; the tables come behind the rest."""
        if not self.repeated:
            return
        used = set(NAME.findall(text))
        self.starts = {name: code for name, code in self.starts.items() if name in used}
        used.update(name for code in self.starts.values() for name in NAME.findall(code))
        self.ints = [key for key in self.ints if self.int_names[key] in used]
        self.int_names = {key: self.int_names[key] for key in self.ints}
        self.named_buffers = {key[1] for key in self.ints if key[0] == "at"}
        for keys in self.repeated:
            self.repeated_at.append(len(self.ints))
            self.ints += keys

    # ---- addresses

    def ld(self, buffer: Buffer) -> str:
        """Name of the row stride of a buffer; buffers whose rows are equally wide share one."""
        return self.int("ld", self.row_class.get(buffer, buffer))

    def row(self, place: Place) -> str:
        """Offset of row ``b`` of a place at this time step, in elements; records the use."""
        buffer = place.buffer
        at = self._at(place)
        if buffer.kind is BufferKind.SCRATCH:
            key = buffer, place.part
            self.touched.setdefault(key, set()).add(self.loop)
            if key in self.local:  # one row for all of them stays in the cache
                # the thread's own row, so that threads do not share one
                name = f"{at}_own"
                self.starts[name] = f"{at} + {self._rows_before(place, 'own')}"
                return name
        # named once per loop over rows, for all buffers with equally wide rows
        code = self._rows_before(place, "b")
        if code not in self.row_starts:
            self.row_starts[code] = self.unique("row")
            self.row_codes[self.row_starts[code]] = code
        name = self.row_starts[code]
        return f"{at} + {name}" if at else name

    def first_row(self, place: Place) -> str:
        """Offset of row ``b0`` in one expression, for a product over all rows."""
        at, before = self._at(place), self._rows_before(place, "b0")
        return f"{at} + {before}" if at else before

    def _at(self, place: Place) -> str:
        """Offset of a place in row 0 of its buffer; empty if zero."""
        whole = place.buffer.standalone and not place.part and not place.start
        return "" if whole else self.int("at", place.buffer, place.part, place.start)

    def _rows_before(self, place: Place, b: str) -> str:
        """Elements of the buffer before row `b` of this time step."""
        kind, next_step, ld = place.buffer.kind, place.next_step, self.ld(place.buffer)
        if kind is BufferKind.PARTIAL_SUM:
            return f"({b} >> {self.int(*SUM_SHIFT)}) * {ld}"
        if kind in (BufferKind.SCRATCH, BufferKind.ACCUMULATOR):
            return f"{b} * {ld}"
        if kind is BufferKind.DOUBLE_BUFFER:
            # turns are taken in the order in which steps run, so the last result is in slot T & 1 of either loop
            slot = "s" if self.reverse else "t"
            # whole slots of B rows: going forward, segments that have not begun hold their initial state in both
            return f"(({f'({slot} + 1)' if next_step else slot} & 1) * B + {b}) * {ld}"
        return f"({'after' if next_step else 'first'} + {b}) * {ld}"
