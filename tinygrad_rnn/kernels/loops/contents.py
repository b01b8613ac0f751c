"""Whether objects of Python's still hold what they held, found by their addresses.

A guard compares identities, some sixty for a small model, before every call. Python does that at 50 to 100 ns each,
which is longer than the call itself takes.
"""

from __future__ import annotations

import ctypes
import enum
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from ..build.c_functions import of_python
from ..build.native import Native
from ..build.python_functions import python_function
from .arguments import INT, address_of, integers_on_stack, python_integer, read_arrays
from .records import integers_at, record_at

next_entry = of_python("next_entry", "PyDict_Next", "Write the next key and value of a dict; 0 at its end.", 4)
value_of = of_python("value_of", "PyDict_GetItem", "Where the value of a name in a dict is; 0 if there is none.", 2)
length_of = of_python("length_of", "PyList_Size", "How many items a list has.", 1)
item_of = of_python("item_of", "PyList_GetItem", "Where an item of a list is.", 2)


class Held(enum.IntEnum):
    """What is compared of an object.

    A row of a table is this, the object, how many numbers follow, and these.
    """

    ENTRIES = 0  # of a dict: keys and values, in order
    VALUE = 1  # of a dict: a key, and its value
    ITEMS = 2  # of a list
    TYPE = 3
    SLOTS = 4  # of an object: for each its place, in words, and its value
    REFERENCES = 5  # to an object: how many there are


ENTRIES, VALUE, ITEMS, TYPE, SLOTS, REFERENCES = map(int, Held)


class Object(NamedTuple):
    """The head of an object, in words of 64 bits."""

    references: int
    kind: int


@njit(error_model="numpy")
def _hold(table: int, size: int) -> bool:
    numbers, place = integers_at(table, size), integers_on_stack(3)
    entry, at = address_of(place), 0
    while at < size:
        what, thing, begin = numbers[at], numbers[at + 1], at + 3
        at = begin + numbers[at + 2]
        if what == ENTRIES:
            place[0] = 0
            for i in range(begin, at, 2):
                if (next_entry(thing, entry, entry + 8, entry + 16) & INT) == 0:
                    return False
                if place[1] != numbers[i] or place[2] != numbers[i + 1]:
                    return False
            if (next_entry(thing, entry, entry + 8, entry + 16) & INT) != 0:
                return False
        elif what == VALUE:
            if value_of(thing, numbers[begin]) != numbers[begin + 1]:
                return False
        elif what == ITEMS:
            if length_of(thing) != at - begin:
                return False
            for i in range(begin, at):
                if item_of(thing, i - begin) != numbers[i]:
                    return False
        elif what == SLOTS:
            for i in range(begin, at, 2):
                if integers_at(thing, numbers[i] + 1)[numbers[i]] != numbers[i + 1]:
                    return False
        elif what == REFERENCES:
            if record_at(thing, 0, Object).references != numbers[begin]:
                return False
        elif record_at(thing, 0, Object).kind != numbers[begin]:
            return False
    return True


def _unchanged(kind: int, arguments: int, count: int) -> int:
    """The table, an array; 1 if all of it holds, else 0."""
    given = integers_on_stack(2)
    if not read_arrays(kind, arguments, count, 1, given):
        return 0
    return python_integer(1 if _hold(given[0], given[1]) else 0)


def _count(kind: int, arguments: int, count: int) -> int:
    """The table, an array, to which the numbers of references are written."""
    given = integers_on_stack(2)
    if not read_arrays(kind, arguments, count, 1, given):
        return 0
    numbers = integers_at(given[0], given[1])
    at = 0
    while at < given[1]:
        if numbers[at] == REFERENCES:
            numbers[at + 3] = record_at(numbers[at + 1], 0, Object).references
        at += 3 + numbers[at + 2]
    return python_integer(1)


class Functions(NamedTuple):
    """Functions of a table, which :func:`row_of` makes row by row.

    Attributes
    ----------
    unchanged : callable
        Whether all of it holds, 1 or 0.
    count : callable
        Writes how many references there are now.
    """

    unchanged: Callable[[np.ndarray], int]
    count: Callable[[np.ndarray], int]


@functools.cache
def functions() -> Functions:
    """Both, compiled or loaded."""
    made = Native(_unchanged, _count)
    return Functions(*[python_function(__name__, n, at, made) for n, at in zip(Functions._fields, made.addresses)])


def row_of(what: Held, thing: Any, held: Sequence[int]) -> list[int]:
    """A row of a table, that is good for as long as somebody keeps alive what it tells of."""
    return [int(what), id(thing), len(held), *held]


@functools.cache
def slots_of(kind: type) -> dict[str, int]:
    """Where in objects of a class, and of those derived from it, its slots are, in words."""
    names = [name for name in vars(kind)["__slots__"] if name not in ("__weakref__", "__dict__")]
    thing: Any = object.__new__(kind)
    values = [object() for _ in names]
    for name, value in zip(names, values):
        getattr(kind, name).__set__(thing, value)
    words = (ctypes.c_ssize_t * (kind.__basicsize__ // 8)).from_address(id(thing))[:]
    return {name: words.index(id(value)) for name, value in zip(names, values)}
