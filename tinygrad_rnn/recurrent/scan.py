"""The driver: run a cell over the time axis of a sequence. It knows nothing of the cell that it runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..core import Tensor, as_tensor, is_float
from ..errors import DTypeError, ShapeError
from . import nest
from .arrange import Arrangement
from .cell import Cell

MODES = ("auto", "compiled", "eager")


def check_mode(mode: str) -> str:
    if mode not in MODES:
        raise ValueError(f"mode: got {mode!r}, wanted 'auto', 'compiled' or 'eager'")
    return mode


def scan(
    cell: Cell,
    xs,
    state=None,
    mode: str = "auto",
    reverse: bool = False,
    batch_first: bool = False,
    stacked: bool = False,
) -> tuple[Any, Any]:
    """Run `cell` over a sequence.

    Parameters
    ----------
    cell : Cell
    xs : Tensor or array, (T, B, ...), or a nest of such
        The inputs; T and B are at least one, and the same for all. Arrays are cast to the cell's dtype.
    state : nest of tensors, optional
        The state before the first step, fitting ``cell.initial_state(B)``, which is the default.
    mode : {"auto", "compiled", "eager"}
        How to run it; "auto" compiles what it can.
    reverse : bool
        Run from the last step to the first; outputs stay at their inputs' places.
    batch_first : bool
        Inputs and outputs are (B, T, ...) instead of (T, B, ...).
    stacked : bool
        Give the final state a first axis of length 1, as layers stack theirs.

    Returns
    -------
    ys : nest of tensors, (T, B, ...)
        The outputs of all steps.
    state : nest of tensors
        The state after the last step.

    Raises
    ------
    ShapeError, DTypeError
        If inputs or states do not fit the cell, before any step runs; or if a step changes the structure, a
        shape or a dtype of its output or state.
    CompileError
        With ``mode="compiled"``, if the step cannot be compiled.
    """
    check_mode(mode)
    inputs, structure = _check_inputs(cell, xs, batch_first)
    arrange = Arrangement(batch_first, reverse, stacked)
    batch = inputs[0].data.shape[arrange.batch_axis]
    states, state_structure = check_state(cell, state, batch)
    cell.begin_sequence(batch)
    if mode != "eager":
        result = _compiled()(cell, inputs, structure, states, state_structure, mode, arrange)
        if result is not None:
            return result
    inputs = [arrange.inward(x) for x in inputs] if arrange.moves else inputs
    ys, state = _eager(cell, inputs, structure, states, state_structure)
    ys = nest.map(arrange.outward, ys) if arrange.moves else ys
    return ys, nest.map(lambda s: ops.expand_dims(s, 0), state) if stacked else state


_road: Any = None


def _compiled() -> Any:
    """The compiled road; the compiler is loaded at first use."""
    global _road
    if _road is None:
        from .compiled import scan_compiled

        _road = scan_compiled
    return _road


def _eager(cell: Cell, inputs: list[Tensor], structure, leaves, state_structure) -> tuple[Any, Any]:
    """Unroll the step on the tape; the backward walk over it is backpropagation through time."""
    state = nest.unflatten(state_structure, leaves)
    steps = list(zip(*(ops.unstack(x) for x in inputs)))
    wanted = _specs(leaves)
    collected, output_structure, outputs = [], None, None
    for t, xs in enumerate(steps):
        result = cell.step(nest.unflatten(structure, xs), state)
        if type(result) is not tuple or len(result) != 2:
            raise ShapeError(
                f"{type(cell).__name__}.step: returned {_kind(result)}, wanted the pair (output, next_state)"
            )
        y, state = result
        leaves, its = nest.flatten(state)
        if its != state_structure or _specs(leaves) != wanted:
            _reject(cell, "next_state", t, leaves, its, wanted, state_structure)
        ys, its = nest.flatten(y)
        if outputs is None:
            output_structure, outputs = its, _specs(ys)
            _check_output(cell, t, ys, inputs[0].shape[1])
        elif its != output_structure or _specs(ys) != outputs:
            _reject(cell, "output", t, ys, its, outputs, output_structure)
        collected.append(ys)
    return nest.unflatten(output_structure, [ops.stack(column) for column in zip(*collected)]), state


# ---- checks, before any work


def _check_inputs(cell: Cell, xs, batch_first: bool = False) -> tuple[list[Tensor], nest.Structure]:
    """The sequences in `xs` as tensors that fit the cell, and the structure of one step's input."""
    name = type(cell).__name__
    leaves, structure = nest.flatten(xs)
    if not leaves:
        raise ShapeError(f"{name}: xs: got no sequence, wanted at least one; for a cell without input, (T, B, 0)")
    dtype, size = cell.dtype, cell.input_size
    tensors = [as_input(x, dtype, f"{name}: xs") for x in leaves]
    plain = size is not None and structure is nest.LEAF
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


def as_input(x, dtype: np.dtype, argument: str) -> Tensor:
    """`x` as a tensor of `dtype`, or of integers; only arrays are cast."""
    if not isinstance(x, Tensor):
        x = as_tensor(x)
        return x.astype(dtype) if is_float(x.dtype) else x
    if is_float(x.dtype) and x.dtype != dtype:
        raise DTypeError(f"{argument}: got a {x.dtype} tensor, wanted {dtype} as the cell; cast one of them")
    return x


def check_state(cell: Cell, state, batch: int) -> tuple[list[Tensor], nest.Structure]:
    """The tensors of `state`, which fits the cell, and its structure; without one, the cell's initial state."""
    template, structure = nest.flatten(cell.initial_state(batch))
    for s in template:
        if not isinstance(s, Tensor) or not s.data.ndim or s.data.shape[0] != batch:
            name = type(cell).__name__
            raise ShapeError(f"{name}.initial_state({batch}): got {_kind(s)}, wanted tensors ({batch}, ...)")
    if state is None:
        return template, structure
    name = type(cell).__name__
    leaves, its = nest.flatten(state)
    if its != structure:
        raise ShapeError(f"{name}: state: got {nest.describe(its)}, wanted {nest.describe(structure)}")
    checked = []
    for s, t in zip(leaves, template):
        if not isinstance(s, Tensor):
            s = as_tensor(s, t.dtype)
        if s.shape != t.shape:
            raise ShapeError(f"{name}: state: got shape {s.shape}, wanted {t.shape}")
        if s.dtype != t.dtype:
            raise DTypeError(f"{name}: state: got a {s.dtype} tensor, wanted {t.dtype}")
        checked.append(s)
    return checked, structure


# ---- checks of what a step returns


def _specs(leaves) -> list:
    return [(x.data.shape, x.data.dtype) if isinstance(x, Tensor) else type(x) for x in leaves]


def _check_output(cell: Cell, t: int, leaves, batch: int) -> None:
    for y in leaves:
        if not isinstance(y, Tensor) or not y.shape or y.shape[0] != batch:
            raise ShapeError(
                f"{type(cell).__name__}.step: output at t={t}: got {_kind(y)}, wanted tensors ({batch}, ...)"
            )


def _reject(cell: Cell, what: str, t: int, leaves, structure, wanted, wanted_structure) -> None:
    """Say how a step's output or state differs from what it was before."""
    place = f"{type(cell).__name__}.step: {what} at t={t}"
    if structure != wanted_structure:
        raise ShapeError(f"{place}: got {nest.describe(structure)}, wanted {nest.describe(wanted_structure)}")
    for x, spec in zip(leaves, wanted):
        shape, dtype = spec
        if not isinstance(x, Tensor):
            raise DTypeError(f"{place}: got {_kind(x)}, wanted a tensor")
        if x.shape != shape:
            raise ShapeError(f"{place}: got shape {x.shape}, wanted {shape} as before the step")
        if x.dtype != dtype:
            raise DTypeError(f"{place}: got {x.dtype}, wanted {dtype} as before the step")


def _kind(value) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {value.shape}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return type(value).__name__
