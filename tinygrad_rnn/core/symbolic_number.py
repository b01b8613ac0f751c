"""Symbolic numbers: Python numbers that a step reads, of which a trace knows no more than the type.

A program takes them as inputs. What a step computes from such numbers alone is recorded too, and computed again in
Python before each call, so that it is rounded as on the tape.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ..config import grad_mode
from ..errors import CompileError
from .node import Traceable

NUMBERS = (float, int, np.float64, np.float32)


class Constant:
    """A number that is always the same, equal to one of the same type and digits."""

    __slots__ = ("value",)

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and self._digits() == other._digits()

    def __hash__(self) -> int:
        return hash(self._digits())

    def _digits(self) -> tuple:
        return type(self.value), repr(self.value)


class Line(NamedTuple):
    """One recorded number: the n-th that was given, or a function of earlier lines and constants."""

    function: Callable | None
    operands: tuple  # line numbers and constants; of a given number, which one it is


class NumberTrace:
    """The numbers that one trace is given, and what the step computes from them.

    Attributes
    ----------
    lines : list of Line
        Each expression once.
    refused : set of int
        Which of the given numbers the step wants the value of.
    """

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.refused: set[int] = set()
        self._known: dict[Line, SymbolicNumber] = {}
        self._given = 0

    def given(self, value: Any) -> SymbolicNumber:
        """The next given number; `value` is what it is at present."""
        self._given += 1
        return self._number(Line(None, (self._given - 1,)), value)

    def apply(self, function: Callable, numbers: Sequence[Any]) -> Any:
        """The result of a function of numbers, symbolic or not."""
        value = function(*[present(x) for x in numbers])
        if type(value) not in NUMBERS:
            self.refuse(*[x for x in numbers if type(x) is SymbolicNumber])
        line = Line(function, tuple([x._uid if type(x) is SymbolicNumber else Constant(x) for x in numbers]))
        return self._known[line] if line in self._known else self._number(line, value)

    def refuse(self, *numbers: SymbolicNumber) -> NoReturn:
        """Note that the value of these decides what the step does, and raise."""
        for x in numbers:
            needed = self.needed(x._uid)
            self.refused |= {line.operands[0] for line in map(self.lines.__getitem__, needed) if line.function is None}
        raise CompileError("the step does not only compute with a number that changes")

    def needed(self, uid: int) -> list[int]:
        """The lines that a line needs, this one included, in order."""
        found, stack = set(), [uid]
        while stack:
            at = stack.pop()
            if at not in found:
                found.add(at)
                line = self.lines[at]
                stack += [] if line.function is None else [a for a in line.operands if type(a) is int]
        return sorted(found)

    def _number(self, line: Line, value: Any) -> SymbolicNumber:
        number = self._known[line] = SymbolicNumber(self, len(self.lines), value)
        self.lines.append(line)
        return number


def present(value: Any) -> Any:
    """The present value of a symbolic number; anything else as it is."""
    return value._value if type(value) is SymbolicNumber else value


def _recorded(function: Callable, swapped: bool = False) -> Any:
    def method(self: SymbolicNumber, *others: Any) -> Any:
        if not all(type(x) in NUMBERS or type(x) in (bool, SymbolicNumber) for x in others):
            return NotImplemented
        operands = (*others, self) if swapped else (self, *others)
        if grad_mode.tracer is None:
            return function(*map(present, operands))
        return self._trace.apply(function, operands)

    return method


def _valued(function: Any) -> Any:
    """A method that needs the value: none while a step is traced."""

    def method(self: SymbolicNumber, *others: Any) -> Any:
        if grad_mode.tracer is not None:
            self._trace.refuse(self)
        return function(self._value, *map(present, others))

    return method


class SymbolicNumber:
    """One number of a :class:`NumberTrace`; in threads that trace no step, it is what it is at present.

    To those who ask it is of the type of its value. It does arithmetic with numbers and with tensors, and refuses
    whatever would turn it into a decision.
    """

    __slots__ = ("_trace", "_uid", "_value")

    def __init__(self, trace: NumberTrace, uid: int, value: Any):
        self._trace, self._uid, self._value = trace, uid, value

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._value)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if grad_mode.tracer is None:
            return getattr(ufunc, method)(*map(present, inputs), **options)
        if any(isinstance(x, Traceable) for x in inputs):
            return NotImplemented
        plain = all(type(x) in NUMBERS or type(x) is SymbolicNumber for x in inputs)
        if method != "__call__" or options or not plain or ufunc.nout > 1:
            self._trace.refuse(self)
        return self._trace.apply(ufunc, inputs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if grad_mode.tracer is not None:
            self._trace.refuse(self)
        return getattr(self._value, name)

    def __reduce_ex__(self, protocol: Any) -> Any:
        if grad_mode.tracer is not None:
            self._trace.refuse(self)
        return type(self._value), (self._value,)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        if grad_mode.tracer is not None:
            self._trace.refuse(self)
        return np.array(self._value, dtype)

    __add__, __radd__ = _recorded(operator.add), _recorded(operator.add, True)
    __sub__, __rsub__ = _recorded(operator.sub), _recorded(operator.sub, True)
    __mul__, __rmul__ = _recorded(operator.mul), _recorded(operator.mul, True)
    __truediv__, __rtruediv__ = _recorded(operator.truediv), _recorded(operator.truediv, True)
    __floordiv__, __rfloordiv__ = _recorded(operator.floordiv), _recorded(operator.floordiv, True)
    __mod__, __rmod__ = _recorded(operator.mod), _recorded(operator.mod, True)
    __pow__, __rpow__ = _recorded(operator.pow), _recorded(operator.pow, True)
    __neg__, __pos__, __abs__ = _recorded(operator.neg), _recorded(operator.pos), _recorded(operator.abs)
    __eq__, __ne__ = _valued(operator.eq), _valued(operator.ne)
    __lt__, __le__, __gt__, __ge__ = map(_valued, (operator.lt, operator.le, operator.gt, operator.ge))
    __hash__, __bool__, __int__, __float__, __complex__ = map(_valued, (hash, bool, int, float, complex))
    __index__, __round__, __trunc__ = map(_valued, (operator.index, round, math.trunc))
    __floor__, __ceil__, __divmod__ = map(_valued, (math.floor, math.ceil, divmod))
    __rdivmod__ = _valued(lambda value, other: divmod(other, value))
    __repr__, __str__, __format__ = map(_valued, (repr, str, format))
    __and__, __or__, __xor__ = map(_valued, (operator.and_, operator.or_, operator.xor))
    __lshift__, __rshift__, __invert__ = map(_valued, (operator.lshift, operator.rshift, operator.invert))
