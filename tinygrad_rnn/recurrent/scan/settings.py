"""What a cell holds besides tensors: settings that a compiled step has taken over, and what a trial run may change."""

from __future__ import annotations

import pickle
import random
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ... import config
from ...core import Tensor
from ...modules.module import Module
from ..cell import Cell
from .guards import FUNCTIONS, Reader, Same, attributes
from .outside import Generator, Outside, generator_of

DEPTH = 64  # of objects inside objects in which tensors are looked for
HELD = "(not of the cell)"


def read_settings(cell: Cell) -> tuple:
    """Everything plain that a step may read: numbers, flags, strings and functions of the cell and its parts.

    Raises
    ------
    CompileError
        If there is too much of it.
    """
    modules = list(cell.modules())
    reader = Reader(modules)
    return tuple(
        (
            Same(vars(module)),  # another module in its place has other parameters, though all is equal
            *[
                (k, reader.fact(v, k in vars(module)))
                for k, v in attributes(module)
                if not (isinstance(v, Tensor | Module) and k in vars(module))
            ],
        )
        for module in modules
    )


# ---- trial runs


class Snapshot:
    """A cell's attributes, and the states of all random generators that it may draw from.

    Parameters
    ----------
    cell : Module
    shared : bool
        Whether generators count that others draw from too: the package's, NumPy's and Python's.

    Attributes
    ----------
    attributes : list of (Module, dict)
        Of the cell and its parts.
    """

    def __init__(self, cell: Module, shared: bool = True):
        self.attributes = [(module, dict(vars(module))) for module in cell.modules()]
        self._random = [(put, get()) for get, put in generators(cell, shared)]

    def restore(self) -> None:
        for module, before in self.attributes:
            for name in vars(module).keys() - before.keys():
                del vars(module)[name]
            vars(module).update(before)
        for put, state in self._random:
            put(state)

    def restore_plain(self) -> None:
        """Put back what is no tensor: numbers that ``begin_sequence`` has set belong to the sequence at hand."""
        for module, before in self.attributes:
            for name, value in list(vars(module).items()):
                if name in before and not _holds_tensors(value):
                    vars(module)[name] = before[name]


@contextmanager
def trial(cell: Module) -> Iterator[Snapshot]:
    """While active, a cell may be run to see what it does; its attributes and all random generators are put back."""
    before = Snapshot(cell)
    try:
        yield before
    finally:
        before.restore()


@contextmanager
def rehearsal(cell: Module, seed: int = 0) -> Iterator[Snapshot]:
    """The same for a step that is looked at before it runs: what others draw meanwhile in their threads stays drawn.

    What the package draws in this thread comes from a generator of the rehearsal's own, and NaN of made-up numbers is
    no anomaly.
    """
    before, outside, mode = Snapshot(cell, shared=False), Outside(cell), config.grad_mode
    kept = mode.generator, mode.anomaly
    mode.generator, mode.anomaly = np.random.default_rng(seed), None
    try:
        yield before
    finally:
        mode.generator, mode.anomaly = kept
        before.restore()
        outside.restore()


def _holds_tensors(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_tensors, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(_holds_tensors, value))
    return isinstance(value, Tensor | Module)


@contextmanager
def putting_back() -> Iterator[None]:
    """Put back what was drawn from NumPy's and Python's own generators, if what draws fails.

    A step that does not draw leaves them alone, and so is this: another thread may be drawing.
    """
    states = [(get, put, get()) for get, put in shared_generators()]
    try:
        yield
    except BaseException:
        for get, put, state in states:
            if pickle.dumps(get()) != pickle.dumps(state):
                put(state)
        raise


def generators(cell: Module, shared: bool = True) -> list[Generator]:
    """How to read and set the state of every random generator that a step may draw from; of `shared` ones only if
    asked for."""
    found = [generator_of(config.generator())] if shared else []
    found += shared_generators() if shared else []
    if "numpy.random" in sys.modules:
        found += [generator_of(v) for module in cell.modules() for v in vars(module).values()]
    return [g for g in found if g is not None]


def shared_generators() -> list[Generator]:
    """Those of NumPy and Python."""
    found: list[Generator] = [(random.getstate, random.setstate)]
    if "numpy.random" in sys.modules:
        found.append((np.random.get_state, np.random.set_state))
    return found


def drawn(cell: Module) -> bytes:
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


def find(cell: Cell, tensor: Tensor) -> Source | None:
    """Where the cell keeps `tensor`."""
    seen: set[int] = {id(module) for module in cell.modules()}
    for module in cell.modules():
        for name, value in vars(module).items():
            if not isinstance(value, Module) or id(value) not in seen:
                path = _path_to(tensor, value, 0, seen)
                if path is not None:
                    return Source(vars(module), name, path)
    return None


def held(tensor: Tensor) -> Source:
    """A tensor that the cell does not keep."""
    return Source({HELD: tensor}, HELD, ())


def _path_to(tensor: Tensor, value: Any, depth: int, seen: set[int]) -> tuple | None:
    if value is tensor:
        return ()
    if depth == DEPTH or isinstance(value, (Tensor, type, *FUNCTIONS)) or id(value) in seen:
        return None
    inside: Iterable[tuple] = ()
    if isinstance(value, list | tuple | deque):
        inside = (((True, k), v) for k, v in enumerate(value))
    elif isinstance(value, dict):
        inside = (((True, k), v) for k, v in value.items())
    elif not isinstance(value, bool | int | float | str | np.ndarray):
        inside = (((False, k), v) for k, v in attributes(value))
    if inside:
        seen.add(id(value))
    for step, item in inside:
        if (rest := _path_to(tensor, item, depth + 1, seen)) is not None:
            return step, *rest
    return None


def look_up(source: Source) -> Tensor:
    """The tensor at a place that :func:`find` has found."""
    return source.look_up()
