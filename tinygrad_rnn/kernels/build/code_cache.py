"""Cache of Numba's compiled functions in the folder of `disk_cache`, in place of Numba's own cache.

Numba's own cache needs a home or a writable installation, takes what it finds as it is, and ends the program where it
cannot read or write.
"""

from __future__ import annotations

import functools
import hashlib
import pickle
from collections.abc import Callable
from typing import Any

from numba import njit
from numba.core import config as numba_config
from numba.core import sigutils
from numba.core.caching import NullCache
from numba.core.ccallback import CFunc
from numba.core.compiler import CompileResult
from numba.core.dispatcher import Dispatcher
from numba.core.serialize import dumps

from . import disk_cache
from .compile_times import timed
from .uninterrupted import uninterrupted

config: Any = numba_config


class CodeCache(NullCache):
    """Cache of the machine code of one function, by the methods that Numba calls.

    The function's qualified name has to hold a hash over everything else that decides its code.
    """

    def __init__(self, function: Callable):
        self._function = function
        self._found = False  # the last one was on the disk

    def compile(self, compiler: Callable, *args: Any) -> Any:
        """Result of `compiler`, which asks this cache; neither Ctrl-C nor a fork cuts it in two."""

        def make() -> tuple[bool, Any]:
            result = compiler(*args)
            return self._found, result

        name = f"{self._function.__module__.rpartition('.')[2]}.{self._function.__name__}"
        return uninterrupted(timed, name, make)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        found = self._load(sig, target_context)
        self._found = found is not None
        return found

    def _load(self, sig: Any, target_context: Any) -> Any:
        target_context.refresh()
        name = self._name(sig, target_context.codegen())
        body = disk_cache.read(name)
        if body is None:
            return None
        try:
            return CompileResult._rebuild(target_context, *pickle.loads(body))
        except Exception as error:
            disk_cache.damaged(name, error)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        if not data.library.has_dynamic_globals:  # addresses of this process
            disk_cache.write(self._name(sig, data.codegen), dumps(data._reduce()))

    def _name(self, sig: Any, codegen: Any) -> str:
        module, name = self._function.__module__, self._function.__qualname__
        what = (module, name, self._function.__code__.co_firstlineno, str(sig), codegen.magic_tuple())
        digest = hashlib.sha256(repr(what).encode()).hexdigest()[:20]
        return f"{module.rpartition('.')[2]}.{self._function.__name__}-{digest}.code"


def jitted(function: Callable) -> Any:
    """Compile at the first call with such arguments: no GIL, NumPy's error model."""
    dispatcher: Any = njit(nogil=True, error_model="numpy")(function)
    if not config.DISABLE_JIT:
        dispatcher._cache = cache = CodeCache(function)
        dispatcher.compile = functools.partial(cache.compile, dispatcher.compile)
    return dispatcher


def entry_of(function: Any, *signature: Any) -> Callable:
    """What calls a jitted function for arguments of these types, in half the time: it looks at no types."""
    if not isinstance(function, Dispatcher):  # where bounds are checked, or nothing is compiled
        return function
    function.compile(signature)
    return function.overloads[signature].entry_point


def c_callable(function: Callable, signature: Any) -> Any:
    """A function that C can call, compiled at once; its code lives as long as this object."""
    options = {"error_model": "numpy"}
    compiled: Any = CFunc(function, sigutils.normalize_signature(signature), locals={}, options=options)
    compiled._cache = cache = CodeCache(function)
    cache.compile(compiled.compile)
    return compiled
