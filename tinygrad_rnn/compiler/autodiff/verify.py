"""Verifier of adjoints: what the reverse step computes fits the program, and what was asked for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from ..frontend.trace import Trace
from ..ir.symbol import BATCH, Symbol
from ..ir.verify import describe, fault, verify_values
from ..ir.walk import reachable
from .reverse_step import Adjoint

PHASE = "adjoint"


def verify_adjoint(
    trace: Trace,
    adj: Adjoint,
    results: tuple[Sequence[Symbol], Sequence[Symbol]],
    arguments: tuple[Sequence[Symbol], Sequence[Symbol]],
    wanted: tuple[Sequence[bool], Collection[int]],
) -> None:
    """Check an adjoint.

    Parameters
    ----------
    results : (outputs, new states) of the step
    arguments : (inputs, states) of the step
    wanted : (for each input whether its gradient is wanted, uids of the invariants)

    Raises
    ------
    VerificationError
        If there is a fault.
    """
    roots = [*adj.states, *(g for g in adj.inputs if g is not None)]
    roots += [s for p in adj.products for s in p] + [s for r in adj.reductions for s in r]
    roots += [s for table, index, g, _ in adj.scatters for s in (table, index, g)]
    known = {s.uid: s for s in (*arguments[0], *arguments[1], *trace.values())}
    seeds: dict[Any, Symbol] = {}
    for s in reachable(roots, lambda s: s.operands):
        if s.leaf is not None and s.leaf[0] in ("cotangent", "carry"):
            _check_seed(s, seeds, results)
            known[s.uid] = s
    verify_values(PHASE, roots, known, trace.dtype, trace.stand_in)
    inputs, states = arguments
    if [g is not None for g in adj.inputs] != [bool(w) for w in wanted[0]] or len(adj.states) != len(states):
        fault(PHASE, f"got gradients of inputs {adj.inputs} and states {adj.states}, wanted those of {wanted[0]}")
    for x, g in zip((*inputs, *states), (*adj.inputs, *adj.states)):
        if g is not None and (g.shape != x.shape or g.dtype != trace.dtype or not g.varying):
            fault(PHASE, f"the gradient of {x!r} is {describe(g)}")
    for w, a, g in adj.products:
        _check_wanted(w, wanted[1])
        if w.shape != (a.width, g.width) or a.ndim != 2 or g.ndim != 2 or not (a.varying and g.varying):
            fault(PHASE, f"the gradient of {describe(w)} is the product of ({describe(a)}).T and {describe(g)}")
    for table, index, g, padding in adj.scatters:
        _check_wanted(table, wanted[1])
        fits = index.ndim == g.ndim == 2 and g.width == index.width * table.shape[1] and padding < table.shape[0]
        if not fits or not (index.varying and g.varying):
            fault(PHASE, f"the gradient of {describe(table)} is {describe(g)}, by {describe(index)}")
    for v, g in adj.reductions:
        _check_wanted(v, wanted[1])
        features = 1 if v.shape[-1:] in ((), (1,)) or v.shape == (BATCH,) else v.shape[-1]
        if not g.varying or g.width != features or g.dtype != trace.dtype:
            fault(PHASE, f"the gradient of {describe(v)} is the sum of {describe(g)}, wanted {features} features")


def _check_seed(s: Symbol, seeds: dict, results: tuple) -> None:
    """A cotangent that the loop is given: one for each result, of its shape."""
    kind, index = s.leaf  # type: ignore[misc]
    of = results[kind == "carry"]
    if index >= len(of) or s.shape != of[index].shape or seeds.setdefault(s.leaf, s) is not s:
        fault(PHASE, f"{s!r} is no cotangent of a result, or there are two")


def _check_wanted(v: Symbol, wanted: Collection[int]) -> None:
    if v.varying or v.uid not in wanted:
        fault(PHASE, f"{describe(v)}: got a gradient that was not asked for")
