"""Sizes of rows, buffers and partial sums, from those of vector registers and panels on this machine."""

from __future__ import annotations

import functools
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from ..schedule.buffers import Buffer, BufferKind


class Sizes(NamedTuple):
    """Elements of a vector register and of a panel of packed columns, for one dtype."""

    lanes: int
    panel: int

    @property
    def cache_skew(self) -> int:
        """Elements left free between buffers.

        A loop reads the same row of a dozen equally large buffers at once. Without a gap, these rows would be a
        power of two apart, and meet in the same few sets of the cache.
        """
        # a line of the cache with vectors of 256 bits, two with 512
        return 2 * self.lanes

    def part(self, width: int) -> int:
        """A part of a row, padded to whole vectors."""
        return -(-width // self.lanes) * self.lanes

    def row(self, parts: list[int]) -> int:
        """A row that products write, padded to whole panels, as they write these."""
        total = sum(self.part(p) for p in parts)
        # behind the last part only: no product stores parts that have others behind them
        return -(-total // self.panel) * self.panel

    def ld(self, buffer: Buffer) -> int:
        """Elements of a row."""
        # an array of the caller's has one part and no padding
        if buffer.kind is BufferKind.EXTERNAL:
            return buffer.parts[0]
        if buffer.of_products:
            return self.row(buffer.parts)
        return sum(self.part(p) for p in buffer.parts)  # panels have four vectors on some machines: half a row or more

    def input_grad_ld(self, buffer: Buffer | None, width: int) -> int:
        """Elements of a row of an input's gradient: of the loop's buffer, or written by products after it."""
        return self.row([width]) if buffer is None else self.ld(buffer)

    def part_at(self, buffer: Buffer, index: int) -> int:
        """Where a part of a row begins."""
        return _part_starts(tuple(buffer.parts), self.lanes)[index]

    def elements(self, buffer: Buffer, time: int, batch: int) -> int:
        if buffer.kind is BufferKind.PARTIAL_SUM:
            return partial_sums(batch) * self.ld(buffer)
        slots = {
            BufferKind.STATES: time + 1,
            BufferKind.DOUBLE_BUFFER: 2,
            BufferKind.PER_STEP: time,
            BufferKind.EXTERNAL: time,
        }.get(buffer.kind, 1)
        return slots * batch * self.ld(buffer)


@functools.lru_cache(maxsize=64)  # a buffer with a thousand parts is asked for each of them
def _part_starts(widths: tuple[int, ...], lanes: int) -> list[int]:
    return list(accumulate((-(-width // lanes) * lanes for width in widths), initial=0))


def log2_rows_per_sum(batch: int) -> int:
    """Logarithm (base 2) of the rows that share a partial sum; fewer sums fit the cache.

    It depends on the batch alone, and a thread takes whole groups of rows, so that results do not depend on threads.
    """
    return 2 if batch >= 32 else 0


def partial_sums(batch: int) -> int:
    """Number of partial sums of a batch."""
    return -(-batch >> log2_rows_per_sum(batch))


def sizes(dtype) -> Sizes:
    """Sizes on this machine; the first call for a dtype compiles or loads the matrix tile and the tasks."""
    from ...kernels.gemm import gemm  # by way of the room, which Ctrl-C cannot leave halfway
    from ...kernels.loops import launches

    launches.calls(np.dtype(dtype))
    return Sizes(gemm.lanes_of(np.dtype(dtype)), gemm.panel_width(np.dtype(dtype)))
