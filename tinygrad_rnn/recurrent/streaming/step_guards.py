"""Guards of a stepper: whether a cell is still what it was when its parameters were packed."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from ...core import version_counter
from ...errors import CompileError
from ...modules.module import own_tensors
from ..cell import Cell
from ..scan.call_cache import cache_of
from ..scan.guards import NOTHING, Guards
from ..scan.numbers import NumberInput
from ..scan.open_sequence import OpenSequence


class StepGuards:
    """Guards on everything that a step of a cell reads, as it is when they are made.

    Parameters
    ----------
    cell : Cell
    sequence : OpenSequence
        Attributes of the sequence are not guarded: they are computed again when something else changes.
    sources : list of (uid, AttributePath)
        Where the cell keeps the tensors that the compiled step reads.
    guards : Guards
        On globals, classes and closures.

    Attributes
    ----------
    arrays : list of arrays
        Values of tensors, contiguous, of float32 or float64. Writes to them may bypass the version counters, so the
        kernel compares them.
    """

    def __init__(self, cell: Cell, sequence: OpenSequence, sources: list, guards: Guards = NOTHING):
        # names alone are looked up here: a call would take longer
        self._names = guards.names if guards.names_alone else []
        self._guards_hold = None if guards.empty or guards.names_alone else guards.hold
        self._cell, self._sequence, self._reader = cell, sequence, cache_of(cell).static_attributes
        self._facts: tuple | None = None  # of a cell that runs on the tape, as it holds what cannot be compared
        with contextlib.suppress(CompileError):
            self._facts = self._reader.read(cell)
        own: list[tuple[dict, str, Any]] = [
            (vars(module), name, t) for module in cell.modules() for name, t in own_tensors(module)
        ]
        inside = {id(t) for _, _, t in own}
        others: list[tuple[Any, Any]] = []
        self._numbers = [(source, source.get()) for _, source in sources if isinstance(source, NumberInput)]
        for _, source in sources:
            if isinstance(source, NumberInput):
                continue
            t = source.get()
            owned = sequence.owns(source.attributes, source.name)
            if id(t) not in inside and not owned:
                others.append((source, t))
        self._own, self._others = own, others
        self._seen: list | None = None  # attributes for which `_own` has been looked up
        self.arrays: list[np.ndarray] = []
        self._uncommon: list[tuple[np.ndarray, bytes]] = []
        tensors = [*[t for _, _, t in own], *[t for _, t in others]]
        self._versions = [(t, t.data, version_counter(t), version_counter(t)[0]) for t in tensors]
        for array in {id(t.data): t.data for t in tensors}.values():
            flat = array if array.flags.c_contiguous else array.T
            if flat.flags.c_contiguous and flat.dtype.char in "fd":
                self.arrays.append(flat)
            else:
                self._uncommon.append((array, array.tobytes()))
        self._values = [a.tobytes() for a in self.arrays] if sequence.sets_attributes else []

    def hold(self) -> bool:
        """Whether nothing has changed, but for writes to :attr:`arrays` that bypass the version counters."""
        reader = self._reader
        try:
            if self._facts is not None and reader.read(self._cell) is not self._facts and not self._same_facts():
                return False
        except CompileError:  # something that cannot be compared has come
            return False
        seen = reader.seen  # read before `_own` is checked: another thread may set attributes meanwhile
        if seen is not self._seen:
            for attributes, name, tensor in self._own:
                if attributes.get(name) is not tensor:
                    return False
            self._seen = None if self._sequence.sets_attributes else seen  # whose attributes come and go
        for get, name, value in self._names:
            if get(name) is not value:
                return False
        if self._guards_hold is not None and not self._guards_hold():
            return False
        for source, tensor in self._others:
            if source.get() is not tensor:
                return False
        if self._numbers and not self._same_numbers():
            return False
        for tensor, array, counter, version in self._versions:
            if tensor._array is not array or counter[0] != version:
                return False
        return not self._uncommon or all(a.tobytes() == values for a, values in self._uncommon)

    def follow(self) -> bool:
        """Hold for the present values from now on, if nothing else has changed; returns whether they do."""
        if self._uncommon or self._sequence.sets_attributes:
            return False
        before = self._versions
        self._versions = [(t, array, counter, counter[0]) for t, array, counter, _ in before]
        if self.hold():
            return True
        self._versions = before
        return False

    def same_values(self) -> bool:
        """Whether the values in :attr:`arrays` are as they were, for a sequence with attributes of its own."""
        return [a.tobytes() for a in self.arrays] == self._values

    def _same_numbers(self) -> bool:
        """Whether the numbers that are inputs are as they were, those of this sequence too."""
        with self._sequence.active():
            return all(source.get() is tensor for source, tensor in self._numbers)

    def _same_facts(self) -> bool:
        """Whether the static attributes are equal once the cell has those of this sequence."""
        with self._sequence.active():
            facts = self._reader.read(self._cell)
        same = facts == self._facts
        if same:
            self._facts = facts
        return same
