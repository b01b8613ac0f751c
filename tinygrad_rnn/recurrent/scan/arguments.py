"""Arguments of a scan: inputs and states as flat lists of tensors, with their structures."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...core import Tensor, tree


class Arguments(NamedTuple):
    """Inputs and states of one sequence, flat, with their structures.

    Attributes
    ----------
    inputs : list of tensors, (T, B, ...)
        Or (B, T, ...), as the caller has them.
    structure : Structure
        Of the input of one step.
    states : list of tensors, (B, ...)
        Before the first step.
    state_structure : Structure
    reset_states : list of tensors, (B, ...), or None
        States after a reset; None: `states`.
    """

    inputs: list[Tensor]
    structure: tree.Structure
    states: list[Tensor]
    state_structure: tree.Structure
    reset_states: list[Tensor] | None = None

    @property
    def dtype(self) -> np.dtype | None:
        """The dtype of the states of floats; None if there are none."""
        return next((s.dtype for s in self.states if s.dtype.kind == "f"), None)
