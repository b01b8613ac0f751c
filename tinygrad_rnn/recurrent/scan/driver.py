"""The driver: checks the arguments of a sequence, and runs any cell over its time axis."""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import numpy as np

from ... import config
from ...checks import flag, one_of, whole_number
from ...config import grad_mode
from ...core import Tensor, tree
from ...errors import InexactIntegersError, OutOfMemoryError
from ..as_tensors import as_input
from ..cell import Cell, check_state, sequence_lock, title_of
from .advance import advance, in_chunks
from .arguments import Arguments, check_inputs
from .axis_layout import SequenceLayout
from .call_cache import cache_of, find_call
from .valid_steps import ValidSteps, read_valid_steps

LARGE = 1 << 24  # T * B from which on the memory that it needs is compared with what is free
MODES = ("auto", "compiled", "eager")


def check_mode(mode: str) -> str:
    """`mode`, which is one of MODES."""
    return one_of("mode", mode, MODES)


def check_every(every: Any, owner: str) -> int | None:
    """`checkpoint_every`, which is None or a whole number from 1 on."""
    if every is None:
        return None
    return whole_number(f"{owner}: checkpoint_every", every, wanted="None or a whole number, at least 1")


def scan(
    cell: Cell,
    xs,
    state=None,
    mode: str = "auto",
    reverse: bool = False,
    batch_first: bool = False,
    lengths=None,
    mask=None,
    resets=None,
    reset_state=None,
    checkpoint_every: int | None = None,
    return_outputs: bool = True,
) -> tuple[Any, Any]:
    """Run `cell` over a sequence.

    Parameters
    ----------
    cell : Cell
    xs : Tensor or array, (T, B, ...), or a nest of such
        The inputs; T and B are at least one, and the same for all. Arrays of floats are cast to the cell's dtype;
        integers stay what they are, and a step may compute with them or look them up.
    state : nest of tensors, optional
        The state before the first step, fitting ``cell.initial_state(B)``, which is the default.
    mode : {"auto", "compiled", "eager"}
        How to run it; "auto" compiles what it can.
    reverse : bool
        Run from the last step to the first; outputs stay at their inputs' places.
    batch_first : bool
        Inputs and outputs are (B, T, ...) instead of (T, B, ...).
    lengths : ints (B,), optional
        Steps of each row that count, from the first on: from 0 to T, in any order. Rows end there: what lies behind
        is not read, outputs there are zero, the final state is that after the last step that counts (the first state
        of a row without any), and with `reverse` a row starts there.
    mask : bools (T, B), optional
        Steps that count. At the others the state is carried through, and outputs are zero. With `lengths` too, those
        count that both let pass.
    resets : bools (T, B), optional
        Steps before which a row is reset, as at the beginning of an episode, also where `mask` leaves them out: its
        state becomes `reset_state`, and no gradients flow into the steps before. The sequence is cut between steps
        t - 1 and t, whichever way it is run.
    reset_state : nest of tensors, optional
        State after a reset. Default: ``cell.initial_state(B)``, whatever `state` is.
    checkpoint_every : int, optional
        Gradient checkpointing: keep the state after so many steps only; the backward pass runs the steps between two
        of them once more. Memory for T / checkpoint_every + checkpoint_every steps, which is least near the square
        root of T, for the price of a second forward pass. Same results, same gradients.
    return_outputs : bool
        False: return None instead of the outputs; with `checkpoint_every`, they take no memory then.

    Returns
    -------
    ys : nest of tensors, (T, B, ...)
        The outputs of all steps.
    state : nest of tensors
        The state after the last step.

    Raises
    ------
    ShapeError, DTypeError, ValueError
        If inputs, states, lengths or masks do not fit the cell and each other, before any step runs; or if a step
        changes the structure, a shape or a dtype of its output or state.
    CompileError
        With ``mode="compiled"``, if the step cannot be compiled.

    Notes
    -----
    Where not all steps count, compiled loops run the rows alone that have a step to do, so that the time depends on the
    number of steps that count. Neither results nor gradients depend on the others.
    """
    if checkpoint_every is not None:
        check_every(checkpoint_every, title_of(cell))
    if not type(batch_first) is type(reverse) is type(return_outputs) is bool:  # else there is nothing to call
        batch_first, reverse = flag("batch_first", batch_first), flag("reverse", reverse)
        return_outputs = flag("return_outputs", return_outputs)
    steps = None
    if not (lengths is None and mask is None and resets is None):
        steps = UncheckedSteps(lengths, mask, resets)
    return run(
        cell,
        xs,
        state,
        mode,
        SequenceLayout(batch_first, reverse),
        steps,
        reset_state,
        checkpoint_every,
        return_outputs,
    )


class UncheckedSteps(NamedTuple):
    """`lengths`, `mask` and `resets` as given; they are checked once the shape of the inputs is known."""

    lengths: Any
    mask: Any
    resets: Any

    def read(self, cell: Cell, x: Tensor, layout: SequenceLayout) -> ValidSteps | None:
        """The valid steps of an input `x`; None if all are."""
        return read_valid_steps(title_of(cell), x.shape[:2], *self, layout.batch_first)


def run(
    cell: Cell,
    xs,
    state,
    mode: str,
    layout: SequenceLayout,
    steps: ValidSteps | UncheckedSteps | None = None,
    reset_state: Any = None,
    checkpoint_every: int | None = None,
    return_outputs: bool = True,
) -> tuple[Any, Any]:
    """Run :func:`scan` with checked arguments: layers check `steps` once for several cells."""
    if type(mode) is not str or mode not in MODES:
        check_mode(mode)
    if grad_mode.tracer is not None and grad_mode.tracer.whole:
        from .traced_scan import trace_scan  # at first use, as importing the compiler takes a while

        return trace_scan(cell, xs, state, mode, layout, steps, reset_state, checkpoint_every, return_outputs)
    begins = getattr(cell.begin_sequence, "__func__", None) is not Cell.begin_sequence
    try:
        if begins:
            with sequence_lock(cell):
                return _run(cell, xs, state, mode, layout, steps, reset_state, checkpoint_every, return_outputs, True)
        return _run(cell, xs, state, mode, layout, steps, reset_state, checkpoint_every, return_outputs, False)
    except OutOfMemoryError:
        raise
    except MemoryError as error:
        raise _no_room(cell, xs, layout) from error


def _no_room(cell: Cell, xs, layout: SequenceLayout) -> MemoryError:
    """The error for a sequence that does not fit into memory, with a lower bound of its size."""
    from ...compiler import out_of_memory  # at first use, as importing the compiler takes a while

    shapes = [np.shape(getattr(x, "data", x)) for x in tree.flatten(xs)[0]]
    batch, time = (shapes[0][axis] for axis in (layout.batch_axis, 1 - layout.batch_axis))
    return out_of_memory(title_of(cell), time, batch, "the sequence", _least(cell, shapes))


def _least(cell: Cell, shapes: list[tuple]) -> int:
    """A lower bound of the bytes of a sequence: of its inputs, or of its outputs."""
    inputs = sum(math.prod(shape) for shape in shapes)
    outputs = math.prod(shapes[0][:2]) * (cell.output_size or cell.hidden_size or 1)
    return max(inputs, outputs) * cell.dtype.itemsize


def _run(
    cell: Cell,
    xs,
    state,
    mode: str,
    layout: SequenceLayout,
    steps: Any,
    reset_state: Any,
    checkpoint_every: int | None,
    return_outputs: bool,
    begins: bool,
) -> tuple[Any, Any]:
    """Run a guarded call, or check the arguments and advance; `begins`: there is a begin_sequence."""
    arguments = call = None
    if mode != "eager" and checkpoint_every is None and not _has_reset_state(steps, state, reset_state):
        call = find_call(cell, xs, layout)
    if call is not None:
        if not isinstance(xs, Tensor):
            xs = as_input(xs, call.dtype, f"{title_of(cell)}: xs")
        batch = xs._array.shape[0 if layout.batch_first else 1]
        states = call.match_states(cell, state, batch)
        if states is not None:
            arguments = Arguments([xs], tree.LEAF, states, call.state_structure)
            if type(steps) is UncheckedSteps:
                steps = steps.read(cell, xs, layout)
            if begins:
                cell.begin_sequence(batch)
            if (begins or call.initial is None) and not call.guards_hold(cell, cache_of(cell).static_attributes):
                call = None  # begin_sequence() or initial_state() has changed something
    if arguments is None:
        call, (inputs, structure) = None, check_inputs(cell, xs, layout.batch_first)
        if type(steps) is UncheckedSteps:
            steps = steps.read(cell, inputs[0], layout)
        batch = inputs[0].shape[layout.batch_axis]
        states, state_structure = check_state(cell, state, batch)
        reset_states = None
        if _has_reset_state(steps, state, reset_state):
            reset_states, _ = check_state(cell, reset_state, batch, "reset_state")
        arguments = Arguments(inputs, structure, states, state_structure, reset_states)
        cell.begin_sequence(batch)
    if call is None:
        time = arguments.inputs[0].shape[1 - layout.batch_axis]
        if time * batch > LARGE:
            from ...compiler import check_memory  # at first use, as importing the compiler takes a while

            check_memory(title_of(cell), time, batch, _least(cell, [x.shape for x in arguments.inputs]), "the sequence")
        if checkpoint_every is not None and checkpoint_every < time and config.is_grad_enabled():
            return in_chunks(cell, arguments, mode, layout, steps, checkpoint_every, return_outputs)
    try:
        if call is not None and grad_mode.anomaly is None:
            ys, last = call.run(arguments, layout, steps)
        else:
            ys, last = advance(cell, arguments, mode, layout, steps, call)
    except InexactIntegersError as error:
        if mode == "compiled":
            raise
        warnings.warn(f"{title_of(cell)} runs eagerly this once: {error}", RuntimeWarning, stacklevel=4)
        ys, last = advance(cell, arguments, "eager", layout, steps)
    return ys if return_outputs else None, last


def _has_reset_state(steps: ValidSteps | UncheckedSteps | None, state: Any, reset_state: Any) -> bool:
    """Whether a reset leads to another state than the one that the sequence starts from."""
    return steps is not None and steps.resets is not None and not (state is None and reset_state is None)


def check_returns(return_states: str, return_outputs: bool) -> tuple[bool, bool]:
    """The two options of a call as truth values: all states, and outputs."""
    if return_outputs is True and isinstance(return_states, str) and return_states == "final":  # at most calls
        return False, True
    return one_of("return_states", return_states, ("final", "all")) == "all", flag("return_outputs", return_outputs)
