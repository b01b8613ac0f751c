"""A compiled loop over sequences of different lengths, as an operation of the tape."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import compile as compiler
from ... import ops
from ...core import Op, Tensor, apply, pull_back
from .axis_layout import solid
from .eager import choose


class RaggedLoop:
    """Runs the steps that count, and puts outputs and final states where the caller expects them.

    The arguments of the operation: inputs, states, the states of rows that begin anew (if they are others), bases.
    """

    def __init__(self, traced, bases: list, executable, train: bool):
        self.traced, self.bases, self.train = traced, bases, train
        self.executable = compiler.RaggedExecutable(executable)
        self.dtype = executable.dtype
        everything = tuple(range(len(traced.inputs) + 2 * len(traced.states) + len(bases)))
        self.op = Op("ragged_loop", self._forward, joint_vjp=self._backward, untyped=everything)

    def run(
        self,
        inputs: list[Tensor],
        states: list[Tensor],
        fresh: list[Tensor] | None,
        bases: list[Tensor],
        ragged,
        stacked,
    ) -> Any:
        """Outputs, then final states."""
        args = (*inputs, *states, *(fresh or ()), *bases)
        tape = {"ragged": ragged, "stacked": stacked, "fresh": fresh is not None}
        return apply(self.op, args, {"tape": tape})

    def _parts(self, args, tape) -> tuple[list, list, list, list]:
        n, m = len(self.traced.inputs), len(self.traced.states)
        k = n + m + m * tape["fresh"]
        return [*args[:n]], [*args[n : n + m]], [*args[n + m : k]], [*args[k:]]

    def _forward(self, *arrays, tape):
        inputs, states, fresh, bases = self._parts([solid(a, self.dtype) for a in arrays], tape)
        again = fresh if tape["fresh"] else None
        ys, finals, tape["context"] = self.executable.forward(tape["ragged"], inputs, states, again, bases, self.train)
        return (*ys, *[s[None] for s in finals]) if tape["stacked"] else (*ys, *finals)

    def _backward(self, gs: dict, out, *args, needs, tape):
        if any(isinstance(g, Tensor) for g in gs.values()):
            return self._replay(gs, args, needs, tape)
        ragged, n = tape["ragged"], len(self.traced.outputs)
        outputs = [self._given(gs.get(i), ragged.lead, y) for i, y in enumerate(self.traced.outputs)]
        finals = [self._given(gs.get(i), (len(ragged.last),), s) for i, s in enumerate(self.traced.states, n)]
        inputs, states, fresh, invariants = self.executable.backward(tape["context"], outputs, finals)
        return [*inputs, *states, *fresh, *[invariants.get(s.uid) for s in self.bases]]

    def _given(self, g, lead: tuple, like) -> np.ndarray:
        """A cotangent as the loop takes it."""
        shape = (*lead, *like.shape[1:])
        return np.zeros(shape, self.dtype) if g is None else solid(g, self.dtype).reshape(shape)

    def _replay(self, gs: dict, args, needs, tape):
        """Gradients that can be differentiated again: run the program on the tape."""
        ragged = tape["ragged"]
        tensors = [a if isinstance(a, Tensor) else Tensor(a) for a in args]
        inputs, states, fresh, bases = self._parts(tensors, tape)
        begun = [s[ragged.owner] for s in states]
        if fresh and len(ragged.fresh):
            begun = choose(ragged.fresh >= 0, [s[ragged.owner] for s in fresh], begun)
        named = {s.uid: a for s, a in zip(self.bases, bases)}
        results = compiler.replay_ragged(self.traced, ragged, inputs, begun, named)
        n = len(self.traced.outputs)
        results[n:] = [s[ragged.last] for s in results[n:]]
        if tape["stacked"]:
            results[n:] = [ops.expand_dims(s, 0) for s in results[n:]]
        return pull_back(results, gs, tensors, needs, create_graph=True)
