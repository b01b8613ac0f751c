"""Functions that this process has compiled or loaded from the disk, and how long each took."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple


class Made(NamedTuple):
    """Machine code of a function, or of several that are compiled together.

    Attributes
    ----------
    name : str
        Module and function.
    loaded : bool
        It was on the disk.
    seconds, cpu : float
        Passed, and spent by the thread that made it.
    """

    name: str
    loaded: bool
    seconds: float
    cpu: float


made: deque[Made] = deque(maxlen=1000)  # in order; who makes ever new cells keeps no more than these


def timed(name: str, make: Callable[[], tuple[bool, Any]]) -> Any:
    """Add a row for ``make()``, which returns whether it was loaded and its result, and return the result."""
    seconds, cpu = time.perf_counter(), time.thread_time()
    loaded, result = make()
    made.append(Made(name, loaded, time.perf_counter() - seconds, time.thread_time() - cpu))
    return result
