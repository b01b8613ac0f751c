"""A traced step with its loops, or the refusal that says why there is none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence

import numpy as np

from ... import compiler
from ...core import Tensor, tree
from ...errors import CompileError, VerificationError
from ...modules.dropout import keep_masks
from ...modules.module import Module
from .guards import NOTHING, Guards, guards_of
from .loop import CompiledLoop, reason_of


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
        self.loops: dict[tuple, CompiledLoop | Refusal] = {}  # by the arguments that need gradients
        where = dict(sources)
        self.plain = [where[s.uid] for s in self.bases] if all(s.uid in where for s in self.bases) else None
        self._leaves = {s.uid: s for s in compiler.leaves(self.bases)}
        self.read = [(uid, source) for uid, source in sources if uid in self._leaves]
        self._computed = compiler.order(self.bases, where)
        self._wanted: tuple[int, list] = (0, [])  # shapes and dtypes of the bases for the last batch size

    def draw(self, time: int, batch: int) -> list[np.ndarray]:
        """Random masks for a sequence, (T, B, ...), as further inputs of the loops."""
        probabilities = self.traced.mask_probabilities
        if not probabilities:
            return []
        return keep_masks(self.traced.shapes.inputs[-len(probabilities) :], probabilities, time, batch)

    def base_tensors(self, batch: int) -> list[Tensor] | None:
        """The present tensors of the bases; None if they no longer have the shapes and dtypes of the trace.

        Bases that are computed from parameters are computed here, on the tape.
        """
        if self.plain is not None:
            tensors = [source.get() for source in self.plain]
        else:
            values = {uid: source.get() for uid, source in self.sources}
            if not self.fits(values, batch):
                return None
            tensors = self.compute_bases(values)
        size, wanted = self._wanted
        if size != batch:
            rows = compiler.row_constants(self.traced)
            shapes = [(batch, *s.shape[1:]) if s.uid in rows else s.shape for s in self.bases]
            wanted = [(shape, s.dtype) for shape, s in zip(shapes, self.bases)]
            self._wanted = batch, wanted
        return tensors if [(t.data.shape, t.data.dtype) for t in tensors] == wanted else None

    def fits(self, values: dict[int, Tensor], batch: int) -> bool:
        """Whether invariants, by uid, have the shapes and dtypes of the trace."""
        return all(_fits(t, self._leaves[uid], batch) for uid, t in values.items() if uid in self._leaves)

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
            with compiler.making:  # another thread may have made it while this one waited
                found = self.loops.get(wanted)
                if found is None or not found.guards.hold():
                    found = self.loops[wanted] = self._make_loop(title, train, wanted or (False,) * len(flags))
        if isinstance(found, str):
            raise CompileError(found)
        return found

    def _make_loop(self, title: str, train: bool, flags: tuple) -> CompiledLoop | Refusal:
        """The loop for these gradients, compiled, or the reason why there is none."""
        n_inputs = len(self.traced.inputs)
        # initial states have no flag of their own: the backward loop computes their gradients on its way anyhow
        uids = {s.uid for s, w in zip(self.bases, flags[n_inputs + len(self.traced.states) :]) if w}
        codes: dict = {}
        try:
            plan = compiler.Plan(self.traced, flags[:n_inputs], uids, lambda trace: compiler.watching(trace, codes))
            executable = compiler.Executable(plan, title)
            executable.prepare(train)
            return CompiledLoop(self.traced, self.bases, executable, train, guards_of(None, codes, ()))
        except VerificationError:
            raise
        except Exception as error:  # of a derivative rule, or of what generates code
            return refusal(f"{'gradients: ' if train else ''}{reason_of(error)}", None, codes)


def _fits(tensor: Tensor, symbol, batch: int) -> bool:
    shape = tuple(batch if n == compiler.BATCH else n for n in symbol.shape)
    return tensor.shape in (shape, symbol.shape) and tensor.dtype == symbol.dtype


class Refusal(str):
    """The reason why a step cannot be compiled, valid while its `guards` hold."""

    guards: Guards = NOTHING


def refusal(reason: str, cell: Module | None, codes: dict, read: Iterable[Tensor] = ()) -> Refusal:
    """A refusal with guards on all that the code has read: if they fail, the step is traced again."""
    found = Refusal(reason)
    with contextlib.suppress(CompileError):  # more than guards can compare: the refusal is final
        found.guards = guards_of(cell, codes, read)
    return found
