"""Snapshots: what objects held when facts were read, for a fast look at whether they still do."""

from __future__ import annotations

import array
import collections
import contextvars
import copyreg
import functools
import logging
import threading
import types
import weakref
from collections.abc import Callable, Iterable, Mapping
from operator import is_
from typing import Any

import numpy as np

from .kinds import BOUND, implementations_of, is_fixed, is_made_by_python, is_opaque, is_users, recipe

_FIXED = (tuple, frozenset, property, types.MethodType, *BOUND)  # what they hold cannot be replaced
_DICTS = (dict, collections.OrderedDict)
_LISTS = (list, collections.deque)
# bases of objects that hold more than attributes
_OTHERS: tuple = (list, dict, set, collections.deque, np.ndarray, bytearray, array.array, memoryview, BaseException)
_OTHERS += (Mapping, contextvars.ContextVar, threading.local, functools.partial, weakref.ref, np.void)
LARGE = 1 << 16  # bytes: of more, no copy is kept
_MISSING = object()


class Snapshot:
    """The objects that others held, those that facts were read of.

    Facts are equal for as long as all hold the same objects, which takes microseconds to see where reading facts takes
    a hundred; not the other way round, as an object can be replaced by an equal one.

    Parameters
    ----------
    entered : iterable
        The objects that a reader of facts has looked into, from its attribute of that name.

    Attributes
    ----------
    complete : bool
        Whether :meth:`holds` sees every change.
    """

    def __init__(self, entered: Iterable[Any]):
        self.complete = True
        self._dicts: list[tuple[Any, list, list]] = []
        self._lists: list[tuple[Any, list]] = []
        self._sets: list[tuple[set, dict[int, Any]]] = []
        self._buffers: list[tuple[Any, Any]] = []
        self._objects: list[tuple[Any, type, Any]] = []  # with their __dict__
        self._slots: list[tuple[Any, str, Any]] = []
        self._cells: list[tuple[types.CellType, Any]] = []
        self._functions: list[tuple] = []
        self._references: list[tuple[Any, Any]] = []
        for value in entered:
            self._enter(value, type(value))

    def holds(self) -> bool:
        """Whether nothing has changed."""
        for value, kind, space in self._objects:
            if type(value) is not kind or value.__dict__ is not space:
                return False
        for d, names, values in self._dicts:
            if len(d) != len(values) or not all(map(is_, d.values(), values)) or not all(map(is_, d, names)):
                return False
        for items, before in self._lists:
            if len(items) != len(before) or not all(map(is_, items, before)):
                return False
        for value, name, before in self._slots:
            if getattr(value, name, _MISSING) is not before:
                return False
        for cell, content in self._cells:
            if cell.cell_contents is not content:
                return False
        for f, code, defaults, more, space in self._functions:
            if f.__code__ is not code or f.__defaults__ is not defaults or f.__kwdefaults__ is not more:
                return False
            if f.__dict__ is not space:
                return False
        for get, target in self._references:
            if get() is not target:
                return False
        for members, ids in self._sets:
            if len(members) != len(ids) or not all(id(v) in ids for v in members):
                return False
        return all(_bytes(a) == b for a, b in self._buffers)

    def _enter(self, value: Any, kind: type) -> None:
        """Take down what one object holds; :attr:`complete` tells whether that is all."""
        if kind in _FIXED:
            return
        if kind in _DICTS:
            self._dicts.append((value, [*value], [*value.values()]))
        elif kind in _LISTS:
            self._lists.append((value, [*value]))
        elif kind is set and all(map(is_fixed, value)):
            self._sets.append((value, {id(v): v for v in value}))
        elif kind is bytearray or kind is array.array or (kind is np.ndarray and not value.dtype.hasobject):
            self.complete = self.complete and memoryview(value).nbytes <= LARGE
            self._buffers.append((value, _bytes(value) if self.complete else None))
        elif kind is types.FunctionType:
            self._enter_function(value)
        elif kind is functools.partial:
            self._enter_object(value, kind)
            self._slots += [(value, name, getattr(value, name)) for name in ("func", "args", "keywords")]
        elif kind is weakref.ref:
            self._references.append((value, value()))
        elif is_opaque(kind):
            self.complete = self.complete and not issubclass(kind, logging.Logger)
        elif not is_made_by_python(kind):  # by identity, or read by pickle
            self.complete = self.complete and len(recipe(value) or ()) < 2
        elif issubclass(kind, _OTHERS):
            self.complete = False
        else:
            self._enter_object(value, kind)

    def _enter_function(self, function: types.FunctionType) -> None:
        """Take down code, defaults and closure of a user's function."""
        if implementations_of(function) is not None:
            self.complete = False
        if not is_users(function.__code__):
            return
        for cell in function.__closure__ or ():
            try:
                self._cells.append((cell, cell.cell_contents))
            except ValueError:  # not set yet
                self.complete = False
        code, defaults, more = function.__code__, function.__defaults__, function.__kwdefaults__
        self._functions.append((function, code, defaults, more, function.__dict__))

    def _enter_object(self, value: Any, kind: type) -> None:
        space = getattr(value, "__dict__", None)
        if type(space) is dict:
            self._objects.append((value, kind, space))
            self._dicts.append((space, [*space], [*space.values()]))
        elif space is not None:
            self.complete = False
        for name in copyreg._slotnames(kind):  # type: ignore[attr-defined]
            self._slots.append((value, name, getattr(value, name, _MISSING)))


class Latest:
    """The latest snapshot of objects, if they hold the same objects most of the time."""

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._failures = 0

    def holds(self) -> bool:
        """Whether nothing has changed since :meth:`take`; False if that is not known."""
        snapshot = self._snapshot
        try:
            if snapshot is None or snapshot.holds():
                return snapshot is not None
        except Exception:  # of a user's property, or a cell that was emptied
            pass
        self._snapshot = None
        self._failures += 1
        return False

    def take(self, entered: Iterable[Any], still_equal: Callable[[], bool]) -> None:
        """Take a snapshot, unless earlier ones did not last.

        Facts have to be `still_equal` afterwards, as another thread may change something in between.
        """
        if self._failures > FAILURES:
            return
        try:
            snapshot = Snapshot(entered)
            if not snapshot.complete:
                self._failures = FAILURES + 1
            elif still_equal():
                self._snapshot = snapshot
        except Exception:  # of a user's property
            return


FAILURES = 8  # snapshots that did not last, until no more are taken


def _bytes(buffer: Any) -> Any:
    return (buffer.shape, buffer.dtype, buffer.tobytes()) if type(buffer) is np.ndarray else bytes(buffer)
