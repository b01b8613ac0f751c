"""Symbols: the values of a program, which stand in for tensors while a step is traced."""

from __future__ import annotations

import math
import operator
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ...config import grad_mode
from ...core import Lowering, Op, Tensor
from ...errors import CompileError

_COMPILER = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_PACKAGE = os.path.dirname(os.path.dirname(_COMPILER)) + os.sep
_NUMPY = os.path.dirname(os.path.abspath(np.__file__)) + os.sep
_ROOMS = ("core", "ops", "compiler", "modules", "nn", "viz", "export")
_INNER = tuple(os.path.join(_PACKAGE, room) + os.sep for room in _ROOMS)
_INNER += (os.path.join(_PACKAGE, "foreign_names.py"), _NUMPY)


class SymbolicDim:
    """The size of the batch in the shape of a traced value: at least one, and otherwise unknown.

    There is one such size, :data:`BATCH`. To those who ask it passes for an int, but it refuses whatever would turn
    it into a number or a decision: a program serves batches of any size. The compiler and the operations themselves may
    take the number of rows that a trace stands for, as arrays of NumPy need one.
    """

    __slots__ = ()

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return int

    def _refuse(self, *others: Any, **more: Any) -> Any:
        _refuse(
            f"arithmetic on the size of the batch at {location()}: it differs from call to call; "
            "compute it in begin_sequence(batch_size), and keep it as an attribute"
        )

    def _number(self, *others: Any) -> int:
        """For arrays: NumPy and the operations may know how many rows the trace stands for."""
        tracer = grad_mode.tracer
        if tracer is not None and asked_by(_PACKAGE):
            return tracer.stand_in
        if tracer is not None and (asked_by(_NUMPY) or tracer.makes_array()):
            tracer.leaked = True
            return tracer.stand_in
        return self._refuse()

    def _compare(self, other: Any, how: Callable) -> Any:
        if other is self:
            return how(0, 0)
        if not isinstance(other, int | float | np.number):
            return NotImplemented
        if asked_by(_PACKAGE):
            tracer = grad_mode.tracer
            return how(math.inf if tracer is None else tracer.stand_in, other)
        if other < 1 or (other == 1 and how in (operator.lt, operator.ge)):  # true of any batch, or of none
            return how(1, other)
        return self._refuse()

    def __eq__(self, other: object) -> Any:
        return self._compare(other, operator.eq)

    def __ne__(self, other: object) -> Any:
        return self._compare(other, operator.ne)

    def __lt__(self, other: Any) -> Any:
        return self._compare(other, operator.lt)

    def __le__(self, other: Any) -> Any:
        return self._compare(other, operator.le)

    def __gt__(self, other: Any) -> Any:
        return self._compare(other, operator.gt)

    def __ge__(self, other: Any) -> Any:
        return self._compare(other, operator.ge)

    def __hash__(self) -> int:
        return 0 if asked_by(_PACKAGE) else self._refuse()

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return "B" if asked_by(_PACKAGE) else self._show()

    def _show(self, *others: Any) -> Any:
        # A text may be compared, looked up or read as a number, and nothing tells whether it is: "(3, 2)" is a decision
        # like any other.
        _refuse(
            f"the size of the batch in a text at {location()}: it differs from call to call; leave it out, or make the "
            "text in begin_sequence(batch_size)"
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._refuse()

    def __reduce__(self) -> str:
        return "BATCH"

    __index__ = __int__ = _number
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __divmod__ = __rdivmod__ = __pow__ = __rpow__ = _refuse
    __lshift__ = __rlshift__ = __rshift__ = __rrshift__ = __and__ = __rand__ = __or__ = __ror__ = _refuse
    __xor__ = __rxor__ = __invert__ = __neg__ = __pos__ = __abs__ = __round__ = __trunc__ = __floor__ = _refuse
    __ceil__ = __float__ = __complex__ = _refuse
    __str__ = __format__ = _show


BATCH: Any = SymbolicDim()


def asked_by(folder: str | tuple[str, ...], skipping: str = "") -> bool:
    """Whether the caller is in `folder`, or in one of them; frames of the file `skipping` do not count."""
    frame: Any = sys._getframe(1)
    while frame.f_code.co_filename in (__file__, skipping):
        frame = frame.f_back
    return frame.f_code.co_filename.startswith(folder)


def _refuse(why: str) -> Any:
    """Give up the trace for good, and raise: a step that catches the error is not compiled either."""
    if grad_mode.tracer is not None:
        grad_mode.tracer.give_up(why)
    raise CompileError(why)


class Symbol(Tensor):
    """One value of a program: an operation and its arguments, or a leaf.

    To the code of a step it is a tensor, of which nothing but shape and dtype is known.

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

    __slots__ = ("args", "dtype", "leaf", "op", "shape", "static", "uid", "varying", "where")

    if TYPE_CHECKING:  # what the compiler itself computes with symbols

        def __add__(self, other: Any) -> Symbol: ...
        def __neg__(self) -> Symbol: ...
        def __getitem__(self, index: Any) -> Symbol: ...
        def __ne__(self, other: object) -> Symbol: ...  # type: ignore[override]
        def sum(self, axis: Any = None, keepdims: bool = False) -> Symbol: ...

    def __init__(self, trace, op, args, static, shape, dtype, varying, leaf=None, where=""):
        self.op: Op | None = op
        self.args: tuple = args
        self.static: dict = static
        self.shape: tuple = trace.symbolic(shape) if varying else tuple(shape)
        self.dtype = np.dtype(dtype)
        self.varying: bool = varying
        self.leaf: tuple | None = leaf
        self.where: str = where
        self.uid: int = trace.next_uid()

    @staticmethod
    def _record(op, args, static):
        tracer = grad_mode.tracer
        if tracer is None:
            raise CompileError(f"{op.name} at {location()}: got a value of a step that was traced before")
        return tracer.record(op, args, static)

    @property
    def ndim(self) -> int:  # type: ignore[override]
        return len(self.shape)

    @property
    def size(self) -> int:  # type: ignore[override]
        if self.varying and not asked_by(_PACKAGE):
            return BATCH._refuse()
        return int(np.prod(self.shape, dtype=int)) if self.varying else math.prod(self.shape)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d tensor")
        if self.shape[0] is not BATCH:
            return self.shape[0]
        return _refuse(
            f"len() of a tensor with a row for each batch row at {location()}: it differs from call to call; compare "
            "its shape[0] with that of another, or compute with it in begin_sequence(batch_size)"
        )

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
        """The operation's lowering; leaves have none."""
        assert self.op is not None
        assert self.op.lowering is not None
        return self.op.lowering

    @property
    def name(self) -> str:
        if self.leaf is not None:
            return f"{self.leaf[0]}{self.leaf[1]}"
        return f"v{self.uid}"

    def __repr__(self) -> str:
        if not asked_by(_PACKAGE) and grad_mode.tracer is not None:
            return self._refuse("a tensor in a text", "keep it a tensor")
        return f"Symbol({self.name}: {self.dtype}{list(self.shape)})"

    # ---- what a traced value cannot do

    def _refuse(self, what: str, instead: str) -> Any:
        return _refuse(f"{what} at {location()}: a traced value has no number yet; {instead}")

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

    def _write(self, *args, **more):
        return self._refuse("an in-place write", "build a new value with tr.where() or tr.concat()")

    copy_ = fill_ = zero_ = touch = _write

    def _copy(self, *args):
        return self._refuse("a copy of a tensor", "values of a step need no copies; use .detach() to cut gradients")

    __copy__ = __deepcopy__ = __reduce__ = __reduce_ex__ = _copy

    def __format__(self, spec):
        return self._refuse("a tensor in a text", "keep it a tensor")

    def item(self):
        return self._refuse("item()", "keep it a tensor")

    def numpy(self):
        return self._refuse("numpy()", "use this package's operations")

    def tolist(self):
        return self._refuse("tolist()", "use this package's operations")

    @property  # type: ignore[misc]
    def data(self):  # type: ignore[override]
        what = f"the data of a {self.dtype} tensor" if self.dtype.kind in "iu" else "an access to .data"
        return self._refuse(what, "use this package's operations")

    _array = data

    # ---- nor has it gradients

    def _no_gradient(self, what: str) -> Any:
        return self._refuse(what, "look at gradients outside of the step, or in a primitive of your own (tr.primitive)")

    def register_hook(self, hook):
        return self._no_gradient("register_hook()")

    def retain_grad(self):
        return self._no_gradient("retain_grad()")

    def backward(self, *args, **more):
        return self._no_gradient("backward()")

    def requires_grad_(self, requires_grad=True):
        return self._no_gradient("requires_grad_()")

    @property
    def grad(self):  # type: ignore[override]
        return self._no_gradient(".grad")

    @property
    def is_leaf(self):
        return False if asked_by(_PACKAGE) else self._no_gradient(".is_leaf")

    @property
    def requires_grad(self) -> bool:  # type: ignore[override]
        return True if asked_by(_PACKAGE) else self._no_gradient(".requires_grad")

    def detach(self):
        """The same values, through which no gradient flows."""
        return grad_mode.tracer.detach(self)


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
