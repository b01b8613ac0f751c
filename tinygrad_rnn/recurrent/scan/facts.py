"""Facts: what a cell and the objects around it hold, in a form that can be compared later.

Numbers and texts are taken as they are; of containers the contents; of objects the attributes; of functions the values
that they close over; everything else by identity.
"""

from __future__ import annotations

import array
import collections
import contextlib
import contextvars
import copyreg
import datetime
import decimal
import dis
import functools
import hashlib
import io
import operator
import os
import random
import re
import sys
import threading
import types
import typing
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ...core import Tensor
from ...errors import CompileError
from ...modules.module import Module

FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)
_PLAIN = {bool, int, str, bytes, types.NoneType}
# what can only change by being replaced, and what is watched by its names
_IDENTICAL: tuple = (type, types.ModuleType, types.CodeType, np.dtype, np.ufunc, range, slice, re.Pattern)
_IDENTICAL += (datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo, decimal.Decimal)
_IDENTICAL += (types.GenericAlias, types.UnionType, types.GetSetDescriptorType, types.MemberDescriptorType)
_IDENTICAL += (types.WrapperDescriptorType, types.MethodDescriptorType, types.ClassMethodDescriptorType)
_IDENTICAL += (type(threading.Lock()), type(threading.RLock()), types.EllipsisType, types.NotImplementedType)
_IDENTICAL += (
    type(vars(collections.namedtuple("_", "x"))["x"]),
    type(np.mean),
)  # fields of named tuples; NumPy's functions
_FIXED: tuple = (bool, int, float, complex, str, bytes, types.NoneType, np.generic)
_BOUND = (types.BuiltinFunctionType, types.MethodWrapperType)
GETTERS = (operator.attrgetter, operator.itemgetter, operator.methodcaller)
# bases in C whose objects hold nothing but what facts are read of
_READ: set[type] = {object, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset}
_READ |= {collections.deque, collections.OrderedDict, collections.defaultdict, np.ndarray, types.SimpleNamespace}
_READ |= {threading.local, type(functools.lru_cache(len)), types.MappingProxyType}
_READ |= {functools.partial, weakref.ref, array.array, memoryview, contextvars.ContextVar}
_READ |= {property, classmethod, staticmethod, types.FunctionType, types.MethodType, *_BOUND, *GETTERS}
_READ |= {cls for cls in (typing.Generic, typing.Protocol) if isinstance(cls, type)}
_READ_ALL = (np.generic, BaseException, tuple)  # and so are those of classes in C that are derived from these
_HEAP, _BARRED = 1 << 9, 1 << 7 | 1 << 8  # flags of types: made at run time; without a constructor, or immutable
_PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep
_NUMPY = os.path.dirname(os.path.abspath(np.__file__)) + os.sep
_PYTHON = os.path.dirname(os.__file__) + os.sep
_GLOBAL = {"LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "STORE_NAME", "DELETE_GLOBAL", "DELETE_NAME"}
_GLOBAL |= {"LOAD_FROM_DICT_OR_GLOBALS"}
SMALL = 4096  # elements of an array whose values are a fact; of larger ones, a digest is
DEPTH = 64  # of objects inside objects
COUNT = 20_000  # values: more would take too long to compare before each call, and the cell runs eagerly
# libraries whose objects hold locks, files and buffers that change by themselves: by identity only
OPAQUE = ("logging", "io", "_io", "socket", "asyncio", "concurrent", "subprocess", "threading")


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


@functools.cache
def _identical() -> tuple[type, ...]:
    """Types whose objects are compared by identity; a step that draws is refused."""
    drawn = np.random  # at first use, as importing it takes a while
    return (*_IDENTICAL, drawn.SeedSequence, drawn.BitGenerator, drawn.Generator, drawn.RandomState, random.Random)


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
    kind = type(value)
    if kind is types.FunctionType:
        if not is_users(value.__code__):
            return True
        inside = value.__closure__, value.__kwdefaults__, value.__dict__ or None
        return inside == (None, None, None) and is_fixed(value.__defaults__)
    if kind in _BOUND:
        return is_fixed(value.__self__)
    if issubclass(kind, (Tensor, Module, *_identical())):
        return True
    if issubclass(kind, tuple | frozenset):
        return not keeps_attributes(kind) and all(map(is_fixed, value))
    return issubclass(kind, _FIXED) and not keeps_attributes(kind)


def keeps_attributes(kind: type) -> bool:
    """Whether objects of this class have a ``__dict__`` or slots."""
    return kind.__dictoffset__ != 0 or bool(kind.__flags__ & _HEAP and copyreg._slotnames(kind))  # type: ignore[attr-defined]


def is_known(kind: type) -> bool:
    """Whether facts tell all that objects of this class hold: nothing in C that only methods can read."""
    if issubclass(kind, random.SystemRandom):  # draws from no state that could be compared
        return False
    if issubclass(kind, (Tensor, Module, *_identical())) or _root(kind) in OPAQUE:
        return True
    return all(cls in _READ or issubclass(cls, _READ_ALL) or _is_by_python(cls) for cls in kind.__mro__)


def _is_by_python(cls: type) -> bool:
    """Whether a ``class`` statement made the class: one made in C has a constructor of its own."""
    new = vars(cls).get("__new__")
    made_in_c = type(new) is types.BuiltinFunctionType and new.__self__ is cls
    return bool(cls.__flags__ & _HEAP) and not cls.__flags__ & _BARRED and not made_in_c


def _root(kind: type) -> str:
    return str(kind.__module__).partition(".")[0]


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
        kind = type(value)
        if kind is float:
            return kind, value.hex()  # zeros differ in their signs, and NaN equals itself
        if kind in _PLAIN:
            return kind, value
        if issubclass(kind, Tensor):
            return "tensor" if found else ByIdentity(value)
        if kind is np.ndarray:
            return self._array(value)
        if issubclass(kind, _identical()):
            return ByIdentity(value)
        self.count += 1
        if depth > DEPTH or self.count > COUNT:
            raise CompileError(f"the cell holds more than a program can watch, such as a {kind.__name__}")
        if id(value) in self.seen:
            return kind, self.seen[id(value)]
        self.seen[id(value)] = len(self.seen)
        try:
            return self._inside(value, kind, found, depth + 1)
        except CompileError:
            raise
        except Exception as error:  # of a user's property or method
            raise unreadable(value, f"{type(error).__name__}: {error}") from error

    def _array(self, value: np.ndarray) -> Any:
        if value.dtype.hasobject:
            return value.shape, tuple(self.fact(v, False) for v in value.ravel().tolist())
        if value.size <= SMALL:
            return value.shape, value.dtype.str, value.tobytes()
        return value.shape, value.dtype.str, hashlib.blake2b(np.ascontiguousarray(value).data).digest()

    def _inside(self, value: Any, kind: type, found: bool, depth: int) -> Any:
        if is_iterator(value):
            raise CompileError(uses_up(value))
        if not is_known(kind):
            raise unreadable(value)
        if kind is not types.FunctionType and _root(kind) in OPAQUE:
            return ByIdentity(value)
        contents = self._contents(value, kind, found, depth)
        if kind is types.FunctionType or (contents is not None and not keeps_attributes(kind)):
            return kind, contents
        found = found and contents is None  # a path leads to items or to attributes
        facts = [(k, self.fact(v, found, depth)) for k, v in attributes(value)]
        return ByIdentity(value) if contents is None else kind, contents, *facts

    def _contents(self, value: Any, kind: type, found: bool, depth: int) -> Any:
        """Facts of what an object holds beside attributes; None if it is no object of such a kind."""
        if issubclass(kind, list | tuple | collections.deque):
            return tuple([self.fact(v, found, depth) for v in value])
        if issubclass(kind, dict):
            factory = value.default_factory if issubclass(kind, collections.defaultdict) else None
            return self.fact(factory, False, depth), *[(k, self.fact(v, found, depth)) for k, v in value.items()]
        if issubclass(kind, Mapping) and not is_users_class(kind):  # a view of one, or the environment
            return ByIdentity(value), *[(k, self.fact(value[k], False, depth)) for k in value]
        if issubclass(kind, set | frozenset):
            return frozenset([self.fact(v, False, depth) for v in value])
        if issubclass(kind, np.ndarray):
            return self._array(value.view(np.ndarray))
        if issubclass(kind, np.generic):
            return value.tobytes()
        if issubclass(kind, complex):
            return value.real.hex(), value.imag.hex()
        for plain, read in _NUMBERS:
            if issubclass(kind, plain):
                return read(value)
        if issubclass(kind, bytes | bytearray | array.array | memoryview):
            return bytes(value)
        if issubclass(kind, BaseException):
            return self.fact(value.args, False, depth)
        if (inside := parts(value)) is not None:
            owner = ByIdentity(value) if issubclass(kind, types.FunctionType | weakref.ref) else kind
            return owner, *[self.fact(v, False, depth) for v in inside]
        return None


_NUMBERS = ((float, float.hex), (int, int.__int__), (str, str.__str__))


def parts(value: Any) -> Iterable[Any] | None:
    """What a function, method, descriptor, reference or getter consists of; None for anything else."""
    kind = type(value)
    if kind is types.FunctionType:
        return _parts_of_function(value)
    if kind is types.MethodType:
        return value.__func__, value.__self__
    if kind in _BOUND:
        return value.__name__, value.__self__
    if issubclass(kind, functools.partial):
        return value.func, value.args, value.keywords
    if issubclass(kind, weakref.ref):
        return (value(),)
    if issubclass(kind, property):
        return value.fget, value.fset, value.fdel
    if issubclass(kind, classmethod | staticmethod):
        return (value.__func__,)
    if kind in GETTERS:
        return value.__reduce__()
    if kind is contextvars.ContextVar:
        return value, value.get(None)
    return None


def _parts_of_function(function: types.FunctionType) -> Iterable[Any]:
    """The code of a function, its defaults, its attributes and the values that it closes over."""
    if not is_users(function.__code__):
        return ()
    inside = [function.__code__, function.__defaults__, function.__kwdefaults__, function.__dict__]
    for cell in function.__closure__ or ():
        try:
            inside.append(cell.cell_contents)
        except ValueError:  # not set yet
            inside.append(None)
    return inside


def unreadable(value: Any, why: str = "") -> CompileError:
    """The error for an object of which no guard could tell whether it has changed."""
    kind = type(value)
    return CompileError(
        f"the step can reach a {kind.__module__}.{kind.__qualname__}, of which nothing tells whether it has changed"
        f"{f' ({why})' if why else ''}: keep what the step needs of it in numbers, arrays or plain attributes"
    )


def uses_up(iterator: Any) -> str:
    """Why a step that an iterator is in reach of does not compile."""
    return (
        f"the step can reach an iterator, a {type(iterator).__name__}, which a compiled loop would read once: keep "
        "its values in a list or an array, and the position in the state; or make them an input (one value a step)"
    )


def attributes(value: Any) -> Iterable[tuple[str, Any]]:
    """Names and values of the attributes of an object, in its ``__dict__`` or in slots.

    Raises
    ------
    CompileError
        If it does not let them be read.
    """
    kind = type(value)
    try:
        found = list(getattr(value, "__dict__", {}).items())
        for name in copyreg._slotnames(kind) if kind.__flags__ & _HEAP and not issubclass(kind, Tensor) else ():  # type: ignore[attr-defined]
            with contextlib.suppress(AttributeError):
                found.append((name, getattr(value, name)))
    except Exception as error:  # of a user's property
        raise unreadable(value, f"{type(error).__name__}: {error}") from error
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
                if not (issubclass(type(v), Tensor | Module) and k in vars(module))
            ],
        )
        for module in modules
    )
