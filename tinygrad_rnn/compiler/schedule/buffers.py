"""Buffers of a loop, the place of each value in them, and what is written there."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..ir.symbol import Symbol


class BufferKind(enum.Enum):
    """How many rows a buffer has, and for how long they are kept."""

    EXTERNAL = "external"  # (T, B, F), an array of the caller's: read only, its rows are not padded
    STATES = "states"  # (T + 1, B, F): the state before each step, and the last
    DOUBLE_BUFFER = "double buffer"  # (2, B, F): the states of this step and of the next, which take turns
    PER_STEP = "per step"  # (T, B, F)
    SCRATCH = "scratch"  # (B, F), of one step
    ACCUMULATOR = "accumulator"  # (B, F), added to at each step
    PARTIAL_SUM = "partial sum"  # (B or less, F): the same, of a few rows together

    @property
    def begins_at_zero(self) -> bool:
        return self in (BufferKind.ACCUMULATOR, BufferKind.PARTIAL_SUM)

    @property
    def over_time(self) -> bool:
        """Whether there is a row for each step, which no later step overwrites."""
        return self in (BufferKind.EXTERNAL, BufferKind.STATES, BufferKind.PER_STEP)


@dataclass(eq=False)
class Buffer:
    """An array of a generated loop; rows of `parts` side by side, each padded to whole vectors.

    All but the caller's arrays and results are in the arena of the loop that makes them.
    """

    name: str
    kind: BufferKind
    parts: list[int] = field(default_factory=list)  # width of each part
    owner: str = ""  # prefix of the loop that makes it
    result: bool = False  # handed to the caller: an array of its own
    joinable: bool = False  # padding of parts is zero, so that a product may read neighbours as one operand
    of_products: bool = False  # a product writes its rows, and writes them in whole panels

    @property
    def standalone(self) -> bool:
        """Whether it is an array of its own, and not a part of an arena."""
        return self.result or self.kind is BufferKind.EXTERNAL


@dataclass(frozen=True)
class Place:
    """Columns of part `part` of a buffer, from `start` on, at this time step or the next one."""

    buffer: Buffer
    part: int = 0
    start: int = 0
    next_step: bool = False

    def joins(self, after: Place) -> bool:
        """Whether a product may read this place and the one after it as one operand."""
        neighbours = after.buffer is self.buffer and after.part == self.part + 1
        return neighbours and self.start == after.start == 0 and after.next_step == self.next_step


@dataclass(eq=False)
class LoopOutput:
    """A value that a loop has to leave in a place; with `add`, it is added to what is there."""

    value: Symbol
    place: Place
    add: bool = False


class Sum(NamedTuple):
    """Terms that are added up where an accumulation is to begin from them."""

    terms: tuple[Any, ...]  # symbols and numbers


@dataclass(eq=False)
class Store:
    """A write at the end of a sweep over a row: of a symbol, or of a sum on which `out` is accumulated.

    With `masked` nothing beyond the width is touched. With `zero_padded` the lanes beyond it become zero, as a product
    reads the row as a whole. Otherwise they are of no meaning.
    """

    value: Symbol | Sum
    place: Place
    level: int
    width: int
    add: bool = False
    masked: bool = False
    zero_padded: bool = False
    out: Symbol | None = None

    @property
    def shaped(self) -> Symbol:
        """A symbol of the width of what is stored."""
        return self.out if self.out is not None else self.value  # type: ignore[return-value]
