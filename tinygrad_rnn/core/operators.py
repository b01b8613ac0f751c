"""NumPy's operators and methods, for tensors and symbols.

Each line names the function of :mod:`tinygrad_rnn.ops` that does the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import foreign_names
from . import numpy_protocol
from .aliases import ArrayLike, Axes, DTypeLike, Index
from .functions import functions
from .node import Traceable

if TYPE_CHECKING:
    from .tensor import Tensor


class Operators(Traceable):
    """Mixin: ``a + b``, ``a @ b``, ``a[...]``, ``a.sum(axis)`` and the rest of NumPy's spelling."""

    __slots__ = ()
    __hash__ = object.__hash__  # by identity, as == compares elements

    # fmt: off
    def __add__(self, other: ArrayLike) -> Tensor: return functions.add(self, other)
    def __radd__(self, other: ArrayLike) -> Tensor: return functions.add(other, self)
    def __sub__(self, other: ArrayLike) -> Tensor: return functions.subtract(self, other)
    def __rsub__(self, other: ArrayLike) -> Tensor: return functions.subtract(other, self)
    def __mul__(self, other: ArrayLike) -> Tensor: return functions.multiply(self, other)
    def __rmul__(self, other: ArrayLike) -> Tensor: return functions.multiply(other, self)
    def __truediv__(self, other: ArrayLike) -> Tensor: return functions.divide(self, other)
    def __rtruediv__(self, other: ArrayLike) -> Tensor: return functions.divide(other, self)
    def __pow__(self, other: ArrayLike) -> Tensor: return functions.power(self, other)
    def __rpow__(self, other: ArrayLike) -> Tensor: return functions.power(other, self)
    def __matmul__(self, other: ArrayLike) -> Tensor: return functions.matmul(self, other)
    def __rmatmul__(self, other: ArrayLike) -> Tensor: return functions.matmul(other, self)
    def __floordiv__(self, other: ArrayLike) -> Tensor: return functions.floor_divide(self, other)
    def __rfloordiv__(self, other: ArrayLike) -> Tensor: return functions.floor_divide(other, self)
    def __mod__(self, other: ArrayLike) -> Tensor: return functions.remainder(self, other)
    def __rmod__(self, other: ArrayLike) -> Tensor: return functions.remainder(other, self)
    def __divmod__(self, other: ArrayLike) -> tuple[Tensor, Tensor]:
        return functions.floor_divide(self, other), functions.remainder(self, other)
    def __rdivmod__(self, other: ArrayLike) -> tuple[Tensor, Tensor]:
        return functions.floor_divide(other, self), functions.remainder(other, self)
    def __neg__(self) -> Tensor: return functions.negative(self)
    def __pos__(self) -> Tensor: return functions.copy(self)
    def __abs__(self) -> Tensor: return functions.abs(self)
    def __lt__(self, other: ArrayLike) -> Tensor: return functions.less(self, other)
    def __le__(self, other: ArrayLike) -> Tensor: return functions.less_equal(self, other)
    def __gt__(self, other: ArrayLike) -> Tensor: return functions.greater(self, other)
    def __ge__(self, other: ArrayLike) -> Tensor: return functions.greater_equal(self, other)
    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return self._compare("equal", other, False)
    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return self._compare("not_equal", other, True)
    def __and__(self, other: ArrayLike) -> Tensor: return functions.bitwise_and(self, other)
    def __rand__(self, other: ArrayLike) -> Tensor: return functions.bitwise_and(other, self)
    def __or__(self, other: ArrayLike) -> Tensor: return functions.bitwise_or(self, other)
    def __ror__(self, other: ArrayLike) -> Tensor: return functions.bitwise_or(other, self)
    def __xor__(self, other: ArrayLike) -> Tensor: return functions.bitwise_xor(self, other)
    def __rxor__(self, other: ArrayLike) -> Tensor: return functions.bitwise_xor(other, self)
    def __lshift__(self, other: ArrayLike) -> Tensor: return functions.left_shift(self, other)
    def __rlshift__(self, other: ArrayLike) -> Tensor: return functions.left_shift(other, self)
    def __rshift__(self, other: ArrayLike) -> Tensor: return functions.right_shift(self, other)
    def __rrshift__(self, other: ArrayLike) -> Tensor: return functions.right_shift(other, self)
    def __invert__(self) -> Tensor: return functions.invert(self)
    def __getitem__(self, index: Index) -> Tensor: return functions.getitem(self, index)

    @property
    def T(self) -> Tensor: return functions.transpose(self)

    def sum(self, axis: Axes = None, keepdims: bool = False) -> Tensor: return functions.sum(self, axis, keepdims)
    def mean(self, axis: Axes = None, keepdims: bool = False) -> Tensor: return functions.mean(self, axis, keepdims)
    def var(self, axis: Axes = None, keepdims: bool = False, ddof: float = 0) -> Tensor:
        return functions.var(self, axis, keepdims, ddof)
    def std(self, axis: Axes = None, keepdims: bool = False, ddof: float = 0) -> Tensor:
        return functions.std(self, axis, keepdims, ddof)
    def max(self, axis: Axes = None, keepdims: bool = False) -> Tensor: return functions.max(self, axis, keepdims)
    def min(self, axis: Axes = None, keepdims: bool = False) -> Tensor: return functions.min(self, axis, keepdims)
    def prod(self, axis: Axes = None, keepdims: bool = False) -> Tensor: return functions.prod(self, axis, keepdims)
    def cumsum(self, axis: int | None = None) -> Tensor: return functions.cumsum(self, axis)
    def cumprod(self, axis: int | None = None) -> Tensor: return functions.cumprod(self, axis)
    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        return functions.argmax(self, axis, keepdims)
    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        return functions.argmin(self, axis, keepdims)
    def all(self, axis: Axes = None, keepdims: bool = False) -> Tensor: return functions.all(self, axis, keepdims)
    def any(self, axis: Axes = None, keepdims: bool = False) -> Tensor: return functions.any(self, axis, keepdims)

    def reshape(self, *shape: int | Sequence[int]) -> Tensor: return functions.reshape(self, *shape)
    def transpose(self, *axes: int | Sequence[int] | None) -> Tensor: return functions.transpose(self, *axes)
    def swapaxes(self, a: int, b: int) -> Tensor: return functions.swapaxes(self, a, b)
    def squeeze(self, axis: Axes = None) -> Tensor: return functions.squeeze(self, axis)
    def flatten(self) -> Tensor: return functions.copy(functions.reshape(self, -1))
    def ravel(self) -> Tensor: return functions.reshape(self, -1)
    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
        return functions.diagonal(self, offset, axis1, axis2)
    def trace(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
        return functions.trace(self, offset, axis1, axis2)
    def dot(self, other: ArrayLike) -> Tensor: return functions.dot(self, other)
    def copy(self) -> Tensor: return functions.copy(self)
    def repeat(self, repeats: ArrayLike, axis: int | None = None) -> Tensor:
        return functions.repeat(self, repeats, axis)
    def take(self, indices: ArrayLike, axis: int | None = None) -> Tensor: return functions.take(self, indices, axis)
    def clip(self, min: ArrayLike | None = None, max: ArrayLike | None = None) -> Tensor:
        return functions.clip(self, min, max)
    def astype(self, dtype: DTypeLike) -> Tensor: return functions.astype(self, dtype)
    def round(self, decimals: int = 0) -> Tensor: return functions.round(self, decimals)
    def argsort(self, axis: int | None = -1) -> Tensor: return functions.argsort(self, axis)
    def sign(self) -> Tensor: return functions.sign(self)
    def floor(self) -> Tensor: return functions.floor(self)
    def ceil(self) -> Tensor: return functions.ceil(self)
    def sin(self) -> Tensor: return functions.sin(self)
    def cos(self) -> Tensor: return functions.cos(self)
    def log1p(self) -> Tensor: return functions.log1p(self)
    def expm1(self) -> Tensor: return functions.expm1(self)
    def exp(self) -> Tensor: return functions.exp(self)
    def log(self) -> Tensor: return functions.log(self)
    def sqrt(self) -> Tensor: return functions.sqrt(self)
    def tanh(self) -> Tensor: return functions.tanh(self)
    def sigmoid(self) -> Tensor: return functions.sigmoid(self)
    def relu(self) -> Tensor: return functions.relu(self)
    def abs(self) -> Tensor: return functions.abs(self)
    # fmt: on

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        return numpy_protocol.array_ufunc(ufunc, method, inputs, options)

    def __array_function__(self, function: Callable, types: Any, args: tuple, kwargs: dict) -> Any:
        return numpy_protocol.array_function(function, args, kwargs)

    def _compare(self, name: str, other: Any, unlike: bool) -> Any:
        if type(other) is float or isinstance(other, (Traceable, np.ndarray, np.generic, int, float, list, tuple)):
            return getattr(functions, name)(self, other)
        if other is None or isinstance(other, (str, bytes)):  # as of an array: none of the elements is that
            return functions.full(self.shape, unlike, bool)
        return getattr(functions, name)(self, other) if hasattr(other, "__array__") else NotImplemented

    def __contains__(self, value: ArrayLike) -> bool:
        return bool(functions.any(self == value))

    def __round__(self, decimals: int | None = None) -> Tensor:
        return functions.round(self, decimals or 0)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name not in foreign_names.TENSOR]

    @property
    def shape(self) -> tuple[int, ...]:
        raise NotImplementedError

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self.shape:
            raise TypeError("iteration over a 0-d tensor")
        return iter(functions.unstack(self))


_WITH_AXIS = "sum mean var std max min prod cumsum cumprod argmax argmin argsort all any squeeze repeat take"
for _name in _WITH_AXIS.split():
    setattr(Operators, _name, foreign_names.answering(getattr(Operators, _name)))
for _name in foreign_names.TENSOR:  # a __getattr__ would make the reading of all other attributes slower
    setattr(Operators, _name, foreign_names.Elsewhere("Tensor", _name, foreign_names.TENSOR))
