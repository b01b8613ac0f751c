"""Where the values of a step lie in C: in arrays of the caller's or on the stack, or as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...compiler.ir.program_ops import BROADCAST_ROW, GATHER, RESHAPE_ROW, SLICE
from ...compiler.ir.symbol import Symbol
from .functions import Dialect
from .traced import TracedCell
from .weights import Weights


class Source(NamedTuple):
    """Where a value comes from: the one that is stored, and at which of its features it begins."""

    value: Symbol
    start: int
    one: bool  # whether it is one feature, for all of the row


class Places:
    """Lines of C, and the place of each value that they compute.

    Parameters
    ----------
    cell : TracedCell
    state_names : sequence of str
        The fields of the state ``s``; inputs are ``x0``, ... and outputs ``y0``, ...
    weights : Weights
    dialect : Dialect
    integers : sequence of str
        The inputs and outputs that are arrays of ``int32_t``.

    Attributes
    ----------
    lines : list of str
    scratch : int
        Bytes of the arrays on the stack.
    """

    def __init__(
        self,
        cell: TracedCell,
        state_names: Sequence[str],
        weights: Weights,
        dialect: Dialect,
        integers: Sequence[str] = (),
    ):
        self.cell, self.program = cell, cell.program
        self.weights, self.dialect = weights, dialect
        self.lines: list[str] = []
        self.integers = integers
        self.scratch = 0
        states = [f"s->{name}" for name in state_names]
        self._leaf = {s.uid: f"x{i}" for i, s in enumerate(self.program.inputs)}
        self._leaf |= {s.uid: name for s, name in zip(self.program.states, states)}
        self._state = {name: s.uid for s, name in zip(self.program.states, states)}
        self._place = dict(self._leaf)  # arrays of the values that are stored
        self._numbers: set[int] = set()  # values of one feature, and those of the loop being written

    def source(self, s: Symbol) -> Source:
        """Where a value comes from."""
        start, one = 0, s.width == 1  # of a wider row, too, of which it is one feature
        while s.uid not in self._leaf and is_view(s):
            if s.op is BROADCAST_ROW:
                one = True
            elif s.op is not RESHAPE_ROW:
                start += s.static["start"] if s.op is SLICE else s.static["table"].start
            s = s.args[0]
        return Source(s, start, one)

    def add(self, line: str) -> None:
        """One more line."""
        self.lines.append(line)

    def kind(self, s: Symbol) -> str:
        """The C type of a value's features: numbers, or the bits of truth values."""
        return self.dialect.bits if s.dtype.kind == "b" else self.dialect.real

    def array(self, s: Symbol, width: int | None = None) -> str:
        """A new array on the stack for a value."""
        width = s.width if width is None else width
        self.add(f"{self.kind(s)} v{s.uid}[{width}];")
        self.scratch += width * self.dialect.dtype.itemsize
        self._place[s.uid] = f"v{s.uid}"
        return f"v{s.uid}"

    def place(self, s: Symbol, text: str, number: bool = False) -> None:
        """Note where a value lies: in an array, or as a number of that name."""
        if number:
            self._numbers.add(s.uid)
        else:
            self._place[s.uid] = text

    def at(self, a: Symbol, j: str) -> str:
        """C for feature `j` of a time-varying value."""
        s, start, one = self.source(a)
        if s.uid in self._numbers:
            return f"t{s.uid}"
        index = str(start) if one else j if not start else f"{start} + {j}"
        text = f"{self._place[s.uid]}[{index}]"
        if self._place[s.uid] in self.integers:
            text = f"({self.dialect.real}){text}"
        if s.dtype.kind == "b" and s.uid in self._leaf:  # truth values are given as numbers
            return self.dialect.call("mask", f"{text} != {self.dialect.number(0.0)}")
        return text


def is_view(s: Symbol) -> bool:
    """Whether a value is a part of another one, as it lies."""
    return s.op in (SLICE, RESHAPE_ROW, BROADCAST_ROW) or (s.op is GATHER and s.static["table"].start is not None)
