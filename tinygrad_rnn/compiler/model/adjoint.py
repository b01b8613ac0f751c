"""Gradients of a traced function: the rules of its operations, recorded in the same trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...core.backward import unbroadcast
from ..ir.interpret import order
from ..ir.symbol import Symbol
from .program import LOOP, PICK
from .trace import ModelTrace


def differentiate(
    trace: ModelTrace, outputs: Sequence[Symbol], seeds: Sequence[Any], wanted: Sequence[Symbol]
) -> list[Symbol | None]:
    """Cotangents of the values in `wanted`, given those of `outputs`; None where nothing flows.

    They are recorded in `trace`, which has to be the one that records. Values are passed latest first, as the tape's
    walk does, so that sums have the same order.

    Raises
    ------
    CompileError
        If a rule cannot be traced.
    """
    cotangents: dict[int, Any] = {}
    for output, seed in zip(outputs, seeds):
        if output.uid in trace.needs:
            _add(cotangents, output, seed)
    kept = {s.uid for s in wanted}
    for s in sorted(order(outputs, ()), key=lambda s: -s.uid):
        if s.uid not in cotangents or s.op is None:
            continue
        g = cotangents[s.uid] if s.uid in kept else cotangents.pop(s.uid)
        if s.op is PICK:  # waits at the common value for those of the other results
            (lead,) = s.args
            cotangents.setdefault(lead.uid, {})[s.static["index"]] = g
            continue
        trace.at = s.where
        for a, new in zip(s.args, _pull_back(trace, s, g)):
            if new is not None and trace.needing(a):
                _add(cotangents, a, new)
    trace.at = ""
    return [cotangents.get(s.uid) for s in wanted]


def _pull_back(trace: ModelTrace, s: Symbol, g: Any) -> Sequence[Any]:
    """Cotangents of the arguments of a value, given its own (or those of its results by index)."""
    op: Any = s.op
    needs = tuple(map(trace.needing, s.args))
    if op is LOOP:
        found = trace.loop_gradient(trace.rerun(s, g) if s.static["loop"].again else s, g)
        return [next_of if need else None for next_of, need in zip(found, needs)]
    out = None if isinstance(g, dict) else s  # the rules of operations with several results do not read them
    if op.joint_vjp is not None:
        return op.joint_vjp(g, out, *s.args, needs=needs, **s.static)
    return [
        rule(g, out, *s.args, **s.static) if need and rule is not None else None for rule, need in zip(op.vjps, needs)
    ]


def _add(cotangents: dict[int, Any], s: Any, new: Any) -> None:
    if new.shape != s.shape:
        new = unbroadcast(new, s.shape)
    before = cotangents.get(s.uid)
    cotangents[s.uid] = new if before is None else before + new
