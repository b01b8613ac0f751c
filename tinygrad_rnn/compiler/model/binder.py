"""Binder: the memory of each value of a program, and its conversions to the form that stages take."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np

from ...kernels.stages.stage_codes import IntegerOp
from ..ir.symbol import Symbol
from .bind import Stages
from .memory import Memory


def is_integer(dtype: np.dtype) -> bool:
    """Whether values of this dtype are int64 in native programs: integers that fit, and truth values."""
    return dtype.kind in "ib" or (dtype.kind == "u" and dtype.itemsize < 8)


class Binder:
    """The values, memory and stages of a program that is bound to arrays, one operation after the other.

    Floats are of one dtype; integers and truth values are int64, or floats where loops compute them.

    Parameters
    ----------
    dtype : float32 or float64
        Of all floats.
    last : dict
        For each value, by uid, the last step that reads it.
    checked : container of int
        Uids of the integers that are tested before each run.

    Attributes
    ----------
    at : dict
        Where values are, by uid.
    time_first : set of int
        Uids of values that loops read as (T, B, ...) where the program has (B, T, ...).
    left : dict
        What stages leave for others, such as a loss for its gradient, by what it is of.
    step : int
        That which is being bound.
    """

    def __init__(self, dtype: np.dtype, last: Mapping[int, int], checked: Container[int]):
        self.dtype, self.last, self.checked, self.step = dtype, last, checked, 0
        self.stages, self.memory = Stages(dtype), Memory(dtype)
        self.at: dict[int, Any] = {}
        self.time_first: set[int] = set()
        self.left: dict[tuple, Any] = {}
        self._floats: dict[int, np.ndarray] = {}  # integers and truth values as floats, by uid
        self._integers: dict[int, np.ndarray] = {}  # truth values of regions as integers

    def array(self, shape: Sequence[int], until: int) -> np.ndarray:
        """Memory that nothing else uses up to the step `until`."""
        size = math.prod(shape)
        return self.memory.new(size, until)[:size].reshape(shape)

    def room(self, s: Symbol, until: int) -> np.ndarray:
        """Memory for the value of `s`, as those who read it want it: in order, or with time first."""
        if s.uid not in self.time_first:
            return self.array(s.shape, until)
        batch, time, *rest = s.shape
        return self.array((time, batch, *rest), until).swapaxes(0, 1)

    def result(self, s: Symbol) -> np.ndarray:
        """Memory for the value of `s`."""
        found = self.array(s.shape, self.last[s.uid])
        self.at[s.uid] = found
        return found

    def contiguous(self, view: np.ndarray) -> np.ndarray:
        """The array itself, or a copy for this step."""
        if view.flags.c_contiguous:
            return view
        out = self.array(view.shape, self.step)
        self.stages.copy(view, out)
        return out

    def matrix(self, view: np.ndarray) -> np.ndarray:
        """The matrix itself, or a copy for this step, with contiguous rows."""
        rows, columns = view.shape
        steps = [n // view.itemsize for n in view.strides]
        fits = (columns == 1 or steps[1] == 1) and (rows == 1 or steps[0] >= columns)
        return view if fits else self.contiguous(view)

    def operand(self, s: Any) -> np.ndarray:
        """The array of an argument, as floats."""
        if not isinstance(s, Symbol):
            return np.asarray(s, self.dtype)
        found = self.at[s.uid]
        if found.dtype == self.dtype:
            return found
        if s.uid not in self._floats:
            target = self._floats[s.uid] = np.empty(s.shape, self.dtype)  # of its own: later stages read it, too
            if found.dtype == np.int64:
                self.stages.to_floats(self.integers_in_order(found), target)
            else:
                self.stages.call("cast", lambda: np.copyto(target, found, "unsafe"))
        return self._floats[s.uid]

    def whole(self, s: Symbol) -> np.ndarray:
        """The array of an argument of integers or truth values, as int64."""
        found = self.at[s.uid]
        if found.dtype == np.int64:
            return found
        if s.uid not in self._integers:
            self._integers[s.uid] = np.empty(s.shape, np.int64)
            self.stages.to_integers(self.contiguous(found), self._integers[s.uid])
        return self._integers[s.uid]

    def integers(self, s: Symbol) -> np.ndarray | None:
        """An argument of integers or truth values as int64, in order; None if it may not fit."""
        return self.integers_in_order(self.whole(s)) if is_integer(s.dtype) else None

    def new_integers(self, s: Symbol) -> np.ndarray:
        """Memory for the integers or truth values of `s`."""
        found = self.at[s.uid] = np.empty(s.shape, np.int64)
        return found

    def integers_in_order(self, view: np.ndarray) -> np.ndarray:
        if view.flags.c_contiguous:
            return view
        out = np.empty(view.shape, np.int64)
        self.stages.integers(IntegerOp.COPY, [view], out, out.dtype)
        return out

    def place(self, s: Symbol, view: np.ndarray) -> None:
        """Let the value of `s` be `view`, whose memory is in use as long as `s` is."""
        self.at[s.uid] = view
        self.memory.keep(view, self.last[s.uid])
