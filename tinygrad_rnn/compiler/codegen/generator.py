"""Code generation: a schedule becomes the source of one function, in the language of a writer.

The source holds no sizes. Row strides, part offsets and widths come in as integers ``dims``, numbers of the step as
``consts``, so that one program in one dtype is one file, whatever T, the batch and the layer sizes are.

Sequences need not be of one length: they end together, the longest first, so that a step takes the first rows of the
batch only. The end of ``dims`` holds the number of rows before each step; step t has as many rows as the number
after its own is greater.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..ir.heads import heads_of
from ..ir.printer import is_reduction
from ..ir.symbol import Symbol
from ..schedule.buffers import Place, Store
from ..schedule.printer import SchedulePrinter, describe
from ..schedule.schedule import Product, Schedule
from .addresses import LITERALS, NAME, SUM_SHIFT, AddressBook
from .loop_writer import HeadsOperand, LoopWriter, Operand, Target
from .nested_loop import NestedLoop, sweeps
from .repetitions import BETWEEN_LOOPS, Part, Repetitions
from .vector_loop import Piece, VectorLoop

TILE_ROWS = 6  # of a product; so many heads that share a matrix fill it


class LoopGenerator:
    """Generator of the source of one loop, forward or backward.

    Parameters
    ----------
    schedule : Schedule
    name : str
        Of the function.
    reverse : bool
        Whether it runs from late steps to early ones.
    writer : LoopWriter
        What prints statements and expressions.

    Attributes
    ----------
    source : str
    book : AddressBook
        What the loop wants to be given.
    loops : list of (int, list of Symbol)
        The level, and what is computed, of each sweep over a row.
    """

    def __init__(self, schedule: Schedule, name: str, reverse: bool, writer: LoopWriter):
        self.schedule, self.name, self.reverse, self.writer = schedule, name, reverse, writer
        self.stores: dict[int, list[Store]] = {}  # level -> what sweeps store there
        for store in schedule.stores:
            self.stores.setdefault(store.level, []).append(store)
        self.pieces: dict[int, list[Piece]] = {}  # level -> what sweeps reduce there
        for r in filter(is_reduction, schedule.order):
            for i, a in enumerate(r.args):
                self.pieces.setdefault(schedule.level_of_pass(r, a), []).append((r, i))
        # generated twice: which scratch one loop alone touches, and so needs one row only, is known when all is written
        self._generate(AddressBook(schedule, reverse), roll=False)
        touched = self.book.touched.items()
        local = {part for part, loops in touched if len(loops) == 1 and None not in loops}
        self.source = self._generate(AddressBook(schedule, reverse, local))

    def _generate(self, book: AddressBook, roll: bool = True) -> str:
        """The source, with names and addresses from `book`, which records what the loop takes.

        If told to `roll`, parts that repeat each other become loops.
        """
        schedule, self.book = self.schedule, book
        self.loops: list[tuple[int, list[Symbol]]] = []
        self.rolling = Repetitions(book, self.writer) if roll else None
        self.repeated: set[int] = set()  # levels whose code is that of others
        parts: list[Part] = []
        levels: list[range] = []  # of the parts
        products: dict[int, list[Product]] = {}
        for product in schedule.products:
            products.setdefault(product.level, []).append(product)
        level = 0
        meet = self.writer.meet()  # between a product, whose columns threads share, and what they do row by row
        while level < schedule.levels:
            found = [self._product(product) for product in products.get(level, ())]
            if found:
                found.append(meet)
            last = level + 1  # levels without a product in between share one loop over rows, which stay in the cache
            while last < schedule.levels and last not in products:
                last += 1
            rows = self._rows(range(level, last))
            found += [rows, meet] if rows and schedule.products else [rows]
            parts += found
            levels += [range(level, last)] * len(found)
            level = last
        parts = self._rolled(parts, levels)
        body = [line for part in parts for line in part]
        shift = book.int_names.get(SUM_SHIFT, "0")
        book.finish("\n".join([*body, shift]))
        loop = self.writer.steps(body, self.reverse, 2 + len(book.ints), shift) if body else []
        return self.writer.function(
            self.name,
            book.arrays,
            describe(schedule, book.buffers, self.repeated, book.in_text) if roll else [],
            {name: x for x, name in LITERALS.items() if x in book.literals},
            [f"k_{i}" for i in range(len(book.numbers))],
            list(book.int_names.values()),
            book.starts,
            loop,
        )

    def _rolled(self, parts: list[Part], levels: list[range]) -> list[Part]:
        """The parts, with loops where they repeat each other; `levels` are those of each one."""
        if self.rolling is None:
            return parts

        def note(start: int, period: int, times: int) -> None:
            stop = start + period * times
            shown = set().union(*levels[: start + period], *levels[stop:])
            self.repeated.update(set().union(*levels[start + period : stop]) - shown)
            levels[start:stop] = [range(levels[start].start, levels[start + period - 1].stop)]

        return self.rolling.roll(parts, BETWEEN_LOOPS, found=note)

    def _product(self, product: Product) -> list[str]:
        """One call of the tile, with its comment."""
        book, lead = self.book, product.members[0]
        # a product reads and writes all rows at once, so what it touches needs all of them
        assert lead.place is not None
        for place in (*(m.place for m in product.members), *(self.schedule.place_of(a) for a, _ in lead.terms)):
            assert place is not None
            book.touched.setdefault((place.buffer, place.part), set()).add(None)
        array, at, ld = book.array(product.buffer), book.first_row(lead.place), book.ld(product.buffer)
        target = Target(book.int("columns", product), array, at, ld)
        operands, heads = [], []
        for i, run in enumerate(product.sources):
            # members have all left operands in common, and the first of a run is where it begins
            place = self.schedule.place_of(lead.terms[run[0]][0])
            if product.has_heads(run):
                heads += [self._heads(product, i, m, place) for m in range(len(product.members))]
                continue
            depth, packed = book.int("depth", product, i), book.int("packed", product, i)
            where = book.array(place.buffer), book.first_row(place), book.ld(place.buffer)
            operands.append(Operand(*where, depth, packed))
        bias = "" if any(m.initial_terms for m in product.members) else book.int("bias", product)
        comment = self.writer.comment(SchedulePrinter(sizes=False).product(product))
        lines = [comment, *self.writer.product(operands, bias, target)]
        # threads have other parts of a product for each head
        return lines + [line for more in heads for line in (*self.writer.meet(), *more)]

    def _heads(self, product: Product, i: int, m: int, place: Place) -> list[str]:
        """The products for each head of one operand, at `place`, which give one member."""
        book, member = self.book, product.members[m]
        found = heads_of(member.terms[product.sources[i][0]][1])
        assert found is not None
        assert member.place is not None
        name = lambda what: book.int(what, product, i, m)
        where = book.array(place.buffer), book.first_row(place), book.ld(place.buffer)
        size, heads = name("head_size"), name("head_heads")
        matrices = "1" if found.matrices == 1 else heads if found.matrices == found.heads else name("head_matrices")
        repeat = "1" if found.repeat == 1 else name("head_repeat")
        operand = HeadsOperand(*where, name("head_rows"), name("head_packed"), size, heads, matrices, repeat)
        target = book.array(product.buffer), book.first_row(member.place), book.ld(product.buffer)
        by_row = found.matrices == 1 and found.heads >= TILE_ROWS
        return self.writer.heads(operand, book.unique("head"), Target(name("head_columns"), *target), by_row)

    def _rows(self, levels: Iterable[int]) -> list[str]:
        """A loop over rows: elementwise maths and reductions, level by level and width by width."""
        book = self.book
        parts: list[Part] = []
        whose: list[range] = []
        levels = list(levels)
        book.begin_rows(levels[0])
        for level in levels:
            groups: dict[Any, tuple[list, list]] = {}
            for store in self.stores.get(level, ()):
                key = "1" if store.width == 1 else book.width_class[store.shaped.uid]
                groups.setdefault(key, ([], []))[0].append(store)
            for r, i in self.pieces.get(level, ()):
                groups.setdefault(book.width_class[r.args[i].uid], ([], []))[1].append((r, i))
            # any order would do, as sweeps read only what is there before their level; a fixed one keeps files the same
            for key in sorted(groups, key=int):
                for stores, pieces, units in sweeps(self.schedule, level, *groups[key]):
                    sweep = VectorLoop(book, self.writer, level, key)
                    if units:
                        sweep = NestedLoop(book, self.writer, level, key, units)
                    self.loops.append((level, sweep.computed))
                    parts.append(sweep.emit(stores, pieces, self.rolling))
                    whose.append(range(level, level + 1))
        lines = [line for part in self._rolled(parts, whose) for line in part]
        # offsets of rows are known only when all sweeps are written, and stand before them
        used = set(NAME.findall("\n".join(lines)))
        starts = [self.writer.assign(name, code) for code, name in book.row_starts.items() if name in used]
        book.end_rows()
        return self.writer.rows(starts + lines) if lines else []
