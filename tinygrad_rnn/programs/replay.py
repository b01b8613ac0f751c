"""Replay: a program runs on tensors of the tape, so that its gradients can be differentiated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..compiler import Symbol, order
from ..compiler.model.program import LOOP, PICK
from ..core import Tensor, apply
from ..recurrent.scan.axis_layout import as_contiguous


def replay(roots: Sequence[Symbol], values: dict[int, Any]) -> list[Tensor]:
    """The values of `roots` as tensors, from those of arguments and random masks by uid."""
    for s in order(roots, values):
        values[s.uid] = _compute(s, [values[a.uid] if isinstance(a, Symbol) else a for a in s.args])
    return [values[s.uid] for s in roots]


def _compute(s: Symbol, args: list) -> Any:
    op: Any = s.op
    if op is PICK:
        return args[0][s.static["index"]]
    if op is not LOOP:
        return apply(op, tuple(args), s.static)
    loop = s.static["loop"]
    n, m = loop.inputs, loop.inputs + loop.states
    k, steps = m + loop.reset_states, None
    if loop.steps is not None:
        args, last = args[: -len(loop.steps.names)], args[-len(loop.steps.names) :]
        steps = loop.steps.read(args[0].shape[:2], [t.data for t in last])
    bases, reset_states = args[k:], () if steps is None else args[m:k]
    arrays = [as_contiguous(t.data, loop.run.dtype) for t in bases]
    results = loop.run.run(args[:n], args[n:m], reset_states, bases, arrays, loop.layout, steps)
    visible = loop.run.n_outputs  # behind them is what was looked at before the run
    return (*results[:visible], *loop.run.hidden, *results[visible:])
