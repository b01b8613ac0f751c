"""Symbols: what a step computes with while it is traced, in place of tensors."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..core import Lowering, Op, Operators
from ..errors import CompileError

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_INNER = tuple(os.path.join(_PACKAGE, room) + os.sep for room in ("core", "ops", "compile", "nn", "viz"))
_INNER += (os.path.dirname(os.path.abspath(np.__file__)) + os.sep,)


class Rows(int):
    """The size of the batch in the shape of a symbol; nothing may be computed from it, as it differs between calls."""

    def _refuse(self, *others):
        raise CompileError(
            f"arithmetic on the size of the batch at {location()}: it differs from call to call; "
            "compute it in begin_sequence(batch_size), and keep it as an attribute"
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = __neg__ = __float__ = _refuse


BATCH = Rows(1009)  # rows while tracing: a prime that no feature width is likely to have


class Symbol(Operators):
    """One value of a program: an operation and its arguments, or a leaf.

    Attributes
    ----------
    op : Op or None
        None for a leaf.
    args : tuple
        Symbols and Python numbers.
    static : dict
        Static parameters of the operation.
    leaf : tuple or None
        ``(kind, index)``: "input", "state", "cotangent" (time-varying) or "invariant".
    shape, dtype
        As in the trace; the first axis of a time-varying value is the batch.
    varying : bool
        Whether the value differs from step to step (and row to row).
    where : str
        "file:line" of the user's code that asked for it.
    """

    __slots__ = ("args", "dtype", "leaf", "op", "shape", "static", "trace", "uid", "varying", "where")

    def __init__(self, trace, op, args, static, shape, dtype, varying, leaf=None, where=""):
        self.trace = trace
        self.op: Op | None = op
        self.args: tuple = args
        self.static: dict = static
        self.shape: tuple = tuple(BATCH if n == BATCH else n for n in shape) if varying else tuple(shape)
        self.dtype = np.dtype(dtype)
        self.varying: bool = varying
        self.leaf: tuple | None = leaf
        self.where: str = where
        self.uid: int = trace.next_uid()

    @staticmethod
    def _record(op, args, static):
        for a in args:
            if isinstance(a, Symbol):
                return a.trace.record(op, args, static)
        raise AssertionError("no symbol among the arguments")

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=int))

    @property
    def width(self) -> int:
        """Features of one row of a time-varying value."""
        return self.shape[1] if len(self.shape) > 1 else 1

    @property
    def operation(self) -> str:
        """Name of the operation; empty for a leaf."""
        return self.op.name if self.op is not None else ""

    @property
    def operands(self) -> list[Symbol]:
        """The arguments that are symbols."""
        return [a for a in self.args if isinstance(a, Symbol)]

    @property
    def varying_operands(self) -> list[Symbol]:
        return [a for a in self.args if isinstance(a, Symbol) and a.varying]

    @property
    def lowering(self) -> Lowering:
        """Of the operation; leaves have none."""
        assert self.op is not None
        assert self.op.lowering is not None
        return self.op.lowering

    @property
    def name(self) -> str:
        if self.leaf is not None:
            return f"{self.leaf[0]}{self.leaf[1]}"
        return f"v{self.uid}"

    def __repr__(self) -> str:
        return f"Symbol({self.name}: {self.dtype}{list(self.shape)})"

    # ---- what a traced value cannot do

    def _refuse(self, what: str, instead: str) -> Any:
        raise CompileError(f"{what} at {location()}: a traced value has no number yet; {instead}")

    def __bool__(self):
        return self._refuse("a Python branch on a tensor's value", "write it with tr.where()")

    def __float__(self):
        return self._refuse("float() of a tensor", "keep it a tensor")

    def __int__(self):
        return self._refuse("int() of a tensor", "keep it a tensor")

    def __index__(self):
        return self._refuse(
            "a tensor used as an index", "index with Python numbers, or move the lookup out of the step"
        )

    def __array__(self, dtype=None, copy=None):
        return self._refuse("conversion of a tensor to NumPy", "use this package's operations")

    def __setitem__(self, index, value):
        return self._refuse("an in-place write", "build a new value with tr.where() or tr.concat()")

    def item(self):
        return self._refuse("item()", "keep it a tensor")

    def numpy(self):
        return self._refuse("numpy()", "use this package's operations")

    def tolist(self):
        return self._refuse("tolist()", "use this package's operations")

    @property
    def data(self):
        return self._refuse("an access to .data", "use this package's operations")

    @property
    def requires_grad(self) -> bool:
        return True

    def detach(self):
        """The same values, through which no gradient flows."""
        return self.trace.detach(self)


def behind(roots: Iterable[Symbol], into: Callable[[Symbol], list[Symbol]]) -> list[Symbol]:
    """The roots and every value behind them, each once; `into` gives the operands of a value to go on with."""
    found: dict[int, Symbol] = {}
    stack = list(roots)
    while stack:
        s = stack.pop()
        if s.uid not in found:
            found[s.uid] = s
            stack += into(s)
    return list(found.values())


def location() -> str:
    """ "file:line" of the innermost frame outside the tape, the operations and the compiler."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if not path.startswith(_INNER):
            return f"{path}:{frame.f_lineno}"
        frame = frame.f_back
    return "?"


def raised_at(error: BaseException) -> str:
    """ "file:line" of the innermost frame of the user's code in an error's traceback."""
    where, trace = "?", error.__traceback__
    while trace is not None:
        path = trace.tb_frame.f_code.co_filename
        if not path.startswith(_PACKAGE):
            where = f"{path}:{trace.tb_lineno}"
        trace = trace.tb_next
    return where
