"""Dry runs of a cell: snapshot and rollback of its attributes and of random generators."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ... import config
from ...core import Tensor
from ...modules.module import Module
from .outer_state import OuterState
from .random_generators import Generator, generator_of, has_generators, shared_generators


class CellSnapshot:
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
        """Put back all attributes and generators."""
        for module, before in self.attributes:
            for name in vars(module).keys() - before.keys():
                del vars(module)[name]
            vars(module).update(before)
        for put, state in self._random:
            put(state)

    def restore_non_tensors(self) -> None:
        """Put back all attributes but tensors, so that numbers are those of the sequence at hand."""
        for module, before in self.attributes:
            for name, value in list(vars(module).items()):
                if name in before and not _holds_tensors(value):
                    vars(module)[name] = before[name]


@contextmanager
def dry_run(cell: Module) -> Iterator[CellSnapshot]:
    """Context that puts a cell's attributes and all random generators back at its end."""
    before = CellSnapshot(cell)
    try:
        yield before
    finally:
        before.restore()


@contextmanager
def isolated_dry_run(cell: Module, seed: int = 0) -> Iterator[CellSnapshot]:
    """A dry run that leaves shared generators and globals alone, as other threads may use them meanwhile.

    The package draws from a generator of the dry run's own in this thread, globals that the step writes to are put
    back, and NaN of made-up numbers is no anomaly.

    Raises
    ------
    CompileError
        Before anything runs, if a run might use up an iterator, or change what nothing can put back.
    """
    before, outer, mode = CellSnapshot(cell, shared=False), OuterState(cell), config.grad_mode
    if outer.refused is not None:
        raise outer.refused
    kept = mode.generator, mode.anomaly
    mode.generator, mode.anomaly = np.random.default_rng(seed), None
    try:
        yield before
    finally:
        mode.generator, mode.anomaly = kept
        before.restore()
        outer.restore()


def _holds_tensors(value: Any) -> bool:
    kind = type(value)  # isinstance() might run a user's property
    if issubclass(kind, dict):
        return any(map(_holds_tensors, value.values()))
    if issubclass(kind, list | tuple | set | frozenset):
        return any(map(_holds_tensors, value))
    return issubclass(kind, Tensor | Module)


@contextmanager
def rolling_back_draws() -> Iterator[None]:
    """Context that rewinds the generators of Python, NumPy, PyTorch and Numba if it ends with an error.

    Generators that did not move are left alone, as another thread may be drawing from them.
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
    """Getters and setters of the states of all random generators that a step may draw from.

    `shared` ones, which are not the cell's own, are left out unless asked for.
    """
    found = [generator_of(config.generator())] if shared else []
    found += shared_generators() if shared else []
    if has_generators():
        found += [generator_of(v) for module in cell.modules() for v in vars(module).values()]
    return [g for g in found if g is not None]


def rng_state(cell: Module) -> bytes:
    """States of all generators that the cell may draw from; unequal to earlier ones if any was used."""
    return pickle.dumps([get() for get, _ in generators(cell)])
