"""What ``begin_sequence`` sets on a cell, kept apart for every sequence that is under way.

A cell has room for one sequence: what is drawn or computed when it begins is an attribute. So threads take turns with
cells that set some, and what goes on step by step puts its own back before each step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from ..cell import Cell

_FREE = nullcontext()


def keeps_some(cell: Cell) -> bool:
    """Whether ``begin_sequence`` does something, in the cell or in one that it is wrapped around."""
    begin: Any = getattr(cell.begin_sequence, "__func__", None)
    if begin is Cell.begin_sequence:
        return False
    inner = getattr(begin, "hands_on", None)
    return True if inner is None else any(map(keeps_some, inner(cell)))


def turn_of(cell: Cell) -> Any:
    """The lock that is held while such a cell runs; it is that of tracing, so nobody can wait for both in turn."""
    return _turn() if keeps_some(cell) else _FREE


def _turn() -> Any:
    from ...compile import making  # the compiler is loaded at first use

    return making


class Sequence:
    """A sequence of `cell` that goes on step by step, while others may begin in between.

    Attributes
    ----------
    keeps : bool
        Whether the cell sets anything when a sequence begins.
    """

    def __init__(self, cell: Cell, batch: int):
        self.cell, self.batch = cell, batch
        self.begin()

    def begin(self) -> None:
        """Begin anew."""
        self.keeps = keeps_some(self.cell)
        self._own: list[tuple[dict, dict]] = []
        if not self.keeps:
            return
        with _turn():
            before = [(vars(module), dict(vars(module))) for module in self.cell.modules()]
            self.cell.begin_sequence(self.batch)
            for attributes, old in before:
                own = {k: v for k, v in attributes.items() if k not in old or old[k] is not v}
                self._own.append((attributes, own))

    def owns(self, attributes: dict, name: str) -> bool:
        """Whether an attribute was set when the sequence began."""
        return any(attributes is a and name in own for a, own in self._own)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """While active, the cell has the attributes of this sequence."""
        if not self.keeps:
            yield
            return
        with _turn():
            others = [{k: a[k] for k in own if k in a} for a, own in self._own]
            for attributes, own in self._own:
                attributes.update(own)
            try:
                yield
            finally:
                for (attributes, own), other in zip(self._own, others):
                    own.update({k: attributes[k] for k in own})
                    attributes.update(other)
