"""Conversions of tensors: to NumPy, numbers, text, copies, pickles and the memory of other libraries."""

from __future__ import annotations

import copy
import os
import sys
from typing import Any, TypeVar

import numpy as np

from .. import config
from ..errors import DTypeError, GraphError, ShapeError
from .aliases import DTypeLike
from .dtype import is_float
from .html import tensor_html
from .inplace import InPlace

Self = TypeVar("Self", bound="Convertible")

grad_mode = config.grad_mode


_NUMPY = os.path.dirname(os.path.abspath(np.__file__)) + os.sep
_FUNCTIONS = tuple(os.path.join(_NUMPY, room) + os.sep for room in ("_core", "core", "lib", "linalg", "fft"))
_CONVERSIONS = frozenset({"asarray_chkfinite", "require"})


def _refuse_functions() -> None:
    """Refuse ``__array__`` to NumPy's functions that find a tensor in a list: gradients would be lost.

    The protocol for functions asks about their arguments alone, not about lists of tensors. Conversions and plots pass.
    """
    frame: Any = sys._getframe(2)
    code = frame.f_code
    if not code.co_filename.startswith(_FUNCTIONS) and code.co_name != "getdata":  # of operators on masked arrays
        return
    while frame is not None and frame.f_code.co_filename.startswith(_NUMPY):
        name = frame.f_code.co_name
        if name.startswith("__") and "self" in frame.f_locals:  # np.vectorize(f)(t), np.r_[t]
            kind = type(frame.f_locals["self"]).__name__
            name = {"RClass": "r_", "CClass": "c_"}.get(kind, kind)
        frame = frame.f_back
    caller = frame.f_globals.get("__name__", "") if frame is not None else ""
    if name not in _CONVERSIONS and caller.split(".")[0] != "matplotlib":
        raise TypeError(
            f"np.{name}: got tensors that require gradients, which would get lost; pass one tensor, such as "
            "tr.stack(list), or arrays, t.detach().numpy(), if no gradient is wanted"
        )


class Convertible(InPlace):
    """Mixin of the tensor: the protocols by which Python, NumPy and others read an array.

    ``np.asarray(t)``, ``np.array([t])`` and :meth:`numpy` give the values of any tensor, whether it requires gradients
    or not: they say that no gradient is wanted.
    """

    __slots__ = ()

    _array: np.ndarray
    _hooks: list | None
    grad: Any

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array that shares this tensor's memory."""
        if grad_mode.tracer is not None:
            grad_mode.tracer.refuse("numpy()")
        return self.data

    def item(self) -> Any:
        """The value of a tensor with one element, as a Python number."""
        if grad_mode.tracer is not None:
            grad_mode.tracer.refuse("the number in a tensor")
        if self.data.size != 1:
            raise ShapeError(f"item(): got a tensor of shape {self.shape}, wanted one element")
        return self.data.item()

    def tolist(self) -> Any:
        return self.numpy().tolist()

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        if self.requires_grad and grad_mode.enabled:
            _refuse_functions()
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __dlpack__(self, **options: Any) -> Any:
        if self.requires_grad:
            raise BufferError("__dlpack__: got a tensor that requires gradients, which get lost; pass t.detach()")
        return self.numpy().__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.data.__dlpack_device__()

    def __bool__(self) -> bool:
        if self.data.size != 1 and grad_mode.tracer is None:
            raise ShapeError(
                f"bool(): got a tensor of shape {self.shape}, wanted one element; ask for .any() or .all()"
            )
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        if is_float(self.data.dtype):
            raise DTypeError(f"index: got a {self.data.dtype} tensor, wanted an integer tensor")
        return int(self.item())

    def __repr__(self) -> str:
        body = np.array2string(self.data, separator=", ", prefix="tensor(", threshold=200, edgeitems=3)
        dtype = "" if self.data.dtype in (np.int64, np.bool_) else f", dtype={self.data.dtype}"
        grad = f", from={self._node.name}" if self._node else ", requires_grad=True" if self.requires_grad else ""
        return f"tensor({body}{dtype}{grad})"

    def _repr_html_(self) -> str:
        """Shape, dtype and origin, and the values as a table, for notebooks."""
        return tensor_html(self.data, f"from {self._node.name}" if self._node else self.requires_grad)

    def __format__(self, spec: str) -> str:
        if not spec:
            return str(self)
        if self.data.size != 1:
            raise TypeError(f"format: got a tensor of shape {self.shape} for {spec!r}, wanted one element")
        return format(self.item(), spec)

    # ---- copies

    def __copy__(self: Self) -> Self:
        """Another tensor with the same memory, at the same place of the graph."""
        if grad_mode.tracer is not None:
            grad_mode.tracer.refuse("a copy of a tensor")
        out: Any = object.__new__(type(self))
        out._array, out.requires_grad, out.grad = self._array, self.requires_grad, self.grad
        out._node, out._counter, out._hooks = self._node, self._counter, None
        return out

    def __deepcopy__(self: Self, memo: dict) -> Self:
        if self._node is not None:
            raise GraphError("deepcopy: got a tensor computed by the graph, wanted a leaf; copy t.detach() instead")
        make: Any = type(self)
        out = memo[id(self)] = make(self.data.copy(), self.requires_grad)
        out.grad = None if self.grad is None else copy.deepcopy(self.grad.detach(), memo)
        return out

    def __reduce__(self) -> tuple:
        if self._node is not None:
            raise GraphError("pickle: got a tensor computed by the graph, wanted a leaf; pickle t.detach() instead")
        how = type(self), (self.data, self.requires_grad)
        return how if self.grad is None else (*how, self.grad.detach())

    def __setstate__(self, grad: Any) -> None:
        self.grad = grad
