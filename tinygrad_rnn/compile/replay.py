"""Replaying a program on the tape: what gradients of gradients go through, and a twin of the generated loops."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

import numpy as np

from .. import ops
from ..core import Tensor, apply
from .plan import Traced, row_constants
from .ragged import Ragged
from .rules import ALIAS, CAST, CONCAT, SLICE, SPREAD, ZERO
from .symbol import Symbol


def evaluate(roots: list[Symbol], values: dict[int, Any], batch: int = 1) -> list[Any]:
    """The values of `roots`, given those of leaves (or of any other symbols) by uid; `values` is filled in."""
    compute(order(roots, values), values, batch)
    return [values[r.uid] for r in roots]


def order(roots: Iterable[Symbol], known: Container[int]) -> list[Symbol]:
    """What has to be computed to get at `roots`, and when; uids in `known` are given."""
    found: dict[int, Symbol] = {}
    for root in roots:
        stack = [root]
        while stack:
            s = stack[-1]
            if s.uid in found or s.uid in known:
                stack.pop()
                continue
            missing = [a for a in s.operands if a.uid not in found and a.uid not in known]
            if missing:
                stack += missing
                continue
            found[s.uid] = s
            stack.pop()
    return list(found.values())


def compute(symbols: Iterable[Symbol], values: dict[int, Any], batch: int) -> None:
    """Fill in the values of `symbols`, which are in order."""
    for s in symbols:
        values[s.uid] = _compute(s, [values[a.uid] if isinstance(a, Symbol) else a for a in s.args], batch)


def _compute(s: Symbol, args: list, batch: int) -> Any:
    op: Any = s.op
    if op is SLICE:
        return args[0][..., s.static["start"] : s.static["stop"]]
    if op is CAST:
        return args[0].astype(s.dtype)
    if op is ALIAS:
        return args[0].reshape((batch, 1) if s.ndim == 2 else (batch,))
    if op is SPREAD:
        return ops.broadcast_to(args[0], (batch, s.width))
    if op is CONCAT:
        return ops.concat(args, axis=-1)
    if op is ZERO:
        return Tensor(np.zeros((batch, *s.shape[1:]), s.dtype))
    if op.name.startswith("output"):
        return args[0][s.static["index"]]
    return apply(op, tuple(args), s.static)


def _as_traced(traced: Traced, inputs: list[Tensor]) -> list[Tensor]:
    """Integers as the floats that loops take them as."""
    return [x if x.dtype == s.dtype else x.astype(s.dtype) for x, s in zip(inputs, traced.inputs)]


def replay(traced: Traced, inputs: list[Tensor], states: list[Tensor], bases: dict[int, Any]) -> list[Tensor]:
    """Run the program over time on the tape: outputs of all steps (T, B, ...), then final states."""
    columns = [ops.unstack(x) for x in _as_traced(traced, inputs)]
    collected: list[list] = [[] for _ in traced.outputs]
    for t in range(inputs[0].shape[0]):
        values: dict[int, Any] = dict(bases)
        values |= {x.uid: column[t] for x, column in zip(traced.inputs, columns)}
        values |= {s.uid: v for s, v in zip(traced.states, states)}
        results = evaluate(traced.outputs + traced.new_states, values, inputs[0].shape[1])
        for ys, y in zip(collected, results):
            ys.append(y)
        states = results[len(traced.outputs) :]
    return [ops.stack(ys) for ys in collected] + list(states)


def replay_ragged(
    traced: Traced, ragged: Ragged, inputs: list[Tensor], states: list[Tensor], bases: dict[int, Any]
) -> list[Tensor]:
    """The same for sequences of different lengths: outputs (T, B, ...), then what each segment ends with.

    `inputs` lie as `ragged` was made for; `states` are what each segment begins with; `bases` has rows of the
    caller's batch.
    """
    lead = inputs[0].shape[:2]
    packed = [x.reshape((lead[0] * lead[1], *x.shape[2:]))[ragged.source] for x in _as_traced(traced, inputs)]
    constants = {uid: bases[uid][ragged.owner] for uid in row_constants(traced)}
    collected: list[list] = [[] for _ in traced.outputs]
    current = [s[:0] for s in states]
    for t in range(ragged.time):
        start, stop = ragged.offsets[t], ragged.offsets[t + 1]
        rows = int(stop - start)
        current = [ops.concat([s, first[s.shape[0] : rows]]) for s, first in zip(current, states)]
        values: dict[int, Any] = dict(bases)
        values |= {uid: value[:rows] for uid, value in constants.items()}
        values |= {x.uid: p[start:stop] for x, p in zip(traced.inputs, packed)}
        values |= {s.uid: v for s, v in zip(traced.states, current)}
        results = evaluate(traced.outputs + traced.new_states, values, rows)
        for ys, y in zip(collected, results):
            ys.append(y)
        current = results[len(traced.outputs) :]
    ys = []
    places = np.where(ragged.now < 0, ragged.rows, ragged.now)  # where it does not count, a row of zeros
    for symbol, rows_of in zip(traced.outputs, collected):
        zero = Tensor(np.zeros((1, *symbol.shape[1:]), symbol.dtype))
        ys.append(ops.concat([*rows_of, zero])[places].reshape((*lead, *symbol.shape[1:])))
    return ys + [ops.concat([s, first[s.shape[0] :]]) for s, first in zip(current, states)]
