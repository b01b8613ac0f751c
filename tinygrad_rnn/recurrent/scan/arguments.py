"""What a cell is run on, as one thing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...core import Tensor, tree


class Arguments(NamedTuple):
    """Sequences and states, flat, and how a step has them nested.

    Attributes
    ----------
    inputs : list of tensors, (T, B, ...)
        Or (B, T, ...), as the caller has them.
    structure : Structure
        Of the input of one step.
    states : list of tensors, (B, ...)
        Before the first step.
    state_structure : Structure
    fresh : list of tensors, (B, ...), or None
        What rows begin anew with, if it is not `states`.
    """

    inputs: list[Tensor]
    structure: tree.Structure
    states: list[Tensor]
    state_structure: tree.Structure
    fresh: list[Tensor] | None = None

    @property
    def dtype(self) -> np.dtype | None:
        """Of the states that hold numbers."""
        return next((s.dtype for s in self.states if s.dtype.kind == "f"), None)
