"""Arrays of any rank in C: where an element lies, and loops over all of them.

Lengths are ints, or C expressions of the sizes of a call. An array is a range of memory with strides, one number, or
a line of numbers; transposes, slices and broadcasts of it are other strides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ..sizes import Ratio, Size
from .functions import Dialect

Length = int | str


class Lengths:
    """Lengths and numbers in C, for a call of which some sizes are known.

    Parameters
    ----------
    known : dict of str to int
        Sizes by name; the others are variables in C.
    """

    def __init__(self, known: Mapping[str, int]):
        self.known = known

    def __call__(self, dim: int | Size) -> Length:
        """A length."""
        if isinstance(dim, int):
            return dim
        if dim.names <= self.known.keys():
            return dim.at(self.known)
        text = re.sub(r"\b[A-Z]\w*\b", lambda m: str(self.known.get(m[0], m[0])), str(dim)).replace("//", "/")
        return text if text.isidentifier() else f"({text})"

    def number(self, value: float | Size | Ratio, dialect: Dialect) -> str:
        """A number that may be computed of sizes."""
        if isinstance(value, Size):
            found = self(value)
            return dialect.number(found) if isinstance(found, int) else f"({dialect.real}){found}"
        if isinstance(value, Ratio):
            return f"({dialect.number(value.value)} / {self.number(value.size, dialect)})"
        return dialect.number(float(value))


def times(a: Length, b: Length) -> Length:
    """A product."""
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    if a == 0 or b == 0:
        return 0
    return b if a == 1 else a if b == 1 else f"{a} * {b}"


def plus(a: Length, b: Length) -> Length:
    """A sum."""
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    return b if a == 0 else a if b == 0 else f"{a} + {b}"


def product(lengths: Sequence[Length]) -> Length:
    """How many elements an array has."""
    whole, words = 1, []
    for n in lengths:
        if isinstance(n, int):
            whole *= n
        else:
            words.append(n)
    return " * ".join([str(whole)] * (whole != 1 or not words) + words) if words else whole


class Array(NamedTuple):
    """Where the elements of an array are.

    Attributes
    ----------
    shape : tuple of Length
    base : str
        C for the address of the first element; "" for a number or a line.
    strides : tuple of Length
        Of a line, one per axis: 0 or 1.
    text : str
        C for an element: ``{}`` stands for what is in memory, or, of a line, for the index.
    """

    shape: tuple[Length, ...]
    base: str
    strides: tuple[Length, ...]
    text: str = "{}"

    def at(self, index: Sequence[Length]) -> str:
        """C for one element."""
        total: Length = 0
        for i, stride in zip(index, self.strides):
            total = plus(total, times(_grouped(i), stride))
        return self.text.replace("{}", f"{self.base}[{total}]" if self.base else f"({total})")

    def address(self, index: Sequence[Length]) -> str:
        """C for the address of an element in memory."""
        return f"&{self._replace(text='{}').at(index)}"

    @property
    def is_packed(self) -> bool:
        """Whether it lies in memory in C order, without gaps, as numbers of the file's dtype."""
        if not self.base or self.text != "{}":
            return False
        wanted = row_strides(self.shape)
        return all(n == 1 or a == b for n, a, b in zip(self.shape, self.strides, wanted))


def _grouped(i: Length) -> Length:
    return f"({i})" if isinstance(i, str) and not i.isidentifier() and not i.startswith("(") else i


def row_strides(shape: Sequence[Length]) -> tuple[Length, ...]:
    """The strides of an array in C order."""
    return tuple(product(shape[i + 1 :]) for i in range(len(shape)))


def packed(shape: Sequence[Length], base: str, text: str = "{}") -> Array:
    """An array in C order."""
    return Array(tuple(shape), base, row_strides(shape), text)


def constant(shape: Sequence[Length], text: str) -> Array:
    """An array of which each element is the same number."""
    return Array(tuple(shape), "", (0,) * len(shape), text)


def broadcast(array: Array, shape: Sequence[Length]) -> Array:
    """The array with the axes and lengths of a broadcast."""
    lead = len(shape) - len(array.shape)
    strides = [0] * lead + [0 if n == 1 and m != 1 else s for n, m, s in zip(array.shape, shape[lead:], array.strides)]
    return Array(tuple(shape), array.base, tuple(strides), array.text)


def nested(shape: Sequence[Length], body: Callable[[list[Length]], Sequence[str]]) -> list[str]:
    """Loops over all indices, around the lines that `body` gives for them."""
    index: list[Length] = []
    lines, depth = [], 0
    for axis, n in enumerate(shape):
        if n == 1:
            index.append(0)
            continue
        index.append(f"i{axis}")
        lines.append(f"{'    ' * depth}for (long i{axis} = 0; i{axis} < {n}; i{axis}++) {{")
        depth += 1
    lines += ["    " * depth + line for line in body(index)]
    return lines + ["    " * d + "}" for d in reversed(range(depth))]
