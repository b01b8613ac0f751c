"""Repetitions: parts of a loop's text that are the same but for offsets become one, in a loop.

A step that does something n times (``tr.repeat``, a loop in Python) is n times the same operations to the phases
before, each with its own values and buffers. What is written for them are the same lines with other names: of offsets,
which the loop gets as integers, and of values. So one copy of the lines is kept, its offsets are read from a table, and
a value that a repetition takes from the one before it is a variable.

Nothing is known here of steps or operations. Lines are compared, and a run of equal parts is written as a loop only if
each name in them is that of an offset, of a value of the same repetition or the one before, or the same in all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np

from .addresses import NAME, AddressBook
from .loop_writer import LoopWriter

LONGEST = 512  # parts in one repetition
# What a name is: an offset; or a value from before the run, of the same repetition or of the one before. These are
# multiples of `KIND`; what is added says which offset or value.
KIND = 1 << 32
OFFSET, OUTSIDE, OWN, BEFORE = range(4)
NO_KIND = -1

Part = list[str]  # lines that belong together, such as a loop over rows


class Least(NamedTuple):
    """How much is worth a loop: so many repetitions, and so many lines less."""

    times: int
    lines: int


BETWEEN_LOOPS = Least(3, 24)  # a loop around loops costs nothing
BETWEEN_LINES = Least(3, 48)  # one within a loop over features takes turns away from the processor


class Run(NamedTuple):
    """So many `times` in a row the parts from `start` on, `period` at a time.

    Attributes
    ----------
    offsets : dict
        Position of a name -> the names of the offset there, one for each repetition.
    carried : dict
        Position of a name -> where the repetition before has defined it.
    begins : dict
        Where such a value is defined -> its name before the first repetition.
    """

    start: int
    period: int
    times: int
    offsets: dict[int, tuple[str, ...]]
    carried: dict[int, int]
    begins: dict[int, str]


class Repetitions:
    """What finds repetitions in the text of one loop, with names and tables from its address book."""

    def __init__(self, book: AddressBook, writer: LoopWriter):
        self.book, self.writer = book, writer
        self.remark = writer.comment("").strip()

    def roll(
        self,
        parts: list[Part],
        least: Least,
        outside: Collection[str] = (),
        found: Callable[[int, int, int], None] = lambda start, period, times: None,
    ) -> list[Part]:
        """The parts, with loops in the place of those that repeat each other.

        Parameters
        ----------
        parts : list of list of str
        least : Least
        outside : collection of str
            Names that lines before or after the parts have to do with.
        found : callable
            Told of each loop: its first part, parts in one repetition and how often they are there.
        """
        while run := self._find(parts, least, outside):
            found(run.start, run.period, run.times)
            behind = run.start + run.period * run.times
            loop, renamed = self._write(parts, run)
            after = (
                [[_renamed(line, renamed) for line in part] for part in parts[behind:]] if renamed else parts[behind:]
            )
            parts = [*parts[: run.start], loop, *after]
        return parts

    # ---- finding

    def _is_offset(self, name: str) -> bool:
        return name in self.book.keys or name in self.book.starts or name in self.book.row_codes

    def _is_code(self, line: str) -> bool:
        return not line.lstrip().startswith(self.remark)

    def _key(self, part: Part) -> tuple[str, ...]:
        """The lines of a part without what may differ between repetitions."""

        def kind(match: re.Match) -> str:
            name = match[0]
            return "#" if self._is_offset(name) else "$" if name in self.book.named else name

        return tuple(NAME.sub(kind, line) for line in part if self._is_code(line))

    def _find(self, parts: list[Part], least: Least, outside: Collection[str]) -> Run | None:
        """The run of the shortest repetitions, that saves the most lines; longer ones may consist of it."""
        if sum(map(len, parts)) < least.lines:
            return None
        numbers: dict[tuple, int] = {}
        keys = np.array([numbers.setdefault(self._key(part), len(numbers)) for part in parts])
        lines = np.cumsum([0, *(sum(map(self._is_code, part)) for part in parts)])
        candidates = []
        for period in range(1, min(len(parts) // least.times, LONGEST) + 1):
            equal = np.concatenate([[False], keys[:-period] == keys[period:], [False]])
            (edges,) = np.nonzero(equal[1:] != equal[:-1])
            for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist()):
                times = (stop - start) // period + 1
                saved = int(lines[start + period * times] - lines[start + period])
                if times >= least.times and saved >= least.lines:
                    candidates.append((period, -saved, start, stop))
        names = _Names(parts, self, outside) if candidates else None
        for period, _, first, stop in sorted(candidates):
            assert names is not None
            for start in range(first, min(first + period, stop)):
                times = (stop - start) // period + 1
                run = names.run(start, period, times, least.times)
                if run and lines[run.start + period * run.times] - lines[start + period] >= least.lines:
                    return run
        return None

    # ---- writing

    def _write(self, parts: list[Part], run: Run) -> tuple[Part, dict[str, str]]:
        """The loop; and what values of the last repetition are called behind it."""
        book, writer = self.book, self.writer
        # those that are equal are one
        columns = {names: book.unique(f"{names[0]}_each") for names in dict.fromkeys(run.offsets.values())}
        carried = {at: book.unique("carried") for at in run.begins}
        turn = book.unique("turn")
        # what an offset is computed from, of which some integers are others in each repetition
        codes = {names: [book.code(name) for name in names] for names in columns}
        integers = {names: list(zip(*map(NAME.findall, codes[names]))) for names in columns}
        entries = list(dict.fromkeys(column for found in integers.values() for column in found if len(set(column)) > 1))
        table = book.repeats([[column[k] for column in entries] for k in range(run.times)])
        body: list[str] = []
        defined: dict[int, str] = {}
        position = 0

        def new(name: str, at: int) -> str:
            if at in run.offsets:
                return columns[run.offsets[at]]
            if at in run.carried:
                return carried[run.carried[at]]
            defined[at] = name
            return name

        for line in (line for part in parts[run.start : run.start + run.period] for line in part):
            if not self._is_code(line):
                body.append(line)
                continue
            body.append(_substituted(line, new, position))
            position += len(NAME.findall(line))
        entry = {names: writer.integer(f"{table} + {turn} * {len(entries)} + {i}") for i, names in enumerate(entries)}
        head = []
        for names, found in integers.items():
            others = iter([entry.get(column, column[0]) for column in found])
            code = NAME.sub(lambda _, others=others: next(others), codes[names][0])  # type: ignore[misc]
            head.append(writer.assign(columns[names], code))
        # repetitions read what the one before has left, and leave theirs at the end
        body = [*head, *body, *(writer.assign(carried[at], defined[at]) for at in run.begins)]
        times = book.int("size", run.times, "repeats", table)
        before = [writer.assign(carried[at], name) for at, name in run.begins.items()]
        last = _Names.flat(parts[run.start + run.period * (run.times - 1) :][: run.period], self)
        renamed = {last[at]: carried[at] for at in run.begins}
        return before + writer.repeat(turn, times, body), renamed


class _Names:
    """The names in parts, where they are defined, and what they have to do with each other."""

    def __init__(self, parts: list[Part], rolling: Repetitions, outside: Collection[str]):
        self.rolling, self.book = rolling, rolling.book
        self.tokens: list[str] = []
        self.begins = [0]  # of each part, in `tokens`
        self.defined: dict[str, int] = {}  # name -> its position
        for part in parts:
            for line in part:
                if not rolling._is_code(line):
                    continue
                names = NAME.findall(line)
                new = rolling.writer.defined(line)
                if new and new not in self.defined and new not in outside:
                    self.defined[new] = len(self.tokens) + names.index(new)
                self.tokens += names
            self.begins.append(len(self.tokens))
        last_read = {name: at for at, name in enumerate(self.tokens)}
        numbers = {name: i for i, name in enumerate(last_read)}
        templates: dict[str, int] = {}
        offsets = {
            name: templates.setdefault(self._template(name), len(templates)) if rolling._is_offset(name) else -1
            for name in numbers
        }
        of_tokens = lambda values: np.array([values[name] for name in self.tokens], np.int64)
        self.numbers, self.offsets, self.last_read = map(of_tokens, (numbers, offsets, last_read))
        self.sources = of_tokens({name: self.defined.get(name, -1) for name in numbers})  # where they are defined
        # for each part, up to where values that it defines are read
        until = np.where(self.sources == np.arange(len(self.tokens)), self.last_read, -1)
        self.read_until = np.array([until[i:j].max(initial=-1) for i, j in zip(self.begins, self.begins[1:])])

    def _template(self, name: str) -> str:
        """The code of an offset without what may differ between repetitions."""
        code = self.book.code(name)
        return "" if code == name else NAME.sub(lambda m: "#" if m[0] in self.book.keys else m[0], code)

    @staticmethod
    def flat(parts: list[Part], rolling: Repetitions) -> list[str]:
        return [name for part in parts for line in part if rolling._is_code(line) for name in NAME.findall(line)]

    def run(self, start: int, period: int, times: int, least: int) -> Run | None:
        """The longest run from this part on whose names agree."""
        begin, length = self.begins[start], self.begins[start + period] - self.begins[start]
        if self.read_until[start : start + period].max() >= begin + length * times:
            return None  # of the first repetition something is read behind all of them
        # the second repetition says what each name is: the first has to fit, later ones have to agree
        first, second = self._kinds(begin, length, 0, 2)
        before = second // KIND == BEFORE
        # what comes from the repetition before comes from before the run in the first one
        fits = np.where(before, first // KIND == OUTSIDE, first == second)
        if not fits.all() or (second == NO_KIND).any():
            return None
        (others,) = np.nonzero((self._kinds(begin, length, 2, times) != second).any(axis=1))
        times = 2 + int(others[0]) if others.size else times
        carried = {i: int(second[i] % KIND) for i in np.flatnonzero(before).tolist()}
        begins: dict[int, str] = {}
        for i, at in carried.items():
            if begins.setdefault(at, self.tokens[begin + i]) != self.tokens[begin + i]:
                return None
        # what is read behind the run is what the last repetition hands on
        while times >= least and not self._is_closed(begin, length, times, begins):
            times -= 1
        if times < least:
            return None
        columns = {
            i: tuple(self.tokens[begin + k * length + i] for k in range(times))
            for i in np.flatnonzero(second // KIND == OFFSET).tolist()
        }
        offsets = {i: names for i, names in columns.items() if len(set(names)) > 1}
        return Run(start, period, times, offsets, carried, begins)

    def _kinds(self, begin: int, length: int, first: int, last: int) -> np.ndarray:
        """What names are in these repetitions, a row for each: numbers that are the same in all of them."""
        turns = np.arange(first, last)[:, None]
        part = slice(begin + first * length, begin + last * length)
        numbers, offsets, sources = (a[part].reshape(-1, length) for a in (self.numbers, self.offsets, self.sources))
        turn, place = np.divmod(sources - begin, length)
        kinds = np.where(turn == turns, OWN * KIND + place, NO_KIND)
        kinds = np.where(turn == turns - 1, BEFORE * KIND + place, kinds)
        kinds = np.where(sources < begin, OUTSIDE * KIND + numbers, kinds)
        return np.where(offsets >= 0, OFFSET * KIND + offsets, kinds)

    def _is_closed(self, begin: int, length: int, times: int, handed: dict[int, str]) -> bool:
        """Whether what later parts read of the run is what its last repetition hands on."""
        end = begin + length * times
        at = np.arange(begin, end)
        (read,) = np.nonzero((self.sources[begin:end] == at) & (self.last_read[begin:end] >= end))
        return all(turn == times - 1 and place in handed for turn, place in (divmod(i, length) for i in read.tolist()))


def _substituted(line: str, new: Callable[[str, int], str], at: int) -> str:
    """A line with other names, each found by the old one and its position, counted from `at`."""
    count = iter(range(at, at + len(line)))
    return NAME.sub(lambda match: new(match[0], next(count)), line)


def _renamed(line: str, names: dict[str, str]) -> str:
    return NAME.sub(lambda match: names.get(match[0], match[0]), line)
