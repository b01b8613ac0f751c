"""Interpreter of programs of functions, on NumPy: the twin of their machine code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..ir.interpret import order
from ..ir.symbol import Symbol
from .program import LOOP, LOOP_GRADIENT, PICK, Loop, ModelProgram
from .regions import Region


class _LoopResults(tuple):
    """Results of a loop, with what its gradient needs."""

    context: Any
    segments: Any


def evaluate(
    program: ModelProgram, inputs: Sequence[np.ndarray], captured: Mapping[int, np.ndarray]
) -> list[np.ndarray]:
    """The outputs of a program.

    Parameters
    ----------
    inputs : arrays
        Of the shapes and dtypes of `program.inputs`.
    captured : dict
        Arrays of the captured tensors, by uid.
    """
    values: dict[int, Any] = {s.uid: a for s, a in zip(program.inputs, inputs)}
    values |= captured
    for symbols, draw in program.draws:
        values |= {s.uid: a for s, a in zip(symbols, draw())}
    for s in program.values():
        values[s.uid] = compute(s, [values[a.uid] if isinstance(a, Symbol) else a for a in s.args])
    return [values[s.uid] for s in program.outputs]


def compute(s: Symbol, args: list) -> Any:
    """The value of a symbol whose arguments are arrays and numbers."""
    if s.op is PICK:
        return args[0][s.static["index"]]
    if s.op is LOOP:
        return run_loop(s.static["loop"], args)
    if s.op is LOOP_GRADIENT:
        lead = s.args[0]
        return reverse_loop(lead.static["loop"], args[0], s.static["indices"], args[1:], lead.operands)
    assert s.op is not None
    out = s.op.forward(*args, **s.static)
    return out if isinstance(out, tuple) else np.asarray(out)


def run_region(region: Region, arrays: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Outputs of a region by uid, given the arrays of its inputs and bases."""
    values = {s.uid: arrays[s.uid] for s in (*region.inputs, *region.bases)}
    for s in order(region.values, values):
        values[s.uid] = compute(s, [values[a.uid] if isinstance(a, Symbol) else a for a in s.args])
    return {s.uid: values[s.uid] for s in region.outputs}


def run_loop(loop: Loop, operands: list[np.ndarray]) -> _LoopResults:
    """Outputs and final states of a recurrent layer."""
    run, layout = loop.run, loop.layout
    n, m = loop.inputs, loop.inputs + loop.states
    k, segments, reset_states = m + loop.reset_states, None, []
    if loop.steps is not None:
        operands, last = operands[: -len(loop.steps.names)], operands[-len(loop.steps.names) :]
        steps = loop.steps.read(operands[0].shape[:2], last)
        segments = None if steps is None else steps.segments(layout)
    given = [np.array(a, run.dtype, order="C", ndmin=1) for a in operands]
    if segments is not None:
        reset_states = given[m:k]
    inputs = given[:n]
    if segments is None:  # which gather their rows by themselves
        inputs = [np.array(layout.to_time_major(a), order="C") for a in inputs]
    ys, finals, context = run.executable.forward(
        inputs, given[n:m], given[k:], loop.time, loop.batch, loop.saves, segments, reset_states
    )
    if segments is None:
        ys = [layout.from_time_major(y) for y in ys]
    results = _LoopResults([*ys, *(finals if layout.layer_axis else [s[0] for s in finals])])
    results.context, results.segments = context, segments
    return results


def reverse_loop(
    loop: Loop, results: _LoopResults, indices: Sequence[int], cotangents: list[np.ndarray], operands: list[Symbol]
) -> tuple[np.ndarray, ...]:
    """Cotangents of the operands of a loop, zeros where nothing flows."""
    run, layout, whole = loop.run, loop.layout, results.segments is None
    grads: list[Any] = [None] * (loop.outputs + loop.states)
    for i, g in zip(indices, cotangents):
        g = layout.to_time_major(g) if whole and i < loop.outputs else g
        grads[i] = np.array(g, run.dtype, order="C", ndmin=1)
    inputs, states, bases = run.executable.backward(results.context, grads[: loop.outputs], grads[loop.outputs :])
    found = [layout.from_time_major(g) if whole and g is not None else g for g in inputs]
    states = [*states, *[None] * (loop.states + loop.reset_states - len(states))]  # where no step was left out
    found += [*states, *[bases.get(s.uid) for s in run.bases]]
    found += [None] * (len(operands) - len(found))  # lengths and masks
    return tuple(
        np.zeros(a.shape, a.dtype) if g is None else g.reshape(a.shape).astype(a.dtype, copy=False)
        for g, a in zip(found, operands)
    )
