"""Scans in a function that is being traced: the layer's loop becomes one operation of its program."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ... import ops
from ...compiler.model.program import Loop
from ...compiler.model.trace import ModelTrace
from ...config import grad_mode
from ...core import Tensor, tree
from ...errors import CompileError
from ..cell import Cell, check_state, title_of
from .arguments import Arguments, check_inputs
from .axis_layout import SequenceLayout
from .call_cache import GuardedCall, cache_of
from .dry_run import CellSnapshot, isolated_dry_run
from .loop import require_in_range
from .numbers import NumberInput
from .program import Program
from .valid_steps import TracedSteps


def trace_scan(
    cell: Cell,
    xs: Any,
    state: Any,
    mode: str,
    layout: SequenceLayout,
    steps: Any,
    reset_state: Any,
    checkpoint_every: int | None,
    return_outputs: bool,
) -> tuple[Any, Any]:
    """Record a scan; arguments and results as those of :func:`.driver.scan`.

    Raises
    ------
    CompileError
        If it cannot be part of a program.
    """
    trace: ModelTrace = grad_mode.tracer
    title = title_of(cell)
    if trace.scan is not None:
        return trace.scan(cell, xs, state, layout, steps, reset_state, return_outputs)
    if mode == "eager":
        trace.refuse_for(f'{title}: got mode="eager", whose steps run on the tape')
    leaves, structure = ([xs], tree.LEAF) if tree.holds_numbers(xs) else tree.flatten(xs)
    with trace.suspended():
        dtype = cell.dtype
    lift = lambda x: _lifted(trace, x, dtype)
    inputs = [lift(x) for x in leaves]
    stand_ins = [stand_in(trace, x) for x in inputs]
    if type(steps) is not TracedSteps and steps is not None:
        steps = steps.read(cell, inputs[0], layout)
    resets = steps is not None and "resets" in steps.reader.names
    last = () if steps is None else steps.values
    first_states = None if state is None else tree.map(lift, state)
    other_states = None if reset_state is None or not resets else tree.map(lift, reset_state)
    with trace.suspended():
        arguments = _checked(cell, tree.unflatten(structure, stand_ins), first_states, other_states, layout, trace)
    batch = arguments.inputs[0].shape[layout.batch_axis]
    time = arguments.inputs[0].shape[1 - layout.batch_axis]
    begun = cell.initial_state(batch) if first_states is None else first_states
    states = [trace.lift(s) for s in tree.flatten(begun)[0]]
    reset_states: list[Any] = []
    if resets and (state is not None or reset_state is not None):
        after = cell.initial_state(batch) if other_states is None else other_states
        reset_states = [trace.lift(s) for s in tree.flatten(after)[0]]
    call = _build(trace, cell, arguments, layout)
    program, loop, traced = call.program, call.loop, call.program.traced
    bases = _bases(trace, cell, program, batch)
    if traced.mask_probabilities:
        rows = traced.shapes.inputs[-len(traced.mask_probabilities) :]
        lead = (batch, time) if layout.batch_first else (time, batch)
        draw = lambda: [layout.from_time_major(mask) for mask in program.draw(time, batch)]
        dtypes = [loop.dtype if p is None else bool for p in traced.mask_probabilities]
        inputs += trace.drawn([((*lead, *row), dtype) for row, dtype in zip(rows, dtypes)], draw)
    chunked = checkpoint_every is not None and checkpoint_every < time and loop.train
    for check in traced.checks:
        if check.input is None or not check.what or steps is not None or chunked:
            trace.refuse_for(f"{title}: integers of its step, which are looked at after a run, at {check.where}")
        trace.check([inputs[check.input]], functools.partial(require_in_range, check, title, layout.batch_first))
    n, m = len(traced.outputs), len(states)
    reader = None if steps is None else steps.reader
    whole = Loop(loop, layout, len(inputs), m, n, len(reset_states), time, batch, reader)
    results = [((*whole.lead, *shape), loop.dtype) for shape in traced.shapes.outputs]
    results += [((1,) * layout.layer_axis + (batch, *shape), loop.dtype) for shape in traced.shapes.states]
    if chunked:
        assert checkpoint_every is not None
        rest = reset_states or (states if resets else [])
        found: Any = _in_chunks(trace, whole, inputs, states, rest, bases, steps, results, checkpoint_every)
    else:
        found = trace.loop(whole, [*inputs, *states, *reset_states, *bases, *last], results, loop.train)
    with trace.suspended():
        trace.guards.append(LoopGuards(cell, call))
    found, n = (*found[: traced.visible], *found[n:]), traced.visible  # indices were looked at before
    if traced.cast_results:
        found = tuple([y if y.dtype == d else ops.astype(y, d) for y, d in zip(found, traced.cast_results)])
    return (program.nest_outputs(found[:n]) if return_outputs else None), call.nest_states(found[n:])


def _in_chunks(
    trace: ModelTrace,
    whole: Loop,
    inputs: list,
    states: list,
    reset_states: list,
    bases: list,
    steps: TracedSteps | None,
    results: list,
    every: int,
) -> list[Any]:
    """Outputs and final states of a layer in chunks of time, each of which its gradient runs once more.

    Resets lead to `reset_states`.
    """
    axis, n, time = 1 - whole.layout.batch_axis, whole.outputs, whole.time
    whole = whole._replace(reset_states=len(reset_states))
    if steps is not None:
        if not steps.are_checked:  # a chunk would cut what is out of range
            trace.refuse_for(f"{steps.reader.owner}: checkpoint_every with lengths that are computed of floats")
        whole = whole._replace(steps=steps.reader._replace(in_range=True))
    spans = [(t, min(t + every, time)) for t in range(0, time, every)]
    pieces, finals = {}, states
    for start, stop in reversed(spans) if whole.layout.reverse else spans:
        part = (*[slice(None)] * axis, slice(start, stop))
        chunk = whole._replace(time=stop - start, again=True)
        shapes = [((*chunk.lead, *shape[2:]), dtype) for shape, dtype in results[:n]] + results[n:]
        before = [f.reshape(s.shape) for f, s in zip(finals, states)]
        last = ()
        if steps is not None:
            if whole.layout.reverse and reset_states and stop < time:
                cut = steps.cut(stop)
                rows = [cut.reshape((whole.batch,) + (1,) * (s.ndim - 1)) for s in before]
                before = [ops.where(row, r, s) for row, r, s in zip(rows, reset_states, before)]
            last = steps.part(start, stop)
        found = trace.loop(chunk, [*[x[part] for x in inputs], *before, *reset_states, *bases, *last], shapes, True)
        pieces[start], finals = found[:n], list(found[n:])
    return [*[ops.concat([pieces[start][i] for start, _ in spans], axis=axis) for i in range(n)], *finals]


def _bases(trace: ModelTrace, cell: Cell, program: Program, batch: int) -> list[Any]:
    """Values that the loop reads of parameters, and of what the cell computes once for a sequence."""
    before = CellSnapshot(cell, shared=False)
    try:
        cell.begin_sequence(batch)  # recorded, too: what it sets are values of the program
        if program.plain is None:
            bases = program.compute_bases({uid: source.get() for uid, source in program.sources})
        else:
            bases = [source.get() for source in program.plain]
        return [trace.lift(base) for base in bases]
    finally:
        before.restore()


class LoopGuards:
    """What the program of a layer's loop depends on."""

    def __init__(self, cell: Cell, call: GuardedCall):
        # as they are between sequences: while the call was built, the cell had begun one
        self.cell, self.facts = cell, cache_of(cell).static_attributes.read(cell)
        self.call, self.guards = call, (call.program.guards, call.loop.guards)
        found = [source for _, source in call.program.sources if isinstance(source, NumberInput)]
        self.numbers = [(source, source.get()) for source in found]  # the program of the function has frozen them

    def hold(self) -> bool:
        """Whether nothing has changed."""
        try:
            same = cache_of(self.cell).static_attributes.read(self.cell) == self.facts
        except CompileError:  # something that cannot be compared has come
            return False
        same = same and all(source.get() is tensor for source, tensor in self.numbers)
        return same and all(guards.hold() for guards in self.guards)


def _lifted(trace: ModelTrace, x: Any, dtype: np.dtype) -> Any:
    """An input or a state as a symbol; arrays of floats are cast to the dtype of the cell."""
    found = trace.lift(x)
    return found.astype(dtype) if trace.is_array(found) and found.dtype.kind == "f" else found


def stand_in(trace: ModelTrace, x: Any) -> Tensor:
    """A tensor of zeros with the shape, the dtype and the gradient of a traced value."""
    return Tensor(np.zeros(x.shape, x.dtype), trace.needing(x))


def _checked(cell: Cell, xs: Any, state: Any, reset_state: Any, layout: SequenceLayout, trace: ModelTrace) -> Arguments:
    """Arguments of the shapes and dtypes of the traced ones, checked as those of a call."""
    inputs, structure = check_inputs(cell, xs, layout.batch_first)
    batch = inputs[0].shape[layout.batch_axis]
    given, other = (None if s is None else tree.map(lambda s: stand_in(trace, s), s) for s in (state, reset_state))
    states, state_structure = check_state(cell, given, batch)
    if other is not None:
        check_state(cell, other, batch, "reset_state")
    return Arguments(inputs, structure, states, state_structure, None)


def _build(trace: ModelTrace, cell: Cell, arguments: Arguments, layout: SequenceLayout) -> GuardedCall:
    """The compiled call of a layer, whose loops the program runs."""
    try:
        with trace.suspended(), isolated_dry_run(cell):
            from .compiled import build_call  # at first use, unwatched

            cell.begin_sequence(arguments.inputs[0].shape[layout.batch_axis])
            found = build_call(cell, arguments, "compiled", layout)
    except CompileError as error:
        trace.refuse_for(str(error))
    assert found is not None
    return found[0]
