"""Compiled scan: finds or traces a cell's program, and builds guarded calls of its loops."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from ... import compiler, config
from ...core import Tensor
from ...errors import CompileError, VerificationError
from ..cell import Cell, title_of
from .arguments import Arguments
from .attribute_path import AttributePath
from .axis_layout import SequenceLayout
from .call_cache import CellCache, GuardedCall, cache_of
from .dry_run import isolated_dry_run
from .eager import scan_eager
from .guards import guards_of
from .loop import reason_of
from .outer_state import OuterState
from .program import Program, Refusal, refusal
from .random_generators import shared_generators
from .tracing import Frozen, find_difference, trace_twice


def build_call(
    cell: Cell, arguments: Arguments, mode: str, layout: SequenceLayout
) -> tuple[GuardedCall, list[Tensor]] | None:
    """A compiled call for these arguments, and its bases; None if ``mode="auto"`` must run eagerly.

    The call is stored in the cell's cache if guards can tell whether it may run again.

    Raises
    ------
    CompileError
        With ``mode="compiled"``, if the step cannot be compiled.
    """
    if config.grad_mode.tracer is not None:  # in the step of another cell, which is being traced
        raise CompileError(
            f"{title_of(cell)}: a layer runs inside a step: call its cell's step(), or run it in begin_sequence()"
        )
    found = program_of(cell, arguments, mode, layout.batch_axis)
    if found is None:
        return None
    program, tensors = found
    inputs, _, states, state_structure, reset_states = arguments
    masks = [False] * len(program.traced.mask_probabilities)
    flags = [*[x.requires_grad for x in inputs], *masks, *[t.requires_grad for t in (*states, *tensors)]]
    train = config.is_grad_enabled() and any((*flags, *[s.requires_grad for s in reset_states or ()]))
    try:
        loop = program.loop(title_of(cell), train, flags)
    except CompileError as error:
        if mode == "compiled":
            raise CompileError(f"{title_of(cell)}: {error}") from error
        _warn(cell, (program, train), str(error))
        return None
    call, cache = GuardedCall(program, loop, state_structure), cache_of(cell)
    if reset_states is None and call.keep(cell, cache.static_attributes.last, arguments, tensors):
        cache.add_call(inputs[0], layout, call)
    return call, tensors


# ---- programs of a cell


def program_of(cell: Cell, arguments: Arguments, mode: str, batch_axis: int = 1) -> tuple[Program, list[Tensor]] | None:
    """The cell's program for these arguments, cached or traced now, and its bases; None: run eagerly."""
    cache = cache_of(cell)
    batch = arguments.inputs[0].data.shape[batch_axis]
    key: Any = None
    reason: str = ""
    try:
        key = _key(cache, cell, arguments)
    except CompileError as error:
        reason = str(error)
    # first a cached program; if its bases have other shapes by now, as after a parameter was replaced, a new one
    for retry in (False, True) if not reason else ():
        program = None if retry else _program(cache, key)
        if program is None:
            with compiler.making:
                # another thread may have traced it meanwhile
                program = None if retry else _program(cache, key)
                if program is None:
                    key, program = _trace(cache, cell, arguments, retry)
        if isinstance(program, str):
            reason = program
            break
        tensors = program.base_tensors(batch)
        if tensors is not None:
            if program.verified is None or batch in program.verified:
                return program, tensors
            reason = _verify(program, cell, arguments, batch) or ""
            if not reason:
                return program, tensors
            break
    else:  # its bases do not fit the very call that it was traced for: a constant without a row for each batch row
        reason = reason or "a constant has other rows than the batch; make it in begin_sequence(batch_size)"
    if mode == "compiled" or (key, reason) not in cache.warned:
        _raise_as_eager(cell, arguments, batch_axis, reason)
    if mode == "compiled":
        raise CompileError(f"{title_of(cell)}: {reason}")
    if mode == "auto":
        _warn(cell, key, reason)
    return None


def _key(cache: CellCache, cell: Cell, arguments: Arguments) -> tuple:
    return (
        arguments.structure,
        arguments.state_structure,
        *[(x.data.shape[2:], x.data.dtype) for x in arguments.inputs],
        *[(s.data.shape[1:], s.data.dtype) for s in arguments.states],
        cache.static_attributes.read(cell),
    )


def _program(cache: CellCache, key: tuple) -> Program | Refusal | None:
    return next((p for p in cache.programs.get(key, ()) if p.guards.hold()), None)


def _trace(cache: CellCache, cell: Cell, arguments: Arguments, anew: bool) -> tuple[tuple, Program | Refusal]:
    """Trace a program, and store it under its key; numbers that have changed become inputs, if they can.

    With `anew`, one that is there does not fit.
    """
    numbers = cache.static_attributes.numbers
    if numbers.look(cell):
        key = _changed_key(cache, cell, arguments)
        found = None if anew else _program(cache, key)
        if found is not None:
            return key, found
    found = None
    while found is None:
        inputs = numbers.present_inputs()
        try:
            found = trace_program(cell, arguments, inputs)
        except Frozen as error:
            numbers.freeze(error.places)
            continue
        if isinstance(found, str) and inputs:  # perhaps because of them, or of their values
            found = trace_program(cell, arguments)
            numbers.freeze(inputs, for_now=isinstance(found, str))
    key = _changed_key(cache, cell, arguments)
    cache.add_program(key, found)
    return key, found


def _changed_key(cache: CellCache, cell: Cell, arguments: Arguments) -> tuple:
    """The key after numbers have become inputs, which facts leave out, or have ceased to be."""
    cache.static_attributes.forget()
    return _key(cache, cell, arguments)


def _verify(program: Program, cell: Cell, arguments: Arguments, batch: int) -> str | None:
    """Compare the program with the tape for a batch size that it may have frozen; the difference, or None."""
    assert program.verified is not None
    with compiler.making:
        why = find_difference(program, cell, arguments, (batch,))
    if why is None:
        program.verified.add(batch)
    return why


def _warn(cell: Cell, key: Any, reason: str) -> None:
    """Warn that a cell runs eagerly, once for each reason."""
    warned = cache_of(cell).warned
    if (key, reason) not in warned:
        warned.add((key, reason))
        warnings.warn(f"{title_of(cell)} runs eagerly: {reason}", RuntimeWarning, stacklevel=5)


def _raise_as_eager(cell: Cell, arguments: Arguments, batch_axis: int, reason: str) -> None:
    """Run one step on the tape, which raises eager mode's error if that rejects the arguments too."""
    if OuterState(cell).refused is not None:  # it might change what cannot be put back
        return
    with compiler.making, isolated_dry_run(cell):
        firsts = [
            Tensor(x.data[:1] if batch_axis else x.data[:, :1].swapaxes(0, 1), x.requires_grad)
            for x in arguments.inputs
        ]
        random = [(put, get()) for get, put in shared_generators()]
        scan_eager(cell, arguments._replace(inputs=firsts))
        if "draws random numbers" in reason:
            for put, state in random:
                put(state)


def trace_program(cell: Cell, arguments: Arguments, numbers: Sequence[AttributePath] = ()) -> Program | Refusal:
    """Trace a step to a program, verified against the tape, or to a refusal with the reason.

    Raises
    ------
    Frozen
        If some of the `numbers`, which the cell keeps there, cannot be inputs of the program.
    """
    codes: dict = {}
    read: tuple[Tensor, ...] = ()
    try:
        compiler.check_available()
        with compiler.making:
            found = trace_twice(cell, arguments, codes, numbers)
            if numbers and compiler.tells_stand_ins(codes):
                raise Frozen([*numbers])
            read = found.traced.read
            program = Program(found.traced, found.sources, found.outputs, guards_of(cell, codes, read, found.read))
            reason = find_difference(program, cell, arguments)
        if reason is None:
            return program
    except (VerificationError, Frozen):
        raise
    except Exception as error:  # of the trace, or any error of Python's over a value that is no tensor
        reason = reason_of(error)
    return refusal(reason, cell, codes, read)
