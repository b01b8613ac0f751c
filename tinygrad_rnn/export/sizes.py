"""Sizes that differ from call to call, such as the batch and the time, and what is computed of them.

A trace has numbers where a model has sizes. Traced with several sizes of its inputs, a model gives several numbers for
each length and setting; :func:`fit` finds the expression that gives them all.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Samples = Sequence[Mapping[str, int]]  # of each trace: the sizes of its inputs by name


class Quotient(NamedTuple):
    """A size divided and rounded down: ``(name + shift) // divisor``."""

    name: str
    shift: int
    divisor: int

    def __str__(self) -> str:
        return f"({self.name} + {self.shift}) // {self.divisor}" if self.shift else f"{self.name} // {self.divisor}"


Atom = str | Quotient


class Size(NamedTuple):
    """A whole number that is computed of sizes: a sum of products.

    Attributes
    ----------
    terms : tuple of (int, tuple of Atom)
        Of each term the factor, and the sizes whose product it is; of the constant one none.
    """

    terms: tuple[tuple[int, tuple[Atom, ...]], ...]

    def at(self, sizes: Mapping[str, int]) -> int:
        """Its value for sizes by name."""
        return sum(factor * math.prod(_at(atom, sizes) for atom in atoms) for factor, atoms in self.terms)

    @property
    def names(self) -> set[str]:
        """The sizes that it is computed of."""
        return {atom if isinstance(atom, str) else atom.name for _, atoms in self.terms for atom in atoms}

    @property
    def is_name(self) -> bool:
        """Whether it is one of the sizes itself."""
        return len(self.terms) == 1 and self.terms[0][0] == 1 and list(map(type, self.terms[0][1])) == [str]

    def __str__(self) -> str:
        """The expression as Python and C (of positive numbers) write it."""
        text = ""
        for factor, atoms in self.terms:
            alone = len(atoms) == 1 and factor == 1
            words = [str(a) if isinstance(a, str) or alone else f"({a})" for a in atoms]
            words = ([str(abs(factor))] if abs(factor) != 1 or not atoms else []) + words
            sign = "-" if factor < 0 else "+"
            text += f" {sign} {' * '.join(words)}" if text else f"{'-' * (factor < 0)}{' * '.join(words)}"
        return text


class Ratio(NamedTuple):
    """A number divided by a size, such as the factor of a mean over time."""

    value: float
    size: Size

    def at(self, sizes: Mapping[str, int]) -> float:
        """Its value for sizes by name."""
        return self.value / self.size.at(sizes)

    def __str__(self) -> str:
        whole = len(self.size.terms) == 1 and self.size.is_name
        return f"{self.value!r} / {self.size}" if whole else f"{self.value!r} / ({self.size})"


def named(name: str) -> Size:
    """The size of this name."""
    return Size(((1, (name,)),))


def at(value: Any, sizes: Mapping[str, int]) -> Any:
    """A setting with numbers in place of what is computed of sizes: in tuples, slices and dicts, too."""
    if isinstance(value, Size | Ratio):
        return value.at(sizes)
    if isinstance(value, slice):
        return slice(*(at(v, sizes) for v in (value.start, value.stop, value.step)))
    if isinstance(value, tuple | list):
        return type(value)(at(v, sizes) for v in value)
    return {k: at(v, sizes) for k, v in value.items()} if isinstance(value, dict) else value


def _at(atom: Atom, sizes: Mapping[str, int]) -> int:
    return sizes[atom] if isinstance(atom, str) else (sizes[atom.name] + atom.shift) // atom.divisor


# ---- finding the expression


def fit(values: Sequence[Any], samples: Samples) -> Any:
    """The number, or the expression of sizes, that has these values; None if there is none.

    Parameters
    ----------
    values : sequence of int or float
        One for each of the samples.
    """
    first = values[0]
    if all(type(v) is type(first) and (v == first or v != v) for v in values):
        return first
    if all(isinstance(v, int) and not isinstance(v, bool) for v in values):
        return _fit_integers(values, samples)
    if not all(isinstance(v, float) and v and math.isfinite(v) for v in values):
        return None
    for value in (1.0, first * math.prod(samples[0].values())):  # 1 / n, most often
        wholes = [value / v for v in values]
        if all(abs(w - round(w)) < 1e-9 * abs(w) for w in wholes):
            size = _fit_integers([round(w) for w in wholes], samples)
            if isinstance(size, Size):
                return Ratio(value, size)
    return None


def _fit_integers(values: Sequence[int], samples: Samples) -> Size | None:
    for basis in _bases(list(samples[0])):
        found = _solve(basis, values, samples)
        if found is not None:
            return found
    return None


def _solve(basis: Sequence[Sequence[Atom]], values: Sequence[int], samples: Samples) -> Size | None:
    """The sum of multiples of products that has these values at the samples."""
    products: list[tuple[Atom, ...]] = [*map(tuple, basis), ()]
    matrix = np.array([[math.prod(_at(a, s) for a in atoms) for atoms in products] for s in samples], float)
    if len(samples) <= len(products) or np.linalg.matrix_rank(matrix) < len(products):
        return None  # too few to tell
    factors = np.rint(np.linalg.lstsq(matrix, np.array(values, float), rcond=None)[0]).astype(int)
    found = Size(tuple((int(f), atoms) for f, atoms in zip(factors, products) if f))
    return found if found.names and all(found.at(s) == v for s, v in zip(samples, values)) else None


def _bases(names: list[str]) -> Iterator[Sequence[Sequence[Atom]]]:
    """Sets of products to try, simple ones first."""
    pairs = list(itertools.combinations(names, 2))
    yield from ([(n,)] for n in names)
    yield from ([pair] for pair in pairs)
    yield [(n,) for n in names]
    yield [*[(n,) for n in names], *pairs]
    for divisor in range(2, 65):
        for name in names:
            parts: list[Atom] = [Quotient(name, shift, divisor) for shift in (0, divisor - 1)]
            yield from ([(part,)] for part in parts)
            yield from ([(part,), (name,)] for part in parts)
            yield from ([(other, part)] for part in parts for other in names if other != name)


def spread(examples: Mapping[str, int], count: int = 8) -> list[dict[str, int]]:
    """Sizes to trace with: those of the example, then larger ones that tell expressions apart."""
    steps = (0, 1, 3, 8, 14, 22, 37, 61)
    chosen = []
    for i in range(count):
        chosen.append({name: n + steps[(i * (2 * j + 1)) % len(steps)] for j, (name, n) in enumerate(examples.items())})
    return chosen
