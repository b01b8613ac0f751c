"""Whether a cell is still what it was when its parameters were packed."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..cell import Cell
from ..scan.call_cache import cache_of
from ..scan.guards import NOTHING, Guards
from ..scan.sequence import Sequence
from ..scan.settings import look_up


class Watch:
    """What a step of a cell reads, and how it was when this was made.

    Parameters
    ----------
    cell : Cell
    sequence : Sequence
        What it owns is computed anew when something else changes, and not looked at.
    sources : list of (uid, Source)
        What the compiled step reads.
    guards : Guards
        What it has read of globals, classes and closures.

    Attributes
    ----------
    arrays : list of arrays
        Contiguous, of float32 or float64. Writes into them leave no trace: somebody has to compare their values.
    """

    def __init__(self, cell: Cell, sequence: Sequence, sources: list, guards: Guards = NOTHING):
        self._guards = guards
        self._cell, self._sequence, self._reader = cell, sequence, cache_of(cell).settings
        self._settings = self._reader.read(cell)
        own: list[tuple[dict, str, Any]] = [
            (vars(module), name, t) for module in cell.modules() for name, t in module._own()
        ]
        inside = {id(t) for _, _, t in own}
        others: list[tuple[Any, Any]] = []
        for _, source in sources:
            t = look_up(source)
            owned = sequence.owns(source.attributes, source.name)
            if id(t) not in inside and not owned:
                others.append((source, t))
        self._own, self._others = own, others
        self._seen: list | None = None  # attributes for which `_own` has been looked up
        self.arrays: list[np.ndarray] = []
        self._odd: list[tuple[np.ndarray, bytes]] = []
        tensors = [*[t for _, _, t in own], *[t for _, t in others]]
        self._versions = [(t, t.data, t._counter, t._counter[0]) for t in tensors]
        for array in {id(t.data): t.data for t in tensors}.values():
            flat = array if array.flags.c_contiguous else array.T
            if flat.flags.c_contiguous and flat.dtype.char in "fd":
                self.arrays.append(flat)
            else:
                self._odd.append((array, array.tobytes()))
        self._values = [a.tobytes() for a in self.arrays] if sequence.keeps else []

    def holds(self) -> bool:
        """Whether nothing has changed, but for writes into :attr:`arrays` that bypass the counters."""
        reader = self._reader
        if reader.read(self._cell) is not self._settings and not self._same_settings():
            return False
        seen = reader.seen  # before it is looked at: another thread may set attributes meanwhile
        if seen is not self._seen:
            for attributes, name, tensor in self._own:
                if attributes.get(name) is not tensor:
                    return False
            self._seen = None if self._sequence.keeps else seen  # whose attributes come and go
        if not self._guards.hold():
            return False
        for source, tensor in self._others:
            if look_up(source) is not tensor:
                return False
        for tensor, array, counter, version in self._versions:
            if tensor._array is not array or counter[0] != version:
                return False
        return not self._odd or all(a.tobytes() == values for a, values in self._odd)

    def same_values(self) -> bool:
        """Whether :attr:`arrays` are what they were, for a sequence that keeps something."""
        return [a.tobytes() for a in self.arrays] == self._values

    def _same_settings(self) -> bool:
        """Whether the cell's settings are the same once it has the attributes of this sequence."""
        with self._sequence.going_on():
            settings = self._reader.read(self._cell)
        same = settings == self._settings
        if same:
            self._settings = settings
        return same
