"""The constants of a C file: arrays in one struct; int8 matrices have a scale for each column."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from ...errors import ExportError
from .functions import Dialect

KEYWORDS = """auto break case char const continue default do double else enum extern float for goto if inline int long
register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while
alignas alignof asm bool constexpr false nullptr static_assert thread_local true typeof typeof_unqual"""
MACROS = re.compile(
    r"NULL|NAN|INFINITY|HUGE_VAL\w*|(M|FP|MATH|SIG|WCHAR|WINT|PTRDIFF|SIZE)_\w+|U?INT\w+|linux|unix|i386"
)
LINE = 112  # characters of numbers in a line


class Weights:
    """Collects arrays, each once.

    Parameters
    ----------
    dialect : Dialect
    int8 : bool
        Keep matrices as integers of a byte.

    Attributes
    ----------
    bytes : int
    """

    def __init__(self, dialect: Dialect, int8: bool):
        self.dialect, self.int8 = dialect, int8
        self.bytes = 0
        self._fields: list[tuple[str, str, np.ndarray]] = []  # type, name, values
        self._names: dict[tuple, str] = {}

    def vector(self, array: np.ndarray, hint: str) -> str:
        """C for the first of these numbers, or bits of truth values."""
        array = np.asarray(array)
        if array.dtype.kind == "b":
            return self._field(self.dialect.bits, np.where(array, -1, 0), hint)
        return self._field(self.dialect.real, array.astype(self.dialect.dtype), hint)

    def table(self, array: np.ndarray, hint: str) -> str:
        """C for the first of these integers."""
        return self._field("int32_t", array.astype(np.int32), hint)

    def matrix(self, array: np.ndarray, hint: str) -> tuple[str, str]:
        """C for the first number of a matrix (K, N), and for the first of its N scales; "" if it has none."""
        if not self.int8:
            return self.vector(array, hint), ""
        if not np.isfinite(array).all():
            raise ExportError(f"weights: got 'int8' for {hint}, which holds NaN or infinity, wanted finite numbers")
        whole, scale = quantised(array)
        return self._field("int8_t", whole, hint), self.vector(scale, f"{hint}_scale")

    def _field(self, kind: str, array: np.ndarray, hint: str) -> str:
        key = kind, array.tobytes()
        if key not in self._names:
            name = unique(field_name(hint), [n for _, n, _ in self._fields])
            self._fields.append((kind, name, array))
            self._names[key] = name
            size = {"int8_t": 1, "int32_t": 4}.get(kind, self.dialect.dtype.itemsize)
            self.bytes += array.size * size
        return f"{self.dialect.prefix}_weights.{self._names[key]}"

    def text(self) -> str:
        """The struct, and what it holds."""
        if not self._fields:
            return ""
        prefix = self.dialect.prefix
        lines = [f"static const struct {prefix}_weights_ {{"]
        for kind, name, array in self._fields:
            lines.append(f"    {kind} {name}[{array.size}];  /* {' x '.join(map(str, array.shape))} */")
        lines.append(f"}} {prefix}_weights = {{")
        for kind, _, array in self._fields:
            lines += ["    {", *_wrapped(self._literals(kind, array)), "    },"]
        return "\n".join([*lines, "};"])

    def _literals(self, kind: str, array: np.ndarray) -> Iterable[str]:
        flat = array.ravel()
        if kind == self.dialect.bits:
            return ("0" if v == 0 else f"~({kind})0" for v in flat.tolist())
        if kind == self.dialect.real:
            return (self.dialect.number(v).strip("()") for v in flat)
        return map(str, flat.tolist())


def quantised(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A matrix (K, N) as integers of a byte, and the scale of each of its N columns."""
    scale = np.abs(array).max(axis=0, initial=0.0) / 127.0
    scale = np.where(scale >= np.finfo(np.float32).tiny, scale, 1.0)  # of smaller ones, too few bits are left
    return np.rint(array / scale).astype(np.int8), scale


def field_name(hint: str) -> str:
    """A name that C allows, for the parameter of this name."""
    name = re.sub(r"[^A-Za-z0-9_]+", "_", hint).strip("_")
    taken = name in KEYWORDS.split() or MACROS.fullmatch(name)
    return name if name[:1].isalpha() and not taken else f"w_{name}".rstrip("_")


def unique(name: str, taken: Iterable[str]) -> str:
    """`name`, with a number behind it where it is taken."""
    found, i = name, 1
    while found in taken:
        i += 1
        found = f"{name}_{i}"
    return found


def _wrapped(numbers: Iterable[str]) -> list[str]:
    lines, line = [], "       "
    for number in numbers:
        if len(line) + len(number) > LINE:
            lines.append(line)
            line = "       "
        line += f" {number},"
    return [*lines, line]
