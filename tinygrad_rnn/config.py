"""Settings of the process: gradient mode, default dtype, seed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .errors import DTypeError


class _GradMode(threading.local):
    enabled = True
    tracer: Any = None  # while a step is traced: what records operations instead of the tape


grad_mode = _GradMode()
_default_dtype = np.dtype(np.float32)
_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_generator: np.random.Generator | None = None  # made at first use: importing numpy.random takes a while


def is_grad_enabled() -> bool:
    """Whether operations on tensors are recorded (per thread)."""
    return grad_mode.enabled


@contextmanager
def set_grad_enabled(enabled: bool) -> Iterator[None]:
    """Switch recording on or off inside a ``with`` block or a decorated function."""
    before, grad_mode.enabled = grad_mode.enabled, bool(enabled)
    try:
        yield
    finally:
        grad_mode.enabled = before


def no_grad():
    """Do not record operations inside a ``with`` block or a decorated function.

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> w = tr.tensor([1.0], requires_grad=True)
    >>> with tr.no_grad():
    ...     y = w * 2
    >>> y.requires_grad
    False
    """
    return set_grad_enabled(False)


def enable_grad():
    """Record operations inside a ``with`` block, even within :func:`no_grad`."""
    return set_grad_enabled(True)


def get_default_dtype() -> np.dtype:
    """The dtype of tensors made from Python floats (float32 unless set)."""
    return _default_dtype


def set_default_dtype(dtype) -> None:
    """Set the dtype of tensors made from Python floats.

    Parameters
    ----------
    dtype : float32 or float64

    Raises
    ------
    DTypeError
        If `dtype` is neither.
    """
    global _default_dtype
    dtype = np.dtype(dtype)
    if dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise DTypeError(f"dtype: got {dtype}, wanted float32 or float64")
    _default_dtype = dtype


def seed(value: int) -> None:
    """Seed everything random in this package: initialisation, dropout, data order."""
    global _generator
    _generator = np.random.default_rng(value)


def generator() -> np.random.Generator:
    """The random generator that every part of this package draws from unless it is given its own."""
    global _generator
    if _generator is None:
        _generator = np.random.default_rng()
    return _generator


def set_num_threads(n: int) -> None:
    """Let compiled loops, and the BLAS behind NumPy, use up to `n` threads.

    Results of compiled loops do not depend on it, to the last bit.

    Parameters
    ----------
    n : int
        At least 1. The default is the number of processors that this process may use.
    """
    import threadpoolctl

    global _num_threads
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ValueError(f"n: got {n!r}, wanted a whole number of threads, at least 1")
    _num_threads = n
    threadpoolctl.threadpool_limits(n, user_api="blas")


def get_num_threads() -> int:
    """How many threads compiled loops may use."""
    return _num_threads
