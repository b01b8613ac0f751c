"""Pool of large arrays that are used again: a new one costs a page fault for every 4 KiB of it."""

from __future__ import annotations

import os
import sys
import threading

import numpy as np

KEPT = 3  # arrays of one size
SIZES = 24  # kept; a loop needs up to ten for each T and batch, and sequences may be of many lengths
SMALL = 8192  # elements; smaller arrays are cheap to make, as the C library keeps their pages

_lock = threading.Lock()  # of all pools


class BufferPool:
    """Pool of uninitialised arrays; one that nobody refers to any more is handed out again.

    Views refer to their array, so whoever still holds a result holds its array too.
    """

    def __init__(self, dtype):
        self.dtype = np.dtype(dtype)
        self._arrays: dict[int, list[np.ndarray]] = {}
        self._zeros = np.zeros(0, self.dtype)

    def zeros(self, size: int) -> np.ndarray:
        """At least `size` zeros that nobody may write to."""
        if size >= SMALL:
            return np.zeros(size, self.dtype)
        if self._zeros.size < size:
            self._zeros = np.zeros(SMALL, self.dtype)
        return self._zeros

    def empty(self, size: int) -> np.ndarray:
        """An array of `size` elements; one of those kept if nobody refers to it any more."""
        if size < SMALL:
            return np.empty(size, self.dtype)
        with _lock:
            arrays = self._arrays.pop(size, None)
            if arrays is None:
                arrays = []
                if len(self._arrays) >= SIZES:
                    del self._arrays[next(iter(self._arrays))]  # what has not been asked for the longest
            self._arrays[size] = arrays
            for i in range(len(arrays)):
                if sys.getrefcount(arrays[i]) == 2:  # the list, and the call
                    return arrays[i]
            array = np.empty(size, self.dtype)
            if len(arrays) < KEPT:
                arrays.append(array)
            return array

    def clear(self) -> None:
        """Drop all arrays."""
        with _lock:
            self._arrays.clear()


def _after_fork() -> None:
    """Another thread may have held the lock, which the child does not have."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
