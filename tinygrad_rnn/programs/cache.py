"""Programs of one function by signature, each with the guards under which it may run again."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import compiler, config
from ..checks import one_of
from ..core import Tensor, tree
from ..errors import CompileError
from ..recurrent.scan.call_cache import StaticAttributes
from ..recurrent.scan.dry_run import isolated_dry_run
from ..recurrent.scan.kinds import Opaque
from ..recurrent.scan.outer_state import OuterState
from ..recurrent.scan.program import Refusal
from .capture import Capture, Finish, Rejected, capture
from .nests import Arguments, flatten, read_arguments
from .reach import Root

FALLBACKS = ("warn", "error")
SIGNATURES, VARIANTS = 64, 8  # programs of one function, and of one signature with different guards


def check_fallback(fallback: Any) -> str:
    return one_of("fallback", fallback, FALLBACKS)


class Found:
    """A program for a call, with the tensors that it reads.

    Attributes
    ----------
    capture : Capture
    arguments : Arguments
    tensors : list of Tensor
    """

    __slots__ = ("arguments", "capture", "tensors")

    def __init__(self, found: Capture, arguments: Arguments, tensors: list[Tensor]):
        self.capture, self.arguments, self.tensors = found, arguments, tensors


def _copy(leaf: Any) -> Any:
    """An argument that may be written to in place of the caller's."""
    if isinstance(leaf, Tensor) and leaf.is_leaf:
        return Tensor(leaf.data.copy(), leaf.requires_grad)
    return leaf.copy() if type(leaf) is np.ndarray else leaf


class Programs(Opaque):
    """The programs of one function.

    Parameters
    ----------
    function : callable
    root : Root
        What it can reach.
    title : str
        What messages call it.
    finish : callable
        Makes what runs a program together with its gradient, see :func:`~.capture.capture`.
    """

    def __init__(self, function: Callable, root: Root, title: str, finish: Finish):
        self.function, self.root, self.title, self.finish = function, root, title, finish
        self.statics = StaticAttributes()
        self.entries: dict[tuple, list[tuple[tuple, Capture | Refusal]]] = {}
        self.warned: set[str] = set()

    def find(self, args: tuple, kwargs: dict[str, Any]) -> Found | str:
        """The program for a call, made if need be; or the reason why there is none.

        Raises
        ------
        Rejected
            If the tape does not take the arguments.
        """
        mode = config.grad_mode
        if mode.anomaly is not None or mode.listener is not None:
            return ""  # someone looks at single operations
        try:
            arguments = read_arguments(args, kwargs)
            static = self.statics.read(self.root)
        except CompileError as error:
            return str(error)
        key = (mode.enabled, *arguments.key)
        found = self._look_up(key, static, arguments, mode.enabled)
        if found is not None:
            return found
        with compiler.making:  # another thread may have made it while this one waited
            found = self._look_up(key, static, arguments, mode.enabled)
            if found is not None:
                return found
            made = capture(self.root, self.function, arguments, mode.enabled, self.finish)
            if key not in self.entries and len(self.entries) >= SIGNATURES:
                self.entries.pop(next(iter(self.entries)))
            self.entries[key] = [(static, made), *self.entries.get(key, ())][:VARIANTS]
            found = self._look_up(key, static, arguments, mode.enabled)
        return "a tensor that it reads is not where it was" if found is None else found

    def _look_up(self, key: tuple, static: tuple, arguments: Arguments, grad: bool) -> Found | str | None:
        for facts, entry in self.entries.get(key, ()):
            if facts is not static and facts != static:
                continue
            if isinstance(entry, str):
                if entry.guards.hold():
                    return entry
            elif entry.hold() and (tensors := entry.tensors(grad)) is not None:
                return Found(entry, arguments, tensors)
        return None

    def reject(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        """The tape's result for copies of the arguments; its error, if it does not take them either."""
        if OuterState(self.root).refused is None:  # else it might change what cannot be put back
            leaves: list = []
            structure = flatten((args, kwargs), leaves)
            args, kwargs = tree.unflatten(structure, [_copy(leaf) for leaf in leaves])
            with isolated_dry_run(self.root):
                return self.function(*args, **kwargs)
        return Tensor(np.zeros(()))

    def warn(self, reason: str, stacklevel: int) -> None:
        """Warn that the function runs on the tape, once for each reason."""
        if reason and reason not in self.warned:
            self.warned.add(reason)
            warnings.warn(f"{self.title} runs on the tape: {reason}", RuntimeWarning, stacklevel=stacklevel + 1)


__all__ = ["FALLBACKS", "Found", "Programs", "Rejected", "check_fallback"]
