"""Anomaly detection for recurrent layers: loops whose results are not finite are replayed on the tape.

All of it happens inside :class:`~tinygrad_rnn.detect_anomaly` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ... import config
from ...config import grad_mode
from ...core import Tensor, grad, producer, tree, vjp_by_replay
from ...core.finding import Unrolled, all_finite
from ...core.node import Node
from ...errors import AnomalyError
from ..cell import Cell, title_of
from .dry_run import dry_run

Results = list[tuple[Tensor, int]]  # with the axis of the batch


def check_results(
    cell: Cell,
    sequence: Unrolled,
    results: Results,
    inputs: Sequence[Tensor],
    states: Sequence[Tensor],
) -> None:
    """Raise the first finding of a sequence that has reached its results, if these are not finite.

    `inputs` are (T, B, ...) in running order, `states` (B, ...).
    """
    rows = np.zeros(sequence.batch, bool)
    findings: set[int] = set()
    for result, axis in results:
        a = result.data
        if a.dtype.kind == "f" and not all_finite(a):
            bad = ~np.isfinite(a)
            rows |= bad.any(axis=tuple(i for i in range(a.ndim) if i != axis))
            findings |= sequence.tainted.get(id(result), (result, frozenset[int]()))[1]
    sequence.tainted.clear()
    for i in sorted(findings):
        finding = sequence.findings[i]
        hit = _rows_of(finding.bad, sequence.batch) & rows
        if hit.any():
            raise finding.error(int(np.argmax(hit)))
    if any(r.data.dtype.kind == "f" and np.isnan(r.data).any() for r, _ in results):
        _blame_arguments(cell, sequence, inputs, states)


def _rows_of(bad: np.ndarray, batch: int) -> np.ndarray:
    """Rows of the batch that have a true entry in `bad`; all rows, if it has no batch axis."""
    if not bad.ndim or len(bad) != batch:
        return np.ones(batch, bool)
    return np.logical_or.reduce(bad.reshape(batch, -1), axis=1)


def _blame_arguments(cell: Cell, sequence: Unrolled, inputs: Sequence[Tensor], states: Sequence[Tensor]) -> None:
    """Raise the error that names the input, state or parameter that is not finite."""
    title = title_of(cell)
    for i, x in enumerate(inputs):
        bad = ~np.isfinite(x.data) if x.data.dtype.kind == "f" else np.zeros(x.data.shape, bool)
        if sequence.counts is not None:
            bad &= sequence.counts.reshape(*sequence.counts.shape, *(1,) * (bad.ndim - 2))
        if bad.any():
            t, row, *at = (int(n) for n in np.argwhere(bad)[0])
            name, step = "input" if len(inputs) == 1 else f"input {i}", sequence.time_of(t)
            raise _given(f"{title}: {name}", x.data[(t, row, *at)], step, row, at)
    for i, s in enumerate(states):
        if s.data.dtype.kind == "f" and not all_finite(s.data):
            raise not_finite(f"{title}: initial state {i}", s.data, None)
    for name, p in cell.named_parameters():
        if not all_finite(p.data):
            place = tuple(int(n) for n in np.argwhere(~np.isfinite(p.data))[0])
            error = AnomalyError(f"{title}: parameter {name} holds {float(p.data[place])} at {place}")
            raise error
    raise AnomalyError(f"{title}: results are NaN, and so is something that its step reads")


def not_finite(name: str, a: np.ndarray, step: int | None) -> AnomalyError:
    """The error that says where an argument, an array (B, ...), is not finite."""
    row, *at = (int(n) for n in np.argwhere(~np.isfinite(a))[0])
    return _given(name, a[(row, *at)], step, row, at)


def _given(name: str, value: Any, step: int | None, row: int, at: list) -> AnomalyError:
    words = [] if step is None else [f"time step {step}"]
    words += [f"row {row}"] + ([f"feature {at[0] if len(at) == 1 else tuple(at)}"] if at else [])
    error = AnomalyError(f"{name} holds {float(value)} at {', '.join(words)}")
    error.step, error.row = step, row
    return error


@contextmanager
def quietly() -> Iterator[None]:
    """Context in which results of single operations are not checked, as those of the whole are."""
    watch = grad_mode.anomaly
    if watch is None:
        yield
        return
    before, watch.quiet = watch.quiet, True
    try:
        yield
    finally:
        watch.quiet = before


def checked_loop(run: Callable, replay: Replay) -> Any:
    """The checked results of `run()`, a compiled loop: outputs and final state, or None."""
    with quietly():
        result = run()
    if result is not None:
        replay.check(*result)
    return result


def checked_eager_step(stepper: Any, leaves: list) -> Any:
    """One checked step of a :class:`CellStepper` on the tape."""
    before, random = stepper.state_arrays(), config.generator().bit_generator.state
    with quietly():
        y = stepper.run_eagerly(leaves)
    x = [np.array(a, row.dtype) for a, row in zip(leaves, stepper.rows)]
    _step_of(stepper, x, before, random).check([*tree.flatten(y)[0], *stepper.state_arrays()])
    return y


def check_kernel_step(stepper: Any, random: Mapping | None) -> None:
    """Check a step of a stepper's kernel whose results are suspect, and go on to its new states."""
    kernel, before = stepper.kernel, stepper.state_arrays()
    kernel.advance()
    outputs = kernel.outputs[: stepper.program.traced.visible]
    _step_of(stepper, kernel.inputs[: len(stepper.rows)], before, random).check([*outputs, *kernel.states])


def _step_of(stepper: Any, x: list, before: list, random: Mapping | None) -> StreamStep:
    return StreamStep(stepper.cell, stepper.sequence, (x, stepper.structure), (before, stepper.state_structure), random)


class StreamStep(NamedTuple):
    """One step of a stream, with all that it takes to replay it on the tape.

    Attributes
    ----------
    cell : Cell
    stream : OpenSequence
        Holds the attributes that the cell's ``begin_sequence`` has set.
    x, state : (list of arrays, structure)
        Before the step.
    random : dict or None
        Of the generator, before the step.
    time : int or None
        The number of the step.
    """

    cell: Cell
    stream: Any
    x: tuple
    state: tuple
    random: Mapping | None
    time: int | None = None

    def check(self, results: Sequence) -> None:
        """Check the results of the step; replay it if they are not finite, which raises the error."""
        if all(map(all_finite, results)):
            return
        inputs, states = ([Tensor(a) for a in arrays] for arrays, _ in (self.x, self.state))
        sequence = Unrolled(__file__, len(inputs[0].data), 1, self.time)
        with config.no_grad():
            again = self._once_more(sequence, inputs, states)
        leaves = [(r, 0) for r in tree.flatten(again)[0]]
        check_results(self.cell, sequence, leaves, [Tensor(t.data[None]) for t in inputs], states)
        if any(np.isnan(r).any() for r in results):
            raise AnomalyError(
                f"{title_of(self.cell)}: the step has given NaN, and run once more on the tape it does not"
            )

    def find_rule(self, part: int, gs: Sequence[np.ndarray]) -> None:
        """Raise the error of the derivative rule that makes NaN or infinity of finite gradients.

        Parameters
        ----------
        part : int
            0: `gs` are of the outputs; 1: of the new states.
        """
        inputs, states = [Tensor(a) for a in self.x[0]], [Tensor(a, True) for a in self.state[0]]
        sequence = Unrolled(__file__, len(inputs[0].data), 1, self.time)
        with config.enable_grad(), grad_mode.anomaly.loud():
            again = self._once_more(sequence, inputs, states)
            pairs = [(r, g) for r, g in zip(tree.flatten(again[part])[0], gs) if r.requires_grad]
            wanted = [*states, *(p for p in self.cell.parameters() if p.requires_grad)]
            if pairs:
                results, seeds = zip(*pairs)
                grad(results, wanted, seeds, retain_graph=True, allow_unused=True)

    def _once_more(self, sequence: Unrolled, inputs: list, states: list) -> tuple:
        with self.stream.active(), dry_run(self.cell), grad_mode.anomaly.inside(sequence):
            if self.random is not None:
                config.generator().bit_generator.state = self.random
            sequence.begin(0)
            return self.cell.step(tree.unflatten(self.x[1], inputs), tree.unflatten(self.state[1], states))


class Replay:
    """A sequence that a compiled loop runs, with all that it takes to replay it on the tape.

    Parameters
    ----------
    cell : Cell
        Its attributes, such as masks of dropout, and the generator are as they are before the loop.
    again : callable
        ``again(inputs, states, reset_states) -> (ys, state)`` runs the sequence on the tape.
    inputs, states, reset_states : lists of tensors
    plain : bool
        The cell reads nothing but parameters, and draws nothing.
    """

    def __init__(
        self, cell: Cell, again: Callable, inputs: list, states: list, reset_states: list | None, plain: bool = False
    ):
        self.cell, self.again = cell, again
        self.inputs, self.states, self.reset_states = inputs, states, reset_states
        self.attributes = [] if plain else [(module, dict(vars(module))) for module in cell.modules()]
        self.random = None if plain else config.generator().bit_generator.state
        self.base, self.place = grad_mode.anomaly.base, grad_mode.anomaly.here()

    def check(self, ys: Any, last: Any) -> None:
        """Check the results of the loop; replay the sequence if they are not finite, which raises the error."""
        results = [*tree.flatten(ys)[0], *tree.flatten(last)[0]]
        for r in results:
            if isinstance(node := producer(r), Node):  # of one result, whose parent is that of the whole loop
                node.parents[0].place = self
                break
        if all(all_finite(r.data) for r in results):
            return
        with config.no_grad():
            self._run(self.inputs, self.states, self.reset_states)  # which raises the error
        if any(np.isnan(r.data).any() for r in results if r.data.dtype.kind == "f"):
            raise AnomalyError(f"{title_of(self.cell)}: the compiled loop gives NaN, and the tape does not")

    def backward(self, gs: dict) -> None:
        """Replay the backward pass, which raises the error; `gs` are gradients of the results by position."""
        leaves = [
            [Tensor(t.data, t.requires_grad) for t in group]
            for group in (self.inputs, self.states, self.reset_states or [])
        ]
        with config.enable_grad():
            ys, last = self._run(leaves[0], leaves[1], leaves[2] if self.reset_states is not None else None)
        results = [*tree.flatten(ys)[0], *tree.flatten(last)[0]]
        wanted = [t for group in leaves for t in group if t.requires_grad]
        wanted += [p for p in self.cell.parameters() if p.requires_grad]
        gs = {i: g.data if isinstance(g, Tensor) else g for i, g in gs.items()}
        vjp_by_replay(results, gs, wanted, [True] * len(wanted))  # which raises the error

    def _run(self, inputs: list, states: list, reset_states: list | None) -> tuple[Any, Any]:
        watch = grad_mode.anomaly
        with dry_run(self.cell), watch.shifted(self.base), watch.loud():
            for module, attributes in self.attributes:
                vars(module).update(attributes)
            if self.random is not None:
                config.generator().bit_generator.state = self.random
            return self.again(inputs, states, reset_states)
