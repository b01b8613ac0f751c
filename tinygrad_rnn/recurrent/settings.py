"""What a cell holds besides tensors: settings that a compiled step has taken over, and what a trial run may change."""

from __future__ import annotations

import operator
import pickle
import random
import sys
import types
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from .. import config
from ..core import Tensor
from ..nn.module import Module
from .cell import Cell

_FIXED = (Tensor, Module, bool, int, float, complex, str, bytes, types.NoneType, np.generic, np.dtype, type)
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)
_CONTAINERS = (list, tuple, dict, set, frozenset)
DEPTH = 4  # of objects inside objects that are looked into
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
        self._seen: list[tuple[dict, list, list]] = []  # attributes of the cell and its parts, their names and values
        self._changing = False

    def read(self, cell: Cell) -> tuple:
        if self._seen and not self._changing:
            for attributes, names, values in self._seen:
                if names != [*attributes] or not all(map(operator.is_, attributes.values(), values)):
                    break
            else:
                return self.last
        settings = read_settings(cell)
        if settings != self.last:
            self.last = settings
        self._seen = [(a, [*a], [*a.values()]) for a in map(vars, cell.modules())]
        self._changing = not all(_is_fixed(v) for _, _, values in self._seen for v in values)
        return self.last


def read_settings(cell: Cell) -> tuple:
    """Everything plain that a step may read: numbers, flags, strings and functions of the cell and its parts."""
    return tuple(
        (
            _Same(vars(module)),  # another module in its place has other parameters, though all is equal
            *[(k, _setting(v, 0)) for k, v in vars(module).items() if not isinstance(v, Tensor | Module)],
        )
        for module in cell.modules()
    )


class _Same:
    """An object by identity; it is held, as the id of one that is gone may be that of another."""

    __slots__ = ("what",)

    def __init__(self, what: Any):
        self.what = what

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.what is self.what

    def __hash__(self) -> int:
        return id(self.what)


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
        return value.shape, value.dtype.str, value.tobytes() if value.size <= SMALL else _Same(value)
    if isinstance(value, list | tuple):
        return type(value), tuple(_setting(v, depth) for v in value)
    if isinstance(value, dict):
        return dict, tuple((k, _setting(v, depth)) for k, v in value.items())
    if isinstance(value, set | frozenset):
        return type(value), frozenset(value)
    if isinstance(value, float):
        return type(value), value.hex()  # zeros differ in their signs, and NaN equals itself
    if isinstance(value, bool | int | complex | str | bytes | None):
        return type(value), value
    if depth < DEPTH and hasattr(value, "__dict__") and not isinstance(value, (type, *_FUNCTIONS)):  # options
        return _Same(value), tuple((k, _setting(v, depth + 1)) for k, v in vars(value).items())
    if isinstance(value, types.MethodType) and isinstance(value.__self__, Module):
        return _Same(value.__func__), _Same(vars(value.__self__))  # not the module, which may be the cell itself
    return _Same(value)


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


class Source(NamedTuple):
    """Where a cell keeps a tensor: in an attribute, or inside the lists, dicts and objects that one holds."""

    attributes: dict
    name: str
    path: tuple  # (whether it is an item, key) of each step into what the attribute holds

    def look_up(self) -> Tensor:
        value = self.attributes[self.name]
        for is_item, key in self.path:
            value = value[key] if is_item else getattr(value, key)
        return value

    @property
    def suffix(self) -> str:
        return "".join(f"[{key!r}]" if is_item else f".{key}" for is_item, key in self.path)


def find(cell: Cell, tensor: Tensor) -> Source | Tensor:
    """Where the cell keeps `tensor`; the tensor itself if it does not."""
    for module in cell.modules():
        for name, value in vars(module).items():
            if not isinstance(value, Module) and (path := _path_to(tensor, value, 0)) is not None:
                return Source(vars(module), name, path)
    return tensor


def _path_to(tensor: Tensor, value: Any, depth: int) -> tuple | None:
    if value is tensor:
        return ()
    inside: Iterable[tuple] = ()
    if depth == DEPTH:
        return None
    if isinstance(value, list | tuple | dict):
        inside = (((True, k), v) for k, v in (value.items() if isinstance(value, dict) else enumerate(value)))
    elif hasattr(value, "__dict__") and not isinstance(value, (Tensor, type, *_FUNCTIONS)):
        inside = (((False, k), v) for k, v in vars(value).items())
    for step, item in inside:
        if (rest := _path_to(tensor, item, depth + 1)) is not None:
            return step, *rest
    return None


def look_up(source: Source | Tensor) -> Tensor:
    """The tensor at a place that :func:`find` has found."""
    return source.look_up() if isinstance(source, Source) else source
