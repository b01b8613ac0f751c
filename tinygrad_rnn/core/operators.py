"""NumPy's operators and methods for everything that flows through operations: tensors and symbols.

Each line names the function of :mod:`tinygrad_rnn.ops` that does the work. The functions are filled in by
that room, which stands above this one.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from .. import foreign_names
from .node import Carrier

functions: Any = SimpleNamespace()  # name -> public function, set by tinygrad_rnn.ops


class Operators(Carrier):
    """Mixin: ``a + b``, ``a @ b``, ``a[...]``, ``a.sum(axis)`` and the rest of NumPy's spelling."""

    __slots__ = ()
    __hash__ = object.__hash__

    # fmt: off
    def __add__(self, other): return functions.add(self, other)
    def __radd__(self, other): return functions.add(other, self)
    def __sub__(self, other): return functions.subtract(self, other)
    def __rsub__(self, other): return functions.subtract(other, self)
    def __mul__(self, other): return functions.multiply(self, other)
    def __rmul__(self, other): return functions.multiply(other, self)
    def __truediv__(self, other): return functions.divide(self, other)
    def __rtruediv__(self, other): return functions.divide(other, self)
    def __pow__(self, other): return functions.power(self, other)
    def __rpow__(self, other): return functions.power(other, self)
    def __matmul__(self, other): return functions.matmul(self, other)
    def __rmatmul__(self, other): return functions.matmul(other, self)
    def __floordiv__(self, other): return functions.floor_divide(self, other)
    def __rfloordiv__(self, other): return functions.floor_divide(other, self)
    def __mod__(self, other): return functions.remainder(self, other)
    def __rmod__(self, other): return functions.remainder(other, self)
    def __divmod__(self, other): return functions.floor_divide(self, other), functions.remainder(self, other)
    def __rdivmod__(self, other): return functions.floor_divide(other, self), functions.remainder(other, self)
    def __neg__(self): return functions.negative(self)
    def __pos__(self): return functions.copy(self)
    def __abs__(self): return functions.abs(self)
    def __lt__(self, other): return functions.less(self, other)
    def __le__(self, other): return functions.less_equal(self, other)
    def __gt__(self, other): return functions.greater(self, other)
    def __ge__(self, other): return functions.greater_equal(self, other)
    def __eq__(self, other): return self._compare("equal", other, False)
    def __ne__(self, other): return self._compare("not_equal", other, True)
    def __and__(self, other): return functions.bitwise_and(self, other)
    def __rand__(self, other): return functions.bitwise_and(other, self)
    def __or__(self, other): return functions.bitwise_or(self, other)
    def __ror__(self, other): return functions.bitwise_or(other, self)
    def __xor__(self, other): return functions.bitwise_xor(self, other)
    def __rxor__(self, other): return functions.bitwise_xor(other, self)
    def __lshift__(self, other): return functions.left_shift(self, other)
    def __rlshift__(self, other): return functions.left_shift(other, self)
    def __rshift__(self, other): return functions.right_shift(self, other)
    def __rrshift__(self, other): return functions.right_shift(other, self)
    def __invert__(self): return functions.invert(self)
    def __getitem__(self, index): return functions.getitem(self, index)

    @property
    def T(self): return functions.transpose(self)

    def sum(self, axis=None, keepdims=False): return functions.sum(self, axis, keepdims)
    def mean(self, axis=None, keepdims=False): return functions.mean(self, axis, keepdims)
    def var(self, axis=None, keepdims=False, ddof=0): return functions.var(self, axis, keepdims, ddof)
    def std(self, axis=None, keepdims=False, ddof=0): return functions.std(self, axis, keepdims, ddof)
    def max(self, axis=None, keepdims=False): return functions.max(self, axis, keepdims)
    def min(self, axis=None, keepdims=False): return functions.min(self, axis, keepdims)
    def prod(self, axis=None, keepdims=False): return functions.prod(self, axis, keepdims)
    def cumsum(self, axis=None): return functions.cumsum(self, axis)
    def argmax(self, axis=None, keepdims=False): return functions.argmax(self, axis, keepdims)
    def argmin(self, axis=None, keepdims=False): return functions.argmin(self, axis, keepdims)
    def all(self, axis=None, keepdims=False): return functions.all(self, axis, keepdims)
    def any(self, axis=None, keepdims=False): return functions.any(self, axis, keepdims)

    def reshape(self, *shape): return functions.reshape(self, *shape)
    def transpose(self, *axes): return functions.transpose(self, *axes)
    def swapaxes(self, a, b): return functions.swapaxes(self, a, b)
    def squeeze(self, axis=None): return functions.squeeze(self, axis)
    def flatten(self): return functions.copy(functions.reshape(self, -1))
    def ravel(self): return functions.reshape(self, -1)
    def copy(self): return functions.copy(self)
    def repeat(self, repeats, axis=None): return functions.repeat(self, repeats, axis)
    def take(self, indices, axis=None): return functions.take(self, indices, axis)
    def clip(self, min=None, max=None): return functions.clip(self, min, max)
    def astype(self, dtype): return functions.astype(self, dtype)
    def round(self, decimals=0): return functions.round(self, decimals)
    def argsort(self, axis=-1): return functions.argsort(self, axis)
    def sign(self): return functions.sign(self)
    def floor(self): return functions.floor(self)
    def ceil(self): return functions.ceil(self)
    def sin(self): return functions.sin(self)
    def cos(self): return functions.cos(self)
    def log1p(self): return functions.log1p(self)
    def expm1(self): return functions.expm1(self)
    def exp(self): return functions.exp(self)
    def log(self): return functions.log(self)
    def sqrt(self): return functions.sqrt(self)
    def tanh(self): return functions.tanh(self)
    def sigmoid(self): return functions.sigmoid(self)
    def relu(self): return functions.relu(self)
    def abs(self): return functions.abs(self)
    # fmt: on

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        from . import numpy_protocol  # which needs the functions below

        return numpy_protocol.array_ufunc(ufunc, method, inputs, options)

    def __array_function__(self, function, types, args, kwargs):
        from . import numpy_protocol

        return numpy_protocol.array_function(function, args, kwargs)

    def _compare(self, name: str, other, unlike: bool):
        if type(other) is float or isinstance(other, (Carrier, np.ndarray, np.generic, int, float, list, tuple)):
            return getattr(functions, name)(self, other)
        if other is None or isinstance(other, (str, bytes)):  # as of an array: none of the elements is that
            return functions.full(self.shape, unlike, bool)
        return getattr(functions, name)(self, other) if hasattr(other, "__array__") else NotImplemented

    def __contains__(self, value) -> bool:
        return bool(functions.any(self == value))

    def __round__(self, decimals=None):
        return functions.round(self, decimals or 0)

    def __dir__(self):
        return [name for name in super().__dir__() if name not in foreign_names.TENSOR]

    @property
    def shape(self) -> tuple[int, ...]:
        raise NotImplementedError

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __iter__(self):
        if not self.shape:
            raise TypeError("iteration over a 0-d tensor")
        return iter(functions.unstack(self))


for _name in ("sum", "mean", "var", "std", "max", "min", "prod", "cumsum", "argmax", "argmin", "argsort", "all", "any",
              "squeeze", "repeat", "take"):  # fmt: skip
    setattr(Operators, _name, foreign_names.answering(getattr(Operators, _name)))
for _name in foreign_names.TENSOR:  # a __getattr__ would make the reading of all other attributes slower
    setattr(Operators, _name, foreign_names.Elsewhere("Tensor", _name, foreign_names.TENSOR))
