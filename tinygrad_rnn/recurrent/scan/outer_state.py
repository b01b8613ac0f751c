"""Outer state: what a step may change outside of its cell, kept so that a dry run can put it back."""

from __future__ import annotations

import collections
import functools
import pickle
import random
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ...core import Tensor
from ...modules.module import Module
from .facts import attributes, global_names, is_iterator, is_users, is_users_class, is_users_module

LARGE = 2**20  # elements of an array that is not kept
DEPTH = 64  # of containers and objects inside each other

Generator = tuple[Callable[[], Any], Callable[[Any], None]]


class OuterState:
    """A snapshot of globals, closures, class attributes and containers that a step's code names.

    Attributes
    ----------
    generators : list
        Getters and setters of the states of random generators among them.
    iterator : object or None
        One of the iterators among them, whose state nothing can put back.
    """

    def __init__(self, cell: Module):
        self.generators: list[Generator] = []
        self.iterator: Any = None
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
            for _, value in attributes(module):
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

    def _visit(self, value: Any, depth: int) -> None:
        if isinstance(value, staticmethod | classmethod):
            value = value.__func__
        if isinstance(value, property):
            value = value.fget
        if value is None or isinstance(value, Tensor | int | float | str | bytes) or id(value) in self._seen:
            return
        self._seen.add(id(value))
        generator = generator_of(value)
        if isinstance(value, types.FunctionType):
            if is_users(value.__code__):
                self._functions.append(value)
        elif generator is not None:
            self.generators.append(generator)
        elif is_iterator(value):
            self.iterator = value
        elif depth <= DEPTH:
            for inside in self._enter(value):
                self._visit(inside, depth + 1)

    def _enter(self, value: Any) -> Iterable[Any]:
        """Take down the contents of an object; returns the values inside."""
        if isinstance(value, types.MethodType):
            return value.__func__, value.__self__
        if isinstance(value, types.BuiltinFunctionType | types.MethodWrapperType):
            return (value.__self__,)
        if isinstance(value, functools.partial):
            return value.func, *value.args, *value.keywords.values()
        if isinstance(value, dict | list | collections.deque | set):
            copy = value.copy()
            self._entries.append((lambda: _alike(value, copy), lambda: _refill(value, copy)))
            return copy.values() if isinstance(copy, dict) else copy
        if isinstance(value, np.ndarray) and value.size <= LARGE:
            array = value.copy()
            self._entries.append((lambda: value.tobytes() == array.tobytes(), lambda: np.copyto(value, array)))
        elif isinstance(value, tuple | frozenset):
            return value
        elif isinstance(value, type):
            self._add_class(value)
        elif isinstance(value, types.ModuleType):
            if is_users_module(value):
                self._owners[id(value)] = value
        elif is_users_class(type(value)) or isinstance(value, types.SimpleNamespace | Module):
            self._add_class(type(value))
            for name, _ in attributes(value):
                put = functools.partial(object.__setattr__, value, name)
                self._keep(functools.partial(getattr, value, name, None), put)
        return ()


def _contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not set yet
        return None


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


def generator_of(value: Any) -> Generator | None:
    """Getter and setter of the state of a random generator; None if `value` is none."""
    if isinstance(value, np.random.Generator):
        bits = value.bit_generator
        return lambda: bits.state, lambda state: setattr(bits, "state", state)
    if isinstance(value, np.random.RandomState):
        return value.get_state, value.set_state
    if isinstance(value, random.Random):
        return value.getstate, value.setstate
    return None
