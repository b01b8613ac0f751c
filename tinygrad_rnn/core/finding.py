"""Findings of anomaly detection: which non-finite values are new, where they appeared, and the error."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..errors import AnomalyError
from .node import Op
from .tensor import Tensor

ndarray = np.ndarray
SMALL = 1 << 16  # elements that a product with zeros looks at
_zeros: dict[np.dtype, np.ndarray] = {}


def all_finite(a: Any) -> bool:
    """Whether an array (or tensor) of floats holds neither NaN nor infinity."""
    a = values_of(a)
    size = a.size
    if size > SMALL or a.dtype.kind != "f":
        return bool(np.isfinite(a).all())
    zeros = _zeros.get(a.dtype)
    if zeros is None:
        zeros = _zeros[a.dtype] = np.zeros(SMALL, a.dtype)
    return zeros[:size].dot(a.ravel()) == 0.0  # a third of the time; NaN and infinity times zero are NaN


def values_of(a: Any) -> np.ndarray:
    """The values of an array, a tensor or a number."""
    return a if type(a) is ndarray else np.asarray(a.data if isinstance(a, Tensor) else a)


class Place(NamedTuple):
    """The place of an operation: file and line, and the time step of a sequence."""

    path: str
    line: int
    sequence: Unrolled | None
    time: int | None
    valid: np.ndarray | None  # rows of the batch that count at the step

    @property
    def where(self) -> str:
        return f"{self.path}:{self.line}" if self.path else ""

    def row(self, shape: tuple, at: tuple) -> int | None:
        """The row of the batch of an entry of an array."""
        return at[0] if self.sequence is not None and at and shape[0] == self.sequence.batch else None

    def counting(self, bad: np.ndarray) -> np.ndarray:
        """The mask `bad` without the rows that do not count at this time step."""
        if self.valid is None or self.sequence is None or not bad.ndim or len(bad) != self.sequence.batch:
            return bad
        return bad & self.valid.reshape(-1, *(1,) * (bad.ndim - 1))


NOWHERE = Place("", 0, None, None, None)


class Unrolled:
    """A sequence that runs step by step on the tape, with what was found in it.

    Parameters
    ----------
    driver : str
        The file that calls the step: lines are looked for in what it calls.
    batch, length : int
        B and T.
    base : int or None
        The caller's number of the first step; None: steps have none.
    reverse : bool
    counts : bool array (T, B), optional
        Which steps count, in running order.

    Attributes
    ----------
    time : int or None
        The step that runs, as the caller counts.
    valid : bool array (B,) or None
        The rows for which it counts.
    """

    def __init__(
        self, driver: str, batch: int, length: int, base: int | None = 0, reverse: bool = False, counts: Any = None
    ) -> None:
        self.driver, self.batch, self.length = driver, batch, length
        self.base, self.reverse, self.counts = base, reverse, counts
        self.time: int | None = None
        self.valid: np.ndarray | None = None
        self.findings: list[Finding] = []
        self.tainted: dict[int, tuple[Tensor, frozenset[int]]] = {}  # what is not finite because of which findings

    def time_of(self, t: int) -> int | None:
        """The caller's number of the step that runs as number `t`."""
        return None if self.base is None else self.base + (self.length - 1 - t if self.reverse else t)

    def begin(self, t: int | None) -> None:
        """Enter step `t`; None: leave the steps."""
        self.time = None if t is None else self.time_of(t)
        self.valid = None if t is None or self.counts is None else self.counts[t]


class Finding(NamedTuple):
    """A non-finite result of finite operands, and the place where it appeared."""

    op: str
    bad: np.ndarray  # which entries
    value: np.ndarray
    operands: list
    place: Place

    def error(self, row: int | None = None) -> AnomalyError:
        """The error for it; with `row`, for that row of the batch."""
        bad = self.bad
        if row is not None and bad.ndim and bad[row].any():
            bad = bad.copy()
            bad[np.arange(len(bad)) != row] = False
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        row = self.place.row(bad.shape, at)
        text = f"{self.op}: gives {_number(self.value[at])}{spot(self.place, row, at)}, in {self.place.where}"
        text += f": {_operands(self.operands, bad.shape, at)}"
        return error_at(text, self.op, "forward", self.place, row)


def spot(place: Place, row: int | None, at: tuple) -> str:
    """The position of an entry in words: time step, row and feature, as far as there are any."""
    words = [] if place.time is None else [f"time step {place.time}"]
    if row is None:
        words += [f"entry {at}"] if at else []
    else:
        words.append(f"row {row}")
        words += [f"feature {at[1] if len(at) == 2 else at[1:]}"] if at[1:] else []
    return f" at {', '.join(words)}" if words else ""


def _number(value: Any) -> str:
    return str(float(value))


def _operands(operands: list, shape: tuple, at: tuple) -> str:
    """The operands in words: finite or not, with their values at the entry."""
    words = []
    for i, a in enumerate(operands):
        name = "its input" if len(operands) == 1 else f"input {i}"
        a = np.asarray(a)
        finite = a.dtype.kind != "f" or bool(np.isfinite(a).all())
        try:
            there = f" ({np.broadcast_to(a, shape)[at]!s})"
        except ValueError:
            there = f", of shape {a.shape}"
        words.append(f"{name} is {'finite' if finite else 'not finite'}{there}")
    return ", ".join(words) if words else "it has no input"


def error_at(text: str, op: str, phase: str, place: Place, row: int | None) -> AnomalyError:
    """The error with `text`, and with operation, phase, place, step and row as attributes."""
    error = AnomalyError(text)
    error.op, error.phase, error.where, error.step, error.row = op, phase, place.where, place.time, row
    return error


def new_entries(op: Op, operands: list, static: dict, out: np.ndarray) -> np.ndarray:
    """Mask of the new non-finite entries of a result: NaN of no NaN, infinity of finite operands."""
    nan, inf = np.isnan(out), np.isinf(out)
    infinite = any(isinstance(v, float) and np.isinf(v) for v in static.values())
    elementwise = op.lowering is not None and op.lowering.kind == "elementwise"
    for a in operands:
        a = np.asarray(a)
        if a.dtype.kind != "f" or np.isfinite(a).all():
            continue
        if elementwise:
            its_nan, its_inf = (np.broadcast_to(f(a), out.shape) for f in (np.isnan, np.isinf))
            nan, inf = nan & ~its_nan, inf & ~(its_nan | its_inf)
        elif np.isnan(a).any():
            return np.zeros(out.shape, bool)
        else:
            infinite = True
    return nan if infinite else nan | inf
