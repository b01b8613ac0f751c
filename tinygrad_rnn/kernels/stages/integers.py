"""Stages of integers and truth values, all as int64."""

from __future__ import annotations

from typing import Any

from numba import njit

from ..loops.entry import array_like
from ..loops.records import integers_in, record_at
from .stage_codes import IntegerOp, IntegerStage, ToFloatsStage, ToIntegersStage


def integer_stage(table: int, like: Any) -> None:
    """Elementwise integers, of an :class:`IntegerStage` at an address."""
    s = record_at(table, 0, IntegerStage)
    x, y, z, out = integers_in(s.a), integers_in(s.b), integers_in(s.c), integers_in(s.out)
    for i in range(s.n0):
        for j in range(s.n1):
            for k in range(s.n2):
                a = s.first_a + i * s.a0 + j * s.a1 + k * s.a2
                b = s.first_b + i * s.b0 + j * s.b1 + k * s.b2
                c = s.first_c + i * s.c0 + j * s.c1 + k * s.c2
                t = s.first_out + i * s.t0 + j * s.t1 + k * s.t2
                for n in range(s.n3):
                    found = _integer(s.op, x[a + n * s.a3], y[b + n * s.b3], z[c + n * s.c3])
                    if s.shift > 0:
                        found = _narrowed(found, s.shift, s.signed)
                    out[t + n * s.t3] = found


@njit(error_model="numpy")
def _integer(op: int, a: int, b: int, c: int) -> int:
    if op == IntegerOp.COPY:
        return a
    if op == IntegerOp.ADD:
        return a + b
    if op == IntegerOp.SUBTRACT:
        return a - b
    if op == IntegerOp.MULTIPLY:
        return a * b
    if op == IntegerOp.FLOOR_DIVIDE:
        # zero as of NumPy; by -1 apart, as the processor traps where the quotient of the least number does not fit
        return 0 if b == 0 else -a if b == -1 else a // b
    if op == IntegerOp.REMAINDER:
        return 0 if b == 0 or b == -1 else a % b
    if op == IntegerOp.NEGATIVE:
        return -a
    if op == IntegerOp.ABS:
        return -a if a < 0 else a
    if op == IntegerOp.MAXIMUM:
        return max(a, b)
    if op == IntegerOp.MINIMUM:
        return min(a, b)
    if op == IntegerOp.EQUAL:
        return 1 if a == b else 0
    if op == IntegerOp.NOT_EQUAL:
        return 1 if a != b else 0
    if op == IntegerOp.LESS:
        return 1 if a < b else 0
    if op == IntegerOp.LESS_EQUAL:
        return 1 if a <= b else 0
    if op == IntegerOp.AND:
        return 1 if a != 0 and b != 0 else 0
    if op == IntegerOp.OR:
        return 1 if a != 0 or b != 0 else 0
    if op == IntegerOp.XOR:
        return 1 if (a != 0) != (b != 0) else 0
    if op == IntegerOp.NOT:
        return 1 if a == 0 else 0
    return b if a != 0 else c  # WHERE


@njit(error_model="numpy")
def _narrowed(a: int, shift: int, signed: int) -> int:
    """The integer that the lowest ``64 - shift`` bits mean."""
    if signed != 0:
        return (a << shift) >> shift
    return a & ((1 << (64 - shift)) - 1)


def to_floats_stage(table: int, like: Any) -> None:
    """Floats of integers, of a :class:`ToFloatsStage` at an address."""
    out, x = array_like(table, 0, like), integers_in(record_at(table, 0, ToFloatsStage).source)
    for i in range(out.size):
        out[i] = x[i]


def to_integers_stage(table: int, like: Any) -> None:
    """Integers of floats, of a :class:`ToIntegersStage` at an address."""
    x, out = array_like(table, 0, like), integers_in(record_at(table, 0, ToIntegersStage).target)
    for i in range(out.size):
        out[i] = int(x[i])
