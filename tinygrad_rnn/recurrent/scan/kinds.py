"""Kinds of objects: whose they are, and whether facts can tell all that they hold."""

from __future__ import annotations

import array
import collections
import contextvars
import copyreg
import datetime
import decimal
import functools
import inspect
import io
import operator
import os
import random
import re
import struct
import sys
import threading
import types
import typing
import weakref
from collections.abc import Set
from typing import Any

import numpy as np

from ...core import Tensor
from ...modules.module import Module
from .code_names import names_in
from .random_generators import generator_of


class Opaque:
    """Base of objects that do not change what a step computes: compared by identity."""


class Wrapper:
    """Base of callables that do what another one does, their attribute `function`."""

    function: Any


FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)
PLAIN = {bool, int, str, bytes, types.NoneType}
# what can only change by being replaced, and what is watched by its names
_IDENTICAL: tuple = (Opaque, type, types.ModuleType, types.CodeType, np.dtype, np.ufunc, range, slice)
_IDENTICAL += (re.Pattern, struct.Struct)
_IDENTICAL += (datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo, decimal.Decimal)
_IDENTICAL += (types.GenericAlias, types.UnionType, types.GetSetDescriptorType, types.MemberDescriptorType)
_IDENTICAL += (types.WrapperDescriptorType, types.MethodDescriptorType, types.ClassMethodDescriptorType)
_IDENTICAL += (type(threading.Lock()), type(threading.RLock()), types.EllipsisType, types.NotImplementedType)
# fields of named tuples; NumPy's functions
_IDENTICAL += (type(vars(collections.namedtuple("_", "x"))["x"]), type(np.mean))
_FIXED: tuple = (bool, int, float, complex, str, bytes, types.NoneType, np.generic)
BOUND = (types.BuiltinFunctionType, types.MethodWrapperType)
CACHED = type(functools.lru_cache(len))
GETTERS = (operator.attrgetter, operator.itemgetter, operator.methodcaller)
# bases in C whose objects hold nothing but what facts are read of
_READ: set[type] = {object, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset}
_READ |= {collections.deque, collections.OrderedDict, collections.defaultdict, np.ndarray, types.SimpleNamespace}
_READ |= {threading.local, CACHED, types.MappingProxyType}
_READ |= {functools.partial, weakref.ref, array.array, memoryview, contextvars.ContextVar, re.Match}
_READ |= {property, classmethod, staticmethod, types.FunctionType, types.MethodType, *BOUND, *GETTERS}
_READ |= {cls for cls in (typing.Generic, typing.Protocol) if isinstance(cls, type)}
_READ_ALL = (np.generic, BaseException, tuple)  # and so are those of classes in C that are derived from these
HEAP, _BARRED = 1 << 9, 1 << 7 | 1 << 8  # flags of types: made at run time; without a constructor, or immutable
_PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep
_NUMPY = os.path.dirname(os.path.abspath(np.__file__)) + os.sep
PYTHON = os.path.dirname(os.__file__) + os.sep
_FLAGS = (threading.Event, threading.Condition, threading.Semaphore)  # whose state a step may ask for
# libraries whose objects hold locks, files and buffers that change by themselves: by identity only
OPAQUE = ("logging", "io", "_io", "socket", "asyncio", "concurrent", "subprocess", "threading")


def is_users(code: types.CodeType) -> bool:
    """Whether the code is a user's: neither of this package nor of NumPy or Python."""
    name = code.co_filename
    if name.startswith((_PACKAGE, _NUMPY, "<frozen")):
        return False
    return not name.startswith(PYTHON) or "site-packages" in name.removeprefix(PYTHON)


def is_users_class(cls: type) -> bool:
    """Whether the class is a user's, so that its objects are looked into."""
    root = _root(cls)
    return root not in ("tinygrad_rnn", "numpy", "builtins") and (
        root not in sys.stdlib_module_names or cls.__module__ == "__main__"
    )


def is_at_home(cls: type) -> bool:
    """Whether a class is in a file of the user's, not in an installed library or Python's own."""
    file = str(getattr(sys.modules.get(str(cls.__module__)), "__file__", ""))
    return is_users_class(cls) and "site-packages" not in file and "dist-packages" not in file


def is_generated(value: Any) -> bool:
    """Whether a method is one that dataclasses or attrs write, which copies, compares or shows attributes."""
    file = value.__code__.co_filename if type(value) is types.FunctionType else ""
    return file.startswith(("<string>", "<attrs generated"))


def is_pythons_class(cls: type) -> bool:
    """Whether the class is one of Python's library whose objects have attributes, such as queue.Queue."""
    return keeps_attributes(cls) and _root(cls) in sys.stdlib_module_names and not is_users_class(cls)


@functools.cache
def identical() -> tuple[type, ...]:
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


def is_fixed(value: Any) -> bool:
    """Whether `value` can only change by being replaced."""
    kind = type(value)
    if kind is types.FunctionType:
        if not is_users(value.__code__):
            return implementations_of(value) is None
        inside = value.__closure__, value.__kwdefaults__, value.__dict__ or None
        return inside == (None, None, None) and is_fixed(value.__defaults__)
    if kind in BOUND:
        return is_fixed(value.__self__)
    if issubclass(kind, (Tensor, Module, *identical())):
        return True
    if issubclass(kind, tuple | frozenset):
        return not keeps_attributes(kind) and all(map(is_fixed, value))
    # a record of NumPy's is a scalar that can be written to
    return issubclass(kind, _FIXED) and not keeps_attributes(kind) and not issubclass(kind, np.void)


def keeps_attributes(kind: type) -> bool:
    """Whether objects of this class have a ``__dict__`` or slots."""
    return kind.__dictoffset__ != 0 or bool(kind.__flags__ & HEAP and copyreg._slotnames(kind))  # type: ignore[attr-defined]


def is_known(value: Any) -> bool:
    """Whether facts tell all that the object holds: nothing in C that only methods can read."""
    kind = type(value)
    if issubclass(kind, random.SystemRandom):  # draws from no state that could be compared
        return False
    if issubclass(kind, (Tensor, Module, *identical())) or is_opaque(kind):
        return True
    if is_made_by_python(kind) or generator_of(value) is not None or recipe(value) is not None:
        return True
    return python_function(value) is not None


def is_made_by_python(kind: type) -> bool:
    """Whether objects of the class are Python's own, or of a class by Python, so that facts tell all."""
    return all(cls in _READ or issubclass(cls, _READ_ALL) or _is_by_python(cls) for cls in kind.__mro__)


def _is_by_python(cls: type) -> bool:
    """Whether a ``class`` statement made the class: one made in C has a constructor of its own."""
    new = vars(cls).get("__new__")
    made_in_c = type(new) is types.BuiltinFunctionType and new.__self__ is cls
    return bool(cls.__flags__ & HEAP) and not cls.__flags__ & _BARRED and not made_in_c


def is_opaque(kind: type) -> bool:
    """Whether objects of the class are compared by identity only, as they change by themselves."""
    return _root(kind) in OPAQUE and not issubclass(kind, _FLAGS)


def recipe(value: Any) -> tuple | None:
    """Pickle's form of an object in C: its name, or a function and plain arguments; else None.

    So that PyTorch's dtypes and devices, for example, can be read.
    """
    kind = type(value)
    own = kind.__reduce__ is not object.__reduce__ or kind.__reduce_ex__ is not object.__reduce_ex__
    if not own or any(_is_by_python(cls) for cls in kind.__mro__):
        return None
    try:
        found = value.__reduce_ex__(4)
    except Exception:  # it cannot be pickled
        return None
    if isinstance(found, str):
        return (found,)
    plain = type(found) is tuple and len(found) == 2 and type(found[1]) is tuple and is_fixed(found[1])
    return found if plain else None


def python_function(value: Any) -> Any:
    """The Python function of one of Numba's that runs no Python, so that its globals are frozen."""
    dispatcher = getattr(sys.modules.get("numba.core.dispatcher"), "Dispatcher", None)  # it may be being imported
    if dispatcher is None or not issubclass(type(value), dispatcher):
        return None
    return None if _calls_python(value, set()) else value.py_func


def _calls_python(dispatcher: Any, seen: set[int]) -> bool:
    """Whether a function of Numba's, or one that it calls, may run Python code."""
    seen.add(id(dispatcher))
    function = dispatcher.py_func
    if "objmode" in names_in(function.__code__) or any(o.objectmode for o in dispatcher.overloads.values()):
        return True
    called = [function.__globals__.get(name) for name in function.__code__.co_names]
    called += closed_over(function)
    same = [f for f in called if issubclass(type(f), type(dispatcher)) and id(f) not in seen]
    return any(_calls_python(f, seen) for f in same)


def implementations_of(function: types.FunctionType) -> Any:
    """The functions by class among which one made by functools.singledispatch chooses; None for any other."""
    found = function.__dict__.get("registry") if function.__dict__ else None
    return found if type(found) is types.MappingProxyType else None


def closed_over(function: types.FunctionType) -> list[Any]:
    """The values that a function closes over; None for one that is not set yet."""
    found = []
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:
            found.append(None)
    return found


def namespace_of(value: Any, names: Set[str]) -> Any:
    """The dict of a user's module or object, if reading these attributes takes them from it; else None."""
    kind = type(value)
    if kind is types.ModuleType:
        plain = is_users_module(value)
    else:
        reads = kind.__getattribute__ in (object.__getattribute__, types.SimpleNamespace.__getattribute__)
        users = is_users_class(kind) or kind is types.SimpleNamespace
        descriptors = [n for n in names if hasattr(type(inspect.getattr_static(kind, n, None)), "__set__")]
        plain = users and reads and not descriptors and not issubclass(kind, Module)
    space = getattr(value, "__dict__", None) if plain else None
    return space if type(space) is dict and names <= space.keys() else None


def _root(kind: type) -> str:
    return str(kind.__module__).partition(".")[0]
