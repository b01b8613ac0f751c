"""Search from the code of a step for all outside of its cell that it may read, for guards to watch."""

from __future__ import annotations

import abc
import builtins
import collections
import gc
import sys
import types
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ...modules.module import Module
from .code_names import imported, looked_up, makes_up_names, reads_of_globals
from .facts import DEPTH, attributes, parts
from .kinds import (
    CACHED,
    GETTERS,
    is_at_home,
    is_fixed,
    is_users,
    is_users_class,
    is_users_module,
    namespace_of,
    python_function,
)

# no code reads them
UNNAMED = {"__dict__", "__weakref__", "__module__", "__doc__", "__annotations__", "__slotnames__", "_abc_impl"}
_PLAIN = {bool, int, float, complex, str, bytes, np.ndarray}
_DATA = (*_PLAIN, list, tuple, dict, set)


def search_from(cell: Module | None, codes: list[tuple[types.CodeType, dict]], names: set[str]) -> Search:
    """All that the code, with its globals, may read by these names."""
    search = Search(codes, names)
    for code, space in codes:
        for name, reads in {**reads_of_globals(code), **dict.fromkeys(looked_up(code))}.items():
            if name in space:
                search.add_reads(space, name, reads)
            else:  # one of Python's own, or not set yet
                search.add_absent(space, name)
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


class _Registrations:
    """Count of the classes registered with abstract ones, which decides what is an instance of which."""

    def __init__(self):
        self.number = abc.get_cache_token()

    def get(self, name: str) -> Any:
        """The same number for as long as it is equal."""
        now = abc.get_cache_token()
        return self.number if now == self.number else now


class Search:
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
        self.spaces: dict[int, Mapping] = {}
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

    def add_absent(self, space: dict, name: str) -> None:
        """Guard a global that is not there, so that a name of Python's own is read, or none."""
        self._guard(space, space, name)
        if getattr(vars(builtins).get(name), "__module__", None) != "builtins":  # nor of Python's own from the start
            self._guard(builtins, vars(builtins), name)

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
        self.spaces.update({id(base): vars(base) for base in bases if is_users_class(base)})
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
            for cache in gc.get_referents(value):  # one of them is where results are
                if type(cache) is dict and cache is not value.__dict__:
                    for key in [*cache][-1:] if value.cache_parameters()["maxsize"] else [*cache]:
                        self._guard(cache, cache, key)
        elif issubclass(kind, GETTERS):
            self.names |= {n for text in inside_texts(inside) for n in text.split(".")}
        elif issubclass(kind, types.ModuleType):
            self._add_module(value)
            return
        elif issubclass(kind, type):
            if is_users_class(value):
                self.add_class(value)
                if isinstance(value, abc.ABCMeta) and not self.names.isdisjoint(("isinstance", "issubclass")):
                    self._guard(abc, _Registrations(), "classes")
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
            self.spaces[id(module)] = vars(module)  # the code may have asked for what is not there
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
