"""What a cell holds besides tensors: settings that a compiled step has taken over, and what a trial run may change."""

from __future__ import annotations

import operator
import pickle
import random
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import config
from ..core import Tensor
from ..nn.module import Module
from .cell import Cell

_FIXED = (Tensor, Module, bool, int, float, complex, str, bytes, types.NoneType, np.generic, np.dtype, type)
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)
_CONTAINERS = (list, tuple, dict, set, frozenset)
SMALL = 4096  # elements of an array that is compared by its values


class Settings:
    """The settings of one cell, read anew only where an attribute was set since the last time.

    Attributes
    ----------
    last : tuple
        What was read last; as long as settings are equal, the same object.
    """

    def __init__(self):
        self.last: tuple = ()
        self._seen: list[tuple[dict, list]] = []  # attributes of the cell and its parts; held, so that ids stay unique
        self._changing = False

    def read(self, cell: Cell) -> tuple:
        if self._seen and not self._changing:
            for attributes, values in self._seen:
                if len(attributes) != len(values) or not all(map(operator.is_, attributes.values(), values)):
                    break
            else:
                return self.last
        settings = read_settings(cell)
        if settings != self.last:
            self.last = settings
        self._seen = [(vars(m), list(vars(m).values())) for m in cell.modules()]
        self._changing = not all(_is_fixed(v) for _, values in self._seen for v in values)
        return self.last


def read_settings(cell: Cell) -> tuple:
    """Everything plain that a step may read: numbers, flags, strings and functions of the cell and its parts."""
    return tuple(
        (
            _Part(vars(module)),
            *[(k, _setting(v, 0)) for k, v in vars(module).items() if not isinstance(v, Tensor | Module)],
        )
        for module in cell.modules()
    )


class _Part:
    """A module of the cell, by identity: another one in its place has other parameters, though all is equal."""

    __slots__ = ("attributes",)

    def __init__(self, attributes: dict):
        self.attributes = attributes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Part) and other.attributes is self.attributes

    def __hash__(self) -> int:
        return id(self.attributes)


def _is_fixed(value: Any) -> bool:
    """Whether `value` can only change by being replaced."""
    if isinstance(value, tuple | frozenset):
        return all(_is_fixed(v) for v in value)
    return isinstance(value, _FIXED + _FUNCTIONS)


def _setting(value: Any, depth: int) -> Any:
    if isinstance(value, Tensor | Module):
        return None
    if isinstance(value, np.generic):
        return type(value), value.item()
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, value.tobytes() if value.size <= SMALL else id(value)
    if isinstance(value, list | tuple):
        return type(value), tuple(_setting(v, depth) for v in value)
    if isinstance(value, dict):
        return dict, tuple((k, _setting(v, depth)) for k, v in value.items())
    if isinstance(value, set | frozenset):
        return type(value), frozenset(value)
    if isinstance(value, bool | int | float | complex | str | bytes | None):
        return type(value), value
    if depth < 4 and hasattr(value, "__dict__") and not isinstance(value, (type, *_FUNCTIONS)):  # an object of options
        return id(value), tuple((k, _setting(v, depth + 1)) for k, v in vars(value).items())
    return id(value)


# ---- trial runs


class Snapshot:
    """A cell's attributes, and the states of all random generators that it may draw from.

    Attributes
    ----------
    attributes : list of (Module, dict)
        Of the cell and its parts.
    """

    def __init__(self, cell: Module):
        self._cell = cell
        self.attributes = [(module, dict(vars(module))) for module in cell.modules()]
        self._random = [get() for get, _ in generators(cell)]

    def restore(self) -> None:
        for module, attributes in self.attributes:
            for name in vars(module).keys() - attributes.keys():
                del vars(module)[name]
            vars(module).update(attributes)
        for (_, put), state in zip(generators(self._cell), self._random):
            put(state)

    def restore_plain(self) -> None:
        """Put back what is no tensor: numbers that ``begin_sequence`` has set belong to the sequence at hand."""
        for module, attributes in self.attributes:
            for name, value in list(vars(module).items()):
                if name in attributes and not _holds_tensors(value):
                    vars(module)[name] = attributes[name]


@contextmanager
def trial(cell: Module) -> Iterator[Snapshot]:
    """While active, a cell may be run to see what it does; its attributes and all random generators are put back."""
    before = Snapshot(cell)
    try:
        yield before
    finally:
        before.restore()


def _holds_tensors(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_tensors, value.values()))
    if isinstance(value, _CONTAINERS):
        return any(map(_holds_tensors, value))
    return isinstance(value, Tensor | Module)


def generators(cell: Module) -> list[tuple]:
    """How to read and set the state of every random generator that a step may draw from."""

    def of(generator):
        bits = generator.bit_generator
        return lambda: bits.state, lambda state: setattr(bits, "state", state)

    found = [of(config.generator()), (random.getstate, random.setstate)]
    if "numpy.random" in sys.modules:
        found.append((np.random.get_state, np.random.set_state))
        for module in cell.modules():
            found += [of(v) for v in vars(module).values() if isinstance(v, np.random.Generator)]
    return found


def drawn(cell: Cell) -> bytes:
    """Something that differs if anything was drawn in between."""
    return pickle.dumps([get() for get, _ in generators(cell)])


def find(cell: Cell, tensor: Tensor):
    """Where the cell keeps `tensor`, as (attributes, name, key); the tensor itself if it is not an attribute."""
    for module in cell.modules():
        for name, value in vars(module).items():
            if value is tensor:
                return vars(module), name, None
            if isinstance(value, list | tuple | dict):
                items = value.items() if isinstance(value, dict) else enumerate(value)
                for key, item in items:
                    if item is tensor:
                        return vars(module), name, key
    return tensor


def look_up(source) -> Tensor:
    """The tensor at a place that :func:`find` has found."""
    if isinstance(source, Tensor):
        return source
    attributes, name, key = source
    return attributes[name] if key is None else attributes[name][key]
