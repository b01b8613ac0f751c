"""Gradient checkpointing over time: the backward pass runs each chunk of steps once more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ... import config
from ...core import Op, Tensor, apply, counting_from, is_float, producer, tree, vjp_by_replay
from ...core.node import clock
from ...errors import GraphError
from ..cell import Cell, sequence_lock, title_of
from .axis_layout import SequenceLayout
from .dependencies import dependencies, placeholder
from .dry_run import CellSnapshot, dry_run
from .eager import choose
from .valid_steps import ValidSteps


class Chunk(NamedTuple):
    """Time steps from `start` to `stop`, with the states and the cell as they were when these ran first."""

    start: int
    stop: int
    states: list[np.ndarray]  # before the chunk
    snapshot: CellSnapshot  # of the cell


class Checkpointed:
    """A sequence that is run in chunks, as one operation of the tape.

    The memory of a chunk is freed before the next one runs; the states between chunks are kept. The backward pass goes
    through the chunks in the opposite order, and runs each once more to record what its gradient needs. So it takes
    memory for T / every states and for one chunk, and at most one forward pass more.

    Parameters
    ----------
    cell : Cell
        Its attributes are put back, as they were, while a chunk runs again.
    advance : callable
        ``advance(inputs, states, steps, reset_states) -> (ys, state)`` runs the cell; all are flat lists of tensors.
    layout : SequenceLayout
    steps : ValidSteps or None
    every : int
        Time steps of a chunk.

    References
    ----------
    Chen, Xu, Zhang, Guestrin, "Training deep nets with sublinear memory cost", 2016.
    """

    def __init__(self, cell: Cell, advance: Callable, layout: SequenceLayout, steps: ValidSteps | None, every: int):
        self.cell, self.advance, self.layout, self.steps, self.every = cell, advance, layout, steps, every
        self.chunks: list[Chunk] = []
        self.base = 0 if config.grad_mode.anomaly is None else config.grad_mode.anomaly.base

    def run(
        self, inputs: list[Tensor], states: list[Tensor], reset_states: list[Tensor] | None, return_outputs: bool = True
    ) -> tuple[Any, Any]:
        """Outputs (or None) and final state, as `advance` returns; `reset_states` default to `states`."""
        if reset_states is None and self.steps is not None and self.steps.resets is not None:
            reset_states = states
        self.counts = [len(inputs), len(states), len(reset_states or ())]
        time = inputs[0].shape[self._axis]
        spans = [(t, min(t + self.every, time)) for t in range(0, time, self.every)]
        carried, ys, others, structures = [s.data for s in states], [], [], None
        for start, stop in reversed(spans) if self.layout.reverse else spans:
            first = structures is None
            before = next(clock)
            self.chunks.append(Chunk(start, stop, carried, CellSnapshot(self.cell)))
            arrays = [x.data for x in inputs], carried, [s.data for s in reset_states or ()]
            leaves = self._leaves(self.chunks[-1], *arrays)
            with config.set_grad_enabled(first):  # the graph of one chunk shows which tensors the step reads
                outputs, state = self._run(self.chunks[-1], *leaves)
            (pieces, output_structure), (finals, state_structure) = tree.flatten(outputs), tree.flatten(state)
            if first:
                structures = output_structure, state_structure
                self.read = dependencies(before, [*pieces, *finals], leaves)
                others = self._tensors(self.read)
                ys = [self._room(p, time) for p in pieces] if return_outputs else []
            for y, piece in zip(ys, pieces):
                y[self._slice(start, stop)] = piece.data
            carried = [s.data for s in finals]
            del outputs, state, pieces, finals, leaves  # the memory of this chunk, before the next one runs
        results = [(*ys, *carried)]  # in a list, from which the operation takes them, so that nothing else keeps them
        self.outputs, self.others = len(ys), others
        args = (*inputs, *states, *(reset_states or ()), *others)
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
        return 1 - self.layout.batch_axis

    def _slice(self, start: int, stop: int) -> tuple:
        return (slice(None),) * self._axis + (slice(start, stop),)

    def _room(self, piece: Tensor, time: int) -> np.ndarray:
        """An empty array for the outputs of all chunks."""
        shape = list(piece.shape)
        shape[self._axis] = time
        return np.empty(shape, piece.dtype)

    def _leaves(self, chunk: Chunk, inputs, states, reset_states, needs=None) -> tuple[list, list, list]:
        """Inputs, states and reset states of the chunk as new leaves, so that its graph ends there."""
        part = self._slice(chunk.start, chunk.stop)
        arrays = [[x[part] for x in inputs], states, reset_states]
        flags = iter(needs if needs is not None else [True] * sum(self.counts))
        return tuple([Tensor(a, next(flags) and is_float(a.dtype)) for a in group] for group in arrays)  # type: ignore

    def _run(self, chunk: Chunk, inputs: list, states: list, reset_states: list) -> tuple[Any, Any]:
        steps = self.steps
        if steps is not None:
            if self.layout.reverse and steps.resets is not None and chunk.stop < steps.time:
                cut = steps.resets[chunk.stop] & (chunk.stop < steps.lengths)  # between this chunk and the one before
                states = choose(cut, reset_states, states)
            steps = steps.part(chunk.start, chunk.stop)
        with counting_from(self.base + chunk.start):
            return self.advance(inputs, states, steps, reset_states or None)

    def _tensors(self, items: dict[Any, None]) -> list[Tensor]:
        """Leaves and outputs of nodes as tensors; for a node without a live tensor, a placeholder."""
        kept = self.chunks[0].snapshot.attributes
        live = {id(producer(v)): v for _, values in kept for v in values.values() if isinstance(v, Tensor)}
        return [live[id(item)] if id(item) in live else placeholder(item) for item in items]

    # ---- backward

    def _backward(self, gs: dict, out, *args, needs) -> list:
        """Gradients by the arguments, chunk after chunk from the last: each is run once more, on the tape."""
        n, m, k = self.counts
        if any(isinstance(g, Tensor) for g in gs.values()):
            return self._recorded(gs, args, needs)
        inputs, reset_states = args[:n], args[n + m : n + m + k]
        flags = (*needs[:n], *(True,) * m, *needs[n + m : n + m + k])
        count = self.outputs
        carried: list[Any] = [gs.get(count + i) for i in range(m)]
        totals: list[Any] = [np.zeros(x.shape, x.dtype) if need else None for x, need in zip(inputs, needs)]
        totals += [None] * (m + k + len(self.others))
        for chunk in reversed(self.chunks):  # in the order in which they have run, backwards: `carried` links them
            part = self._slice(chunk.start, chunk.stop)
            seeds = {i: gs[i][part] for i in range(count) if i in gs}
            seeds |= {i: g for i, g in enumerate(carried, count) if g is not None}
            if not seeds:
                continue  # no result that has a gradient depends on this chunk
            leaves = self._leaves(chunk, inputs, chunk.states, reset_states, flags)
            before = next(clock)
            with sequence_lock(self.cell), config.enable_grad(), dry_run(self.cell):
                chunk.snapshot.restore()
                outputs, state = self._run(chunk, *leaves)  # the same masks and random numbers as the first time
            results = [*tree.flatten(outputs)[0][: self.outputs], *tree.flatten(state)[0]]
            if not dependencies(before, results, leaves).keys() <= self.read.keys():
                raise GraphError(
                    f"{title_of(self.cell)}: checkpoint_every: the steps from t={chunk.start} on read a tensor that "
                    "needs gradients and that the first steps did not read; read it in every step"
                )
            mine = [*leaves[0], *leaves[1], *leaves[2], *self.others]
            grads = vjp_by_replay(results, seeds, mine, [t.requires_grad for t in mine])
            for i, g in enumerate(grads[:n]):
                if g is not None:
                    totals[i][part] = g.data
            carried = [None if g is None else g.data for g in grads[n : n + m]]
            for i, g in enumerate(grads[n + m :], n + m):
                if g is not None:
                    totals[i] = g.data if totals[i] is None else totals[i] + g.data
        totals[n : n + m] = carried
        return totals

    def _recorded(self, gs: dict, args, needs) -> list:
        """Gradients that can be differentiated again: the whole sequence is recorded on the tape."""
        n, m, k = self.counts
        tensors = [a if isinstance(a, Tensor) else Tensor(a) for a in args[: n + m + k]] + self.others
        with sequence_lock(self.cell), dry_run(self.cell):
            self.chunks[0].snapshot.restore()
            reset_states = tensors[n + m : n + m + k] or None
            outputs, state = self.advance(tensors[:n], tensors[n : n + m], self.steps, reset_states)
        results = [*tree.flatten(outputs)[0][: self.outputs], *tree.flatten(state)[0]]
        return vjp_by_replay(results, gs, tensors, needs, create_graph=True)
