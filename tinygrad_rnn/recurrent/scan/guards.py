"""Guards on globals, classes and closures that a compiled step has frozen, checked before each call."""

from __future__ import annotations

import copy
import os
import types
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

from ... import config
from ...core import Tensor
from ...errors import CompileError
from ...modules.module import Module
from .attribute_path import AttributePath, locate
from .code_names import EveryName, global_names, makes_up_names, names_in
from .facts import FactReader, static_attributes
from .guard_search import search_from
from .kinds import CACHED, PYTHON, is_users
from .snapshot import Latest


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
    spaces : list of mapping
        Namespaces in which a new name would come before those that the program has read: their sizes are compared.

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
        spaces: Iterable[Mapping] = (),
    ):
        # Identity of the value behind a name is checked first, as that is fast; contents only of mutable values.
        self.names = [(d.get, n, d.get(n)) for d, found in names for n in found]
        self.functions = [(f, f.__code__, f.__defaults__, f.__kwdefaults__, len(f.__dict__)) for f in functions]
        self.values = [(v, FactReader((), reads).fact(v, False)) for v in values]
        self.places = [(place.get, FactReader().fact(place.get().data)) for place in places]
        self.sizes = [(space.__len__, len(space)) for space in spaces]
        self.compares = bool(self.values or self.places)
        self._latest = Latest()

    def beside(self, covered: Container[int]) -> Guards:
        """The guards on what is not in `covered`, ids of namespaces, functions and other objects."""
        rest = copy.copy(self)
        rest.names = [name for name in self.names if id(getattr(name[0], "__self__", None)) not in covered]
        rest.functions = [function for function in self.functions if id(function[0]) not in covered]
        rest.values = [value for value in self.values if id(value[0]) not in covered]
        rest.compares = bool(rest.values or rest.places)
        rest._latest = Latest()
        return rest

    @property
    def empty(self) -> bool:
        """Whether there is nothing to compare."""
        return not (self.names or self.functions or self.sizes or self.compares)

    @property
    def names_alone(self) -> bool:
        """Whether :attr:`names` are all that there is to compare."""
        return not (self.functions or self.sizes or self.compares)

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
        for length, size in self.sizes:
            if length() != size:
                return False
        return not self.compares or self.values_hold()

    def values_hold(self) -> bool:
        """Whether the contents of objects are equal to what they were."""
        try:
            if self.values and not self._latest.holds():
                entered: list[Any] = []
                if not self._values_equal(entered):
                    return False
                self._latest.take(entered, lambda: self._values_equal([]))
            return all(FactReader().fact(get().data) == fact for get, fact in self.places)
        except (CompileError, LookupError, AttributeError):  # it has grown beyond what can be compared, or has gone
            return False

    def _values_equal(self, entered: list[Any]) -> bool:
        for value, fact in self.values:
            reader = FactReader()
            if reader.fact(value, False) != fact:
                return False
            entered += reader.entered
        return True


NOTHING = Guards([], [])
# Python's files that read no attributes of objects but such as they ask for
DISCREET = ("enum", "functools", "typing", "abc", "_collections_abc", "contextlib", "types", "os", "re", "weakref")


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
    search, spared = search_from(cell, ours, names), []
    while search.names != names or (spared := _reached(search.cached, {code for code, _ in ours})):
        # getters name attributes, too, of objects that were found before; what a cache has spared is as if it ran
        ours += [(f.__code__, f.__globals__) for f in spared]
        names = search.names.union(*[names_in(f.__code__) for f in spared])
        search, spared = search_from(cell, ours, names), []
    if config.get_default_dtype.__code__ in codes:  # the package's own code is not searched, but this global is read
        search.add(config, "_default_dtype")
    if any(code.co_filename in (os.__file__, "<frozen os>") for code in codes):  # as of os.getenv()
        search.values.append(os.environ)
    reads: Container[str] = EveryName() if search.all_names or any(map(_looks_around, codes)) else names
    if cell is not None:
        # only for the error, if code may read what cannot be compared: guards on attributes are the cache's
        static_attributes(cell, reads)
    places = places or [None if cell is None else locate(cell, t) for t in read]
    search.values += [t.data for t, place in zip(read, places) if place is None]
    kept = [place for place in places if place is not None]
    found, spaces = list(search.found.values()), search.spaces.values()
    return Guards(found, search.values, kept, search.functions, reads, spaces)


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
