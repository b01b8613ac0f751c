"""In-place writes to tensors, and the write counters by which the graph notices them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

from .. import config
from ..errors import DTypeError, GraphError, ShapeError
from .aliases import ArrayLike, Index
from .dtype import as_array, is_supported
from .node import Node, clock
from .operators import Operators

Self = TypeVar("Self", bound="InPlace")

grad_mode = config.grad_mode
_PLAIN = (float, int, bool)

# mypy: disable-error-code="override"
# as t += v keeps the class of t, which t + v does not: a Parameter stays one


def touch_all(tensors: Iterable[InPlace]) -> None:
    """As :meth:`InPlace.touch`, for many."""
    now = next(clock)
    for t in tensors:
        t._counter[0] = now


class InPlace(Operators):
    """Mixin of the tensor: ``t[...] = v``, ``t -= v``, ``copy_``, ``fill_``.

    An augmented assignment writes in place where nothing is lost by it: to a tensor that does not require gradients,
    or inside ``no_grad``. Where gradients flow, through the tensor or the value, the name gets a new tensor instead,
    as it does inside the step of a cell, compiled or not. A leaf that requires gradients is refused, as by ``copy_``.
    """

    __slots__ = ()

    data: np.ndarray
    _counter: list
    _node: Node | None
    requires_grad: bool

    def _writable(self, what: str, value: Any) -> None:
        if grad_mode.tracer is not None and grad_mode.tracer.whole:
            grad_mode.tracer.refuse_write(what)
        if grad_mode.enabled and self.requires_grad:
            raise GraphError(
                f"{what}: this tensor is part of the graph; write to it inside tr.no_grad(), or to t.detach()"
            )
        if grad_mode.enabled and isinstance(value, InPlace) and value.requires_grad:
            raise GraphError(f"{what}: the value requires gradients, which an in-place write loses; use tr.where()")
        if not self.data.flags.writeable:
            raise ValueError(f"{what}: the memory of this tensor is read-only; write to a copy")

    def touch(self) -> None:
        """Bump the write counter after a write to ``data``: graphs that saved the old values refuse to run."""
        self._counter[0] = next(clock)

    def _as_data(self, value: Any) -> np.ndarray:
        """The array that ``t.data = value`` sets: an array is shared, the values of a tensor are copied."""
        if isinstance(value, InPlace):
            value = value.data.copy()
        elif isinstance(value, (np.ndarray, np.generic)):  # of arrays of shape () NumPy makes a number
            value = np.asarray(value)
        else:
            raise DTypeError(f"data: got {type(value).__name__}, wanted a NumPy array or a tensor")
        if value.dtype.kind != self.data.dtype.kind or not is_supported(value.dtype):
            raise DTypeError(
                f"data: got an array of {value.dtype}, wanted {self.data.dtype} as the tensor, or its kind"
            )
        return value

    def _numbers(self, what: str, value: Any) -> Any:
        """The numbers to write: those of a tensor, a number, or an array of what NumPy can read."""
        if isinstance(value, InPlace):
            return value.data
        return value if type(value) in _PLAIN else as_array(value, what, narrow=True, dtype=self.data.dtype)

    def __setitem__(self, index: Index, value: ArrayLike) -> None:
        self._writable("t[index] = value", value)
        where = tuple(values_of(i) for i in index) if isinstance(index, tuple) else values_of(index)
        numbers = self._numbers("t[index] = value", value)
        try:
            self.data[where] = numbers
        except IndexError as e:
            raise IndexError(f"index: got {index} for shape {self.shape}: {e}") from None
        except ValueError as e:
            raise ShapeError(
                f"t[index] = value: got a value of shape {np.shape(numbers)} for {self.shape}: {e}"
            ) from None
        self.touch()

    def copy_(self: Self, value: ArrayLike) -> Self:
        """Overwrite the values, in place; `value` must have this tensor's shape."""
        self._writable("copy_", value)
        value = np.asarray(self._numbers("copy_", value))
        if value.shape != self.shape:
            raise ShapeError(f"copy_: got shape {value.shape}, wanted {self.shape}")
        self.data[...] = value
        self.touch()
        return self

    def fill_(self: Self, value: float) -> Self:
        """Set every element to `value` (a number, or what broadcasts), in place."""
        self._writable("fill_", value)
        values = np.asarray(self._numbers("fill_", value))
        try:
            self.data[...] = values
        except ValueError:
            raise ShapeError(f"fill_: got shape {values.shape}, wanted a number, or what fills {self.shape}") from None
        self.touch()
        return self

    def zero_(self: Self) -> Self:
        """Set every element to zero, in place."""
        return self.fill_(0)

    # ---- augmented assignment

    def _update(self, what: str, operation: Callable, value: Any) -> Any:
        """The result of ``t op= value``: this tensor, written to, or a new one where gradients flow."""
        new = operation(self, value)
        if grad_mode.tracer is not None:
            return grad_mode.tracer.updated(self, new)
        if grad_mode.functional or not isinstance(new, InPlace):
            return new
        if grad_mode.enabled:
            if self.requires_grad and self._node is None:
                self._writable(what, value)
            if self.requires_grad or new.requires_grad:
                return new
        self._writable(what, None)
        if new.shape != self.shape:
            raise ShapeError(f"{what}: got a result of shape {new.shape}, wanted {self.shape} as the tensor")
        got, wanted = new.data.dtype, self.data.dtype
        if not np.can_cast(got, wanted, "same_kind"):
            raise DTypeError(f"{what}: got a result of {got}, wanted {wanted} as the tensor, or its kind")
        self.data[...] = new.data
        self.touch()
        return self

    # fmt: off
    def __iadd__(self: Self, value: ArrayLike) -> Self: return self._update("t += value", operator.add, value)
    def __isub__(self: Self, value: ArrayLike) -> Self: return self._update("t -= value", operator.sub, value)
    def __imul__(self: Self, value: ArrayLike) -> Self: return self._update("t *= value", operator.mul, value)
    def __imatmul__(self: Self, value: ArrayLike) -> Self: return self._update("t @= value", operator.matmul, value)
    def __itruediv__(self: Self, value: ArrayLike) -> Self: return self._update("t /= value", operator.truediv, value)
    def __ifloordiv__(self: Self, value: ArrayLike) -> Self:
        return self._update("t //= value", operator.floordiv, value)
    def __imod__(self: Self, value: ArrayLike) -> Self: return self._update("t %= value", operator.mod, value)
    def __ipow__(self: Self, value: ArrayLike) -> Self: return self._update("t **= value", operator.pow, value)
    def __iand__(self: Self, value: ArrayLike) -> Self: return self._update("t &= value", operator.and_, value)
    def __ior__(self: Self, value: ArrayLike) -> Self: return self._update("t |= value", operator.or_, value)
    def __ixor__(self: Self, value: ArrayLike) -> Self: return self._update("t ^= value", operator.xor, value)
    def __ilshift__(self: Self, value: ArrayLike) -> Self: return self._update("t <<= value", operator.lshift, value)
    def __irshift__(self: Self, value: ArrayLike) -> Self: return self._update("t >>= value", operator.rshift, value)
    # fmt: on


def values_of(value: ArrayLike) -> Any:
    return value.data if isinstance(value, InPlace) else value
