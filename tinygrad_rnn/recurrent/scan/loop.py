"""A compiled loop as one operation of the tape, over all steps or over those that count."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import compile as compiler
from ... import config, ops
from ...core import Op, Tensor, pull_back
from ...core.tensor import link
from ...errors import CompileError
from .axis_layout import Arrangement, solid
from .eager import choose, link_zeros
from .guards import NOTHING, Guards
from .valid_steps import Steps


class Run(NamedTuple):
    """One run of a loop: what its backward pass has to know of it."""

    arrange: Arrangement
    segments: compiler.Segments | None  # None: all steps count
    fresh: bool  # whether rows begin anew from states of their own
    context: Any

    @property
    def moves(self) -> bool:
        """Whether axes are moved here: jobs of the loop bring rows of segments to their places themselves."""
        return self.segments is None and self.arrange.moves


class CompiledLoop:
    """A compiled loop as an operation of the tape.

    The arguments of the operation: inputs, states, the states of rows that begin anew (if they are others), bases.
    How the caller wants its axes (:class:`Arrangement`) is done on arrays here: moved on the tape, each would be a
    node more.

    Parameters
    ----------
    traced : StepProgram
    bases : list of Symbol
    executable : Executable
    train : bool
        Whether runs are recorded.
    guards : Guards
        What derivative rules have read of globals, classes and closures.
    """

    def __init__(self, traced, bases: list, executable, train: bool, guards: Guards = NOTHING):
        self.traced, self.bases, self.executable, self.train, self.guards = traced, bases, executable, train, guards
        self.dtype = executable.dtype
        self.n_outputs = len(traced.outputs)
        self._reverses: bool | None = None
        everything = tuple(range(len(traced.inputs) + 2 * len(traced.states) + len(bases)))
        self.op = Op("recurrent_loop", self.run, joint_vjp=self.backward, untyped=everything, fresh=True)

    def run(
        self,
        inputs: Sequence[Tensor],
        states: Sequence[Tensor],
        fresh: Sequence[Tensor],
        bases: list[Tensor],
        arrays: list[np.ndarray],
        arrange: Arrangement,
        steps: Steps | None = None,
    ) -> tuple[Tensor, ...]:
        """Outputs, then final states.

        Parameters
        ----------
        fresh : tensors (B, ...)
            With `steps`: what rows begin anew with, if it is not `states`.
        bases, arrays : lists of tensors and of arrays
            The same, as the loop takes them: contiguous, and of its dtype.
        """
        dtype = self.dtype
        given = [t._array for t in (*inputs, *states, *fresh)]
        n, m = len(inputs), len(inputs) + len(states)
        values, batch_first = given, arrange.batch_first
        moves = steps is None and (batch_first or arrange.reverse)
        if moves:
            values = [*map(arrange.inward, given[:n]), *given[n:]]
        for i, a in enumerate(values):
            if a.dtype is not dtype or not a.flags.carray:
                if values is given:
                    values = [*given]
                values[i] = solid(a, dtype)
        segments = None if steps is None else steps.segments(arrange)
        time, batch = values[0].shape[:2]
        if batch_first and not moves:
            time, batch = batch, time
        ys, finals, context = self.executable.forward(
            values[:n], values[n:m], arrays, time, batch, self.train, segments, values[m:]
        )
        if moves:
            ys = map(arrange.outward, ys)
        out = (*ys, *finals) if arrange.stacked else (*ys, *[s[0] for s in finals])
        if not self.train:
            return tuple([Tensor(a) for a in out])
        run = Run(arrange, segments, bool(fresh), context)
        return link(self.op, (*inputs, *states, *fresh, *bases), (*given, *arrays), {"run": run}, out)

    # ---- the way back

    def backward(self, gs: dict, out, *args, needs, run: Run) -> list:
        """Cotangents of the operation's arguments, given those of its results by their places."""
        if any(isinstance(g, Tensor) for g in gs.values()):
            return self._replay(gs, args, needs, run)
        if not self.can_reverse():
            with config.enable_grad():
                tensors = [Tensor(a, need) for a, need in zip(args, needs)]
                found = self._replay({i: Tensor(g) for i, g in gs.items()}, tensors, needs, run)
            return [None if g is None else np.array(g.data) for g in found]
        n = self.n_outputs
        grads = [gs.get(i) for i in range(n + len(self.traced.states))]
        if run.moves:
            grads[:n] = [g if g is None else run.arrange.inward(g) for g in grads[:n]]
        grads = [g if g is None else solid(g, self.dtype) for g in grads]
        inputs, states, invariants = self.executable.backward(run.context, grads[:n], grads[n:])
        if run.moves:
            inputs = [g if g is None else run.arrange.outward(g) for g in inputs]
        return [*inputs, *states, *[invariants.get(s.uid) for s in self.bases]]

    def can_reverse(self) -> bool:
        """Whether there is a backward loop; if code cannot be generated, gradients come from the tape."""
        if self._reverses is None:
            try:
                assert self.executable.training[1].address
                self._reverses = True
            except Exception as error:
                self._reverses = False
                title = self.executable.title
                warnings.warn(f"{title}: gradients run eagerly: {reason_of(error)}", RuntimeWarning, stacklevel=2)
        return self._reverses

    def _replay(self, gs: dict, args: Sequence, needs: Sequence, run: Run) -> list:
        """Gradients that can be differentiated again: run the program on the tape."""
        tensors = [a if isinstance(a, Tensor) else Tensor(a) for a in args]
        n, m = len(self.traced.inputs), len(self.traced.inputs) + len(self.traced.states)
        k = m + run.fresh * len(self.traced.states)
        bases = {s.uid: a for s, a in zip(self.bases, tensors[k:])}
        replay = self._replay_all if run.segments is None else self._replay_segments
        results = replay(run, tensors[:n], tensors[n:m], tensors[m:k], bases)
        if run.arrange.stacked:
            results[self.n_outputs :] = [ops.expand_dims(s, 0) for s in results[self.n_outputs :]]
        return pull_back(results, gs, tensors, needs, create_graph=True)

    def _replay_all(self, run: Run, inputs: list, states: list, fresh: list, bases: dict) -> list[Tensor]:
        results = compiler.replay(self.traced, [run.arrange.inward(x) for x in inputs], states, bases)
        n = self.n_outputs
        return [*map(run.arrange.outward, results[:n]), *results[n:]]

    def _replay_segments(self, run: Run, inputs: list, states: list, fresh: list, bases: dict) -> list[Tensor]:
        segments: Any = run.segments
        begun = [s[segments.owner] for s in states]
        if fresh and len(segments.fresh):
            begun = choose(segments.fresh >= 0, [s[segments.owner] for s in fresh], begun)
        results = compiler.replay_segments(self.traced, segments, inputs, begun, bases)
        n = self.n_outputs
        results = [*results[:n], *[s[segments.last] for s in results[n:]]]
        if segments.time == 0:  # no step counts: as on the tape, what the steps would have read gets zeros
            results = link_zeros(results, [*inputs, *bases.values()])
        return results


def reason_of(error: Exception) -> str:
    """What went wrong while a step was compiled, in words."""
    if isinstance(error, CompileError):
        return str(error)
    return f"{type(error).__name__}: {error}, at {compiler.raised_at(error)}"
