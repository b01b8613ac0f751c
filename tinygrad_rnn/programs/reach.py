"""Reach of functions behind closures, globals and attributes, and whether anything there has changed."""

from __future__ import annotations

import contextlib
import functools
import operator
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

from ..compiler.runtime.contents import Contents
from ..core import Tensor
from ..errors import CompileError
from ..modules.module import Module
from ..recurrent.scan.code_names import global_names
from ..recurrent.scan.facts import SMALL, attributes, has_slots, parts
from ..recurrent.scan.kinds import BOUND, Opaque, Wrapper, identical, is_fixed, is_users, is_users_class

OFTEN = 64  # questions whether something has changed, from which on it pays to compile, or to load, the answer


class Root(Module):
    """Stands for functions as a cell does for its step: its modules are all that the functions can reach.

    Parameters
    ----------
    functions : callables
    """

    def __init__(self, *functions: Callable):
        self._functions = functions

    def beside(self, objects: Sequence[Any]) -> Root:
        """A root that reaches these objects, too, as a function may look into its arguments and write to them."""
        return Root(*self._functions, *objects) if objects else self

    def modules(self) -> Iterator[Module]:
        """This one, and all modules in reach, each once."""
        reach = _remembered.get(self)
        if reach is None or not (reach.complete and reach.holds()):
            reach = Reach(self._functions)
            if _remembering:
                _remembered[self] = reach
        yield self
        yield from reach.modules


_remembered: dict[Root, Reach] = {}
_remembering: list[bool] = []  # an entry for each context


@contextlib.contextmanager
def remembering() -> Iterator[None]:
    """Context in which what a root reaches is looked for again only where something has changed."""
    _remembering.append(True)
    try:
        yield
    finally:
        _remembering.pop()
        if not _remembering:
            _remembered.clear()


class Reach:
    """Everything in reach of functions, with what it was made of at the time.

    Nothing has changed for as long as all containers hold the same objects: to compare these takes microseconds where
    reading facts takes a hundred.

    Parameters
    ----------
    functions : iterable of callables

    Attributes
    ----------
    modules : list of Module
        In the order in which they are come upon.
    complete : bool
        Whether :meth:`holds` sees every change.
    covered : set of int
        The ids of containers, namespaces and functions that it compares.
    """

    def __init__(self, functions: Iterable[Any]):
        found: dict[int, Module] = {}
        self.complete = True
        self._dicts: list[tuple[dict, list, list]] = []
        self._lists: list[tuple[list, list]] = []
        self._sets: list[tuple[set, set, list[type]]] = []
        self._cells: list[tuple[types.CellType, Any]] = []
        self._globals: list[tuple[dict, str, Any]] = []
        self._functions: list[tuple] = []
        self._arrays: list[tuple[np.ndarray, tuple]] = []
        self._kinds: list[tuple[Any, type]] = []
        self._objects: list[Any] = []  # and their attributes
        self._spaces: list[dict] = []
        self._asked = 0
        self._seen: dict[int, Any] = {}  # which keeps the objects alive for as long as their ids count
        stack = [*reversed([*functions])]
        while stack:
            value = stack.pop()
            if id(value) in self._seen:
                continue
            self._seen[id(value)] = value
            if issubclass(type(value), Module):
                try:
                    found |= {id(m): m for m in value.modules()}
                except TypeError as error:  # modules in plain containers
                    raise CompileError(str(error)) from error
            stack += reversed([*self._enter(value)])
        self.modules = list(found.values())
        self.covered = {*self._seen, *[id(d) for d, _, _ in self._dicts]}

    def holds(self) -> bool:
        """Whether nothing has changed, as far as it was entered."""
        if self._asked < OFTEN:
            self._asked += 1
            same = None
        else:
            same = self._same
        return ((same is not None and same() == 1) or self._contents_hold()) and self.rest_holds()

    @functools.cached_property
    def _same(self) -> Callable[[], int] | None:
        """As :meth:`_contents_hold`, in machine code, which some changes that do not count make say no."""
        contents = Contents()
        self.describe(contents)
        return contents.function()

    def describe(self, contents: Contents) -> None:
        """Add all that has to be the same but what :meth:`rest_holds` looks at."""
        contents.dicts(self._dicts)
        contents.values(self._globals)
        contents.lists(self._lists)
        contents.kinds(self._kinds)

    def rest_holds(self) -> bool:
        """Whether nothing has changed that is not in dicts and lists."""
        if not all(map(operator.is_, map(_space_of, self._objects), self._spaces)):
            return False
        for values, before, kinds in self._sets:
            if values != before or [*map(type, values)] != kinds:  # True is equal to 1
                return False
        try:
            if not all(cell.cell_contents is content for cell, content in self._cells):
                return False
        except ValueError:  # one has nothing in it any more
            return False
        for f, code, defaults, more in self._functions:
            if f.__code__ is not code or f.__defaults__ is not defaults or f.__kwdefaults__ is not more:
                return False
        return not self._arrays or all(_bytes(a) == b for a, b in self._arrays)

    def _contents_hold(self) -> bool:
        """Whether dicts, lists and names hold the objects that they held, and these are of the same class."""
        if self._dicts and not self._dicts_hold():
            return False
        for items, before in self._lists:
            if len(items) != len(before) or not all(map(operator.is_, items, before)):
                return False
        for space, name, value in self._globals:
            if space.get(name) is not value:
                return False
        return all(type(v) is kind for v, kind in self._kinds)

    def _dicts_hold(self) -> bool:
        """Whether all dicts have the names and objects that they had, in order."""
        dicts, sizes, names, values = self._flat
        if [*map(len, dicts)] != sizes or [*chain.from_iterable(dicts)] != names:
            return False
        return all(map(operator.is_, chain.from_iterable(map(dict.values, dicts)), values))

    @functools.cached_property
    def _flat(self) -> tuple[list[dict], list[int], list, list]:
        """All dicts, how many names each has, and these and their objects, one after the other."""
        dicts, names, values = ([*column] for column in zip(*self._dicts))
        return dicts, [*map(len, names)], [*chain.from_iterable(names)], [*chain.from_iterable(values)]

    def _enter(self, value: Any) -> Iterable[Any]:
        """Note what a value is made of; returns what can be reached from it in one step."""
        kind = type(value)
        if issubclass(kind, (Tensor, Opaque, *BOUND, *identical())):
            return ()
        if kind is types.FunctionType:
            return self._enter_function(value) if is_users(value.__code__) else ()
        if kind is types.MethodType or issubclass(kind, functools.partial | weakref.ref):
            return parts(value) or ()
        if kind is dict:
            return self._enter_dict(value)
        if kind is list:
            self._lists.append((value, [*value]))
            return value
        if kind is set and all(map(is_fixed, value)):
            self._sets.append((value, {*value}, [*map(type, value)]))
            return ()
        if kind is tuple or kind is frozenset:
            return value
        if kind is np.ndarray and value.size <= SMALL and not value.dtype.hasobject:
            self._arrays.append((value, _bytes(value)))
            return ()
        if is_fixed(value) and not issubclass(kind, Module):
            return ()
        if issubclass(kind, Module | Wrapper) or is_users_class(kind):
            return self._enter_object(value, kind)
        self.complete = False
        return ()

    def _enter_dict(self, value: dict) -> list:
        values = [*value.values()]
        self._dicts.append((value, [*value], values))
        return values

    def _enter_object(self, value: Any, kind: type) -> list:
        space = getattr(value, "__dict__", None)
        plain = kind.__mro__[-2] if len(kind.__mro__) > 1 else kind
        if type(space) is not dict or has_slots(value) or issubclass(plain, list | dict | set | np.ndarray | tuple):
            self.complete = False
            return [v for _, v in attributes(value)]
        self._kinds.append((value, kind))
        self._objects.append(value)
        self._spaces.append(space)
        methods = [m for cls in kind.__mro__ if is_users_class(cls) for m in vars(cls).values()]
        functions = [f for m in methods for f in (m, *(parts(m) or ())) if type(f) is types.FunctionType]
        return [*self._enter_dict(space), *functions]

    def _enter_function(self, function: types.FunctionType) -> list:
        space, inside = function.__globals__, []
        for cell in function.__closure__ or ():
            try:
                self._cells.append((cell, cell.cell_contents))
                inside.append(cell.cell_contents)
            except ValueError:  # not set yet
                self.complete = False
        for name in sorted(global_names(function.__code__) & space.keys()):
            self._globals.append((space, name, space[name]))
            inside.append(space[name])
        self._functions.append((function, function.__code__, function.__defaults__, function.__kwdefaults__))
        self._objects.append(function)
        self._spaces.append(function.__dict__)
        self._enter_dict(function.__dict__)
        defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        if function.__kwdefaults__:
            self._enter_dict(function.__kwdefaults__)
        return [*inside, *defaults, *function.__dict__.values()]


_space_of = operator.attrgetter("__dict__")


def _bytes(array: np.ndarray) -> tuple:
    return array.shape, array.dtype, array.tobytes()
