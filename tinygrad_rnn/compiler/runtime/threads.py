"""Threads, of which each takes a range of rows through the whole sequence, without a barrier."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

from ... import config

_pool: ThreadPoolExecutor | None = None
_pool_size = 0
_lock = threading.Lock()

WORTH = 300_000  # multiply-adds that a second thread has to have to itself, or it costs more than it brings


def run(function: Callable[[int, int], None], rows: int, work: float, group: int = 1) -> None:
    """Call ``function(start, stop)`` on ranges that cover `rows`, one for each thread that is worth it.

    Ranges begin at multiples of `group` rows.
    """
    n = max(1, min(config.get_num_threads(), rows // group, int(work / WORTH)))
    _run(function, [*(rows * i // n // group * group for i in range(n)), rows])


def run_weighted(function: Callable[[int, int], None], work, group: int = 1) -> None:
    """The same for tasks of unequal size: ``work[i]`` is that of all tasks before task i."""
    tasks, total = len(work) - 1, float(work[-1])
    n = max(1, min(config.get_num_threads(), tasks, int(total / WORTH)))
    bounds = [int(work.searchsorted(total * i / n)) // group * group for i in range(n)] + [tasks]
    _run(function, sorted(bounds))


def _run(function: Callable[[int, int], None], bounds: list[int]) -> None:
    n = len(bounds) - 1
    if n == 1:
        function(bounds[0], bounds[1])
        return
    pool = _pool_of(n - 1)
    others = [pool.submit(function, a, b) for a, b in itertools.pairwise(bounds[1:])]
    try:
        function(bounds[0], bounds[1])
    finally:
        wait(others)  # they write to arrays that are used again
    for other in others:
        other.result()


def _pool_of(size: int) -> ThreadPoolExecutor:
    """The pool of all callers, with `size` threads at least; a smaller one ends with its last work."""
    global _pool, _pool_size
    with _lock:
        if _pool is None or _pool_size < size:
            _pool, _pool_size = ThreadPoolExecutor(size, thread_name_prefix="tinygrad_rnn"), size
        return _pool


def _after_fork() -> None:
    """Threads do not survive a fork, and locks may be held by them; the child makes its own."""
    global _pool, _pool_size, _lock
    _pool, _pool_size, _lock = None, 0, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
