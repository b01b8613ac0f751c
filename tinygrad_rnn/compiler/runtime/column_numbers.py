"""Column numbers: whole numbers in place of values, on which tasks after a backward loop are verified.

All rows of a buffer hold the same values, so one row stands for all: each column of a value is a number, drawn at
random, and sums over rows are those of one row. What nobody wrote is NaN, which spreads to what is made of it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..codegen.array_names import ARENA, FORWARD_ARENA, next_step
from ..codegen.sizes import partial_sums
from ..ir.program_ops import CONCAT, JOIN, SLICE
from ..ir.symbol import BATCH, Symbol
from ..ir.verify import describe, fault
from ..ir.weight_slices import WeightSlice, resolve_slice
from ..schedule.buffers import Buffer, BufferKind, Place
from .epilogue import Epilogue

PHASE = "epilogue"
Array = np.ndarray


class Rows(NamedTuple):
    """Rows of a buffer that tasks may read as one operand, and the numbers in each of them."""

    name: str
    at: int  # of the first row in its array
    ld: int
    rows: int
    numbers: Array
    padding: Array  # where products may read zeros


class ColumnNumbers:
    """Numbers in place of the columns of values, of the elements of parameters, and of what buffers hold."""

    def __init__(self, epilogue: Epilogue, batch: int):
        self.epilogue, self.plan, self.batch = epilogue, epilogue.plan, batch
        self.random = np.random.default_rng(0)
        adj = self.plan.adjoint
        roots = [s for p in adj.products for s in (p.a, p.g)] + [r.g for r in adj.reductions]
        roots += [s for p in adj.scatters for s in (p.rows, p.g)]
        roots += [g for terms in self.plan.deferred.values() for g, _ in terms]
        self.symbols = {s.uid: s for s in self.plan.reverse.live.values()}
        for s in roots:
            self.symbols |= {part.uid: part for part in (s, *s.varying_operands)}
        self.places = {**self.plan.reverse.sources, **self.plan.reverse.kept}
        self.drawn: dict[int, Array] = {}
        self.slots: dict[tuple[Buffer, bool], Array] = {}  # what a row of a buffer holds, at a step or at the next one
        for uid, place in self.places.items():
            if uid in self.symbols:
                self._lay(place, self.symbols[uid].width)
        for out in self.plan.reverse.outputs:
            if out.add:
                self._add(out.place, out.value)

    def draw(self, *shape: int) -> Array:
        """Numbers so small that sums of their products are exact."""
        return self.random.integers(1, 1 << 12, shape).astype(float)

    def of(self, s: Symbol) -> Array:
        """A number for each column of a value."""
        if s.uid in self.places:
            place = self.places[s.uid]
            at = self._column(place)
            return self.slots[place.buffer, place.next_step][at : at + s.width]
        if s.op is SLICE:
            return self.of(s.args[0])[s.static["start"] : s.static["stop"]]
        if s.op in (CONCAT, JOIN):
            return np.concatenate([self.of(part) for part in s.args])
        if s.uid not in self.drawn:
            self.drawn[s.uid] = self.draw(s.width)
        return self.drawn[s.uid]

    def of_base(self, base: Symbol) -> Array:
        """A number for each element of a parameter."""
        if base.uid not in self.drawn:
            self.drawn[base.uid] = self.draw(*(self.batch if n is BATCH else n for n in base.shape))
        return self.drawn[base.uid]

    def lay_out(
        self, offsets: dict[Buffer, int], forward: dict[Buffer, int], time: int, batch: int, segmented: bool
    ) -> dict[str, list[Rows]]:
        """Contents of all arrays when the tasks begin: array -> rows in it."""
        sizes = self.epilogue.sizes
        out: dict[str, list[Rows]] = {}
        for (buffer, after), numbers in self.slots.items():
            at, array = 0, buffer.name
            if after and segmented:
                array = next_step(buffer.name)
            elif buffer in offsets:
                at, array = offsets[buffer], ARENA
            elif not buffer.standalone:
                at, array = forward[buffer], FORWARD_ARENA
            rows, ld = time * batch, sizes.ld(buffer)
            if not buffer.kind.over_time:
                rows = partial_sums(batch) if buffer.kind is BufferKind.PARTIAL_SUM else batch
            if after and not segmented:
                at += batch * ld
            out.setdefault(array, []).append(Rows(buffer.name, at, ld, rows, numbers, self._padding(buffer)))
        return out

    def _lay(self, place: Place, width: int) -> None:
        """Let a buffer hold numbers where a value is."""
        at = self._column(place)
        part = self.slots.setdefault((place.buffer, place.next_step), self._nothing(place.buffer))[at : at + width]
        # columns that belong to another value, too, keep their numbers
        part[...] = np.where(np.isnan(part), self.draw(width), part)

    def _add(self, place: Place, s: Symbol) -> None:
        """Let a buffer hold the sum of a value over the loop, and no other in the same columns."""
        at = self._column(place)
        part = self.slots.setdefault((place.buffer, False), self._nothing(place.buffer))[at : at + s.width]
        if not np.isnan(part).all():
            fault(PHASE, f"{place.buffer.name}: {describe(s)} is added to it, and so is another value")
        part[...] = self.of(s)

    def _padding(self, buffer: Buffer) -> Array:
        """The columns behind each part that are zero, if products may read parts side by side."""
        sizes, found = self.epilogue.sizes, np.zeros(self.epilogue.sizes.ld(buffer), bool)
        for i, width in enumerate(buffer.parts if buffer.joinable else ()):
            begin = sizes.part_at(buffer, i)
            found[begin + width : begin + sizes.part(width)] = True
        return found

    def _nothing(self, buffer: Buffer) -> Array:
        return np.full(self.epilogue.sizes.ld(buffer), np.nan)

    def _column(self, place: Place) -> int:
        return self.epilogue.sizes.part_at(place.buffer, place.part) + place.start

    def of_matrix(self, s: Symbol) -> Array:
        """The numbers of a slice of a parameter."""
        view = resolve_slice(s)
        block = rectangle(self.of_base(view.base), view)
        return block.T if view.transposed else block


def rectangle(array: Array, view: WeightSlice) -> Array:
    """The part of a base's array that a slice is, with the axes of the base."""
    index: list[Any] = [slice(None)] * array.ndim
    for axis, start, stop in view.axes:
        if stop is not BATCH:
            index[axis] = slice(start, stop)
    return array[(*index, ...)]
