"""Integers of a step: rows of whole numbers, which loops hold as floats, and what looks them up.

A float of 32 bits holds every whole number below 2 ** 24, one of 64 bits those below 2 ** 53. So a value of integers is
a view of a row of floats. Where the frontend cannot tell that the numbers stay within that range, and an index within
its axis, the program has a *check*: a result of its own, which is zero for as long as all is well.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...ops import abs as absolute
from ...ops import (
    astype,
    equal,
    floor_divide,
    less_equal,
    maximum,
    minimum,
    not_equal,
    remainder,
    reshape,
    sign,
    trunc,
    where,
)
from ...ops import max as max_of
from ...ops import min as min_of
from ...ops.compare import bitwise_and, bitwise_or, bitwise_xor, left_shift, right_shift
from ...ops.elementwise import whole_quotient
from ...ops.power import power
from ..ir.heads import base_of
from ..ir.infer import infer
from ..ir.program import Check
from ..ir.program_ops import ADD, CONSTANT, LOOKUP, MULTIPLY, NEGATIVE, RESHAPE_ROW, SUBTRACT, SUM
from ..ir.symbol import BATCH, Symbol, location
from . import bits
from .any_rank import AnyRank

Range = tuple[float, float]
ANY: Range = (-math.inf, math.inf)
REMAINDER, FLOOR_DIVIDE, WHERE = remainder.op, floor_divide.op, where.op
ABSOLUTE, MAXIMUM, MINIMUM, SIGN = absolute.op, maximum.op, minimum.op, sign.op
DIVISIONS, SHIFTS = (REMAINDER, FLOOR_DIVIDE), (left_shift.op, right_shift.op)
BITS = (bitwise_and.op, bitwise_or.op, bitwise_xor.op)
OWN = (*DIVISIONS, *SHIFTS, *BITS, power.op)  # which are of integers something else than of floats
STRUCTURE = ("reshape", "transpose", "broadcast", "slice", "split", "concat", "pad")


def _product(a: Range, b: Range) -> Range:
    ends = [0.0 if 0 in (x, y) else x * y for x in a for y in b]
    return min(ends), max(ends)


# of operations that are exact on whole numbers, where their results can lie, given where their operands do
RANGES: dict[Any, Callable[..., Range]] = {
    ADD: lambda a, b: (a[0] + b[0], a[1] + b[1]),
    SUBTRACT: lambda a, b: (a[0] - b[1], a[1] - b[0]),
    MULTIPLY: _product,
    NEGATIVE: lambda a: (-a[1], -a[0]),
    ABSOLUTE: lambda a: (0.0, max(abs(a[0]), abs(a[1]))),
    MAXIMUM: lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
    MINIMUM: lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
    WHERE: lambda _, a, b: (min(a[0], b[0]), max(a[1], b[1])),
    SIGN: lambda a: (-1.0, 1.0),
    CONSTANT: lambda a: a,
}


class Integers(AnyRank):
    """Rules for values of integers.

    Attributes
    ----------
    ranges : dict
        uid of a row of whole numbers -> between which numbers it lies; no entry: between any.
    checks : list of (Check, Symbol)
        With the row that is zero where all is well, and otherwise the number that is not.
    """

    ranges: dict[int, Range]
    checks: list[tuple[Check, Symbol]]
    checked: dict[Any, Symbol]
    captured: Any
    lift: Any
    stand_in: int

    # ---- ranges and checks

    def limits(self, dtype: Any) -> Range:
        """Between which numbers integers of a dtype are the same in a loop as on the tape."""
        most = (2**24 if self.dtype == np.float32 else 2**53) - 1  # others may be rounded to the next one
        info = np.iinfo(dtype)
        return float(max(-most, info.min)), float(min(most, info.max))

    def range_of(self, a: Any) -> Range:
        """Between which numbers an operand, or the row of one, lies."""
        if not isinstance(a, Symbol):
            return float(a), float(a)
        if a.dtype.kind == "b":
            return 0.0, 1.0
        return self.ranges.get((self.flat(a) if a.varying else a).uid, ANY)

    def within(self, row: Symbol, limits: Range, what: str = "") -> Symbol:
        """The row, checked to lie between two numbers unless it is known to; others are replaced.

        Parameters
        ----------
        what : str
            An index's axis, in words; empty: the numbers have to be those of the tape.
        """
        low, high = self.range_of(row)
        if limits[0] <= low and high <= limits[1]:
            return row
        key = row.uid, limits, what
        if key in self.checked:
            return self.checked[key]
        # comparisons with NaN do not hold: it is replaced, too
        fits = less_equal(limits[0], row) & less_equal(row, limits[1])
        check = Check(what, limits, location(), _input_of(row))
        self.checks.append((check, self.detach(where(fits, 0.0, row))))
        found = self.detach(where(fits, row, min(max(0.0, limits[0]), limits[1])))
        self.ranges[found.uid] = limits
        self.checked[key] = found
        return found

    def check_rows(self) -> list[Symbol]:
        """For each check the least and the greatest number that is out of range, or zero: (B, 1)."""
        extrema: list[Any] = [f(row, axis=1, keepdims=True) for _, row in self.checks for f in (min_of, max_of)]
        return extrema

    def in_range(self, index: Any, low: int, high: int, what: str) -> Any:
        """Integers, of which those outside of `low` to `high` are an error of the call."""
        if not index.varying:
            index = self.shaped(self.flat(self.zero(index.shape) + index), index.shape[1:], index.dtype)
        row = self.within(self.flat(index), (float(low), float(high)), what)
        return self.shaped(row, index.shape[1:], index.dtype)

    def whole_numbers(self, x: Any, low: int, high: int) -> Any:
        """Floats that are whole numbers from `low` to `high`, as integers."""
        row = self.detach(self.flat(x))
        self.ranges[row.uid] = float(low), float(high)
        return self.shaped(row, x.shape[1:], np.dtype(np.int64))

    # ---- rules

    def gives_integers(self, op: Any, kind: str, args: tuple, static: dict) -> bool:
        """Whether an operation whose operands that vary in time are truth values counts with them."""
        kinds = {a.dtype.kind for a in args if isinstance(a, Symbol) and a.varying}
        if kinds != {"b"} or (kind not in ("elementwise", "reduce") and op not in OWN):
            return False
        return infer(op, args, static, self.stand_in)[1].kind in "iu"

    def counted(self, x: Any) -> Any:
        """Truth values as integers, anything else as it is."""
        truth = isinstance(x, Symbol) and x.varying and x.dtype.kind == "b"
        return self.cast_to_integers(x, np.dtype(np.int64)) if truth else x

    def of_integers(self, op: Any, kind: str, args: tuple, static: dict) -> Any:
        """An operation of which an operand that varies in time is integers, or which counts with truth values."""
        if op in OWN or kind == "elementwise":
            return self._integer_elementwise(op, args, static)
        if kind in STRUCTURE:
            floats = kind == "concat" and any(isinstance(a, Symbol) and a.dtype.kind == "f" for a in args)
            return self.RANKED[kind](self, op, self._as_floats(args) if floats else args, static)
        if kind == "cast":
            return self._cast_integers(op, args, np.dtype(static["dtype"]))
        if kind == "reduce":
            return self._reduce_integers(op, args, static)
        if kind in ("matmul", "einsum"):
            return self._contract_integers(op, args, static)
        return self.record(op, self._as_floats(args), static)

    def _contract_integers(self, op, args, static):
        """Sums of products: where all operands are integers, integers."""
        args = tuple(self._exact(self.counted(a)) for a in args)
        floats = self._as_floats(args)
        dtype = infer(op, args, static, self.stand_in)[1]
        if dtype.kind == "f":
            return self.record(op, floats, static)
        if not all(a.varying for a in args):
            self.fail(op, args, f"floats beside what does not vary in time; cast both to {self.dtype} with .astype()")
        result = self.record(op, floats, static)
        low, high = functools.reduce(_product, map(self.range_of, args))
        most = max(abs(low), abs(high)) * math.prod(n for a in args for n in a.shape[1:])
        if most > self.limits(dtype)[1]:  # a partial sum may be out of range where the whole is not
            total = self.record(op, tuple(absolute(a) for a in floats), static)
            self.within(self.flat(total), self.limits(dtype))
        row = self.detach(self.flat(result))
        self.ranges[row.uid] = -most, most
        return self.shaped(self.within(row, self.limits(dtype)), result.shape[1:], dtype)

    def _as_floats(self, args: tuple) -> tuple:
        return tuple(
            self.shaped(self.flat(a), a.shape[1:])
            if isinstance(a, Symbol) and a.varying and a.dtype.kind in "iu"
            else a
            for a in args
        )

    def _integer_elementwise(self, op, args, static):
        shape, dtype = self._infer_elementwise(op, args, static)
        if dtype.kind == "f":
            if dtype != self.dtype:
                self.fail(op, args, f"{self.dtype}, not {dtype}; cast integers to {self.dtype} with .astype()")
            if op in DIVISIONS:
                return self.record(op, self._as_floats(args), static)
            return self._ranked_elementwise(op, args, static)
        if dtype.kind in "iu" and op not in RANGES and op not in OWN:
            self.fail(op, args, f"an operation that is exact on floats; cast integers to {self.dtype} with .astype()")
        if dtype.kind in "iu":
            args = tuple(a if op is WHERE and i == 0 else self.counted(a) for i, a in enumerate(args))
        if op in OWN:
            self._refuse_long(op, args)
        args = tuple(self._exact(a) for a in args)
        rows = tuple(map(self._exact_row, self.rows_for(op, args, shape), args))
        if dtype.kind in "iu" and not any(isinstance(a, Symbol) and a.dtype.kind != "b" for a in rows):
            known = tuple(map(self.range_of, rows))
            rows = tuple(a if isinstance(a, Symbol) else self.zero((BATCH, 1)) + float(a) for a in rows)
            self.ranges.update({a.uid: found for a, found in zip(rows, known) if a.dtype.kind != "b"})
        if dtype.kind == "b":
            return self.shaped(self._rule_elementwise(op, rows, static), shape[1:])
        if op in OWN:
            row, found = self._of_own(op, rows, dtype)
        else:
            row = self._rule_elementwise(op, rows, static)
            found = RANGES[op](*map(self.range_of, rows))
        self.ranges.setdefault(row.uid, found)
        return self.shaped(self.within(row, self.limits(dtype)), shape[1:], dtype)

    def _refuse_long(self, op: Any, args: tuple) -> None:
        """Refuse numbers that floats may round: what is left of a division by one does not show that."""
        low, high = self.limits(np.int64)
        if any(not isinstance(a, Symbol) and not low <= a <= high for a in args):
            self.fail(op, args, f"numbers from {int(low)} to {int(high)}, as a compiled loop holds them")

    def _exact(self, a: Any) -> Any:
        """An operand of integer maths, whose numbers are those of the tape."""
        if not isinstance(a, Symbol) or a.dtype.kind not in "iu" or not a.varying:
            return a
        return self.shaped(self.within(self.flat(a), self.limits(a.dtype)), a.shape[1:], a.dtype)

    def _exact_row(self, row: Any, a: Any) -> Any:
        """The row of an operand that does not vary in time, with numbers that are those of the tape."""
        if not isinstance(a, Symbol) or a.dtype.kind not in "iu" or a.varying or self._fits(a):
            return row
        return self.within(self.zero((BATCH, row.size if row.ndim == 1 else row.shape[-1])) + row, self.limits(a.dtype))

    def _fits(self, a: Symbol) -> bool:
        """Whether integers are known to be small: those of an array that the step itself has made."""
        for source, tensor, symbol in self.captured.values():
            if symbol is a:
                low, high = self.limits(a.dtype)
                return type(source) is np.ndarray and low <= tensor.data.min() and tensor.data.max() <= high
        return False

    def _of_own(self, op: Any, args: tuple, dtype: np.dtype) -> tuple[Symbol, Range]:
        """The row of a quotient, of bits or of a power, and between which numbers it lies."""
        one = self.zero((BATCH, 1)) + 1.0
        a, b = (x if isinstance(x, Symbol) else one * float(x) for x in args)
        # arrays of integers that the step has made: halves of them would be of the default precision
        a, b = (x if x.varying else one * (x if x.dtype.kind == "f" else astype(x, self.dtype)) for x in (a, b))
        if op in DIVISIONS:
            return self._quotient(op, a, b)
        known = self.range_of(a), self.range_of(b)
        if op is power.op:  # the tape says what it thinks of negative exponents
            row: Any = bits.power(a, self.within(b, (0.0, self.limits(np.int64)[1])))
        elif op in SHIFTS:
            row = bits.shifted(a, b, 8 * dtype.itemsize, left=op is left_shift.op)
        else:
            row = bits.combined(op, a, b)
        return self.detach(row), bits.range_of(op, *known)

    def _quotient(self, op: Any, a: Symbol, b: Symbol) -> tuple[Symbol, Range]:
        """Rows of a // b or of a % b, both 0 where b is; and between which numbers they lie."""
        of_a, of_b = self.range_of(a), self.range_of(b)
        nowhere = equal(b, 0.0)
        q, r = whole_quotient(a, where(nowhere, 1.0, b))
        most = max(abs(of_b[0]), abs(of_b[1]), 1.0) - 1.0
        largest = max(abs(of_a[0]), abs(of_a[1])) + 1.0
        if op is FLOOR_DIVIDE:
            return self.detach(where(nowhere, 0.0, q)), (-largest, largest)
        return self.detach(where(nowhere, 0.0, r)), (0.0 if of_b[0] >= 0 else -most, 0.0 if of_b[1] <= 0 else most)

    def _cast_integers(self, op: Any, args: tuple, dtype: np.dtype) -> Symbol:
        (x,) = args
        row = self.flat(x)
        if dtype.kind == "f" and dtype != self.dtype:
            self.fail(op, args, f"a cast to {self.dtype}, bool or integers, not to {dtype}")
        if dtype.kind == "b":
            truth: Any = not_equal(self.within(row, self.limits(x.dtype)), 0.0)
            return self.shaped(truth, x.shape[1:])
        if dtype.kind == "f":
            return self.shaped(row, x.shape[1:])
        return self.shaped(self.within(row, self.limits(dtype)), x.shape[1:], dtype)

    def cast_to_integers(self, x: Symbol, dtype: np.dtype) -> Symbol:
        """Floats or truth values as integers: what is behind the point is cut off."""
        row = self.flat(x)
        if x.dtype.kind == "b":
            row = self.map_pieces(row, lambda piece: self.cast(piece, self.dtype))
            self.ranges[row.uid] = 0.0, 1.0
        else:
            row = self.within(self.detach(trunc(row)), self.limits(dtype))
        return self.shaped(row, x.shape[1:], dtype)

    def _reduce_integers(self, op, args, static):
        found = infer(op, args, static, self.stand_in)
        shape, dtype = found
        if dtype.kind == "f" and dtype != self.dtype:
            self.fail(op, args, f"{self.dtype}, not {dtype}; cast integers to {self.dtype} with .astype()")
        args = tuple(self._exact(self.counted(a)) for a in args)
        low, high = self.range_of(args[0])
        result = self._ranked_reduce(op, args, static)
        if op is SUM and max(-low, high) * (args[0].size // self.stand_in) > self.limits(dtype)[1]:
            # a partial sum may be out of range where the whole is not
            parts = absolute(self._as_floats(args)[0])
            self.within(self.flat(self._ranked_reduce(op, (parts,), static)), self.limits(dtype))
        if dtype.kind in "bf" or (result.leaf is not None and result.leaf[0] == "unusable"):
            return result
        row = self.detach(self.flat(result))
        count = args[0].size // max(1, math.prod(shape)) * self.stand_in if op is SUM else 1
        self.ranges[row.uid] = low * count if low else 0.0, high * count if high else 0.0
        return self.shaped(self.within(row, self.limits(dtype)), result.shape[1:], dtype)

    def _ranked_lookup(self, op, args, static):
        """Rows of a parameter at integers that vary in time."""
        table, index = args
        if not isinstance(index, Symbol) or not index.varying or index.dtype.kind not in "iu" or table.varying:
            self.fail(op, args, "a parameter (V, E), and integers with the batch as their first axis")
        if table.dtype != self.dtype:
            self.fail(op, args, f"a parameter of {self.dtype}")
        count, width = table.shape
        if not count * width:
            self.fail(op, args, "a parameter with numbers in it")
        if base_of(table) is not table:  # it is read as it lies in memory: a part of a parameter is copied before
            table = reshape(reshape(table, (count * width,)), (count, width))
        if count * width > self.limits(np.int64)[1]:
            self.fail(op, args, f"a parameter of at most {int(self.limits(np.int64)[1])} numbers")
        chosen = self.joined(self.flat(self.in_range(index, 0, count - 1, f"ids from 0 to {count - 1}")))
        places = chosen
        if width > 1:
            spread = self.expand(chosen, [(chosen.width, True), (width, False)])
            columns = np.tile(np.arange(width, dtype=self.dtype), chosen.width)
            places = self._rule_elementwise(ADD, (spread * float(width), self.constant(columns)), {})
        row = self.make(LOOKUP, (table, places), {"padding": static["padding"]}, places.shape, self.dtype)
        return self.shaped(row, (*index.shape[1:], width))

    def index_of(self, s: Symbol) -> Symbol:
        """The rows (B, n) of the table that a look-up reads."""
        table, places = s.args
        return places if table.shape[1] == 1 else places.args[0].args[0].args[0]  # written as above

    def rows_read(self, s: Symbol) -> list[Symbol]:
        """For each index of a look-up (B, V): 1 for the row that it reads, if that gets a gradient."""
        index, rows = self.index_of(s), np.arange(s.args[0].shape[0], dtype=self.dtype)
        if s.static["padding"] >= 0:
            rows[s.static["padding"]] = -1.0
        numbers = self.constant(rows)
        hits: list[Any] = [equal(self.columns(index, i, i + 1), numbers) for i in range(index.width)]
        return [self.cast(hit, self.dtype) for hit in hits]

    def constant(self, array: np.ndarray) -> Symbol:
        """The symbol of an array of the frontend's own, the same for equal ones."""
        for source, _, symbol in self.captured.values():
            if type(source) is np.ndarray and source.dtype == array.dtype and np.array_equal(source, array):
                return symbol
        return self.lift(array)

    RANKED = AnyRank.RANKED | {"lookup": _ranked_lookup}


def _input_of(row: Symbol) -> int | None:
    """The number of the input that a row is."""
    source = row.args[0] if row.op is RESHAPE_ROW else row
    return source.leaf[1] if source.leaf is not None and source.leaf[0] == "input" else None
