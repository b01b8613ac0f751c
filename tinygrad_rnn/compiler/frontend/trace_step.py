"""Tracing a step: run on symbols, it becomes a program in normal form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...core import Tensor
from ...errors import CompileError
from ..ir import verify
from ..ir.program import Shapes, StepProgram
from ..ir.symbol import BATCH, Symbol
from .column_cuts import overlaps
from .trace import Trace, recording


def trace_step(
    step: Callable,
    input_widths: Sequence,
    state_widths: Sequence,
    dtype,
    owned: Callable[[Tensor], bool] = lambda tensor: True,
    cuts: Mapping[int, list[int]] = {},
    stand_in: int = 211,
    watch: Callable[[Trace], Any] = recording,
) -> StepProgram:
    """Run `step` on symbols: once, or again to cut products of which it uses overlapping columns.

    Parameters
    ----------
    step : callable
        ``step(inputs, states) -> (outputs, new_states)``, flat lists.
    input_widths, state_widths : sequences of (shape of a row, dtype)
    dtype : float32 or float64
    owned : callable
        Whether a tensor that the step reads is kept outside it, so that it is looked up again at each call.
    cuts : mapping of int to list of int
        Where to cut products, see :class:`Trace`; known after an earlier run.
    stand_in : int
        How many rows of an array stand for a row for each batch row.
    watch : callable
        Makes the context in which the step runs, of the trace.
    """
    trace = Trace(dtype, owned, cuts, stand_in)

    def arguments(kind, rows):
        out = []
        words = "float, integer or bool"
        for i, (shape, kind_of) in enumerate(rows):
            if np.dtype(kind_of).kind not in "fbiu":
                raise CompileError(
                    f"{kind} {i}: got dtype {np.dtype(kind_of)}; a compiled loop takes {words} features for each batch "
                    "row"
                )
            out.append(trace.argument(kind, i, tuple(shape), np.dtype(kind_of)))
        return [row for row, _ in out], [seen for _, seen in out]

    with recording(trace):
        inputs, xs = arguments("input", input_widths)
        states, hs = arguments("state", state_widths)
    trace.n_inputs = len(inputs)
    with watch(trace):
        outputs, new_states = step(xs, hs)
        if trace.refused:
            raise CompileError(trace.refused)
    with recording(trace):
        outputs = [_row(trace, o, f"output {i}") for i, o in enumerate(outputs)]
        new_states = [_row(trace, s, f"state {i}") for i, s in enumerate(new_states)]
        for i, (old, new) in enumerate(zip(hs, new_states)):
            if old.shape != new.shape or old.dtype != new.dtype:
                raise CompileError(
                    f"state {i}: the step got {old.dtype}{list(old.shape)} and returned {new.dtype}{list(new.shape)}"
                )
        dtypes = [tuple([s.dtype for s in part]) for part in (new_states, outputs)]
        shapes = Shapes(*(tuple([s.shape[1:] for s in values]) for values in (xs, hs, outputs)), *dtypes)
        outputs, new_states = ([_held(trace, s) for s in part] for part in (outputs, new_states))
        if trace.checks:
            outputs.append(trace.concat(trace.check_rows()))
            shapes = shapes._replace(outputs=(*shapes.outputs, outputs[-1].shape[1:]))
    found = overlaps(trace.products, outputs + new_states)
    if any(not set(at) <= set(cuts.get(i, ())) for i, at in found.items()):
        more = {i: sorted({*found.get(i, ()), *cuts.get(i, ())}) for i in {*found, *cuts}}
        return trace_step(step, input_widths, state_widths, dtype, owned, more, stand_in, watch)
    program = trace.freeze(inputs, states, outputs, new_states, shapes)
    if verify.enabled:
        verify.verify_program(program)
    return program


def _row(trace: Trace, value: Any, what: str) -> Symbol:
    value = trace.lift(value)
    if not isinstance(value, Symbol):
        raise CompileError(f"{what}: got the number {value}, wanted a tensor with a row for each batch row")
    if not value.varying:
        if not value.ndim or value.shape[0] != BATCH or value.dtype.kind != "f":
            raise CompileError(f"{what}: got a constant of shape {value.shape}, wanted a row for each batch row")
        return trace.zero(value.shape) + value
    if value.leaf is not None and value.leaf[0] == "unusable":
        raise CompileError(value.static["reason"])
    return value


def _held(trace: Trace, value: Symbol) -> Symbol:
    """What a program holds of a result: a row of numbers."""
    if value.dtype.kind in "iu":
        row = trace.within(trace.flat(value), trace.limits(value.dtype))
        return trace.reshape_row(row, (BATCH,)) if value.ndim == 1 else row
    if value.dtype.kind == "b":
        return trace.map_pieces(trace.flat(value) if value.ndim > 2 else value, lambda x: trace.cast(x, trace.dtype))
    return trace.flat(value) if value.ndim > 2 else value
