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
from ..recurrent.scan.dry_run import isolated_dry_run
from ..recurrent.scan.facts import static_attributes
from ..recurrent.scan.guards import Guards
from ..recurrent.scan.kinds import Opaque
from ..recurrent.scan.outer_state import OuterState
from ..recurrent.scan.program import Refusal
from ..recurrent.scan.traced_scan import LoopGuards
from .capture import Capture, Finish, Rejected, capture
from .nests import Arguments, flatten, read_arguments
from .reach import Reach, Root

FALLBACKS = ("warn", "error")
CHANGES = "its shapes, or what it depends on, change too often"
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
    entry : Entry
        The program with what it depends on.
    """

    __slots__ = ("arguments", "capture", "entry", "tensors")

    def __init__(self, found: Capture, arguments: Arguments, tensors: list[Tensor], entry: Entry):
        self.capture, self.arguments, self.tensors, self.entry = found, arguments, tensors, entry


def _copy(leaf: Any) -> Any:
    """An argument that may be written to in place of the caller's."""
    if isinstance(leaf, Tensor) and leaf.is_leaf:
        return Tensor(leaf.data.copy(), leaf.requires_grad)
    return leaf.copy() if type(leaf) is np.ndarray else leaf


class Entry:
    """A program or a refusal, with what it depends on.

    Parameters
    ----------
    static : tuple
        Facts of all modules in reach.
    made : Capture or Refusal

    Attributes
    ----------
    verified : Reach or None
        For as long as this holds, guards on what it covers do.
    """

    def __init__(self, static: tuple, made: Capture | Refusal):
        self.static, self.made = static, made
        self.guards: list[Guards] = [made.guards] if isinstance(made, str) else made.all_guards()
        self.loops: list[LoopGuards] = [] if isinstance(made, str) else made.loops()
        self.verified: Reach | None = None
        # what else has to be the same, as in Guards, and other guards
        self._names: list[tuple[Callable, str, Any]] = []
        self._sizes: list[tuple[Callable[[], int], int]] = []
        self._rest: list[Any] = []

    def holds(self) -> bool:
        """Whether nothing has changed."""
        return all(guards.hold() for guards in self.guards) and all(loop.hold() for loop in self.loops)

    def verify(self, reach: Reach) -> None:
        """Note that nothing has changed, by which `reach` all that it covers may be left out from now on."""
        mine = {id(module) for module in reach.modules}
        rest: list[Any] = [guards.beside(reach.covered) for guards in self.guards]
        for loop in self.loops:
            if id(loop.cell) in mine:
                rest += [guards.beside(reach.covered) for guards in loop.guards]
            else:
                rest.append(loop)
        self._names, self._sizes, self._rest, self.verified = [], [], [], reach
        for guards in rest:
            if type(guards) is not Guards or guards.functions or guards.compares:
                self._rest.append(guards)
            else:
                self._names += guards.names
                self._sizes += guards.sizes

    def rest_holds(self) -> bool:
        """Whether nothing has changed, given that what :attr:`verified` covers has not."""
        for get, name, value in self._names:
            if get(name) is not value:
                return False
        for length, size in self._sizes:
            if length() != size:
                return False
        return not self._rest or all(guards.hold() for guards in self._rest)


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
    bounded : bool
        Trace no more than the programs that are kept at once.
    """

    def __init__(self, function: Callable, root: Root, title: str, finish: Finish, bounded: bool = False):
        self.function, self.root, self.title, self.finish = function, root, title, finish
        self.bounded = bounded
        self.reach: Reach | None = None
        self.entries: dict[tuple, list[Entry]] = {}
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
            key = (mode.enabled, *arguments.key)
            found = self._look_up(key, arguments)
            if found is not None:
                return found
            with compiler.making:  # another thread may have made it while this one waited
                found = self._look_up(key, arguments)
                if found is not None:
                    return found
                if self.bounded and self._is_full(key):
                    return CHANGES
                static = static_attributes(self.root)
                made = capture(self.root, self.function, arguments, mode.enabled, self.finish)
                if key not in self.entries and len(self.entries) >= SIGNATURES:
                    self.entries.pop(next(iter(self.entries)))
                self.entries[key] = [Entry(static, made), *self.entries.get(key, ())][:VARIANTS]
                found = self._look_up(key, arguments)
        except CompileError as error:
            return str(error)
        return "a tensor that it reads is not where it was" if found is None else found

    def _is_full(self, key: tuple) -> bool:
        return len(self.entries) >= SIGNATURES if key not in self.entries else len(self.entries[key]) >= VARIANTS

    def _look_up(self, key: tuple, arguments: Arguments) -> Found | str | None:
        entries, reach, static = self.entries.get(key), self.reach, None
        if entries is None:
            return None
        if reach is None or not (reach.complete and reach.holds()):
            reach = self.reach = Reach(vars(self.root)["_functions"])
        for entry in entries:
            if entry.verified is reach and reach.complete:
                if not entry.rest_holds():
                    continue
            else:
                static = static_attributes(self.root) if static is None else static
                if entry.static != static or not entry.holds():
                    continue
                entry.verify(reach)
            if isinstance(entry.made, str):
                return entry.made
            if (tensors := entry.made.tensors()) is not None:
                return Found(entry.made, arguments, tensors, entry)
        return None

    def reject(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        """The tape's result for copies of the arguments; its error, if it does not take them either."""
        leaves: list = []
        structure = flatten((args, kwargs), leaves)
        args, kwargs = tree.unflatten(structure, [_copy(leaf) for leaf in leaves])
        root = self.root.beside([leaf for leaf in leaves if not isinstance(leaf, Tensor | np.ndarray)])
        if OuterState(root).refused is None:  # else it might change what cannot be put back
            with isolated_dry_run(root):
                return self.function(*args, **kwargs)
        return Tensor(np.zeros(()))

    def warn(self, reason: str, stacklevel: int) -> None:
        """Warn that the function runs on the tape, once for each reason."""
        if reason and reason not in self.warned:
            self.warned.add(reason)
            warnings.warn(f"{self.title} runs on the tape: {reason}", RuntimeWarning, stacklevel=stacklevel + 1)


__all__ = ["CHANGES", "FALLBACKS", "Found", "Programs", "Rejected", "check_fallback"]
