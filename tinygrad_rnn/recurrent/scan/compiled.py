"""The compiled road of :func:`scan`: a cell's step becomes a program, and the whole loop one node of the tape."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ... import compile as compiler
from ... import config
from ...compile.frontend.watch import watching
from ...core import Tensor, tree
from ...errors import CompileError
from ...modules.dropout import keep_masks
from ..cell import Cell
from .arguments import Arguments
from .axis_layout import Arrangement
from .call_cache import CellCache, GuardedCall, cache_of
from .eager import scan_eager
from .guards import NOTHING, Guards, guards_of
from .loop import CompiledLoop, reason_of
from .settings import look_up, rehearsal, shared_generators
from .tracing import differs, trace_twice


class Program:
    """One compiled form of a cell: for one structure of inputs and states, one dtype and one set of settings.

    Attributes
    ----------
    traced : StepProgram
    bases : list of Symbol
        What the loops read: invariants, and what is computed from them before the loop.
    sources : list
        (uid, where to find its tensor) of each invariant.
    read : list
        Of `sources`, those that bases are or are computed from.
    plain : list or None
        Where to find each base, if none has to be computed.
    guards : Guards
        What was read of globals, classes and closures.
    verified : set or None
        Sizes of the batch for which the program was held against the tape, if it has to be for each.
    """

    def __init__(self, traced, sources, output_structure, guards: Guards = NOTHING):
        self.traced = traced
        self.guards = guards
        self.verified: set[int] | None = set() if traced.leaked else None
        self.sources = sources
        self.output_structure, self.nest_outputs = output_structure, tree.builder(output_structure)
        self.bases = compiler.bases(traced)
        self.loops: dict[tuple, CompiledLoop | Refusal] = {}
        where = dict(sources)
        self.plain = [where[s.uid] for s in self.bases] if all(s.uid in where for s in self.bases) else None
        self._leaves = {s.uid: s for s in compiler.leaves(self.bases)}
        self.read = [(uid, source) for uid, source in sources if uid in self._leaves]
        self._computed = compiler.order(self.bases, where)
        self._wanted: tuple[int, list] = (0, [])

    def draw(self, time: int, batch: int) -> list[np.ndarray]:
        """The random masks of a sequence, (T, B, ...), which the loops take as further inputs."""
        drawn = self.traced.drawn
        if not drawn:
            return []
        return keep_masks([x.shape[1:] for x in self.traced.inputs[-len(drawn) :]], drawn, time, batch)

    def base_tensors(self, batch: int) -> list[Tensor] | None:
        """Today's tensors, or None if they no longer have the shapes and dtypes of the trace.

        What is computed from parameters alone runs on the tape here.
        """
        if self.plain is not None:
            tensors = [look_up(source) for source in self.plain]
        else:
            values = {uid: look_up(source) for uid, source in self.sources}
            if not all(_fits(t, self._leaves[uid], batch) for uid, t in values.items() if uid in self._leaves):
                return None
            tensors = self.compute_bases(values)
        known, wanted = self._wanted
        if known != batch:
            rows = compiler.row_constants(self.traced)
            shapes = [(batch, *s.shape[1:]) if s.uid in rows else s.shape for s in self.bases]
            wanted = [(shape, s.dtype) for shape, s in zip(shapes, self.bases)]
            self._wanted = batch, wanted
        return tensors if [(t.data.shape, t.data.dtype) for t in tensors] == wanted else None

    def compute_bases(self, values: dict[int, Tensor]) -> list[Tensor]:
        """The bases, computed on the tape from invariants by uid; `values` is filled in."""
        compiler.compute(self._computed, values)
        return [values[s.uid] for s in self.bases]

    def loop(self, title: str, train: bool, flags: Sequence[bool]) -> CompiledLoop:
        """The loop for arguments (inputs, states, bases) of which these need gradients, which decides what it computes.

        Raises
        ------
        CompileError
            If there is none, as a derivative rule cannot be traced, or code cannot be generated.
        """
        wanted = tuple(flags) if train else ()
        found = self.loops.get(wanted)
        if found is None or not found.guards.hold():
            with compiler.making:
                found = self.loops.get(wanted)
                if found is None or not found.guards.hold():
                    found = self.loops[wanted] = self._make_loop(title, train, wanted or (False,) * len(flags))
        if isinstance(found, str):
            raise CompileError(found)
        return found

    def _make_loop(self, title: str, train: bool, flags: tuple) -> CompiledLoop | Refusal:
        n_inputs = len(self.traced.inputs)
        uids = {s.uid for s, w in zip(self.bases, flags[n_inputs + len(self.traced.states) :]) if w}
        codes: dict = {}
        try:
            plan = compiler.Plan(self.traced, flags[:n_inputs], uids, lambda trace: watching(trace, codes))
            executable = compiler.Executable(plan, title)
            executable.prepare(train)
        except Exception as error:  # of a derivative rule, or of what generates code
            return refusal(f"{'gradients: ' if train else ''}{reason_of(error)}", None, codes)
        return CompiledLoop(self.traced, self.bases, executable, train, guards_of(None, codes, ()))


def _fits(tensor: Tensor, symbol, batch: int) -> bool:
    shape = tuple(batch if n == compiler.BATCH else n for n in symbol.shape)
    return tensor.shape in (shape, symbol.shape) and tensor.dtype == symbol.dtype


def build_call(
    cell: Cell, arguments: Arguments, mode: str, arrange: Arrangement
) -> tuple[GuardedCall, list[Tensor]] | None:
    """The compiled call for these arguments, kept if it may be made again, and what it reads.

    None if ``mode="auto"`` must run eagerly.

    Raises
    ------
    CompileError
        With ``mode="compiled"``, if the step cannot be compiled.
    """
    if config.grad_mode.tracer is not None:  # the step of another cell is being traced
        raise CompileError(
            f"{cell._title}: a layer runs inside a step: call its cell's step(), or run it in begin_sequence()"
        )
    found = program_of(cell, arguments, mode, arrange.batch_axis)
    if found is None:
        return None
    program, tensors = found
    inputs, _, states, state_structure, fresh = arguments
    masks = [False] * len(program.traced.drawn)
    flags = [*[x.requires_grad for x in inputs], *masks, *[t.requires_grad for t in (*states, *tensors)]]
    train = config.is_grad_enabled() and any((*flags, *[s.requires_grad for s in fresh or ()]))
    try:
        loop = program.loop(cell._title, train, flags)
    except CompileError as error:
        if mode == "compiled":
            raise CompileError(f"{cell._title}: {error}") from error
        _warn(cell, (program, train), str(error))
        return None
    call, cache = GuardedCall(program, loop, state_structure), cache_of(cell)
    if fresh is None and call.keep(cell, cache.settings.last, arguments, tensors):
        cache.add_call(inputs[0], arrange, call)
    return call, tensors


# ---- programs of a cell


class Refusal(str):
    """Why a step cannot be compiled, as long as its `guards` hold."""

    guards: Guards = NOTHING


def refusal(reason: str, cell: Cell | None, codes: dict, read: Iterable[Tensor] = ()) -> Refusal:
    """A refusal of what this code has read."""
    found = Refusal(reason)
    with contextlib.suppress(CompileError):  # too much to be watched: then it is for good
        found.guards = guards_of(cell, codes, read)
    return found


def program_of(cell: Cell, arguments: Arguments, mode: str, batch_axis: int = 1) -> tuple[Program, list[Tensor]] | None:
    """The cell's program for arguments like these, traced if need be, and the tensors that it reads."""
    known = cache_of(cell)
    batch = arguments.inputs[0].data.shape[batch_axis]
    key: Any = None
    reason: str = ""
    try:
        key = _key(known, cell, arguments)
    except CompileError as error:
        reason = str(error)
    for retry in (False, True) if not reason else ():
        program = None if retry else _program(known, key)
        if program is None:
            with compiler.making:
                program = None if retry else _program(known, key)
                if program is None:
                    program = trace_program(cell, arguments)
                    known.add_program(key, program)
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
    else:  # not even those that it was traced with: a constant that does not have a row for each batch row
        reason = reason or "a constant has other rows than the batch; make it in begin_sequence(batch_size)"
    if mode == "compiled" or (key, reason) not in known.warned:
        _raise_as_eager(cell, arguments, batch_axis, reason)
    if mode == "compiled":
        raise CompileError(f"{cell._title}: {reason}")
    if mode == "auto":
        _warn(cell, key, reason)
    return None


def _key(known: CellCache, cell: Cell, arguments: Arguments) -> tuple:
    return (
        arguments.structure,
        arguments.state_structure,
        *[(x.data.shape[2:], x.data.dtype) for x in arguments.inputs],
        *[(s.data.shape[1:], s.data.dtype) for s in arguments.states],
        known.settings.read(cell),
    )


def _program(known: CellCache, key: tuple) -> Program | Refusal | None:
    return next((p for p in known.programs.get(key, ()) if p.guards.hold()), None)


def _verify(program: Program, cell: Cell, arguments: Arguments, batch: int) -> str | None:
    """Hold the program against the tape for a size of the batch that it may have seen in numbers."""
    assert program.verified is not None
    with compiler.making:
        why = differs(program, cell, arguments, (batch,))
    if why is None:
        program.verified.add(batch)
    return why


def _warn(cell: Cell, key: Any, reason: str) -> None:
    """Say once why a cell runs eagerly."""
    warned = cache_of(cell).warned
    if (key, reason) not in warned:
        warned.add((key, reason))
        warnings.warn(f"{cell._title} runs eagerly: {reason}", RuntimeWarning, stacklevel=5)


def _raise_as_eager(cell: Cell, arguments: Arguments, batch_axis: int, reason: str) -> None:
    """Run one step on the tape: what eager mode rejects is rejected with the same error."""
    with compiler.making, rehearsal(cell):
        firsts = [
            Tensor(x.data[:1] if batch_axis else x.data[:, :1].swapaxes(0, 1), x.requires_grad)
            for x in arguments.inputs
        ]
        random = [(put, get()) for get, put in shared_generators()]
        scan_eager(cell, arguments._replace(inputs=firsts))
        if "draws random numbers" in reason:
            for put, state in random:
                put(state)


def trace_program(cell: Cell, arguments: Arguments) -> Program | Refusal:
    """The program of a step, or why there is none."""
    codes: dict = {}
    read: tuple[Tensor, ...] = ()
    try:
        compiler.check_available()
        with compiler.making:
            found = trace_twice(cell, arguments, codes)
            read = found.traced.read
            program = Program(found.traced, found.sources, found.outputs, guards_of(cell, codes, read))
            reason = differs(program, cell, arguments)
        if reason is None:
            return program
    except Exception as error:  # of the trace, or whatever Python met that only tensors have
        reason = reason_of(error)
    return refusal(reason, cell, codes, read)
