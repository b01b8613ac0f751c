"""Facts: what a cell and the objects around it hold, in a form that can be compared later.

Numbers and texts are taken as they are; of containers the contents; of objects the attributes; of functions the values
that they close over; everything else by identity.
"""

from __future__ import annotations

import array
import collections
import contextvars
import copyreg
import dis
import functools
import hashlib
import io
import os
import sys
import types
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ...core import Tensor
from ...errors import CompileError
from ...modules.module import Module

FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)
_FIXED: tuple = (Tensor, Module, bool, int, float, complex, str, bytes, types.NoneType, np.generic, np.dtype, type)
_FIXED += (types.BuiltinFunctionType, types.ModuleType, range, slice)
_PLAIN = (bool, int, complex, str, bytes, types.NoneType, types.EllipsisType)
_PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep
_NUMPY = os.path.dirname(os.path.abspath(np.__file__)) + os.sep
_PYTHON = os.path.dirname(os.__file__) + os.sep
_GLOBAL = {"LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "STORE_NAME", "DELETE_GLOBAL", "DELETE_NAME"}
_GLOBAL |= {"LOAD_FROM_DICT_OR_GLOBALS"}
SMALL = 4096  # elements of an array whose values are a fact; of larger ones, a digest is
DEPTH = 64  # of objects inside objects
COUNT = 20_000  # values: more would take too long to compare before each call, and the cell runs eagerly
# libraries whose objects hold locks, files and buffers that change by themselves: by identity only
OPAQUE = ("logging", "io", "_io", "socket", "asyncio", "concurrent", "multiprocessing", "subprocess", "queue", "random")


class ByIdentity:
    """An object by identity; it is kept alive, as the id of one that is gone is used again."""

    __slots__ = ("what",)

    def __init__(self, what: Any):
        self.what = what

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByIdentity) and other.what is self.what

    def __hash__(self) -> int:
        return id(self.what)


def is_users(code: types.CodeType) -> bool:
    """Whether the code is a user's: neither of this package nor of NumPy or Python."""
    name = code.co_filename
    if name.startswith((_PACKAGE, _NUMPY, "<frozen")):
        return False
    return not name.startswith(_PYTHON) or "site-packages" in name.removeprefix(_PYTHON)


def is_users_class(cls: type) -> bool:
    """Whether the class is a user's, so that its objects are looked into."""
    root = cls.__module__.partition(".")[0]
    return root not in ("tinygrad_rnn", "numpy", "builtins") and (
        root not in sys.stdlib_module_names or cls.__module__ == "__main__"
    )


def is_users_module(module: types.ModuleType) -> bool:
    """Whether the module's attributes are a user's to set, so that they are looked into."""
    root = module.__name__.partition(".")[0]
    return root not in ("tinygrad_rnn", "numpy") and root not in sys.stdlib_module_names


def is_iterator(value: Any) -> bool:
    """Whether reading `value` uses it up: an iterator or generator of Python's own, or a file."""
    if issubclass(type(value), io.IOBase):
        return not value.closed and value.readable()
    classes = [cls for cls in type(value).__mro__ if "__next__" in vars(cls) and not is_users_class(cls)]
    return any(cls.__module__ not in ("collections.abc", "typing") for cls in classes)


def global_names(code: types.CodeType) -> set[str]:
    """Names of globals in the code, and in that of functions inside it."""
    names = {i.argval for i in dis.get_instructions(code) if i.opname in _GLOBAL}
    return names.union(*[global_names(c) for c in code.co_consts if isinstance(c, types.CodeType)])


def is_fixed(value: Any) -> bool:
    """Whether `value` can only change by being replaced."""
    if isinstance(value, tuple | frozenset):
        return all(map(is_fixed, value))
    if isinstance(value, types.FunctionType):
        if not is_users(value.__code__):
            return True
        return value.__closure__ is None and is_fixed(value.__defaults__) and value.__kwdefaults__ is None
    return isinstance(value, _FIXED)


class FactReader:
    """Turns values into facts, each object once.

    Parameters
    ----------
    modules : iterable of Module
        Those that guards of their own watch.
    """

    def __init__(self, modules: Iterable[Module] = ()):
        self.seen: dict[int, int] = {id(m): i for i, m in enumerate(modules)}
        self.count = 0

    def fact(self, value: Any, found: bool = True, depth: int = 0) -> Any:
        """The fact of `value`; of a tensor that calls look up by its path (`found`), only that it is one."""
        if isinstance(value, Tensor):
            return "tensor" if found else ByIdentity(value)
        if isinstance(value, float):
            return type(value), value.hex()  # zeros differ in their signs, and NaN equals itself
        if isinstance(value, _PLAIN):
            return type(value), value
        if isinstance(value, np.generic):
            return type(value), value.tobytes()
        if isinstance(value, np.ndarray):
            return self._array(value)
        if isinstance(value, type | types.BuiltinFunctionType | types.ModuleType):
            return ByIdentity(value)
        self.count += 1
        if depth > DEPTH or self.count > COUNT:
            raise CompileError(f"the cell holds more than a program can watch, such as a {type(value).__name__}")
        if id(value) in self.seen:  # objects may refer to each other in circles: a number stands for one seen before
            return type(value), self.seen[id(value)]
        self.seen[id(value)] = len(self.seen)
        return self._inside(value, found, depth + 1)

    def _array(self, value: np.ndarray) -> Any:
        if value.dtype.hasobject:
            return value.shape, tuple(self.fact(v, False) for v in value.ravel().tolist())
        if value.size <= SMALL:
            return value.shape, value.dtype.str, value.tobytes()
        return value.shape, value.dtype.str, hashlib.blake2b(np.ascontiguousarray(value).data).digest()

    def _inside(self, value: Any, found: bool, depth: int) -> Any:
        kind = type(value)
        if isinstance(value, list | tuple | collections.deque):
            return kind, tuple([self.fact(v, found, depth) for v in value])
        if isinstance(value, dict):
            return kind, tuple([(k, self.fact(v, found, depth)) for k, v in value.items()])
        if isinstance(value, Mapping) and not is_users_class(kind):  # a view of one, or the environment
            return ByIdentity(value), tuple([(k, self.fact(value[k], False, depth)) for k in value])
        if isinstance(value, set | frozenset):
            return kind, frozenset([self.fact(v, False, depth) for v in value])
        if isinstance(value, types.FunctionType):
            return ByIdentity(value), *self._function(value, depth)
        if isinstance(value, types.MethodType):
            return self.fact(value.__func__, False, depth), self.fact(value.__self__, False, depth)
        if isinstance(value, functools.partial):
            return tuple(self.fact(v, False, depth) for v in (value.func, value.args, value.keywords))
        if isinstance(value, weakref.ref):
            return ByIdentity(value), self.fact(value(), False, depth)
        if isinstance(value, bytearray | array.array | memoryview):
            return kind, bytes(value)
        if isinstance(value, contextvars.ContextVar):
            return ByIdentity(value), self.fact(value.get(None), False, depth)
        if isinstance(value, np.random.Generator | np.random.RandomState):
            return ByIdentity(value)  # a step that draws is refused
        inside = () if kind.__module__.partition(".")[0] in OPAQUE else attributes(value)
        return ByIdentity(value), tuple([(k, self.fact(v, found, depth)) for k, v in inside])

    def _function(self, function: types.FunctionType, depth: int) -> tuple:
        if not is_users(function.__code__):
            return ()
        inside = [function.__defaults__, function.__kwdefaults__]
        for cell in function.__closure__ or ():
            try:
                inside.append(cell.cell_contents)
            except ValueError:  # not set yet
                inside.append(None)
        return ByIdentity(function.__code__), *[self.fact(v, False, depth) for v in inside]


def attributes(value: Any) -> Iterable[tuple[str, Any]]:
    """Names and values of the attributes of an object, in its ``__dict__`` or in slots."""
    found = list(getattr(value, "__dict__", {}).items())
    for name in copyreg._slotnames(type(value)) if not isinstance(value, Tensor) else ():  # type: ignore[attr-defined]
        try:
            found.append((name, getattr(value, name)))
        except AttributeError:
            continue
    return found


def has_slots(value: Any) -> bool:
    """Whether the object keeps attributes outside of its ``__dict__``, where no guard on that sees them."""
    return bool(copyreg._slotnames(type(value)))  # type: ignore[attr-defined]


def static_attributes(cell: Module) -> tuple:
    """Facts of all attributes of a cell and its parts that are neither tensors nor modules.

    Raises
    ------
    CompileError
        If there are more than can be compared before each call.
    """
    modules = list(cell.modules())
    reader = FactReader(modules)
    return tuple(
        (
            ByIdentity(vars(module)),  # another module in its place has other parameters, though all is equal
            *[
                (k, reader.fact(v, k in vars(module)))
                for k, v in attributes(module)
                if not (isinstance(v, Tensor | Module) and k in vars(module))
            ],
        )
        for module in modules
    )
