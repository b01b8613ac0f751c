"""Compiled scan: traces the step to a program, compiles loops, and builds guarded calls of them."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ... import compile as compiler
from ... import config
from ...core import Tensor, tree
from ...errors import CompileError, VerificationError
from ...modules.dropout import keep_masks
from ..cell import Cell, title_of
from .arguments import Arguments
from .axis_layout import SequenceLayout
from .call_cache import CellCache, GuardedCall, cache_of
from .dry_run import isolated_dry_run, shared_generators
from .eager import scan_eager
from .guards import NOTHING, Guards, guards_of
from .loop import CompiledLoop, reason_of
from .tracing import find_difference, trace_twice


class Program:
    """A traced step with its loops, for one structure, one dtype and one set of static attributes.

    Attributes
    ----------
    traced : StepProgram
    bases : list of Symbol
        The loop invariants: parameters, and values that are computed from them before the loop.
    sources : list of (uid, AttributePath)
        Where the cell keeps the tensor of each invariant of the trace.
    read : list
        Of `sources`, those that the bases are or are computed from.
    plain : list of AttributePath, or None
        Where the cell keeps each base, if none has to be computed.
    guards : Guards
        On globals, classes and closures that the step has read.
    verified : set or None
        Batch sizes for which the program was compared with the tape; None if that is not needed, as the trace did not
        see the batch size as a number.
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
        """Random masks for a sequence, (T, B, ...), as further inputs of the loops."""
        probabilities = self.traced.mask_probabilities
        if not probabilities:
            return []
        return keep_masks([x.shape[1:] for x in self.traced.inputs[-len(probabilities) :]], probabilities, time, batch)

    def base_tensors(self, batch: int) -> list[Tensor] | None:
        """The present tensors of the bases; None if they no longer have the shapes and dtypes of the trace.

        Bases that are computed from parameters are computed here, on the tape.
        """
        if self.plain is not None:
            tensors = [source.get() for source in self.plain]
        else:
            values = {uid: source.get() for uid, source in self.sources}
            if not all(_fits(t, self._leaves[uid], batch) for uid, t in values.items() if uid in self._leaves):
                return None
            tensors = self.compute_bases(values)
        size, wanted = self._wanted
        if size != batch:
            rows = compiler.row_constants(self.traced)
            shapes = [(batch, *s.shape[1:]) if s.uid in rows else s.shape for s in self.bases]
            wanted = [(shape, s.dtype) for shape, s in zip(shapes, self.bases)]
            self._wanted = batch, wanted
        return tensors if [(t.data.shape, t.data.dtype) for t in tensors] == wanted else None

    def compute_bases(self, values: dict[int, Tensor]) -> list[Tensor]:
        """The bases, computed on the tape from invariants by uid, which are added to `values`."""
        compiler.compute(self._computed, values)
        return [values[s.uid] for s in self.bases]

    def loop(self, title: str, train: bool, flags: Sequence[bool]) -> CompiledLoop:
        """The loop that computes gradients by those arguments (inputs, states, bases) whose flags are set.

        Raises
        ------
        CompileError
            If a derivative rule cannot be traced, or code cannot be generated.
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
            plan = compiler.Plan(self.traced, flags[:n_inputs], uids, lambda trace: compiler.watching(trace, codes))
            executable = compiler.Executable(plan, title)
            executable.prepare(train)
        except VerificationError:
            raise
        except Exception as error:  # of a derivative rule, or of what generates code
            return refusal(f"{'gradients: ' if train else ''}{reason_of(error)}", None, codes)
        return CompiledLoop(self.traced, self.bases, executable, train, guards_of(None, codes, ()))


def _fits(tensor: Tensor, symbol, batch: int) -> bool:
    shape = tuple(batch if n == compiler.BATCH else n for n in symbol.shape)
    return tensor.shape in (shape, symbol.shape) and tensor.dtype == symbol.dtype


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


class Refusal(str):
    """The reason why a step cannot be compiled, valid while its `guards` hold."""

    guards: Guards = NOTHING


def refusal(reason: str, cell: Cell | None, codes: dict, read: Iterable[Tensor] = ()) -> Refusal:
    """A refusal with guards on all that the code has read: if they fail, the step is traced again."""
    found = Refusal(reason)
    with contextlib.suppress(CompileError):  # more than guards can compare: the refusal is final
        found.guards = guards_of(cell, codes, read)
    return found


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
    for retry in (False, True) if not reason else ():
        program = None if retry else _program(cache, key)
        if program is None:
            with compiler.making:
                program = None if retry else _program(cache, key)
                if program is None:
                    program = trace_program(cell, arguments)
                    cache.add_program(key, program)
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


def trace_program(cell: Cell, arguments: Arguments) -> Program | Refusal:
    """Trace a step to a program, verified against the tape, or to a refusal with the reason."""
    codes: dict = {}
    read: tuple[Tensor, ...] = ()
    try:
        compiler.check_available()
        with compiler.making:
            found = trace_twice(cell, arguments, codes)
            read = found.traced.read
            program = Program(found.traced, found.sources, found.outputs, guards_of(cell, codes, read))
            reason = find_difference(program, cell, arguments)
        if reason is None:
            return program
    except VerificationError:
        raise
    except Exception as error:  # of the trace, or any error of Python's over a value that is no tensor
        reason = reason_of(error)
    return refusal(reason, cell, codes, read)
