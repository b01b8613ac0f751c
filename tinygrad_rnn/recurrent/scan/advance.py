"""Runs a cell whose sequence has begun: by a compiled call, on the tape, or in chunks that are run once more."""

from __future__ import annotations

import functools
from typing import Any

from ... import ops
from ...config import grad_mode
from ...core import tree
from ..cell import Cell
from .anomaly import Replay, quietly, watched
from .arguments import Arguments
from .axis_layout import Arrangement
from .call_cache import GuardedCall
from .eager import Masks, scan_eager
from .valid_steps import Steps


def advance(
    cell: Cell,
    arguments: Arguments,
    mode: str,
    arrange: Arrangement,
    steps: Steps | None,
    call: GuardedCall | None = None,
) -> tuple[Any, Any]:
    """Run the cell, whose sequence has begun: by the call that was found, or by one that is made now."""
    tensors = None
    if call is None and mode != "eager":
        with quietly():
            found = _builder()(cell, arguments, mode, arrange)
        if found is not None:
            call, tensors = found
    if call is None:
        return _on_the_tape(cell, arguments, arrange, steps)
    if grad_mode.anomaly is None:
        return call.run(arguments, arrange, steps, tensors)

    def again(inputs: list, states: list, fresh: list | None) -> tuple[Any, Any]:
        return _on_the_tape(cell, arguments._replace(inputs=inputs, states=states, fresh=fresh), arrange, steps)

    plain = tensors is None and not call.program.traced.drawn
    replay = Replay(cell, again, arguments.inputs, arguments.states, arguments.fresh, plain)
    return watched(functools.partial(call.run, arguments, arrange, steps, tensors), replay)


def in_chunks(
    cell: Cell, arguments: Arguments, mode: str, arrange: Arrangement, steps: Steps | None, every: int, outputs: bool
) -> tuple[Any, Any]:
    """Run the cell, whose sequence has begun, and keep the states between chunks of time alone."""
    from .remat import Checkpointed

    flat = arrange._replace(stacked=False)

    def again(inputs: list, states: list, steps: Steps | None, fresh: list | None) -> tuple[Any, Any]:
        return advance(cell, arguments._replace(inputs=inputs, states=states, fresh=fresh), mode, flat, steps)

    whole = Checkpointed(cell, again, flat, steps, every)
    ys, last = whole.run(arguments.inputs, arguments.states, arguments.fresh, outputs)
    return ys, tree.map(lambda s: ops.expand_dims(s, 0), last) if arrange.stacked else last


def _on_the_tape(cell: Cell, arguments: Arguments, arrange: Arrangement, steps: Steps | None) -> tuple[Any, Any]:
    masks = None if steps is None else Masks(*steps.running(arrange.reverse), arguments.fresh)
    if arrange.moves:
        arguments = arguments._replace(inputs=[arrange.inward(x) for x in arguments.inputs])
    ys, state = scan_eager(cell, arguments, masks, arrange.reverse)
    ys = tree.map(arrange.outward, ys) if arrange.moves else ys
    return ys, tree.map(lambda s: ops.expand_dims(s, 0), state) if arrange.stacked else state


@functools.cache
def _builder() -> Any:
    """What makes compiled calls; the compiler is loaded at first use."""
    from .compiled import build_call

    return build_call
