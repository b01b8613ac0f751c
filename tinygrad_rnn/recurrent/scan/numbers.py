"""Numbers of a cell as inputs of its programs, once they were seen to change.

At first a trace freezes numbers, as constants make faster loops and most never change. One that has changed since the
last trace is looked up at each call from then on, if the step does nothing but compute with it; otherwise it stays
frozen, and each value has a program of its own.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ...checks import shown
from ...core import Tensor
from ...core.symbolic_number import NUMBERS, NumberTrace, SymbolicNumber, present
from ...errors import DTypeError
from ...modules.module import Module
from .attribute_path import AttributePath
from .facts import attributes
from .kinds import FUNCTIONS, is_users_class

Key = tuple[int, str, tuple]

MOST = 1000  # numbers of one cell: tables of more are tensors that have not been made yet
DEPTH = 8  # of containers and objects inside each other


def key_of(place: AttributePath) -> Key:
    return id(place.attributes), place.name, place.path


class CellNumbers:
    """The numbers of a cell that are inputs of its programs.

    Attributes
    ----------
    inputs : dict of key to AttributePath
        Those that were seen to change.
    """

    def __init__(self) -> None:
        self.inputs: dict[Key, AttributePath] = {}
        self._frozen: set[Key] = set()
        self._failed: set[Key] = set()
        self._seen: dict[Key, str] = {}

    def look(self, cell: Module) -> bool:
        """Look for numbers that have changed since the last time; returns whether there are new ones."""
        seen, before = self._seen, len(self.inputs)
        self._seen = {}
        for place, value in find_numbers(cell):
            key = key_of(place)
            self._seen[key] = digits = repr(value)
            if seen.get(key, digits) != digits and key not in self._frozen:
                self.inputs.setdefault(key, place)
        return len(self.inputs) > before

    def present_inputs(self) -> list[AttributePath]:
        """The inputs that are numbers now; None in the place of one, say, decides what a step does."""
        found = []
        for place in self.inputs.values():
            with contextlib.suppress(Exception):  # it has gone, or a user's object raises
                if type(present(place.get())) in NUMBERS:
                    found.append(place)
        return found

    def freeze(self, places: Iterable[AttributePath], for_now: bool = False) -> None:
        """Take these as inputs no more; `for_now`: not before they change, and not when that happens again."""
        for key in map(key_of, places):
            if for_now and key not in self._failed:
                self._failed.add(key)
            else:
                self._frozen.add(key)
            self.inputs.pop(key, None)

    def holders(self) -> frozenset[tuple[int, Any]]:
        """For each input the id of the dict, list or object that holds it, and its key or name there."""
        found = []
        for place in self.inputs.values():
            with contextlib.suppress(Exception):  # it has gone, or a user's object raises
                holder = place.holder
                found.append((id(holder), place.path[-1][1] if place.path else place.name))
        return frozenset(found)


def find_numbers(cell: Module) -> list[tuple[AttributePath, Any]]:
    """The numbers that a cell and its parts hold, in attributes, lists, dicts and objects, with values."""
    found: list[tuple[AttributePath, Any]] = []
    seen: set[int] = set()
    for module in cell.modules():
        for name, value in vars(module).items():
            for path, number in _numbers_in(value, (), seen):
                found.append((AttributePath(vars(module), name, path), number))
                if len(found) > MOST:
                    return found
    return found


def _numbers_in(value: Any, path: tuple, seen: set[int]) -> Iterator[tuple[tuple, Any]]:
    """Numbers in lists, dicts and objects behind an attribute, each with its path."""
    kind = type(value)
    if kind in NUMBERS:
        yield path, value
        return
    inside: Iterable[tuple[bool, Any, Any]] = ()
    if id(value) in seen or len(path) == DEPTH or issubclass(kind, (Tensor, Module, type, *FUNCTIONS)):
        return
    if issubclass(kind, list):
        inside = [(True, i, v) for i, v in enumerate(value)] if len(value) <= MOST else ()
    elif issubclass(kind, dict):
        inside = [(True, k, v) for k, v in value.items()] if len(value) <= MOST else ()
    elif not issubclass(kind, tuple) and (is_users_class(kind) or kind is types.SimpleNamespace):
        with contextlib.suppress(Exception):  # of a user's property
            inside = [(False, k, v) for k, v in attributes(value)]
    if inside:
        seen.add(id(value))
    for is_item, k, v in inside:
        yield from _numbers_in(v, (*path, (is_item, k)), seen)


# ---- as inputs of a program


class NumberInput:
    """Where a program finds a number: a function of those that the cell keeps, rounded to its dtype.

    It is looked up like a tensor, by :meth:`get`.

    Parameters
    ----------
    number : SymbolicNumber
    places : list of AttributePath
        Of all numbers that the trace was given.
    dtype : float32 or float64
    """

    def __init__(self, number: SymbolicNumber, places: Sequence[AttributePath], dtype: np.dtype):
        needed = number._trace.needed(number._uid)
        self.lines = [number._trace.lines[at] for at in needed]
        self._at = {at: i for i, at in enumerate(needed)}  # of each line in `lines`
        self.places = [places[line.operands[0]] for line in self.lines if line.function is None]
        self.dtype = dtype
        self._last: tuple[list[Any], Tensor] | None = None

    def get(self) -> Tensor:
        """The number as a tensor without axes; the same one for as long as the cell keeps the same numbers."""
        last, given = self._last, [present(place.get()) for place in self.places]
        if last is not None and all(a is b for a, b in zip(last[0], given)):
            return last[1]
        value = self._evaluate(given)
        try:
            with np.errstate(all="ignore"):
                tensor = Tensor(np.array(value, self.dtype))
        except (TypeError, OverflowError) as error:
            what = self.text(lambda place: place.name + place.suffix)
            raise DTypeError(f"{what}: got {shown(value)}, wanted a number of {self.dtype}: {error}") from None
        self._last = given, tensor
        return tensor

    def _evaluate(self, given: list[Any]) -> Any:
        values: list[Any] = []
        numbers = iter(given)
        for line in self.lines:
            if line.function is None:
                values.append(next(numbers))
            else:
                operands = [values[self._at[a]] if type(a) is int else a.value for a in line.operands]
                values.append(line.function(*operands))
        return values[-1]

    def same(self, other: Any) -> bool:
        """Whether the other one is the same function of the same numbers."""
        return (
            isinstance(other, NumberInput)
            and self.lines == other.lines
            and list(map(key_of, self.places)) == list(map(key_of, other.places))
        )

    def text(self, name: Callable[[AttributePath], str]) -> str:
        """The function in words, with names for the places."""
        texts: list[str] = []
        places = iter(self.places)
        for line in self.lines:
            if line.function is None:
                texts.append(name(next(places)))
            else:
                operands = [texts[self._at[a]] if type(a) is int else repr(a.value) for a in line.operands]
                texts.append(f"{line.function.__name__}({', '.join(operands)})")
        return texts[-1]


@contextmanager
def as_symbols(places: Sequence[AttributePath]) -> Iterator[NumberTrace]:
    """Context in which the cell has symbols in place of these numbers."""
    trace, put = NumberTrace(), []
    try:
        for place in places:
            value = present(place.get())
            symbol = trace.given(value)
            put.append((place, value, symbol))
            place.put(symbol)
        yield trace
    finally:
        for place, value, symbol in put:
            with contextlib.suppress(Exception):  # what the step has done to the cell is put back elsewhere
                if place.get() is symbol:
                    place.put(value)
