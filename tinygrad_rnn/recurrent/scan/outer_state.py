"""Outer state: what a step may change outside of its cell, kept so that a dry run can put it back."""

from __future__ import annotations

import array
import collections
import functools
import operator
import pickle
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ...core import Tensor
from ...errors import CompileError
from ...modules.module import Module
from .facts import (
    attributes,
    global_names,
    is_iterator,
    is_known,
    is_users,
    is_users_class,
    is_users_module,
    parts,
    unreadable,
    uses_up,
)
from .random_generators import Generator, generator_of

LARGE = 2**20  # elements of an array that is not kept
DEPTH = 64  # of containers and objects inside each other

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
        self._owners: dict[int, Any] = {}  # classes and modules of users, by id
        self._names: set[str] = set()  # in the code of all functions: of each owner, these attributes are kept
        self._kept: set[tuple[int, str]] = set()
        self._functions: list[types.FunctionType] = []
        for name in ("step", "begin_sequence", "initial_state"):
            self._visit(getattr(type(cell), name, None), 0)
        for module in cell.modules():
            self._add_class(type(module))
            self._visit(vars(type(module)).get("forward"), 0)
            for value in self._attributes(module).values():
                self._visit(value, 0)
        self._read_all()
        self._states = [get() for get, _ in self.generators]

    def changed(self) -> bool:
        """Whether anything but a random generator has changed."""
        return not all(same() for same, _ in self._entries)

    def drew(self) -> bool:
        """Whether one of the random generators was drawn from."""
        return pickle.dumps([get() for get, _ in self.generators]) != pickle.dumps(self._states)

    def restore(self) -> None:
        """Put everything back."""
        for same, undo in self._entries:
            if not same():
                undo()
        for (_, put), state in zip(self.generators, self._states):
            put(state)

    def _read_all(self) -> None:
        """Take down what all functions name, until neither functions nor classes nor modules come to light."""
        before = -1
        while self._functions or before != len(self._entries):
            before = len(self._entries)
            while self._functions:
                self._read(self._functions.pop())
            for owner in [*self._owners.values()]:
                for name in self._names & vars(owner).keys():
                    self._keep_attribute(owner, name)

    def _read(self, function: types.FunctionType) -> None:
        """Take down what the code of a function names, but for attributes."""
        for cell in function.__closure__ or ():
            self._keep(functools.partial(_contents, cell), functools.partial(setattr, cell, "cell_contents"))
        self._names |= {n for code in _codes(function.__code__) for n in code.co_names}
        space = function.__globals__
        for name in global_names(function.__code__) & space.keys():
            self._keep(functools.partial(space.get, name), functools.partial(space.__setitem__, name))
        for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self._visit(value, 0)
        for name in function.__dict__:
            self._keep(functools.partial(function.__dict__.get, name), functools.partial(setattr, function, name))

    def _keep_attribute(self, owner: Any, name: str) -> None:
        """Take down an attribute of a class or module, once."""
        if (id(owner), name) not in self._kept:
            self._kept.add((id(owner), name))
            self._keep(functools.partial(vars(owner).get, name), functools.partial(setattr, owner, name))

    def _add_class(self, cls: type) -> None:
        """Take down named attributes of a user's class, those that it is derived from, and its metaclass."""
        metaclass: type = type(cls)
        self._owners |= {id(c): c for c in (*cls.__mro__, *metaclass.__mro__) if is_users_class(c)}

    def _keep(self, get: Callable[[], Any], put: Callable[[Any], Any]) -> None:
        value = get()
        self._entries.append((lambda: get() is value, lambda: put(value)))
        self._visit(value, 0)

    def _attributes(self, value: Any) -> dict[str, Any]:
        try:
            return dict(attributes(value))
        except CompileError as error:
            self.refused = error
            return {}

    def _visit(self, value: Any, depth: int) -> None:
        kind = type(value)
        if value is None or kind in _PLAIN or issubclass(kind, Tensor) or id(value) in self._seen:
            return
        self._seen.add(id(value))
        generator = generator_of(value)
        if kind is types.FunctionType:
            if is_users(value.__code__):
                self._functions.append(value)
        elif generator is not None:
            self.generators.append(generator)
        elif is_iterator(value):
            self.refused = CompileError(uses_up(value))
        elif not is_known(kind):
            self.refused = unreadable(value)
        elif depth <= DEPTH:
            for inside in self._enter(value, kind):
                self._visit(inside, depth + 1)

    def _enter(self, value: Any, kind: type) -> Iterable[Any]:
        """Take down the contents of an object and its attributes; returns the values inside."""
        inside: Iterable[Any] = parts(value) or ()
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
            self._add_class(value)
            return ()
        elif issubclass(kind, types.ModuleType):
            if is_users_module(value):
                self._owners[id(value)] = value
            return ()
        if is_users_class(kind) or issubclass(kind, types.SimpleNamespace | Module):
            self._add_class(kind)
            for name in self._attributes(value):
                put = functools.partial(object.__setattr__, value, name)
                self._keep(functools.partial(getattr, value, name, None), put)
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


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code and that of functions inside it."""
    yield code
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _codes(const)
