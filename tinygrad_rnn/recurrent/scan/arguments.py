"""Arguments of a scan: inputs and states as flat lists of tensors, with their structures."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...core import Tensor, tree
from ...errors import ShapeError
from ..as_tensors import as_input
from ..cell import Cell, title_of


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


def check_inputs(cell: Cell, xs, batch_first: bool = False) -> tuple[list[Tensor], tree.Structure]:
    """The sequences in `xs` as tensors that fit the cell, and the structure of one step's input.

    Raises
    ------
    ShapeError, DTypeError
    """
    name = title_of(cell)
    leaves, structure = ([xs], tree.LEAF) if tree.holds_numbers(xs) else tree.flatten(xs)
    if not leaves:
        raise ShapeError(f"{name}: xs: got no sequence, wanted at least one; for a cell without input, (T, B, 0)")
    dtype, size = cell.dtype, cell.input_size
    tensors = [as_input(x, dtype, f"{name}: xs") for x in leaves]
    plain = size is not None and structure is tree.LEAF
    lead = tensors[0].data.shape[:2]
    for x in tensors:
        shape = x.data.shape
        if len(shape) < 2 or (plain and len(shape) != 3):
            axes = "B, T" if batch_first else "T, B"
            wanted = f"({axes}, {size})" if size is not None else f"({axes}, ...)"
            raise ShapeError(f"{name}: xs: got shape {shape}, wanted {wanted}")
        if shape[0] < 1 or shape[1] < 1:
            what = "an empty sequence" if shape[1 if batch_first else 0] < 1 else "an empty batch"
            raise ShapeError(f"{name}: xs: got shape {shape}, {what}, wanted T >= 1 and B >= 1")
        if shape[:2] != lead:
            raise ShapeError(
                f"{name}: xs: got sequences of shapes {tensors[0].shape} and {shape}, wanted one T and one B"
            )
    if plain and shape[2] != size:
        raise ShapeError(f"{name}: xs: got {shape[2]} features in shape {shape}, wanted {size}")
    return tensors, structure
