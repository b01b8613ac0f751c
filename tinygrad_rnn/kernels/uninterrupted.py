"""Work that neither a signal nor a fork may cut in two: importing Numba, tracing, generating, compiling, loading.

Python runs signal handlers in the main thread only, so what another thread does is finished whatever the user presses.
And a fork copies locks as they are, held by threads that the child does not have: so whoever forks takes them first.
"""

from __future__ import annotations

import contextvars
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

making = threading.RLock()  # held by whoever traces a step, or makes tables and loops of it
_working = threading.RLock()  # held inside, by the thread that does the work


def uninterrupted(function: Callable, *args: Any) -> Any:
    """Call a function so that Ctrl-C does not stop it halfway, and return what it returns.

    In the main thread the call is done by a thread of its own. An exception that a signal raises there, such as
    KeyboardInterrupt, leaves this function at once; the other thread finishes the work and what it keeps, and the next
    call here waits for it.
    """
    if threading.current_thread() is not threading.main_thread():
        with _working:
            return function(*args)
    done: Future = Future()
    call = contextvars.copy_context().run

    def work() -> None:
        try:
            with _working:
                result = call(function, *args)
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(result)

    try:
        threading.Thread(target=work, name="tinygrad_rnn compiles").start()
    except RuntimeError:  # no more threads, or Python is about to end
        work()
    return done.result()


def _locks() -> list[Any]:
    """All locks, outer ones first: whoever holds one only waits for those behind it."""
    compiler = sys.modules.get("numba.core.compiler_lock")
    return [making, _working, *([compiler.global_compiler_lock] if compiler else ())]


_held: list[Any] = []


def _before_fork() -> None:
    making.acquire()
    _working.acquire()  # from here on nobody imports Numba
    _held[:] = _locks()
    for lock in _held[2:]:
        lock.acquire()


def _after_fork() -> None:
    while _held:
        _held.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
