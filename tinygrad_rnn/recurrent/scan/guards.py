"""Guards on globals, classes and closures that a compiled step has frozen, checked before each call."""

from __future__ import annotations

import collections
import functools
import gc
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
from ..cell import Cell
from .attribute_path import AttributePath, locate
from .facts import DEPTH, FactReader, attributes, is_fixed, is_users, is_users_class, is_users_module


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
    """

    def __init__(
        self, names: list[tuple[Mapping, list[str]]], values: Iterable[Any], places: Iterable[AttributePath] = ()
    ):
        # Identity of the value behind a name is checked first, as that is fast; contents only of mutable values.
        self.names = [(d.get, n, d.get(n)) for d, found in names for n in found]
        self.values = [(v, FactReader().fact(v, False)) for v in values]
        self.places = [(place.get, FactReader().fact(place.get().data)) for place in places]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to compare."""
        return not self.names and not self.values and not self.places

    def hold(self) -> bool:
        """Whether nothing has changed."""
        for get, name, value in self.names:
            if get(name) is not value:
                return False
        try:
            for value, fact in self.values:
                if FactReader().fact(value, False) != fact:
                    return False
            return all(FactReader().fact(get().data) == fact for get, fact in self.places)
        except (CompileError, LookupError, AttributeError):  # it has grown beyond what can be compared, or has gone
            return False


NOTHING = Guards([], [])


def _is_generated(names: Mapping) -> bool:
    """Whether these are the globals of a named tuple's constructor."""
    return str(names.get("__name__", "")).startswith("namedtuple_")


def guards_of(cell: Cell | None, codes: Mapping[types.CodeType, dict], read: Iterable[Tensor]) -> Guards:
    """Guards on everything that the code of a step reads outside of its cell.

    Parameters
    ----------
    cell : Cell or None
        Attributes of the cell and its parts have guards of their own; classes and functions in them are searched.
    codes : mapping of code to globals
        The code that ran while the step was traced.
    read : iterable of Tensor
        Tensors whose values the trace has frozen.
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
    if config.get_default_dtype.__code__ in codes:  # the package's own code is not searched, but this global is read
        search.add(config, "_default_dtype")
    if any(code.co_filename in (os.__file__, "<frozen os>") for code in codes):  # as of os.getenv()
        search.values.append(os.environ)
    places = [None if cell is None else locate(cell, t) for t in read]
    search.values += [t.data for t, place in zip(read, places) if place is None]
    return Guards(list(search.found.values()), search.values, [place for place in places if place is not None])


class _Search:
    """Search from the names in the code of a step for everything that it may read."""

    def __init__(self, codes: list[tuple[types.CodeType, dict]]):
        # every name that occurs in the code, whatever it belongs to: which object it was read from is not known
        self.codes = {code for code, _ in codes}
        self.names = {n for code, _ in codes for n in self.names_in(code)}
        self.found: dict[int, tuple[Mapping, list[str]]] = {}
        self.values: list[Any] = []
        self.functions: set[types.CodeType] = set()
        self.seen: set[int] = set()
        self.kept: list[Any] = []  # alive while the search lasts, as `seen` and `found` go by id

    def names_in(self, code: types.CodeType) -> list[str]:
        """Names that the code reads, or spells out in a text, as for getattr()."""
        return [*code.co_names, *[c for c in code.co_consts if isinstance(c, str) and c.isidentifier()]]

    def add(self, owner: Any, name: str) -> None:
        """Guard a name in a dict, or in the namespace of a class, module or object."""
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
            for base in bases:  # a class in between may get the name later, and super() reads those behind
                if base is owner or is_users_class(base):
                    self.add(base, name)

    def find_closures(self, codes: list[types.CodeType]) -> None:
        """Guard closures of functions that ran and that no name leads to, such as decorated ones."""
        inner = {const for code in codes for const in code.co_consts if isinstance(const, types.CodeType)}
        lost = {code for code in codes if code.co_freevars} - inner - self.functions
        for function in gc.get_referrers(*lost) if lost else ():
            if isinstance(function, types.FunctionType) and function.__code__ in lost:
                self.visit(function)
                self.values.append(function)

    def visit(self, value: Any, depth: int = 0) -> None:
        """Search a value that the code has read for classes, modules and functions."""
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
            if is_users_module(value):
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


def _is_namespace(value: Any) -> bool:
    return isinstance(value, types.SimpleNamespace)
