"""What objects hold, compared by identity in machine code with what they held before."""

from __future__ import annotations

import functools
import sys
import sysconfig
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from ...core import Tensor
from ...errors import CompileError
from .executable import check_available

# only here is an object where its id says, and nobody changes a dict while it is read
FIT = (
    sys.implementation.name == "cpython"
    and not sysconfig.get_config_var("Py_GIL_DISABLED")
    and object.__basicsize__ == 16  # a count of references and a class, in words of 64 bits
)


class Contents:
    """What is compared, all of it at once."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, Any, Sequence[Any]]] = []  # which keep alive what they tell of

    def dicts(self, found: Iterable[tuple[dict, Sequence, Sequence]]) -> None:
        """Dicts with the names and objects that they hold, in order."""
        for d, names, values in found:
            self._rows.append(("ENTRIES", d, [*chain(*zip(names, values))]))

    def values(self, found: Iterable[tuple[dict, str, Any]]) -> None:
        """Dicts with a name and its value."""
        self._rows += [("VALUE", d, pair) for d, *pair in found]

    def lists(self, found: Iterable[tuple[list, Sequence]]) -> None:
        """Lists with their items."""
        self._rows += [("ITEMS", items, before) for items, before in found]

    def kinds(self, found: Iterable[tuple[Any, type]]) -> None:
        """Objects with their classes."""
        self._rows += [("TYPE", thing, [kind]) for thing, kind in found]

    def slots(self, t: Tensor, **values: Any) -> None:
        """A tensor, and what its slots hold."""
        self._rows.append(("SLOTS", t, [*chain(*values.items())]))

    def references(self, things: Iterable[Any]) -> None:
        """Objects, to which there are as many references as when :meth:`function` is called."""
        self._rows += [("REFERENCES", thing, [None]) for thing in things]

    def held(self, thing: Any) -> int:
        """How many references to an object are here."""
        return sum((other is thing) + sum(value is thing for value in values) for _, other, values in self._rows)

    def function(self) -> Callable[[], int] | None:
        """A function that compares what is here with what is there then; None if nothing can be compiled.

        It returns 0, too, where the name of an attribute is an equal string that is another object.
        """
        if not FIT:
            return None
        try:
            check_available()
        except CompileError:
            return None
        from ...kernels.loops import contents  # imports numba
        from ...kernels.simd.types import BOUNDSCHECK

        if BOUNDSCHECK:  # whose errors do not pass a C function
            return None
        functions, table = contents.functions(), self._table()
        functions.count(table)  # when no name here refers to any of it
        return functools.partial(_compare, functions.unchanged, table, self)

    def _table(self) -> np.ndarray:
        from ...kernels.loops.contents import Held, row_of, slots_of  # imports numba

        slots, numbers = slots_of(Tensor), []
        for kind, thing, values in self._rows:
            held = [*map(id, values)]
            if kind == "SLOTS":
                held[::2] = [slots[name] for name in values[::2]]
            numbers += row_of(Held[kind], thing, held)
        return np.array(numbers, np.int64)


def _compare(compiled: Callable[[np.ndarray], int], table: np.ndarray, contents: Contents) -> int:
    """What a table says, whose objects `contents` keeps alive."""
    return compiled(table)
