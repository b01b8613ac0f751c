"""Rearrangements of the features of a row: repeated along axes, or picked by constant numbers."""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Iterable

import numpy as np

Dims = tuple[tuple[int, bool], ...]  # axes of a row in order: length, and whether the operand has it


class Table:
    """Numbers of features, of which -1 stands for zero; equal tables are one key.

    Attributes
    ----------
    numbers : int64 array (n,)
    """

    def __init__(self, numbers: np.ndarray):
        self.numbers = np.ascontiguousarray(numbers, np.int64).ravel()
        self.numbers.flags.writeable = False
        self._key = self.numbers.tobytes()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Table) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __lt__(self, other: Table) -> bool:  # static parameters are sorted
        return self._key < other._key

    def __len__(self) -> int:
        return self.numbers.size

    def __repr__(self) -> str:
        # short, for people; with a checksum, as listings of two adjoints are compared
        if len(self) > 8:
            return f"table of {len(self)}, {zlib.crc32(self._key):08x}"
        return str(self.numbers.tolist())

    @property
    def start(self) -> int | None:
        """The first number, if the others follow it one by one; else None."""
        first = int(self.numbers[0])
        same = first >= 0 and bool((self.numbers == np.arange(first, first + len(self))).all())
        return first if same else None


def merged(dims: Iterable[tuple[int, bool]]) -> Dims:
    """The same axes, without those of length 1, and neighbours of one kind as one."""
    found: list[tuple[int, bool]] = []
    for n, kept in dims:
        if found and found[-1][1] == kept:
            found[-1] = found[-1][0] * n, kept
        elif n != 1:
            found.append((n, kept))
    return tuple(found)


def widths(dims: Dims) -> tuple[int, int]:
    """Features of the operand and of the result."""
    return math.prod(n for n, kept in dims if kept), math.prod(n for n, _ in dims)


def axes_of(along: tuple[int, int, int]) -> Dims:
    """The axes of what is reduced along the second of (outer, length, inner), which its result lacks."""
    outer, length, inner = along
    return merged(((outer, True), (length, False), (inner, True)))


def starts(dims: Dims) -> set[int]:
    """Where axes begin, as how many features lie behind each place; not the first and the last."""
    behind = itertools.accumulate((n for n, _ in reversed(dims)), lambda a, b: a * b)
    return set(list(behind)[:-1])


def fit(units: set[int]) -> bool:
    """Whether one nest of loops has all axes that begin there."""
    return all(b % a == 0 for a, b in itertools.pairwise(sorted(units)))


def numbers_of(dims: Dims) -> np.ndarray:
    """For each feature of the result that of the operand."""
    lead = np.arange(widths(dims)[0]).reshape([n if kept else 1 for n, kept in dims])
    return np.broadcast_to(lead, [n for n, _ in dims]).ravel()


def sums_of(dims: Dims) -> list[tuple[int, int, int]]:
    """(outer, length, inner) of the sums, one after the other, that undo a repetition."""
    found, sizes = [], [(n, kept) for n, kept in dims]
    for i in reversed(range(len(sizes))):
        n, kept = sizes[i]
        if not kept:
            outer = math.prod(m for m, _ in sizes[:i])
            found.append((outer, n, math.prod(m for m, _ in sizes[i + 1 :])))
            del sizes[i]
    return found


def readers(table: Table, width: int) -> np.ndarray:
    """For each of `width` features the places of a table that read it, (width, most), filled up with -1."""
    numbers = table.numbers
    places = np.flatnonzero(numbers >= 0)
    order = places[np.argsort(numbers[places], kind="stable")]
    counts = np.bincount(numbers[order], minlength=width)
    most = max(1, int(counts.max(initial=0)))
    found = np.full((width, most), -1)
    within = np.arange(order.size) - np.repeat(np.cumsum(counts) - counts, counts)
    found[numbers[order], within] = order
    return found
