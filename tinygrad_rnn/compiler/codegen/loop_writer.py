"""Interface of target languages: what generating a loop asks of one, such as Numba's Python."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ..ir.lane_language import Tree


class Operand(NamedTuple):
    """The left side of a product, rows from ``b0`` to ``end``, and the packed matrix of its right side."""

    array: str
    at: str
    ld: str
    depth: str
    packed: str


class HeadsOperand(NamedTuple):
    """The left side of a product for each head, and the packed matrices, `size` elements each.

    Each of so many `matrices` serves `repeat` heads in a row, and so on from the first one again. "1" is known to be
    one.
    """

    array: str
    at: str
    ld: str
    depth: str
    packed: str
    size: str
    heads: str
    matrices: str
    repeat: str


class Target(NamedTuple):
    """Where a product is stored: columns of rows of an array."""

    columns: str
    array: str
    at: str
    ld: str


class LoopWriter(ABC):
    """Printer of statements and expressions in one language; the caller decides on their order.

    A statement is a list of lines. Names of variables, and integer expressions, come from an
    :class:`~.addresses.AddressBook`. Values are vectors of numbers or of truth values.
    """

    # ---- values

    @abstractmethod
    def expression(self, tree: Tree, inputs: Sequence[str], statics: Mapping[str, str] = {}) -> str:
        """An expression of a lowering, of the values with these names."""

    @abstractmethod
    def constant(self, value: float) -> str:
        """A number in all lanes."""

    @abstractmethod
    def add(self, terms: Sequence[str]) -> str:
        """A sum, from left to right."""

    @abstractmethod
    def select(self, mask: str, a: str, b: str) -> str:
        """`a` where the mask holds, else `b`."""

    @abstractmethod
    def first_lanes(self, count: str) -> str:
        """The mask of so many lanes."""

    @abstractmethod
    def is_true(self, x: str) -> str:
        """The truth values that numbers stand for."""

    @abstractmethod
    def across(self, total: str, combine: Tree, unique: Callable[[str], str]) -> tuple[list[str], str]:
        """(statements, value) that combine the lanes of a vector; all lanes of the value are the same."""

    # ---- memory

    @abstractmethod
    def load(self, array: str, at: str, count: str = "") -> str:
        """A vector from memory; with `count`, so many lanes of it."""

    @abstractmethod
    def broadcast(self, array: str, at: str) -> str:
        """One number from memory, in all lanes."""

    @abstractmethod
    def gather(self, array: str, at: str, table: str, index: str) -> str:
        """A vector of the numbers that a table lists, from `index` on; zero where it lists -1."""

    @abstractmethod
    def look_up(self, array: str, places: str, count: str) -> str:
        """A vector of the numbers at `places`; the first, where a place is not below `count`."""

    @abstractmethod
    def store(self, array: str, at: str, value: str, count: str = "") -> str:
        """Statement: write a vector; with `count`, so many lanes of it."""

    # ---- statements

    @abstractmethod
    def comment(self, text: str) -> str: ...

    @abstractmethod
    def assign(self, name: str, value: str) -> str:
        """Statement: a vector, a mask or an integer gets a name."""

    @abstractmethod
    def integer(self, at: str) -> str:
        """One of the integers ``dims``."""

    @abstractmethod
    def defined(self, line: str) -> str:
        """The name that a line gives to a value, or to the counter of a loop; empty if it does neither."""

    @abstractmethod
    def lanes_left(self, width: str, at: str) -> str:
        """Number of lanes, of the vector at a feature, that are within the row."""

    @abstractmethod
    def vectors(self, index: str, width: str, body: list[str]) -> list[str]:
        """The loop over the vectors of a row."""

    @abstractmethod
    def repeat(self, index: str, count: str, body: list[str]) -> list[str]:
        """The loop over an axis of a row."""

    @abstractmethod
    def rows(self, body: list[str]) -> list[str]:
        """The loop over rows ``b``: those from ``b0`` to ``end``, or this thread's part of them."""

    @abstractmethod
    def steps(self, body: list[str], reverse: bool, table: int, shift: str) -> list[str]:
        """The loop over time; numbers of rows before each step are in ``dims``, from `table` on.

        If threads share a step, ``1 << shift`` rows are one thread's.
        """

    @abstractmethod
    def meet(self) -> list[str]:
        """Statements that wait for the threads that share a step."""

    @abstractmethod
    def product(self, operands: list[Operand], bias: str, target: Target) -> list[str]:
        """A sum of products over all rows, or this thread's part of it.

        With `bias`, it starts from that, else from what is there.
        """

    @abstractmethod
    def heads(self, operand: HeadsOperand, head: str, target: Target, by_row: bool) -> list[str]:
        """Add a product for each head, `head`, over all rows, or this thread's part of them, to what is there.

        `by_row`: one matrix for all heads, which are many: a product for each row, of all heads.
        """

    @abstractmethod
    def function(
        self,
        name: str,
        arrays: list[str],
        comments: list[str],
        literals: Mapping[str, float],
        numbers: Sequence[str],
        ints: Sequence[str],
        starts: Mapping[str, str],
        loop: list[str],
    ) -> str:
        """The whole loop.

        Parameters
        ----------
        name, arrays, comments
            What it is called, the arrays that it takes, and what to say of it.
        literals, numbers, ints : mapping, sequences
            Names of numbers in the source, of those in ``consts``, and of the integers in ``dims`` after T and B.
        starts : mapping
            Names of integers, and their expressions.
        loop : list of str
            The loop over time; empty if there is nothing to do.
        """
