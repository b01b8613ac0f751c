"""Places: the buffers of a loop, what has to be stored in them, and where."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..ir.symbol import Symbol


@dataclass(eq=False)
class Buffer:
    """An array of the generated kernel; rows of `parts` side by side, each padded to whole vectors.

    kind: "user" (T, B, F), unpadded, the caller's; "history" (T + 1, B, ...); "ring" (2, B, ...); "series" (T, B, ...);
    "scratch" (B, ...); "total" (B, ...), added to at each step; "sum", the same, of a few rows together. All but the
    caller's arrays and results lie in the workspace of the loop that makes them.
    """

    name: str
    kind: str
    parts: list[int] = field(default_factory=list)  # width of each part
    home: str = ""  # prefix of the loop that makes it
    result: bool = False  # handed to the caller: an array of its own

    @property
    def alone(self) -> bool:
        return self.result or self.kind == "user"


@dataclass(frozen=True)
class Place:
    """Where a value lies: columns from `start` of part `part` of a buffer; `late`: one time step further."""

    buffer: Buffer
    part: int = 0
    start: int = 0
    late: bool = False


@dataclass(eq=False)
class Root:
    """Something a loop has to leave behind: `value` in `place`."""

    value: Symbol
    place: Place
    add: bool = False


@dataclass(eq=False)
class Store:
    """Write a value at the end of its loop; `add` accumulates, `exact` must not touch columns beyond.

    The value is a symbol, or ``("sum", terms)``, part of the accumulation `out`.
    """

    value: Any
    place: Place
    level: int
    width: int
    add: bool = False
    exact: bool = False
    clean: bool = False  # lanes beyond the width must be zero: the row is read by a product as a whole
    out: Symbol | None = None

    @property
    def shaped(self) -> Symbol:
        """A symbol of this width."""
        return self.value if self.out is None else self.out
