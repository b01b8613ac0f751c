"""Settings of the process: gradient mode, default dtype, seed."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ContextDecorator
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np

from .checks import shown, whole_number
from .errors import DTypeError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

VERSION = "0.1.0"  # of the package
F = TypeVar("F", bound=Callable)


class _GradMode(threading.local):
    enabled = True
    tracer: Any = None  # while a step is traced: what records operations instead of the tape
    anomaly: Any = None  # inside detect_anomaly(): what looks for values that are not finite
    listener: Any = None  # what hears of each operation on the tape
    generator: Any = None  # while a step is looked at: what is drawn from instead of the common generator
    functional = False  # while a step runs: ``h += x`` makes a new value there, as it does in a compiled loop


grad_mode = _GradMode()
_default_dtype: np.dtype = np.dtype(np.float32)
PROCESSORS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_num_threads = PROCESSORS
_generator: np.random.Generator | None = None  # made at first use: importing numpy.random takes a while


def is_grad_enabled() -> bool:
    """Whether operations on tensors are recorded (per thread)."""
    if grad_mode.tracer is not None:
        grad_mode.tracer.refuse("a look at whether gradients are recorded")
    return grad_mode.enabled


class _Recording(ContextDecorator):
    """Recording on or off inside a ``with`` block, a decorated function or a decorated generator."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self.before: list[bool] = []

    def __enter__(self) -> None:
        self.before.append(grad_mode.enabled)
        grad_mode.enabled = self.enabled

    def __exit__(self, *exc: object) -> None:
        grad_mode.enabled = self.before.pop()

    def _recreate_cm(self) -> _Recording:
        return _Recording(self.enabled)  # one for each call: calls may overlap

    def __call__(self, function: F) -> F:
        if not callable(function) or isinstance(function, type):
            kind = function.__name__ if isinstance(function, type) else type(function).__name__
            raise TypeError(f"function: got {kind}, wanted a function to decorate")
        if not inspect.isgeneratorfunction(function):
            return super().__call__(function)

        @functools.wraps(function)
        def steps(*args: Any, **kwargs: Any) -> Any:  # what the caller does between two steps keeps the caller's mode
            generator = function(*args, **kwargs)
            resume = functools.partial(next, generator)
            try:
                while True:
                    try:
                        with self._recreate_cm():
                            value = resume()
                    except StopIteration as end:
                        return end.value
                    try:
                        resume = functools.partial(generator.send, (yield value))
                    except GeneratorExit:
                        raise
                    except BaseException as error:
                        resume = functools.partial(generator.throw, error)
            finally:
                with self._recreate_cm():
                    generator.close()

        return steps  # type: ignore[return-value]


class set_grad_enabled(_Recording):
    """Switch recording on or off: from here on, or inside a ``with`` block or a decorated function.

    Parameters
    ----------
    enabled : bool

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> with tr.set_grad_enabled(False):
    ...     tr.is_grad_enabled()
    False
    >>> _ = tr.set_grad_enabled(False)
    >>> tr.is_grad_enabled()
    False
    >>> _ = tr.set_grad_enabled(True)
    """

    def __init__(self, enabled: bool) -> None:
        super().__init__(bool(enabled))
        self.entered = False
        super().__enter__()

    def __enter__(self) -> None:
        if self.entered:
            super().__enter__()
        else:  # a block goes back to what was before the call, not to what the call has set
            self.entered, grad_mode.enabled = True, self.enabled

    def __call__(self, function: F) -> F:
        if not self.entered:
            self.entered, grad_mode.enabled = True, self.before.pop()
        return super().__call__(function)


@overload
def no_grad(function: None = None) -> _Recording: ...
@overload
def no_grad(function: F) -> F: ...
def no_grad(function: Any = None) -> Any:
    """Do not record operations inside a ``with`` block or a decorated function.

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> w = tr.tensor([1.0], requires_grad=True)
    >>> with tr.no_grad():
    ...     y = w * 2
    >>> y.requires_grad
    False
    >>> @tr.no_grad
    ... def double(x):
    ...     return x * 2
    >>> double(w).requires_grad
    False
    """
    return _Recording(False) if function is None else _Recording(False)(function)


@overload
def enable_grad(function: None = None) -> _Recording: ...
@overload
def enable_grad(function: F) -> F: ...
def enable_grad(function: Any = None) -> Any:
    """Record operations inside a ``with`` block or a decorated function, even within :func:`no_grad`."""
    return _Recording(True) if function is None else _Recording(True)(function)


class functional:
    """While a step of a cell runs on the tape: augmented assignment writes to no tensor in place."""

    __slots__ = ("before",)

    def __enter__(self) -> None:
        self.before, grad_mode.functional = grad_mode.functional, True

    def __exit__(self, *exc: object) -> None:
        grad_mode.functional = self.before


def get_default_dtype() -> np.dtype:
    """The dtype of tensors made from Python floats (float32 unless set)."""
    return _default_dtype


def set_default_dtype(dtype: DTypeLike) -> None:
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
    try:
        found = None if dtype is None else np.dtype(dtype)  # NumPy takes None for float64
    except (TypeError, ValueError):
        found = None
    if found is None or found not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise DTypeError(f"dtype: got {shown(dtype) if found is None else found}, wanted float32 or float64")
    _default_dtype = found


def seed(value: int) -> None:
    """Seed everything random in this package: initialisation, dropout, data order."""
    global _generator
    try:
        new = np.random.default_rng(value)
    except (TypeError, ValueError) as e:
        raise type(e)(f"seed: got {shown(value)}, wanted a whole number from 0 on") from None
    if grad_mode.generator is not None:  # in a step that is looked at
        grad_mode.generator = new
    else:
        _generator = new


def generator() -> np.random.Generator:
    """The random generator that every part of this package draws from unless it is given its own."""
    global _generator
    if grad_mode.generator is not None:
        return grad_mode.generator
    if _generator is None:
        _generator = np.random.default_rng()
    return _generator


@contextlib.contextmanager
def drawing_from(generator: np.random.Generator) -> Iterator[None]:
    """Context, per thread: the package draws from another generator than the common one."""
    before, grad_mode.generator = grad_mode.generator, generator
    try:
        yield
    finally:
        grad_mode.generator = before


def set_num_threads(n: int) -> None:
    """Let compiled loops, and the BLAS behind NumPy, use up to `n` threads.

    Results of compiled loops do not depend on it, to the last bit.

    Parameters
    ----------
    n : int
        At least 1. The default is the number of processors that this process may use; loops take no more.
    """
    import threadpoolctl

    global _num_threads
    _num_threads = n = whole_number("n", n, wanted="a whole number of threads, at least 1")
    threadpoolctl.threadpool_limits(n, user_api="blas")


def get_num_threads() -> int:
    """Number of threads that compiled loops may use."""
    return _num_threads
