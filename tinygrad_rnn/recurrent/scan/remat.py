"""Gradient checkpointing in time: keep a few states, and run each chunk once more when its gradient is due."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ... import config
from ...core import Op, Tensor, apply, counting_from, is_float, pull_back, tree
from ...core.node import clock
from ...errors import GraphError
from ..cell import Cell
from .axis_layout import Arrangement
from .eager import choose
from .reading import read_before, stand_in
from .sequence import turn_of
from .settings import Snapshot, trial
from .valid_steps import Steps


class Chunk(NamedTuple):
    """Time steps from `start` to `stop`, and what differed when they were run first."""

    start: int
    stop: int
    states: list[np.ndarray]  # before the chunk
    then: Snapshot  # of the cell


class Checkpointed:
    """A sequence that is run in chunks, as one operation of the tape.

    The memory of a chunk is given back before the next one runs; what stays are the states between chunks. The backward
    pass goes through the chunks in the opposite order, and runs each once more to have what its gradient needs. So it
    takes memory for T / every states and for one chunk, and at most one forward pass more.

    Parameters
    ----------
    cell : Cell
        Its attributes are put back, as they were, while a chunk runs again.
    advance : callable
        ``advance(inputs, states, steps, fresh) -> (ys, state)`` runs the cell over the sequences in lists of tensors.
    arrange : Arrangement
    steps : Steps or None
    every : int
        Time steps of a chunk.

    References
    ----------
    Chen, Xu, Zhang, Guestrin, "Training deep nets with sublinear memory cost", 2016.
    """

    def __init__(self, cell: Cell, advance: Callable, arrange: Arrangement, steps: Steps | None, every: int):
        self.cell, self.advance, self.arrange, self.steps, self.every = cell, advance, arrange, steps, every
        self.chunks: list[Chunk] = []
        self.base = 0 if config.grad_mode.anomaly is None else config.grad_mode.anomaly.base

    def run(
        self, inputs: list[Tensor], states: list[Tensor], fresh: list[Tensor] | None, return_outputs: bool = True
    ) -> tuple[Any, Any]:
        """Outputs (or None) and final state, as of `advance`; `fresh` is what rows begin anew with, if not `states`."""
        fresh = states if fresh is None and self.steps is not None and self.steps.resets is not None else fresh
        self.counts = [len(inputs), len(states), len(fresh or ())]
        time = inputs[0].shape[self._axis]
        spans = [(t, min(t + self.every, time)) for t in range(0, time, self.every)]
        carried, ys, others, structures = [s.data for s in states], [], [], None
        for start, stop in reversed(spans) if self.arrange.reverse else spans:
            first = structures is None
            begun = next(clock)
            self.chunks.append(Chunk(start, stop, carried, Snapshot(self.cell)))
            leaves = self._leaves(self.chunks[-1], [x.data for x in inputs], carried, [s.data for s in fresh or ()])
            with config.set_grad_enabled(first):  # its graph shows what the step reads
                outputs, state = self._run(self.chunks[-1], *leaves)
            (pieces, output_structure), (finals, state_structure) = tree.flatten(outputs), tree.flatten(state)
            if first:
                structures = output_structure, state_structure
                self.read = read_before(begun, [*pieces, *finals], leaves)
                others = self._tensors(self.read)
                ys = [self._room(p, time) for p in pieces] if return_outputs else []
            for y, piece in zip(ys, pieces):
                y[self._slice(start, stop)] = piece.data
            carried = [s.data for s in finals]
            del outputs, state, pieces, finals, leaves
        results = [(*ys, *carried)]
        self.outputs, self.others = len(ys), others
        args = (*inputs, *states, *(fresh or ()), *others)
        op = Op(
            "checkpointed_scan", lambda *_: results.pop(), joint_vjp=self._backward, untyped=tuple(range(len(args)))
        )
        out = apply(op, args, {})
        assert structures is not None
        last = tree.unflatten(structures[1], out[len(ys) :])
        return tree.unflatten(structures[0], out[: len(ys)]) if return_outputs else None, last

    # ---- one chunk

    @property
    def _axis(self) -> int:
        return 1 - self.arrange.batch_axis

    def _slice(self, start: int, stop: int) -> tuple:
        return (slice(None),) * self._axis + (slice(start, stop),)

    def _room(self, piece: Tensor, time: int) -> np.ndarray:
        """An array for the outputs of all chunks."""
        shape = list(piece.shape)
        shape[self._axis] = time
        return np.empty(shape, piece.dtype)

    def _leaves(self, chunk: Chunk, inputs, states, fresh, needs=None) -> tuple[list, list, list]:
        """Tensors that the chunk starts from, apart from the graph."""
        part = self._slice(chunk.start, chunk.stop)
        arrays = [[x[part] for x in inputs], states, fresh]
        flags = iter(needs if needs is not None else [True] * sum(self.counts))
        return tuple([Tensor(a, next(flags) and is_float(a.dtype)) for a in group] for group in arrays)  # type: ignore

    def _run(self, chunk: Chunk, inputs: list, states: list, fresh: list) -> tuple[Any, Any]:
        steps = self.steps
        if steps is not None:
            if self.arrange.reverse and steps.resets is not None and chunk.stop < steps.time:
                cut = steps.resets[chunk.stop] & (chunk.stop < steps.lengths)  # between this chunk and the one before
                states = choose(cut, fresh, states)
            steps = steps.part(chunk.start, chunk.stop)
        with counting_from(self.base + chunk.start):
            return self.advance(inputs, states, steps, fresh or None)

    def _tensors(self, items: dict[Any, None]) -> list[Tensor]:
        """Leaves, and tensors that nodes have made; of a node that is kept nowhere, one that stands for it."""
        kept = self.chunks[0].then.attributes
        held = {id(v._node): v for _, values in kept for v in values.values() if isinstance(v, Tensor)}
        return [held[id(item)] if id(item) in held else stand_in(item) for item in items]

    # ---- the way back

    def _backward(self, gs: dict, out, *args, needs) -> list:
        n, m, k = self.counts
        if any(isinstance(g, Tensor) for g in gs.values()):
            return self._again(gs, args, needs)
        inputs, fresh = args[:n], args[n + m : n + m + k]
        flags = (*needs[:n], *(True,) * m, *needs[n + m : n + m + k])
        count = self.outputs
        carried: list[Any] = [gs.get(count + i) for i in range(m)]
        totals: list[Any] = [np.zeros(x.shape, x.dtype) if need else None for x, need in zip(inputs, needs)]
        totals += [None] * (m + k + len(self.others))
        for chunk in reversed(self.chunks):
            part = self._slice(chunk.start, chunk.stop)
            seeds = {i: gs[i][part] for i in range(count) if i in gs}
            seeds |= {i: g for i, g in enumerate(carried, count) if g is not None}
            if not seeds:
                continue  # nothing depends on what this chunk has done
            leaves = self._leaves(chunk, inputs, chunk.states, fresh, flags)
            begun = next(clock)
            with turn_of(self.cell), config.enable_grad(), trial(self.cell):
                chunk.then.restore()
                outputs, state = self._run(chunk, *leaves)
            results = [*tree.flatten(outputs)[0][: self.outputs], *tree.flatten(state)[0]]
            if not read_before(begun, results, leaves).keys() <= self.read.keys():
                raise GraphError(
                    f"{self.cell._title}: checkpoint_every: the steps from t={chunk.start} on read a tensor that needs "
                    "gradients and that the first steps did not read; read it in every step"
                )
            mine = [*leaves[0], *leaves[1], *leaves[2], *self.others]
            grads = pull_back(results, seeds, mine, [t.requires_grad for t in mine])
            for i, g in enumerate(grads[:n]):
                if g is not None:
                    totals[i][part] = g.data
            carried = [None if g is None else g.data for g in grads[n : n + m]]
            for i, g in enumerate(grads[n + m :], n + m):
                if g is not None:
                    totals[i] = g.data if totals[i] is None else totals[i] + g.data
        totals[n : n + m] = carried
        return totals

    def _again(self, gs: dict, args, needs) -> list:
        """Gradients that can be differentiated again: the whole sequence on the tape."""
        n, m, k = self.counts
        tensors = [a if isinstance(a, Tensor) else Tensor(a) for a in args[: n + m + k]] + self.others
        with turn_of(self.cell), trial(self.cell):
            self.chunks[0].then.restore()
            fresh = tensors[n + m : n + m + k] or None
            outputs, state = self.advance(tensors[:n], tensors[n : n + m], self.steps, fresh)
        results = [*tree.flatten(outputs)[0][: self.outputs], *tree.flatten(state)[0]]
        return pull_back(results, gs, tensors, needs, create_graph=True)
