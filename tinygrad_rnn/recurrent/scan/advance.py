"""Dispatch of a scan: by a compiled call, eagerly, or in chunks with gradient checkpointing."""

from __future__ import annotations

import functools
from typing import Any

from ... import ops
from ...config import grad_mode
from ...core import tree
from ..cell import Cell
from .anomaly import Replay, checked_loop, quietly
from .arguments import Arguments
from .axis_layout import SequenceLayout
from .call_cache import GuardedCall
from .eager import Masks, scan_eager
from .remat import Checkpointed
from .valid_steps import ValidSteps


def advance(
    cell: Cell,
    arguments: Arguments,
    mode: str,
    layout: SequenceLayout,
    steps: ValidSteps | None,
    call: GuardedCall | None = None,
) -> tuple[Any, Any]:
    """Run the cell by the compiled call that was found, else by one that is built now, else eagerly."""
    tensors = None
    if call is None and mode != "eager":
        with quietly():
            found = _builder()(cell, arguments, mode, layout)
        if found is not None:
            call, tensors = found
    if call is None:
        return _run_eagerly(cell, arguments, layout, steps)
    if grad_mode.anomaly is None:
        return call.run(arguments, layout, steps, tensors)

    def again(inputs: list, states: list, reset_states: list | None) -> tuple[Any, Any]:
        given = arguments._replace(inputs=inputs, states=states, reset_states=reset_states)
        return _run_eagerly(cell, given, layout, steps)

    # a call that was found in the cache reads parameters alone: a replay needs no other attributes of the cell
    plain = tensors is None and not call.program.traced.mask_probabilities
    replay = Replay(cell, again, arguments.inputs, arguments.states, arguments.reset_states, plain)
    return checked_loop(functools.partial(call.run, arguments, layout, steps, tensors), replay)


def in_chunks(
    cell: Cell,
    arguments: Arguments,
    mode: str,
    layout: SequenceLayout,
    steps: ValidSteps | None,
    every: int,
    outputs: bool,
) -> tuple[Any, Any]:
    """Run the cell with gradient checkpointing: only the states between chunks are kept."""
    flat = layout._replace(layer_axis=False)

    def again(inputs: list, states: list, steps: ValidSteps | None, reset_states: list | None) -> tuple[Any, Any]:
        given = arguments._replace(inputs=inputs, states=states, reset_states=reset_states)
        return advance(cell, given, mode, flat, steps)

    whole = Checkpointed(cell, again, flat, steps, every)
    ys, last = whole.run(arguments.inputs, arguments.states, arguments.reset_states, outputs)
    return ys, tree.map(lambda s: ops.expand_dims(s, 0), last) if layout.layer_axis else last


def _run_eagerly(cell: Cell, arguments: Arguments, layout: SequenceLayout, steps: ValidSteps | None) -> tuple[Any, Any]:
    masks = None if steps is None else Masks(*steps.in_running_order(layout.reverse), arguments.reset_states)
    if not layout.is_identity:
        arguments = arguments._replace(inputs=[layout.to_time_major(x) for x in arguments.inputs])
    ys, state = scan_eager(cell, arguments, masks, layout.reverse)
    ys = ys if layout.is_identity else tree.map(layout.from_time_major, ys)
    return ys, tree.map(lambda s: ops.expand_dims(s, 0), state) if layout.layer_axis else state


@functools.cache
def _builder() -> Any:
    """The builder of compiled calls, imported at first use: loading the compiler takes a while."""
    from .compiled import build_call

    return build_call
