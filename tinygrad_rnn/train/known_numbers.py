"""Options of updates as kernels take them, computed anew only where they may have changed."""

from __future__ import annotations

from collections.abc import Callable
from operator import is_
from typing import Any

MOST = 4096  # updates for which options that do not change with the number of the update are kept
FIXED = (bool, int, float, str, type(None))  # types of options whose values change with their identity only


class KnownNumbers:
    """The options of one update, for as long as those of its group are the same objects.

    Parameters
    ----------
    compute : callable
        ``compute(ahead)`` gives those of the update that is so many ahead, 1 being the next.
    of_group : bool
        Whether they depend on the group and on the number of the update alone.
    """

    def __init__(self, compute: Callable[[int], list[float]], of_group: bool):
        self._compute, self._of_group = compute, of_group
        self._values: list[Any] = []  # of the group, when they were computed
        self._numbers: list[float] = []
        self._first = self._end = 0  # of the updates for which they count
        self._looked = True  # whether it is known if they count for others

    def next(self, group: dict[str, Any], done: int) -> list[float]:
        """Those of the next update, `done` being the number of updates so far."""
        values = self._values
        same = len(values) == len(group) and all(map(is_, group.values(), values))
        if same and self._first <= done < self._end:
            return self._numbers
        self._numbers = self._compute(1)
        if not same:
            # that they have not changed since the last update says that it pays to look ahead
            self._values, self._end = [*group.values()], 0
            fixed = all(is_fixed(v) for k, v in group.items() if k != "params")
            self._looked = not (self._of_group and fixed)
        elif not self._looked or self._end:
            self._looked, self._first, self._end = True, done, 0
            if all(self._numbers == self._compute(ahead) for ahead in (2, MOST)):
                self._end = done + MOST
        return self._numbers


def is_fixed(value: Any) -> bool:
    """Whether the value of an option changes with its identity only."""
    return all(map(is_fixed, value)) if type(value) is tuple else type(value) in FIXED
