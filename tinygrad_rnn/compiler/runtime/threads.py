"""Workers of this process: threads that wait, in machine code, for launches to share."""

from __future__ import annotations

import atexit
import ctypes
import os
import threading

import numpy as np

from ... import config
from ...kernels.build.uninterrupted import uninterrupted
from ...kernels.threads.job_codes import BYTES, MOST_WORKERS, SLOT, Board, Worker

LIMIT, STARTED = map(Board._fields.index, ("limit", "workers"))
WORKER_LOCK = Worker._fields.index("lock")
PATIENCE = 1.0  # seconds: a worker that does not end by then is left to the end of the process

_allocate_lock = ctypes.pythonapi.PyThread_allocate_lock
_allocate_lock.argtypes, _allocate_lock.restype = [], ctypes.c_void_p
_acquire_lock = ctypes.pythonapi.PyThread_acquire_lock
_acquire_lock.argtypes, _acquire_lock.restype = [ctypes.c_void_p, ctypes.c_int], ctypes.c_int


class Workers:
    """The board on which launches are offered, and the threads that look at it.

    Attributes
    ----------
    address : int
        Of the board.
    """

    def __init__(self) -> None:
        size = (1 + MOST_WORKERS) * SLOT * BYTES
        room = ctypes.create_string_buffer(size + SLOT * BYTES)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(room))  # for ever: workers may look at it to the very end
        self.address = ctypes.addressof(room) + -ctypes.addressof(room) % (SLOT * BYTES)
        memory = (ctypes.c_int64 * (size // BYTES)).from_address(self.address)
        self.slots = np.ctypeslib.as_array(memory).reshape(1 + MOST_WORKERS, SLOT)
        self.reset()

    def reset(self) -> None:
        """Begin without a thread; after a fork there are none, and others may have held the lock."""
        self.slots[...] = 0
        self.limit, self.threads, self._lock = 0, list[threading.Thread](), threading.Lock()

    def ready(self) -> None:
        """Let launches be shared by as many threads as the settings say."""
        if self.limit != config.get_num_threads():
            uninterrupted(self._prepare, config.get_num_threads())

    def _prepare(self, limit: int) -> None:
        from ...kernels.loops import workers  # imports Numba

        work, _ = workers.functions()
        most = min(limit, config.PROCESSORS)  # more would take turns, and be waited for
        with self._lock:
            while len(self.threads) < min(most - 1, MOST_WORKERS):
                slot = self.slots[1 + len(self.threads)]
                slot[WORKER_LOCK] = lock = _allocate_lock()
                _acquire_lock(lock, 1)  # whoever takes it again waits until it is freed
                thread = threading.Thread(target=work, args=(slot,), name="tinygrad_rnn works", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # no more threads: the others do more
                    break
                self.threads.append(thread)
            self.slots[0, LIMIT], self.slots[0, STARTED] = most, len(self.threads)
            self.limit = limit

    def end(self) -> None:
        """Let all threads return, before what they run is taken away; launches go on in the thread that calls."""
        from ...kernels.loops import workers

        with self._lock:
            threads, self.threads = self.threads, []
            self.slots[0, STARTED] = 0
            for slot in self.slots[1 : 1 + len(threads)]:
                workers.functions()[1](slot)
            for thread in threads:
                thread.join(PATIENCE)
            self.slots[0, LIMIT] = 1


workers = Workers()
atexit.register(lambda: workers.end() if workers.threads else None)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=workers.reset)
