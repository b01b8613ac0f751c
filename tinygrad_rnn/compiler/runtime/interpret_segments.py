"""Interpreter of a program on the tape, for sequences of different lengths."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import ops
from ...core import Tensor
from ..ir.interpret import as_floats, as_seen, evaluate, in_rows
from ..ir.program import StepProgram, row_constants
from .segments import Segments


def replay_segments(
    traced: StepProgram, segments: Segments, inputs: list[Tensor], states: list[Tensor], bases: dict[int, Any]
) -> list[Tensor]:
    """Outputs (T, B, ...) of a program on the tape, then the states that each segment ends with.

    `inputs` lie as `segments` was made for; `states` are what each segment begins with; `bases` has rows of the
    caller's batch.
    """
    lead = inputs[0].shape[:2]
    packed = [
        x.reshape((lead[0] * lead[1], *leaf.shape[1:]))[segments.padded_row]
        for x, leaf in zip(as_floats(traced.inputs, inputs), traced.inputs)
    ]
    states = [in_rows(s, leaf, 1) for s, leaf in zip(as_floats(traced.states, states), traced.states)]
    constants = {uid: bases[uid][segments.batch_row] for uid in row_constants(traced)}
    collected: list[list] = [[] for _ in traced.outputs]
    current = [s[:0] for s in states]
    for t in range(segments.time):
        start, stop = segments.offsets[t], segments.offsets[t + 1]
        rows = int(stop - start)
        # the rows of the step before, and behind them the segments that begin with this step
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
    rows_at = np.where(
        segments.packed_row < 0, segments.rows, segments.packed_row
    )  # where it does not count, a row of zeros
    for symbol, shape, rows_of in zip(traced.outputs[: traced.visible], traced.shapes.outputs, collected):
        zero = Tensor(np.zeros((1, *symbol.shape[1:]), symbol.dtype))
        ys.append(ops.concat([*rows_of, zero])[rows_at].reshape((*lead, *shape)))
    finals = [ops.concat([s, first[s.shape[0] :]]) for s, first in zip(current, states)]
    finals = [s.reshape((s.shape[0], *shape)) for s, shape in zip(finals, traced.shapes.states)]
    return as_seen(traced, ys + finals)
