"""Outer state: what a step may change outside of its cell, kept so that a dry run can put it back."""

from __future__ import annotations

import array
import collections
import functools
import operator
import pickle
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ...core import Tensor
from ...errors import CompileError
from ...modules.module import Module
from .code_names import codes_in, makes_up_names, names_in, reads_of_globals
from .facts import attributes, parts, unreadable, uses_up
from .kinds import (
    implementations_of,
    is_at_home,
    is_generated,
    is_iterator,
    is_known,
    is_opaque,
    is_pythons_class,
    is_users,
    is_users_class,
    is_users_module,
    namespace_of,
    python_function,
)
from .random_generators import Generator, generator_of

LARGE = 2**20  # elements of an array that is not kept
DEPTH = 64  # of containers and objects inside each other

# of special names of classes, what no step calls without naming the class
_CONSTRUCTORS = {"__init__", "__new__", "__init_subclass__", "__post_init__", "__del__"}
_CHANGING = (dict, list, collections.deque, set, bytearray, array.array, np.ndarray)
_PLAIN = (bool, int, float, complex, str, bytes)


class OuterState:
    """A snapshot of globals, closures, class attributes and containers that a step's code names.

    Attributes
    ----------
    generators : list
        Getters and setters of the states of random generators among them.
    refused : CompileError or None
        Why nothing may run, if something is among them that cannot be put back: an iterator, or an object in C.
    """

    def __init__(self, cell: Module):
        self.generators: list[Generator] = []
        self.refused: CompileError | None = None
        self._entries: list[tuple[Callable[[], bool], Callable[[], Any]]] = []  # is it as it was; put it back
        self._seen: set[int] = {id(m) for m in cell.modules()}
        self._owners: dict[int, Any] = {}  # classes, modules and objects of users, by id
        self._attributes: dict[int, Mapping[str, Any]] = {}  # of these
        self._modules: set[int] = set(self._seen)  # whose attributes are put back elsewhere
        self._names: set[str] = set()  # in the code of all functions: of each owner, these attributes are kept
        self._any_name = False  # whether code makes up such names
        self._called: set[int] = set()  # classes that code names, and may call
        self._kept: set[tuple[int, str]] = set()
        self._functions: list[types.FunctionType] = []
        for name in ("step", "begin_sequence", "initial_state"):
            self._visit(getattr(type(cell), name, None), 0)
        for function in vars(cell).get("_functions", ()):  # of what stands for functions
            self._visit(function, 0)
        for module in cell.modules():
            self._add_class(type(module))
            self._visit(vars(type(module)).get("forward"), 0)
            self._add_object(module)
        self._read_all()
        self._states = [get() for get, _ in self.generators]

    def changed(self) -> bool:
        """Whether anything but a random generator has changed."""
        return not all(same() for same, _ in self._entries)

    def drew(self) -> bool:
        """Whether one of the random generators was drawn from."""
        # states hold arrays, which do not compare to one truth value
        return pickle.dumps([get() for get, _ in self.generators]) != pickle.dumps(self._states)

    def restore(self) -> None:
        """Put everything back."""
        for same, undo in self._entries:
            if not same():
                undo()
        for (_, put), state in zip(self.generators, self._states):
            put(state)

    def _read_all(self) -> None:
        """Take down what all functions name, until neither functions nor owners of names come to light."""
        while self._functions or (named := self._named()):
            if self._functions:
                self._read(self._functions.pop())
                continue
            for owner, name in named:
                self._keep_attribute(owner, name)

    def _named(self) -> list[tuple[Any, str]]:
        """Attributes that code names or may make up, and special methods, which it calls without naming them."""
        found = []
        for key, owner in self._owners.items():
            space = self._attributes[key]
            names = self._names & space.keys()
            by_name = isinstance(owner, type | types.ModuleType)
            if isinstance(owner, type) and is_at_home(owner):
                special = {n for n, v in space.items() if n[:2] == "__" and not is_generated(v)}
                names |= special if key in self._called else special - _CONSTRUCTORS
            if self._any_name and by_name:
                names |= {n for n, v in space.items() if issubclass(type(v), _CHANGING) or is_iterator(v)}
            elif not by_name and (self._any_name or not is_at_home(type(owner))):
                names = {*space}
            found += [(owner, name) for name in names if (key, name) not in self._kept]
        return found

    def _read(self, function: types.FunctionType) -> None:
        """Take down what the code of a function names, but for attributes."""
        for cell in function.__closure__ or ():
            self._keep(functools.partial(_contents, cell), functools.partial(setattr, cell, "cell_contents"))
        for code in codes_in(function.__code__):
            self._names.update(names_in(code))
            self._any_name = self._any_name or makes_up_names(code)
        space = function.__globals__
        for name, reads in reads_of_globals(function.__code__).items():
            if name in space:
                self._read_global(space, name, reads)
            else:
                self._entries.append((lambda n=name: n not in space, functools.partial(space.pop, name, None)))  # type: ignore[misc]
        for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self._visit(value, 0)
        self._keep_names(lambda: vars(function), function.__dict__.pop)
        for name in function.__dict__:
            self._keep(functools.partial(function.__dict__.get, name), functools.partial(setattr, function, name))

    def _read_global(self, space: dict, name: str, reads: set[str] | None) -> None:
        """Take down a global; of one of which the code only reads attributes, these."""
        value, get, put = space[name], functools.partial(space.get, name), functools.partial(space.__setitem__, name)
        if reads is None or namespace_of(value, reads) is None:
            self._keep(get, put)
            return
        self._keep(get, put, visit=False)
        for attribute in reads:
            self._keep_attribute(value, attribute)

    def _keep_attribute(self, owner: Any, name: str) -> None:
        """Take down an attribute of a class, module or object, once."""
        if (id(owner), name) in self._kept:
            return
        self._kept.add((id(owner), name))
        if id(owner) in self._modules:
            self._visit(self._attributes[id(owner)][name], 0)
        elif isinstance(owner, type | types.ModuleType):
            self._keep(functools.partial(vars(owner).get, name), functools.partial(setattr, owner, name))
        else:
            # not by a `__setattr__` of the user's, which may do more than that
            put = functools.partial(object.__setattr__, owner, name)
            self._keep(functools.partial(getattr, owner, name, None), put)

    def _add_class(self, cls: type) -> None:
        """Take down named attributes of a user's class, those that it is derived from, and its metaclass."""
        metaclass: type = type(cls)
        for c in (*cls.__mro__, *metaclass.__mro__):
            if is_users_class(c):
                self._add_owner(c, vars(c))

    def _add_object(self, value: Any) -> None:
        """Take down named attributes of an object; the names of those that it gets later are not known."""
        try:
            self._add_owner(value, dict(attributes(value)))
        except CompileError as error:
            self.refused = error

    def _add_owner(self, owner: Any, space: Mapping[str, Any]) -> None:
        if id(owner) not in self._owners:
            self._owners[id(owner)], self._attributes[id(owner)] = owner, space
            if id(owner) not in self._modules and hasattr(owner, "__dict__"):
                self._keep_names(lambda: vars(owner), functools.partial(type(owner).__delattr__, owner))

    def _keep_names(self, space: Callable[[], Mapping], delete: Callable[[str], Any]) -> None:
        """Take down which names there are, so that new ones can be removed."""
        names = {*space()}

        def undo() -> None:
            for name in space().keys() - names:
                delete(name)

        self._entries.append((lambda: len(space()) == len(names) and space().keys() == names, undo))

    def _keep(self, get: Callable[[], Any], put: Callable[[Any], Any], visit: bool = True) -> None:
        value = get()
        self._entries.append((lambda: get() is value, lambda: put(value)))
        if visit:
            self._visit(value, 0)

    def _visit(self, value: Any, depth: int) -> None:
        """Take down what a value holds, or the reason why that cannot be done."""
        kind = type(value)
        if value is None or kind in _PLAIN or issubclass(kind, Tensor) or id(value) in self._seen:
            return
        self._seen.add(id(value))
        generator = generator_of(value)
        if kind is types.FunctionType:
            if is_users(value.__code__):
                self._functions.append(value)
            for inside in (implementations_of(value) or {}).values():
                self._visit(inside, depth + 1)
        elif generator is not None:
            self.generators.append(generator)
        elif is_iterator(value):
            self.refused = CompileError(uses_up(value))
        elif not is_known(value):
            self.refused = unreadable(value)
        elif depth <= DEPTH:
            for inside in self._enter(value, kind):
                self._visit(inside, depth + 1)

    def _enter(self, value: Any, kind: type) -> Iterable[Any]:
        """Take down the contents of an object and its attributes; returns the values inside."""
        inside: Iterable[Any] = parts(value) or ()
        if python_function(value) is not None:  # which changes nothing but what it is called with
            return ()
        if issubclass(kind, dict | list | collections.deque | set):
            copy = value.copy()
            self._entries.append((lambda: _alike(value, copy), lambda: _refill(value, copy)))
            inside = copy.values() if isinstance(copy, dict) else copy
        elif issubclass(kind, bytearray | array.array):
            kept = value[:]
            self._entries.append((lambda: value == kept, lambda: operator.setitem(value, slice(None), kept)))
        elif issubclass(kind, np.ndarray):
            if value.size <= LARGE:
                array_kept = value.copy()
                same = functools.partial(_holds, value, array_kept)
                self._entries.append((same, lambda: np.copyto(value, array_kept)))
        elif issubclass(kind, tuple | frozenset):
            inside = value
        elif issubclass(kind, type):
            self._called |= {id(c) for c in value.__mro__}
            self._add_class(value)
            return ()
        elif issubclass(kind, types.ModuleType):
            if is_users_module(value):
                self._add_owner(value, vars(value))
            return ()
        own = issubclass(kind, types.SimpleNamespace | Module)
        if is_users_class(kind) or own or (is_pythons_class(kind) and not is_opaque(kind)):
            self._add_class(kind)
            self._add_object(value)
        return inside


def _contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not set yet
        return None


def _holds(array: np.ndarray, values: np.ndarray) -> bool:
    return array.tobytes() == values.tobytes()


def _alike(one: Any, other: Any) -> bool:
    """Whether two containers hold the same objects."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(one[k] is v for k, v in other.items())
    if isinstance(one, set):
        return one == other
    return len(one) == len(other) and all(a is b for a, b in zip(one, other))


def _refill(container: Any, values: Any) -> None:
    container.clear()
    (container.extend if isinstance(container, list | collections.deque) else container.update)(values)
