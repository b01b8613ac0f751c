"""Open sequences: attributes that ``begin_sequence`` sets on a cell, kept apart for each of them.

A cell has room for one sequence, as what is drawn or computed when it begins is an attribute. So each step puts the
attributes of its own sequence in place, and those of the others back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..cell import Cell, sets_attributes, tracing_lock


class OpenSequence:
    """A sequence of `cell` that runs step by step, while others may begin in between.

    Attributes
    ----------
    sets_attributes : bool
        Whether the cell may set attributes when a sequence begins.
    """

    def __init__(self, cell: Cell, batch: int):
        self.cell, self.batch = cell, batch
        self.begin()

    def begin(self) -> None:
        """Call ``begin_sequence``, and note the attributes that it sets."""
        self.sets_attributes = sets_attributes(self.cell)
        self._own: list[tuple[dict, dict]] = []
        if not self.sets_attributes:
            return
        with tracing_lock():
            before = [(vars(module), dict(vars(module))) for module in self.cell.modules()]
            self.cell.begin_sequence(self.batch)
            for attributes, old in before:
                own = {k: v for k, v in attributes.items() if k not in old or old[k] is not v}
                self._own.append((attributes, own))

    def owns(self, attributes: dict, name: str) -> bool:
        """Whether an attribute belongs to this sequence."""
        return any(attributes is a and name in own for a, own in self._own)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Context in which the cell has the attributes of this sequence."""
        if not self.sets_attributes:
            yield
            return
        with tracing_lock():
            others = [{k: a[k] for k in own if k in a} for a, own in self._own]
            for attributes, own in self._own:
                attributes.update(own)
            try:
                yield
            finally:
                for (attributes, own), other in zip(self._own, others):
                    own.update({k: attributes[k] for k in own})
                    attributes.update(other)
