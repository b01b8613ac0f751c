"""What a compiled step has taken over from outside of its arguments, and whether it is still as it was.

A fact is a value in a form that can be compared later: numbers and texts as they are, the contents of containers, the
attributes of objects, what functions close over; everything else by identity.
"""

from __future__ import annotations

import array
import collections
import contextvars
import copyreg
import functools
import gc
import hashlib
import os
import sys
import types
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ... import config
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
SMALL = 4096  # elements of an array that is kept; of others, a digest
DEPTH = 64  # of objects inside objects that are looked into
COUNT = 20_000  # of values
OPAQUE = ("logging", "io", "_io", "socket", "asyncio", "concurrent", "multiprocessing", "subprocess", "queue", "random")


class Same:
    """An object by identity; it is held, as the id of one that is gone may be that of another."""

    __slots__ = ("what",)

    def __init__(self, what: Any):
        self.what = what

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.what is self.what

    def __hash__(self) -> int:
        return id(self.what)


def is_users(code: types.CodeType) -> bool:
    """Whether it is neither this package's nor that of NumPy or Python."""
    name = code.co_filename
    if name.startswith((_PACKAGE, _NUMPY, "<frozen")):
        return False
    return not name.startswith(_PYTHON) or "site-packages" in name.removeprefix(_PYTHON)


def is_users_class(cls: type) -> bool:
    """Whether objects of the class are looked into."""
    root = cls.__module__.partition(".")[0]
    return root not in ("tinygrad_rnn", "numpy", "builtins") and (
        root not in sys.stdlib_module_names or cls.__module__ == "__main__"
    )


def is_fixed(value: Any) -> bool:
    """Whether `value` can only change by being replaced."""
    if isinstance(value, tuple | frozenset):
        return all(map(is_fixed, value))
    if isinstance(value, types.FunctionType):
        if not is_users(value.__code__):
            return True
        return value.__closure__ is None and is_fixed(value.__defaults__) and value.__kwdefaults__ is None
    return isinstance(value, _FIXED)


class Reader:
    """Reads facts.

    Parameters
    ----------
    modules : iterable of Module
        Those that are watched anyhow.
    """

    def __init__(self, modules: Iterable[Module] = ()):
        self.seen: dict[int, int] = {id(m): i for i, m in enumerate(modules)}
        self.count = 0

    def fact(self, value: Any, found: bool = True, depth: int = 0) -> Any:
        """The fact of `value`; a tensor is looked up anew at each call where it can be `found`."""
        if isinstance(value, Tensor):
            return "tensor" if found else Same(value)
        if isinstance(value, float):
            return type(value), value.hex()  # zeros differ in their signs, and NaN equals itself
        if isinstance(value, _PLAIN):
            return type(value), value
        if isinstance(value, np.generic):
            return type(value), value.tobytes()
        if isinstance(value, np.ndarray):
            return self._array(value)
        if isinstance(value, type | types.BuiltinFunctionType | types.ModuleType):
            return Same(value)
        self.count += 1
        if depth > DEPTH or self.count > COUNT:
            raise CompileError(f"the cell holds more than a program can watch, such as a {type(value).__name__}")
        if id(value) in self.seen:
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
            return Same(value), tuple([(k, self.fact(value[k], False, depth)) for k in value])
        if isinstance(value, set | frozenset):
            return kind, frozenset([self.fact(v, False, depth) for v in value])
        if isinstance(value, types.FunctionType):
            return Same(value), *self._function(value, depth)
        if isinstance(value, types.MethodType):
            return self.fact(value.__func__, False, depth), self.fact(value.__self__, False, depth)
        if isinstance(value, functools.partial):
            return tuple(self.fact(v, False, depth) for v in (value.func, value.args, value.keywords))
        if isinstance(value, weakref.ref):
            return Same(value), self.fact(value(), False, depth)
        if isinstance(value, bytearray | array.array | memoryview):
            return kind, bytes(value)
        if isinstance(value, contextvars.ContextVar):
            return Same(value), self.fact(value.get(None), False, depth)
        if isinstance(value, np.random.Generator | np.random.RandomState):
            return Same(value)  # a step that draws is refused
        inside = () if kind.__module__.partition(".")[0] in OPAQUE else attributes(value)
        return Same(value), tuple([(k, self.fact(v, found, depth)) for k, v in inside])

    def _function(self, function: types.FunctionType, depth: int) -> tuple:
        if not is_users(function.__code__):
            return ()
        inside = [function.__defaults__, function.__kwdefaults__]
        for cell in function.__closure__ or ():
            try:
                inside.append(cell.cell_contents)
            except ValueError:  # not set yet
                inside.append(None)
        return Same(function.__code__), *[self.fact(v, False, depth) for v in inside]


def _is_namespace(value: Any) -> bool:
    return isinstance(value, types.SimpleNamespace)


def attributes(value: Any) -> Iterable[tuple[str, Any]]:
    """Name and value of what an object holds, in its ``__dict__`` or in slots."""
    found = list(getattr(value, "__dict__", {}).items())
    for name in copyreg._slotnames(type(value)) if not isinstance(value, Tensor) else ():  # type: ignore[attr-defined]
        try:
            found.append((name, getattr(value, name)))
        except AttributeError:
            continue
    return found


def has_slots(value: Any) -> bool:
    return bool(copyreg._slotnames(type(value)))  # type: ignore[attr-defined]


class Guards:
    """What a program has read of globals, classes and closures.

    Parameters
    ----------
    names : list of (mapping, names)
        Whose values are taken over; where they are no plain numbers, texts or functions, their contents too.
    values : list
        Whose contents are taken over.
    """

    def __init__(self, names: list[tuple[Mapping, list[str]]], values: Iterable[Any]):
        self.names = [(d.get, n, d.get(n)) for d, found in names for n in found]
        self.values = [(v, Reader().fact(v, False)) for v in values]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to watch."""
        return not self.names and not self.values

    def hold(self) -> bool:
        """Whether all is as it was."""
        for get, name, value in self.names:
            if get(name) is not value:
                return False
        try:
            return not self.values or all(Reader().fact(value, False) == fact for value, fact in self.values)
        except CompileError:  # more than can be watched by now
            return False


NOTHING = Guards([], [])


def _is_generated(names: Mapping) -> bool:
    """Whether these are the globals of a named tuple's constructor."""
    return str(names.get("__name__", "")).startswith("namedtuple_")


def guards_of(cell: Module | None, codes: Mapping[types.CodeType, dict], read: Iterable[Tensor]) -> Guards:
    """Guards of what the code of a step reads.

    Parameters
    ----------
    cell : Module or None
        Its own attributes and those of its parts are watched by others.
    codes : mapping of code to globals
        What was run.
    read : iterable of Tensor
        Whose values were taken over.
    """
    ours = [(code, names) for code, names in codes.items() if is_users(code) and not _is_generated(names)]
    search = _Search(ours)
    for code, names in ours:
        for name in search.names_in(code):
            if name in names:
                search.add(names, name)
            elif isinstance(sys.modules.get(name), types.ModuleType):  # imported in the step
                search.visit(sys.modules[name])
    if cell is not None:
        for module in cell.modules():
            search.visit(module)
        search.add_class(type(cell), ["step"])
    search.find_closures([code for code, _ in ours])
    if config.get_default_dtype.__code__ in codes:
        search.add(config, "_default_dtype")
    if any(code.co_filename in (os.__file__, "<frozen os>") for code in codes):
        search.values.append(os.environ)
    search.values += [t.data for t in read]
    return Guards(list(search.found.values()), search.values)


class _Search:
    def __init__(self, codes: list[tuple[types.CodeType, dict]]):
        self.codes = {code for code, _ in codes}
        self.names = {n for code, _ in codes for n in self.names_in(code)}
        self.found: dict[int, tuple[Mapping, list[str]]] = {}
        self.values: list[Any] = []
        self.functions: set[types.CodeType] = set()
        self.seen: set[int] = set()
        self.kept: list[Any] = []

    def names_in(self, code: types.CodeType) -> list[str]:
        """Names that the code reads, or spells out in a text, as for getattr()."""
        return [*code.co_names, *[c for c in code.co_consts if isinstance(c, str) and c.isidentifier()]]

    def add(self, owner: Any, name: str) -> None:
        """Watch a name of a dict, or of the namespace of a class, module or object."""
        mapping = owner if isinstance(owner, dict) else vars(owner)
        _, names = self.found.setdefault(id(owner), (mapping, []))
        if name in names:
            return
        self.kept.append(owner)
        names.append(name)
        value = mapping.get(name)
        if isinstance(value, classmethod | staticmethod):
            value = value.__func__
        if isinstance(value, property):
            value = value.fget
        self.visit(value)
        if isinstance(value, Module):
            for module in value.modules():
                for n in vars(module):
                    self.add(module, n)
        elif not is_fixed(value):
            self.values.append(value)

    def add_class(self, cls: type, more: Iterable[str] = ()) -> None:
        bases = [base for base in cls.__mro__ if base is not object]
        wanted = [*more, *(self.names if is_users_class(cls) else ())]
        for name in wanted:
            owner = next((base for base in bases if name in vars(base)), None)
            if owner is None or name.startswith("__"):
                continue
            for base in bases:  # one in between may get it, and one behind may be asked by way of super()
                if base is owner or is_users_class(base):
                    self.add(base, name)

    def find_closures(self, codes: list[types.CodeType]) -> None:
        """Watch functions that nothing named leads to, if they close over something."""
        inner = {const for code in codes for const in code.co_consts if isinstance(const, types.CodeType)}
        lost = {code for code in codes if code.co_freevars} - inner - self.functions
        for function in gc.get_referrers(*lost) if lost else ():
            if isinstance(function, types.FunctionType) and function.__code__ in lost:
                self.visit(function)
                self.values.append(function)

    def visit(self, value: Any, depth: int = 0) -> None:
        """Look for classes, modules and functions in what is read."""
        if (
            value is None
            or isinstance(value, int | float | str | np.ndarray)
            or id(value) in self.seen
            or depth > DEPTH
        ):
            return
        self.seen.add(id(value))
        self.kept.append(value)
        inside: Iterable[Any] = ()
        if isinstance(value, types.ModuleType):
            name = value.__name__.partition(".")[0]
            if name not in ("tinygrad_rnn", "numpy") and name not in sys.stdlib_module_names:
                for n in self.names & vars(value).keys():
                    self.add(value, n)
        elif isinstance(value, type):
            if is_users_class(value):
                self.add_class(value)
        elif isinstance(value, types.FunctionType):
            self.functions.add(value.__code__)
            inside = [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
            for cell in value.__closure__ or ():
                try:
                    inside.append(cell.cell_contents)
                except ValueError:
                    continue
        elif isinstance(value, types.MethodType):
            inside = [value.__func__, value.__self__]
        elif isinstance(value, functools.partial):
            inside = [value.func, *value.args, *value.keywords.values()]
        elif isinstance(value, weakref.ref):
            inside = [value()]
        elif isinstance(value, dict):
            inside = list(value.values())
        elif isinstance(value, list | tuple | set | frozenset | collections.deque):
            inside = list(value)
        elif isinstance(value, Module) or is_users_class(type(value)) or _is_namespace(value):
            self.add_class(type(value))
            inside = [v for _, v in attributes(value)]
        for v in inside:
            self.visit(v, depth + 1)
