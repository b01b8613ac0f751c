"""Memory for the values of a bound program, used again as soon as a value is no longer needed."""

from __future__ import annotations

import bisect
import heapq

import numpy as np

LINE = 64  # bytes of a line of the cache


class Memory:
    """Arrays for the values of a program, which lend each other their memory.

    Parameters
    ----------
    dtype : float32 or float64

    Attributes
    ----------
    allocated, used, peak : int
        Elements of all arrays, of those in use, and of the most that were in use at once.
    """

    def __init__(self, dtype: np.dtype):
        self.dtype = dtype
        self.allocated = self.used = self.peak = 0
        self._arrays: dict[int, np.ndarray] = {}  # by address
        self._addresses: list[int] = []  # sorted
        self._free: list[tuple[int, int]] = []  # sizes and addresses, sorted
        self._until: dict[int, int] = {}  # by the address of an array in use: the last step that needs it
        self._ends: list[tuple[int, int]] = []  # heap of these steps and addresses; some are no longer true

    def new(self, size: int, until: int) -> np.ndarray:
        """An array of at least `size` elements that nothing else uses up to the step `until`."""
        at = bisect.bisect_left(self._free, (size, 0))
        # the smallest that is large enough, but none that is much too large
        if at < len(self._free) and self._free[at][0] <= 2 * size + 256:
            _, address = self._free.pop(at)
        else:
            address = self._allocate(size)
        self._use(address, until)
        found = self._arrays[address]
        self.used += found.size
        self.peak = max(self.peak, self.used)
        return found

    def _allocate(self, size: int) -> int:
        per_line = LINE // self.dtype.itemsize
        raw = np.empty(size + per_line, self.dtype)
        found = raw[-(raw.ctypes.data // self.dtype.itemsize) % per_line :][:size]
        address = found.ctypes.data
        self._arrays[address] = found
        bisect.insort(self._addresses, address)
        self.allocated += size
        return address

    def _use(self, address: int, until: int) -> None:
        self._until[address] = until
        heapq.heappush(self._ends, (until, address))

    def keep(self, array: np.ndarray, until: int) -> None:
        """Let the memory under `array`, if it comes from here, be in use up to the step `until`."""
        place = array.ctypes.data
        at = bisect.bisect_right(self._addresses, place) - 1
        if at < 0 or not array.size:
            return
        address = self._addresses[at]
        if place < address + self._arrays[address].nbytes and self._until.get(address, until) < until:
            self._use(address, until)

    def arrays(self) -> list[np.ndarray]:
        """All that was allocated."""
        return [*self._arrays.values()]

    def release(self, step: int) -> None:
        """Take back the arrays that no step after this one needs."""
        while self._ends and self._ends[0][0] <= step:
            until, address = heapq.heappop(self._ends)
            if self._until.get(address) == until:
                del self._until[address]
                self.used -= self._arrays[address].size
                bisect.insort(self._free, (self._arrays[address].size, address))
