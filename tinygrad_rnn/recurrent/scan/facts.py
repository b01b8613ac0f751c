"""Facts: what a cell and the objects around it hold, in a form that can be compared later.

Numbers and texts are taken as they are; of containers the contents; of objects the attributes; of functions the values
that they close over; everything else by identity.
"""

from __future__ import annotations

import array
import collections
import contextlib
import contextvars
import copyreg
import functools
import hashlib
import logging
import re
import types
import weakref
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ...core import Tensor
from ...core.symbolic_number import NUMBERS, SymbolicNumber, present
from ...errors import CompileError
from ...modules.module import Module
from .kinds import (
    BOUND,
    CACHED,
    GETTERS,
    HEAP,
    PLAIN,
    closed_over,
    identical,
    implementations_of,
    is_iterator,
    is_known,
    is_made_by_python,
    is_opaque,
    is_users,
    is_users_class,
    keeps_attributes,
    python_function,
    recipe,
)

SMALL = 4096  # elements of an array whose values are a fact; of larger ones, a digest is
DEPTH = 64  # of objects inside objects
COUNT = 20_000  # values: more would take too long to compare before each call, and the cell runs eagerly


class Unreadable(CompileError):
    """A step can reach an object of which no guard could tell whether it has changed."""


class ByIdentity:
    """An object by identity; it is kept alive, as the id of one that is gone is used again."""

    __slots__ = ("what",)

    def __init__(self, what: Any):
        self.what = what

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByIdentity) and other.what is self.what

    def __hash__(self) -> int:
        return id(self.what)


class FactReader:
    """Turns values into facts, each object once.

    Parameters
    ----------
    modules : iterable of Module
        Those that guards of their own watch.
    reads : container of str, optional
        Names of attributes that code may read: an object that cannot be compared must not lie behind them. Behind
        others, and by default, it is compared by identity.
    numbers : set of (id of a dict, list or object, key)
        Where there are numbers of which only the type is a fact.
    """

    def __init__(
        self,
        modules: Iterable[Module] = (),
        reads: Container[str] | None = None,
        numbers: frozenset[tuple[int, Any]] = frozenset(),
    ):
        self.numbers = numbers
        self.seen: dict[int, int] = {id(m): i for i, m in enumerate(modules)}
        self.count = 0
        self.reads: Container[str] = () if reads is None else reads
        self.reached: set[int] = set()  # of those seen, what code may read
        self.entered: list[Any] = []  # what it has looked into
        self.tensors: dict[int, tuple[int, Tensor]] = {}  # by their ids, with their order, of those that paths lead to
        self.strict = reads is not None

    def fact(self, value: Any, found: bool = True, depth: int = 0, reached: bool = True) -> Any:
        """The fact of `value`; of a tensor that calls look up by its path (`found`), only that it is one,
        or which of those before it.

        Raises
        ------
        Unreadable
            If code may read the value (`reached`), and there is something in it that cannot be compared.
        CompileError
            If there is more than can be compared before each call.
        """
        kind = type(value)
        if kind is float:
            return kind, value.hex()  # zeros differ in their signs, and NaN equals itself
        if kind in PLAIN:
            return kind, value
        if issubclass(kind, Tensor):
            return self.tensor(value) if found else ByIdentity(value)
        if kind is np.ndarray:
            self.entered.append(value)
            return self._array(value, reached)
        if issubclass(kind, identical()):
            return ByIdentity(value)
        if kind is SymbolicNumber:  # another thread traces the cell
            return self.fact(present(value), found, depth, reached)
        self.count += 1
        if depth > DEPTH or self.count > COUNT:
            raise CompileError(f"the cell holds more than a program can watch, such as a {kind.__name__}")
        reached = reached and self.strict
        before = self.seen.get(id(value))
        # its number: so cycles end, and which attributes share one object is a fact too
        if before is not None and (not reached or id(value) in self.reached):
            return kind, before
        if reached:
            self.reached.add(id(value))
        if before is None:
            self.seen[id(value)] = len(self.seen)
            self.entered.append(value)
        try:
            fact = self._inside(value, kind, found, depth + 1, reached)
        except Unreadable:
            if reached:
                raise
            fact = ByIdentity(value)
        except CompileError:
            raise
        except Exception as error:  # of a user's property or method
            if reached:
                raise unreadable(value, f"{type(error).__name__}: {error}") from error
            fact = ByIdentity(value)
        # code reaches it now, and did not where it was first seen: that it can be read is all there was to find out
        return fact if before is None else (kind, before)

    def tensor(self, value: Tensor) -> Any:
        """The fact of a tensor that calls look up; a program knows one of the places of each."""
        before = self.tensors.get(id(value))
        if before is not None:
            return "tensor", before[0]
        self.tensors[id(value)] = len(self.tensors), value
        return "tensor"

    def item(self, holder: Any, key: Any, value: Any, found: bool, depth: int, reached: bool) -> Any:
        """The fact of what `holder` has under this key or name."""
        if self.numbers and (id(holder), key) in self.numbers and type(present(value)) in NUMBERS:
            return (type(present(value)),)
        return self.fact(value, found, depth, reached)

    def _array(self, value: np.ndarray, reached: bool) -> Any:
        if value.dtype.hasobject:
            return value.shape, tuple(self.fact(v, False, 0, reached) for v in value.ravel().tolist())
        if value.size <= SMALL:
            return value.shape, value.dtype.str, value.tobytes()
        return value.shape, value.dtype.str, hashlib.blake2b(np.ascontiguousarray(value).data).digest()

    def _inside(self, value: Any, kind: type, found: bool, depth: int, reached: bool) -> Any:
        """The fact of a container or an object, from what is in it."""
        if is_iterator(value):
            raise Unreadable(uses_up(value))
        if not is_known(value):
            raise unreadable(value)
        if kind is not types.FunctionType and is_opaque(kind):
            return ByIdentity(value), *(_levels(value) if issubclass(kind, logging.Logger) else ())
        if not is_made_by_python(kind):
            return self._made_in_c(value, depth, reached)
        contents = self._contents(value, kind, found, depth, reached)
        if kind is types.FunctionType or (contents is not None and not keeps_attributes(kind)):
            return kind, contents
        found = found and contents is None  # a path leads to items or to attributes
        whole = issubclass(kind, _READ_WHOLE)
        facts = [
            (k, self.item(value, k, v, found, depth, reached and (whole or k in self.reads)))
            for k, v in attributes(value)
        ]
        return kind, ByIdentity(value) if contents is None else contents, *facts

    def _made_in_c(self, value: Any, depth: int, reached: bool) -> Any:
        """The fact of an object in C that tells what it holds, or of a generator, whose draws are refused."""
        if (function := python_function(value)) is not None:
            return ByIdentity(value), self.fact(function, False, depth, reached)
        made = recipe(value)
        if made is None or len(made) == 1:
            return ByIdentity(value)
        return ByIdentity(made[0]), self.fact(made[1], False, depth, reached)

    def _contents(self, value: Any, kind: type, found: bool, depth: int, reached: bool) -> Any:
        """Facts of what an object holds beside attributes; None if it is no object of such a kind."""
        if self.numbers and issubclass(kind, list):
            return tuple([self.item(value, i, v, found, depth, reached) for i, v in enumerate(value)])
        if issubclass(kind, list | tuple | collections.deque):
            return tuple([self.fact(v, found, depth, reached) for v in value])
        if issubclass(kind, dict):
            factory = value.default_factory if issubclass(kind, collections.defaultdict) else None
            items = [
                (
                    k if type(k) is str else self.fact(k, False, depth, reached),  # 1 and True are equal
                    self.item(value, k, v, found, depth, reached),
                )
                for k, v in value.items()
            ]
            return self.fact(factory, False, depth, reached), *items
        if issubclass(kind, Mapping) and not is_users_class(kind):  # a view of one, or the environment
            return ByIdentity(value), *[(k, self.fact(value[k], False, depth, reached)) for k in value]
        if issubclass(kind, set | frozenset):
            return frozenset([self.fact(v, False, depth, reached) for v in value])
        if issubclass(kind, np.ndarray):
            return self._array(value.view(np.ndarray), reached)
        if issubclass(kind, np.generic):
            return value.tobytes()
        if issubclass(kind, complex):
            return value.real.hex(), value.imag.hex()
        for plain, read in _NUMBERS:
            if issubclass(kind, plain):
                return read(value)
        if issubclass(kind, bytes | bytearray | array.array | memoryview):
            return bytes(value)
        if issubclass(kind, BaseException):
            return self.fact(value.args, False, depth, reached)
        if (inside := parts(value)) is not None:
            owner = ByIdentity(value) if issubclass(kind, types.FunctionType | weakref.ref | re.Match) else kind
            return owner, *[self.fact(v, False, depth, reached) for v in inside]
        return None


_READ_WHOLE = (types.SimpleNamespace, CACHED)  # whose attributes are read in C, without their names
_NUMBERS = ((float, float.hex), (int, int.__int__), (str, str.__str__))


def parts(value: Any) -> Iterable[Any] | None:
    """Parts of a function, method, descriptor, reference, match or getter; None for anything else."""
    kind = type(value)
    if kind is types.FunctionType:
        return _parts_of_function(value)
    if kind is types.MethodType:
        return value.__func__, value.__self__
    if kind in BOUND:
        return value.__name__, value.__self__
    if issubclass(kind, functools.partial):
        return value.func, value.args, value.keywords
    if issubclass(kind, weakref.ref):
        return (value(),)
    if issubclass(kind, property):
        return value.fget, value.fset, value.fdel
    if issubclass(kind, classmethod | staticmethod):
        return (value.__func__,)
    if kind in GETTERS:
        return value.__reduce__()
    if kind is contextvars.ContextVar:
        return value, value.get(None)
    if kind is re.Match:
        return value.string, value.span()
    return None


def _parts_of_function(function: types.FunctionType) -> Iterable[Any]:
    """The code of a function, its defaults, its attributes and the values that it closes over."""
    if (implementations := implementations_of(function)) is not None:
        return list(implementations.values())
    if not is_users(function.__code__):
        return ()
    inside = [function.__code__, function.__defaults__, function.__kwdefaults__, function.__dict__]
    return [*inside, *closed_over(function)]


def _levels(logger: logging.Logger) -> list[tuple[int, bool]]:
    """Levels of a logger and of those above it, which decide whether it takes a message."""
    found = [(logger.manager.disable, logger.disabled)]
    above: logging.Logger | None = logger
    while above is not None:
        found.append((above.level, above.propagate))
        above = above.parent
    return found


def unreadable(value: Any, why: str = "") -> Unreadable:
    """The error for an object of which no guard could tell whether it has changed."""
    kind = type(value)
    return Unreadable(
        f"the step can reach a {kind.__module__}.{kind.__qualname__}, of which nothing tells whether it has changed"
        f"{f' ({why})' if why else ''}: keep what the step needs of it in numbers, arrays or plain attributes"
    )


def uses_up(iterator: Any) -> str:
    """Why a step that an iterator is in reach of does not compile."""
    return (
        f"the step can reach an iterator, a {type(iterator).__name__}, which a compiled loop would read once: keep "
        "its values in a list or an array, and the position in the state; or make them an input (one value a step)"
    )


def attributes(value: Any) -> Iterable[tuple[str, Any]]:
    """Names and values of the attributes of an object, in its ``__dict__`` or in slots.

    Raises
    ------
    CompileError
        If it does not let them be read.
    """
    kind = type(value)
    try:
        found = list(getattr(value, "__dict__", {}).items())
        for name in copyreg._slotnames(kind) if kind.__flags__ & HEAP and not issubclass(kind, Tensor) else ():  # type: ignore[attr-defined]
            with contextlib.suppress(AttributeError):
                found.append((name, getattr(value, name)))
    except Exception as error:  # of a user's property
        raise unreadable(value, f"{type(error).__name__}: {error}") from error
    return found


def has_slots(value: Any) -> bool:
    """Whether the object keeps attributes outside of its ``__dict__``, where no guard on that sees them."""
    return bool(copyreg._slotnames(type(value)))  # type: ignore[attr-defined]


def static_attributes(
    cell: Module,
    reads: Container[str] | None = None,
    numbers: frozenset[tuple[int, Any]] = frozenset(),
    entered: list[Any] | None = None,
) -> tuple:
    """Facts of all attributes of a cell and its parts that are neither modules nor tensors of one place.

    Parameters
    ----------
    cell : Module
    reads : container of str, optional
        Names of attributes that the step may read, see :class:`FactReader`.
    numbers : set, optional
        Where there are numbers of which only the type is a fact.
    entered : list, optional
        What was looked into is added to it.

    Raises
    ------
    CompileError
        If there are more than can be compared before each call, or the step may read what cannot be compared.
    """
    modules = list(cell.modules())
    reader = FactReader(modules, reads, numbers)
    found = tuple(
        (
            type(module),
            ByIdentity(vars(module)),  # another module in its place has other parameters, though all is equal
            *_facts_of_attributes(module, reader),
        )
        for module in modules
    )
    if entered is not None:
        entered += reader.entered
    return found


def _facts_of_attributes(module: Module, reader: FactReader) -> Iterator[tuple[str, Any]]:
    space = vars(module)
    for name, value in attributes(module):
        if name not in space or not issubclass(type(value), Tensor | Module):
            yield name, reader.item(space, name, value, name in space, 0, name in reader.reads)
        elif issubclass(type(value), Tensor) and (fact := reader.tensor(value)) != "tensor":
            yield name, fact  # it is at a place before, too
        elif issubclass(type(value), Module):
            yield name, reader.seen.get(id(value))  # which of them: one may be at several places
