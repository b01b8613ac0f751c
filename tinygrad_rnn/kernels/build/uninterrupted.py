"""Protection of imports, tracing and compilation from signals and forks, which could cut them in two.

Python runs signal handlers in the main thread only, so what another thread does is finished whatever the user presses.
And a fork copies locks as they are, also those of threads that the child does not have: so whoever forks takes them
first.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401
import contextvars
import importlib
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

making = threading.RLock()  # held by whoever traces a step, or makes tables and loops of it
_working = threading.RLock()  # held inside, by the thread that does the work


def uninterrupted(function: Callable, *args: Any) -> Any:
    """Call a function so that Ctrl-C does not stop it halfway, and return what it returns.

    In the main thread the call is done by a thread of its own. An exception that a signal raises there, such as
    KeyboardInterrupt, leaves this function at once; the other thread finishes the work and what it keeps, and the next
    call here waits for it.
    """
    if _compiles():  # a user's function that calls one of ours: whoever works waits for this thread, so do it here
        return function(*args)
    if threading.current_thread() is not threading.main_thread():
        with _working:
            return function(*args)
    results: list[Any] = []
    errors: list[BaseException] = []
    done = threading.Lock()
    done.acquire()
    call = contextvars.copy_context().run

    def work() -> None:
        try:
            with _working:
                results.append(call(function, *args))
        except BaseException as error:
            errors.append(error)
        finally:
            done.release()

    try:
        threading.Thread(target=work, name="tinygrad_rnn compiles").start()
    except RuntimeError:  # no more threads, or Python is about to end
        work()
    done.acquire()
    if errors:
        raise errors.pop()
    return results.pop()


def _compiles() -> bool:
    """Whether this thread holds Numba's lock, as it is compiling something."""
    lock = _numba_lock()
    return lock is not None and lock.is_locked()  # by this thread, whatever its name says


def _numba_lock() -> Any:
    """Numba's lock, which is taken after ours; None if Numba is not there yet."""
    return getattr(sys.modules.get("numba.core.compiler_lock"), "global_compiler_lock", None)


def modules_of(room: str) -> Callable[[str], Any]:
    """``__getattr__`` for a package: imports its modules at first use, safe from Ctrl-C."""

    def load(name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return uninterrupted(importlib.import_module, f"{room}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{room}.{name}":
                raise
            raise AttributeError(name) from None

    return load


# ---- forks

ROOMS = ("tinygrad_rnn", "numba", "llvmlite")
PATIENCE = 30.0  # seconds; whoever forks may be importing one of them

_held: list[Any] = []  # outer locks first: whoever holds one only waits for those behind it


def _before_fork() -> None:
    """Wait until no other thread makes, compiles or imports anything, and let none begin."""
    end = time.monotonic() + PATIENCE
    while True:
        for lock in (making, _working):
            lock.acquire()
            _held.append(lock)
        if (numba := _numba_lock()) is not None:
            numba.acquire()
            _held.append(numba)
        if not _being_imported() or time.monotonic() > end:
            return
        _after_fork()  # an import may need them
        time.sleep(0.001)


def _being_imported() -> bool:
    modules = [m for n, m in list(sys.modules.items()) if n.partition(".")[0] in ROOMS]
    return any(getattr(getattr(m, "__spec__", None), "_initializing", False) for m in modules)


def _after_fork() -> None:
    while _held:
        _held.pop().release()


# Handlers run in the reverse order. Those of logging and of thread pools take locks that imports need: so these two are
# imported before, and their locks are taken after ours.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
