"""Recorders: what traces of steps and of whole functions have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ...core import Op
from .refusing import Refusing


class Recorder(Refusing):
    """A trace that records operations, and is not watched meanwhile.

    Attributes
    ----------
    note : callable or None
        What the traced code is watched by.
    watcher : callable or None
        The same, while an operation is recorded.
    """

    note: Callable | None = None
    watcher: Callable | None = None

    def record(self, op: Op, args: tuple, static: dict) -> Any:
        """The result of an operation, a symbol or several."""
        if self.note is None:
            return self._record(op, args, static)
        note, self.note = self.note, None
        self.watcher = note
        sys.setprofile(None)  # what goes on here is not the traced code's
        try:
            return self._record(op, args, static)
        finally:
            self.note, self.watcher = note, None
            sys.setprofile(note)

    def is_index(self, value: Any) -> bool:
        """Whether a value is integers that operations have to look up by when the program runs."""
        return not self.whole and getattr(value, "varying", False) and value.dtype.kind in "iu"

    def _record(self, op: Op, args: tuple, static: dict) -> Any:
        raise NotImplementedError
