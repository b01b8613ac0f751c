"""The program of a step: what tracing returns, and all later phases read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...core import Tensor
from .symbol import BATCH, Symbol, behind
from .views import resolve


@dataclass(eq=False)
class Traced:
    """A step in normal form.

    ``inputs``, ``states``: leaves; ``outputs``, ``new_states``: results; ``invariants``: the tensors that the step
    reads, by the uid of their symbol; ``drawn``: of the last inputs, which are random masks: the probability of False.
    """

    trace: Any  # the Trace that recorded it
    inputs: list[Symbol]
    states: list[Symbol]
    outputs: list[Symbol]
    new_states: list[Symbol]
    invariants: dict[int, Tensor]
    drawn: list[float] = field(default_factory=list)


def bases(traced: Traced) -> list[Symbol]:
    """The invariants that the loops read: leaves, or what is computed from them before the loop."""
    found = {base.uid: base for base in (resolve(v).base for v, _ in _invariants(traced))}
    return [found[uid] for uid in sorted(found)]


def row_constants(traced: Traced) -> set[int]:
    """Which of the bases (by uid) have a row for each batch row."""
    return {resolve(v).base.uid for v, user in _invariants(traced) if _has_rows(v, user)}


def _has_rows(v: Symbol, user: Symbol) -> bool:
    return v.ndim == 2 and v.shape[0] == BATCH and user.lowering.kind == "elementwise"


def _invariants(traced: Traced) -> list[tuple[Symbol, Symbol]]:
    """The invariants that time-varying values are computed from, each with one that is."""
    users = behind(traced.outputs + traced.new_states, lambda s: s.varying_operands)
    return [(a, s) for s in users for a in s.operands if not a.varying]


def wanted_invariants(traced: Traced, wanted: set[int]) -> set[int]:
    """The uids in `wanted`, and of the invariants that are computed from them."""
    out = set(wanted)
    symbols = sorted((s for s in traced.trace.symbols() if not s.varying), key=lambda s: s.uid)
    for s in symbols:
        if any(a.uid in out for a in s.operands):
            out.add(s.uid)
    return out


def leaves(roots: list[Symbol]) -> list[Symbol]:
    """The leaves behind `roots`."""
    return [s for s in behind(roots, lambda s: s.operands) if s.leaf is not None]
