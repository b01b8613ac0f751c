"""Guards on globals, classes and closures that a compiled step has frozen, checked before each call."""

from __future__ import annotations

import collections
import copy
import gc
import os
import sys
import types
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ... import config
from ...core import Tensor
from ...errors import CompileError
from ...modules.module import Module
from .attribute_path import AttributePath, locate
from .code_names import EveryName, global_names, imported, looked_up, makes_up_names, names_in, reads_of_globals
from .facts import DEPTH, FactReader, attributes, parts, static_attributes
from .kinds import (
    CACHED,
    GETTERS,
    PYTHON,
    is_at_home,
    is_fixed,
    is_users,
    is_users_class,
    is_users_module,
    namespace_of,
    python_function,
)


class Guards:
    """Guards on globals, classes and closures that a program has read.

    Parameters
    ----------
    names : list of (mapping, names)
        Names that the program has read: their values are compared by identity.
    values : list
        Objects that the program has looked into: their contents are compared.
    places : list of AttributePath
        Where the cell keeps the tensors whose values the program has frozen: those that are there now are compared.
    functions : list
        Functions that the program has called: their code and defaults are compared, as these can be set in place.
    reads : container of str
        Names of attributes that the program may have read.

    Raises
    ------
    CompileError
        If something that the program may have read cannot be compared.
    """

    def __init__(
        self,
        names: list[tuple[Mapping, list[str]]],
        values: Iterable[Any],
        places: Iterable[AttributePath] = (),
        functions: Iterable[types.FunctionType] = (),
        reads: Container[str] = (),
    ):
        # Identity of the value behind a name is checked first, as that is fast; contents only of mutable values.
        self.names = [(d.get, n, d.get(n)) for d, found in names for n in found]
        self.functions = [(f, f.__code__, f.__defaults__, f.__kwdefaults__, len(f.__dict__)) for f in functions]
        self.values = [(v, FactReader((), reads).fact(v, False)) for v in values]
        self.places = [(place.get, FactReader().fact(place.get().data)) for place in places]
        self.compares = bool(self.values or self.places)

    def beside(self, covered: Container[int]) -> Guards:
        """The guards on what is not in `covered`, ids of namespaces, functions and other objects."""
        rest = copy.copy(self)
        rest.names = [name for name in self.names if id(getattr(name[0], "__self__", None)) not in covered]
        rest.functions = [function for function in self.functions if id(function[0]) not in covered]
        rest.values = [value for value in self.values if id(value[0]) not in covered]
        rest.compares = bool(rest.values or rest.places)
        return rest

    @property
    def empty(self) -> bool:
        """Whether there is nothing to compare."""
        return not (self.names or self.functions or self.values or self.places)

    def hold(self) -> bool:
        """Whether nothing has changed."""
        for get, name, value in self.names:
            if get(name) is not value:
                return False
        for f, code, defaults, more, size in self.functions:
            if f.__code__ is not code or f.__defaults__ is not defaults or f.__kwdefaults__ is not more:
                return False
            if len(f.__dict__) != size:
                return False
        return not self.compares or self.values_hold()

    def values_hold(self) -> bool:
        """Whether the contents of objects are equal to what they were."""
        try:
            for value, fact in self.values:
                if FactReader().fact(value, False) != fact:
                    return False
            return all(FactReader().fact(get().data) == fact for get, fact in self.places)
        except (CompileError, LookupError, AttributeError):  # it has grown beyond what can be compared, or has gone
            return False


NOTHING = Guards([], [])
# Python's files that read no attributes of objects but such as they ask for
DISCREET = ("enum", "functools", "typing", "abc", "_collections_abc", "contextlib", "types", "os", "re", "weakref")
# no code reads them
UNNAMED = {"__dict__", "__weakref__", "__module__", "__doc__", "__annotations__", "__slotnames__", "_abc_impl"}
_PLAIN = {bool, int, float, complex, str, bytes, np.ndarray}
_DATA = (*_PLAIN, list, tuple, dict, set)


def _is_generated(names: Mapping) -> bool:
    """Whether these are the globals of a named tuple's constructor."""
    return str(names.get("__name__", "")).startswith("namedtuple_")


def guards_of(
    cell: Module | None,
    codes: Mapping[types.CodeType, dict],
    read: Iterable[Tensor],
    places: Sequence[AttributePath | None] = (),
) -> Guards:
    """Guards on everything that the code of a step reads outside of its cell.

    Parameters
    ----------
    cell : Module or None
        A cell, or what stands for a function. Attributes of it and its parts have guards of their own; classes and
        functions in them are searched.
    codes : mapping of code to globals
        The code that ran while the step was traced.
    read : iterable of Tensor
        Tensors whose values the trace has frozen.
    places : sequence of AttributePath or None
        Where the cell kept them while it was traced, if that is known: ``begin_sequence`` makes others.
    """
    ours = [(code, names) for code, names in codes.items() if is_users(code) and not _is_generated(names)]
    names = {n for code, _ in ours for n in names_in(code)}
    search, spared = _search(cell, ours, names), []
    while search.names != names or (spared := _reached(search.cached, {code for code, _ in ours})):
        # getters name attributes, too, of objects that were found before; what a cache has spared is as if it ran
        ours += [(f.__code__, f.__globals__) for f in spared]
        names = search.names.union(*[names_in(f.__code__) for f in spared])
        search, spared = _search(cell, ours, names), []
    if config.get_default_dtype.__code__ in codes:  # the package's own code is not searched, but this global is read
        search.add(config, "_default_dtype")
    if any(code.co_filename in (os.__file__, "<frozen os>") for code in codes):  # as of os.getenv()
        search.values.append(os.environ)
    reads: Container[str] = EveryName() if search.all_names or any(map(_looks_around, codes)) else names
    if cell is not None:
        static_attributes(cell, reads)
    places = places or [None if cell is None else locate(cell, t) for t in read]
    search.values += [t.data for t, place in zip(read, places) if place is None]
    kept = [place for place in places if place is not None]
    return Guards(list(search.found.values()), search.values, kept, search.functions, reads)


def _looks_around(code: types.CodeType) -> bool:
    """Whether the code is Python's own and reads any attributes of objects, as that of copy does."""
    file = code.co_filename
    if is_users(code) or not file.startswith((PYTHON, "<frozen")):
        return False
    name = file.removeprefix(PYTHON).removeprefix("<frozen ").replace("\\", "/").partition("/")[0]
    return name.partition(".")[0].rstrip(">") not in DISCREET and makes_up_names(code)


def _reached(functions: Iterable[Any], known: Iterable[types.CodeType]) -> list[types.FunctionType]:
    """Users' functions behind these, and those that they name as globals, whose code is not known."""
    seen, found, stack = set(known), [], [*functions]
    while stack:
        value = stack.pop()
        f = value.__wrapped__ if isinstance(value, CACHED) else value
        if isinstance(f, types.FunctionType) and is_users(f.__code__) and f.__code__ not in seen:
            seen.add(f.__code__)
            found.append(f)
            stack += [f.__globals__.get(name) for name in global_names(f.__code__)]
    return found


def _search(cell: Module | None, codes: list[tuple[types.CodeType, dict]], names: set[str]) -> _Search:
    search = _Search(codes, names)
    for code, space in codes:
        for name, reads in {**reads_of_globals(code), **dict.fromkeys(looked_up(code))}.items():
            if name in space:
                search.add_reads(space, name, reads)
        for name in imported(code):
            if isinstance(sys.modules.get(name), types.ModuleType):
                search.visit(sys.modules[name])
    if cell is not None:
        for module in cell.modules():
            search.visit(module)
        search.add_class(type(cell), ["step"])
    search.find_closures([code for code, _ in codes])
    return search


class _Attributes:
    """Attributes of an object, as code reads them."""

    def __init__(self, owner: Any):
        self.owner = owner

    def get(self, name: str) -> Any:
        """The attribute; None if there is none."""
        return getattr(self.owner, name, None)


class _Search:
    """Search from the names in the code of a step for everything that it may read."""

    def __init__(self, codes: list[tuple[types.CodeType, dict]], names: set[str]):
        # every name that occurs in the code, whatever it belongs to: which object it was read from is not known
        self.codes = {code for code, _ in codes}
        self.names = set(names)
        self.all_names = any(makes_up_names(code) for code, _ in codes)
        self.found: dict[int, tuple[Any, list[str]]] = {}
        self.searched: set[tuple[int, str]] = set()
        self.values: list[Any] = []
        self.functions: list[types.FunctionType] = []
        self.cached: list[Any] = []  # functions with a cache, which may have spared a call while the step was traced
        self.seen: set[int] = set()
        self.kept: list[Any] = []  # alive while the search lasts, as `seen` and `found` go by id

    def add(self, owner: Any, name: str, mapping: Any = None) -> None:
        """Guard a name in a dict, or in the namespace of a class, module or object."""
        mapping = mapping or (owner if isinstance(owner, dict) else vars(owner))
        self._guard(owner, mapping, name)
        if (id(owner), name) in self.searched:
            return
        self.searched.add((id(owner), name))
        value = mapping.get(name)
        self.visit(value)
        if issubclass(type(value), classmethod | staticmethod | property):
            return  # functions have guards of their own
        if isinstance(value, Module):
            for module in value.modules():
                for n in vars(module):
                    self.add(module, n)
        elif not is_fixed(value):
            self.values.append(value)

    def add_reads(self, space: dict, name: str, reads: set[str] | None) -> None:
        """Guard a global; if the code only reads attributes that its value keeps, these and no others."""
        value = space[name]
        if reads is None or namespace_of(value, reads) is None:
            self.add(space, name)
            return
        self._guard(space, space, name)
        for attribute in reads:
            self.add(value, attribute, _Attributes(value))

    def _guard(self, owner: Any, mapping: Any, name: Any) -> None:
        """Compare the value behind a name by identity."""
        _, names = self.found.setdefault(id(owner), (mapping, []))
        if name not in names:
            self.kept.append(owner)
            names.append(name)

    def add_class(self, cls: type, more: Iterable[str] = ()) -> None:
        """Guard attributes of a class: those that the code names, and methods that ran without being named."""
        bases = [base for base in cls.__mro__ if base is not object]
        wanted = set(more)
        if is_users_class(cls):
            wanted |= self.names
            for base in filter(is_users_class, bases):
                wanted |= {n for n, v in vars(base).items() if self._ran(v) or self._made_up(base, n, v)} - UNNAMED
        for name in sorted(wanted):
            owner = next((base for base in bases if name in vars(base)), None)
            if owner is None:
                continue
            for base in bases:  # a class in between may get the name later, and super() reads those behind
                if base is owner or is_users_class(base):
                    self.add(base, name)
        if is_users_class(type(cls)):
            self.add_class(type(cls))

    def _made_up(self, owner: Any, name: str, value: Any) -> bool:
        """Whether the name may be one that code makes up; of modules and installed libraries, only for data."""
        if not self.all_names or name.startswith("__"):
            return False
        return issubclass(type(value), _DATA) or (isinstance(owner, type) and is_at_home(owner))

    def _ran(self, value: Any) -> bool:
        """Whether a method or a property's function is among the code that ran."""
        return any(getattr(f, "__code__", None) in self.codes for f in (value, *(parts(value) or ())))

    def find_closures(self, codes: list[types.CodeType]) -> None:
        """Guard closures of functions that ran and that no name leads to, such as decorated ones."""
        inner = {const for code in codes for const in code.co_consts if isinstance(const, types.CodeType)}
        lost = {code for code in codes if code.co_freevars} - inner - {f.__code__ for f in self.functions}
        for function in gc.get_referrers(*lost) if lost else ():
            if isinstance(function, types.FunctionType) and function.__code__ in lost:
                self.visit(function)
                self.values.append(function)

    def visit(self, value: Any, depth: int = 0) -> None:
        """Search a value that the code has read for classes, modules and functions."""
        kind = type(value)
        if value is None or kind in _PLAIN or id(value) in self.seen or depth > DEPTH:
            return
        self.seen.add(id(value))
        self.kept.append(value)
        inside: Iterable[Any] = parts(value) or ()
        if kind is types.FunctionType:
            if is_users(value.__code__):
                self.functions.append(value)
        elif issubclass(kind, CACHED):
            self.cached.append(value)
        elif issubclass(kind, GETTERS):
            self.names |= {n for text in inside_texts(inside) for n in text.split(".")}
        elif issubclass(kind, types.ModuleType):
            self._add_module(value)
            return
        elif issubclass(kind, type):
            if is_users_class(value):
                self.add_class(value)
            return
        elif issubclass(kind, dict):
            inside = list(value.values())
        elif issubclass(kind, list | tuple | set | frozenset | collections.deque):
            inside = list(value)
        if python_function(value) is not None:  # its globals are frozen until it is compiled again
            for signature in value.overloads:
                self._guard(value.overloads, value.overloads, signature)
            return
        if is_users_class(kind) or issubclass(kind, Module | types.SimpleNamespace):
            self.add_class(kind)
            inside = [*inside, *[v for _, v in attributes(value)]]
        for v in inside:
            self.visit(v, depth + 1)

    def _add_module(self, module: types.ModuleType) -> None:
        """Guard what the code names of a user's module, and what is mutable of Python's, such as sys.argv.

        Where code makes up names, as ``getattr(module, f"gain_{k}")`` does, that is all numbers, texts and containers.
        """
        names = self.names & vars(module).keys()
        if is_users_module(module):
            names |= {n for n, v in vars(module).items() if self._made_up(module, n, v)}
        for name in sorted(names):
            value = vars(module)[name]
            pythons = module.__name__ in sys.stdlib_module_names and type(value) in (list, dict, set)
            if pythons or is_users_module(module):
                self.add(module, name)


def inside_texts(values: Iterable[Any]) -> list[str]:
    """The texts among values and in tuples of them."""
    found = [v for v in values if isinstance(v, str)]
    return found + [t for v in values if isinstance(v, tuple) for t in v if isinstance(t, str)]
