"""The compiled loop as one operation of the tape, over all steps or over the valid ones."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import compiler, config, ops
from ...core import Op, Tensor, vjp_by_replay
from ...core.tensor import link
from ...errors import CompileError, InexactIntegersError, VerificationError
from .axis_layout import SequenceLayout, as_contiguous
from .eager import choose, link_zeros
from .guards import NOTHING, Guards
from .valid_steps import ValidSteps


class Run(NamedTuple):
    """One run of a loop, as its backward pass has to know it."""

    layout: SequenceLayout
    segments: compiler.Segments | None  # None: all steps count
    own_reset_states: bool  # whether resets lead to other states than the first ones
    context: Any

    @property
    def reorders_axes(self) -> bool:
        """Whether axes are moved outside of the loop, which gathers rows of segments by itself."""
        return self.segments is None and not self.layout.is_identity


class CompiledLoop:
    """A compiled loop as an operation of the tape.

    The arguments of the operation: inputs, states, states after a reset (if they are others), bases. Axes are moved
    to the caller's layout here, on arrays: on the tape, each move would be a node more.

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
        self.n_outputs, self.hidden = traced.visible, [None] * bool(traced.checks)
        self.cast_results = traced.cast_results
        self._reverses: bool | None = None
        everything = tuple(range(len(traced.inputs) + 2 * len(traced.states) + len(bases)))
        self.op = Op("recurrent_loop", self.run, joint_vjp=self.backward, untyped=everything, owns_gradients=True)

    def run(
        self,
        inputs: Sequence[Tensor],
        states: Sequence[Tensor],
        reset_states: Sequence[Tensor],
        bases: list[Tensor],
        arrays: list[np.ndarray],
        layout: SequenceLayout,
        steps: ValidSteps | None = None,
    ) -> tuple[Tensor, ...]:
        """Outputs, then final states.

        Parameters
        ----------
        reset_states : tensors (B, ...)
            With `steps`: states after a reset, if they are not `states`.
        bases, arrays : lists of tensors and of arrays
            The bases, and their values as the loop takes them: contiguous, and of its dtype.
        """
        dtype = self.dtype
        given = [t._array for t in (*inputs, *states, *reset_states)]
        n, m = len(inputs), len(inputs) + len(states)
        values, batch_first = given, layout.batch_first
        reorders_axes = steps is None and (batch_first or layout.reverse)  # as Run says it, without a call
        if reorders_axes:
            values = [*map(layout.to_time_major, given[:n]), *given[n:]]
        for i, a in enumerate(values):
            if a.dtype is not dtype or not a.flags.carray:
                if values is given:
                    values = [*given]
                values[i] = as_contiguous(a, dtype)
        segments = None if steps is None else steps.segments(layout)
        time, batch = values[0].shape[:2]
        if batch_first and not reorders_axes:
            time, batch = batch, time
        ys, finals, context = self.executable.forward(
            values[:n], values[n:m], arrays, time, batch, self.train, segments, values[m:]
        )
        if reorders_axes:
            ys = [*map(layout.from_time_major, ys)]
        if self.hidden:
            *ys, found = ys
            raise_out_of_range(self.traced.checks, found, layout.batch_first, self.executable.title)
        out = (*ys, *finals) if layout.layer_axis else (*ys, *[s[0] for s in finals])
        if self.cast_results:
            out = tuple([a.astype(d, copy=False) for a, d in zip(out, self.cast_results)])
        if not self.train:
            return tuple([Tensor(a) for a in out])
        run = Run(layout, segments, bool(reset_states), context)
        return link(self.op, (*inputs, *states, *reset_states, *bases), (*given, *arrays), {"run": run}, out)

    # ---- backward

    def backward(self, gs: dict, out, *args, needs, run: Run) -> list:
        """Cotangents of the arguments, given those of the results by their positions."""
        if any(isinstance(g, Tensor) for g in gs.values()):
            return self._replay(gs, args, needs, run)
        if not self.can_reverse():
            with config.enable_grad():
                tensors = [Tensor(a, need) for a, need in zip(args, needs)]
                found = self._replay({i: Tensor(g) for i, g in gs.items()}, tensors, needs, run)
            return [None if g is None else np.array(g.data) for g in found]
        n = self.n_outputs
        grads = [gs.get(i) for i in range(n + len(self.traced.states))]
        if self.cast_results:
            grads = [g if d == self.dtype else None for g, d in zip(grads, self.cast_results)]
        if run.reorders_axes:
            grads[:n] = [g if g is None else run.layout.to_time_major(g) for g in grads[:n]]
        grads = [g if g is None else as_contiguous(g, self.dtype) for g in grads]
        inputs, states, invariants = self.executable.backward(run.context, [*grads[:n], *self.hidden], grads[n:])
        if run.reorders_axes:
            inputs = [g if g is None else run.layout.from_time_major(g) for g in inputs]
        return [*inputs, *states, *[invariants.get(s.uid) for s in self.bases]]

    def can_reverse(self) -> bool:
        """Whether there is a backward loop; if it cannot be generated, gradients are computed on the tape."""
        if self._reverses is None:
            try:
                assert self.executable.training[1].address
                self._reverses = True
            except VerificationError:
                raise
            except Exception as error:
                self._reverses = False
                title = self.executable.title
                warnings.warn(f"{title}: gradients run eagerly: {reason_of(error)}", RuntimeWarning, stacklevel=2)
        return self._reverses

    def _replay(self, gs: dict, args: Sequence, needs: Sequence, run: Run) -> list:
        """Gradients that can be differentiated again: the program is interpreted on the tape."""
        tensors = [a if isinstance(a, Tensor) else Tensor(a) for a in args]
        n, m = len(self.traced.inputs), len(self.traced.inputs) + len(self.traced.states)
        k = m + run.own_reset_states * len(self.traced.states)
        pairs = zip(self.bases, tensors[k:])
        bases = {s.uid: a if a.dtype == s.dtype else a.astype(s.dtype) for s, a in pairs}  # loops hold floats alone
        replay = self._replay_all if run.segments is None else self._replay_segments
        results = replay(run, tensors[:n], tensors[n:m], tensors[m:k], bases)
        if run.layout.layer_axis:
            results[self.n_outputs :] = [ops.expand_dims(s, 0) for s in results[self.n_outputs :]]
        return vjp_by_replay(results, gs, tensors, needs, create_graph=True)

    def _replay_all(self, run: Run, inputs: list, states: list, reset_states: list, bases: dict) -> list[Tensor]:
        results = compiler.replay(self.traced, [run.layout.to_time_major(x) for x in inputs], states, bases)
        n = self.n_outputs
        return [*map(run.layout.from_time_major, results[:n]), *results[n:]]

    def _replay_segments(self, run: Run, inputs: list, states: list, reset_states: list, bases: dict) -> list[Tensor]:
        """Results on the tape, over the steps that count."""
        segments: Any = run.segments
        first = [s[segments.batch_row] for s in states]
        if reset_states and len(segments.reset_row):
            first = choose(segments.reset_row >= 0, [s[segments.batch_row] for s in reset_states], first)
        results = compiler.replay_segments(self.traced, segments, inputs, first, bases)
        n = self.n_outputs
        results = [*results[:n], *[s[segments.last_segment] for s in results[n:]]]
        if segments.time == 0:  # no step counts: gradients of zero, as on the tape, not None
            results = link_zeros(results, [*inputs, *bases.values()])
        return results


def raise_out_of_range(
    checks: Sequence[compiler.Check], found: np.ndarray, batch_first: bool, title: str, first: int = 0
) -> None:
    """Raise for the first step whose integers are out of range, if there is one.

    Parameters
    ----------
    found : array (T, B, 2 n) or (B, T, 2 n)
        For each check the least and the greatest number that is out of range; zeros if none is.
    first : int
        The number of the first step.
    """
    if not found.any():
        return
    found = found.swapaxes(0, 1) if batch_first else found
    t, b, i = np.argwhere(found != 0)[0]
    check, got = checks[i // 2], found[t, b, i]
    got = f"{got:.0f}"
    at = f"at {check.where}, in step {first + t} of row {b}"
    if check.what:
        raise IndexError(f"{title}: index: got {got}, wanted {check.what}, {at}")
    raise InexactIntegersError(
        f"{title}: got the integer {got} {at}, wanted ones from {check.limits[0]:.0f} to {check.limits[1]:.0f}, as a "
        'compiled loop holds them; use mode="eager"'
    )


def require_in_range(check: compiler.Check, title: str, batch_first: bool, array: np.ndarray) -> None:
    """Raise for the first step whose index, an input (T, B, ...), is out of range, if there is one."""
    low, high = check.limits
    wrong = np.where((array < low) | (array > high), array, 0)
    found = wrong.reshape(*wrong.shape[:2], -1)
    raise_out_of_range([check] * found.shape[2], found, batch_first, title)


def reason_of(error: Exception) -> str:
    """The message of an error that compilation ran into, with the place where it was raised."""
    if isinstance(error, CompileError):
        return str(error)
    where = compiler.raised_at(error)  # "?" of what the package itself complains about
    return f"{type(error).__name__}: {error}" + ("" if where == "?" else f", at {where}")
