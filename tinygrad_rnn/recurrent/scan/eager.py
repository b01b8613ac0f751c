"""Eager scan: unrolls the step on the tape, and checks its results at every time step."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ... import ops
from ...config import functional, grad_mode
from ...core import Tensor, is_float, listening, producer, tree
from ...core.finding import Unrolled
from ...core.node import Node, clock
from ...errors import DTypeError, ShapeError
from ..as_tensors import kind_of
from ..cell import Cell, title_of
from .anomaly import check_results
from .arguments import Arguments
from .dependencies import dependencies, placeholder
from .dry_run import rng_state
from .row_numbers import RowNumbers, may_spread


def scan_eager(cell: Cell, arguments: Arguments, masks: Masks | None = None, reverse: bool = False) -> tuple[Any, Any]:
    """Outputs and final state of the step, unrolled on the tape: its backward pass is BPTT.

    Inputs and `masks` are time-major and in execution order; `reverse` says which that is, for messages.
    """
    watch = grad_mode.anomaly
    if watch is None or watch.quiet:
        return _unroll(cell, arguments, masks, None, reverse)
    time, batch = arguments.inputs[0].shape[:2]
    counts = None if masks is None else masks.valid
    sequence = Unrolled(__file__, batch, time, watch.base, reverse, counts)
    with watch.inside(sequence):
        return _unroll(cell, arguments, masks, sequence, reverse)


def _unroll(
    cell: Cell, arguments: Arguments, masks: Masks | None, sequence: Unrolled | None, reverse: bool
) -> tuple[Any, Any]:
    inputs, structure, leaves, state_structure, _ = arguments
    runner = StepRunner(cell, structure, state_structure, leaves, sequence)
    steps = list(zip(*(ops.unstack(x) for x in inputs)))
    if reverse:
        runner.last = len(steps) - 1
    if masks is None:
        collected = [runner.step(t, xs) for t, xs in enumerate(steps)]
    else:
        collected = masks.run(runner, inputs, steps)
    if sequence is not None:
        sequence.begin(None)
    columns = zip(*collected)
    outputs = [ops.stack(column) for column in columns]
    if sequence is not None:
        check_results(cell, sequence, [*((y, 1) for y in outputs), *((s, 0) for s in runner.leaves)], inputs, leaves)
    ys = tree.unflatten(runner.output_structure, outputs)
    return ys, tree.unflatten(state_structure, [_copy_state(s) for s in runner.leaves])


def _copy_state(state: Tensor) -> Tensor:
    """A copy of a final state: a step may return an input, a parameter, or a view of one as its state."""
    node = producer(state)
    if isinstance(node, Node):
        return Tensor(state.data.copy(), state.requires_grad, node)
    return state * 1.0 if state.requires_grad else Tensor(state.data.copy())


class StepRunner:
    """Runs one step after the other, and checks that structures, shapes and dtypes stay the same."""

    def __init__(self, cell: Cell, structure, state_structure, leaves: list[Tensor], sequence: Unrolled | None = None):
        self.cell, self.structure, self.state_structure = cell, structure, state_structure
        self.sequence = sequence  # to tell it which step runs
        self.leaves = leaves  # the present state
        self.batch = leaves[0].shape[0] if leaves else None
        self.states = _specs(leaves)
        self.output_structure: Any = None
        self.outputs: list | None = None
        self.last: int | None = None  # the number of the first step, where they run from the last one on

    def step(self, t: int, xs) -> list[Tensor]:
        """The flat output of step `t`; :attr:`leaves` becomes the next state."""
        cell = self.cell
        if self.sequence is not None:
            self.sequence.begin(t)
        state = tree.unflatten(self.state_structure, self.leaves)
        try:
            with functional():
                x = tree.unflatten(self.structure, xs)
                if self.outputs is None and may_spread([*xs, *self.leaves], xs[0].data.shape[0]):
                    with listening(RowNumbers(title_of(cell), [*xs, *self.leaves], xs[0].data.shape[0])):
                        result = cell.step(x, state)
                else:
                    result = cell.step(x, state)
        except DTypeError as error:
            mixed = _mixed_dtypes(cell, xs, self.leaves)
            if not mixed:
                raise
            raise DTypeError(f"{title_of(cell)}.step: {error}; {mixed}") from error
        except IndexError as error:  # it keeps its traceback, which says where it is
            row, step = getattr(error, "row", None), t if self.last is None else self.last - t
            error.args = (f"{title_of(cell)}: {error}, in step {step}{'' if row is None else f' of row {row}'}",)
            raise
        if type(result) is not tuple or len(result) != 2:
            raise ShapeError(f"{title_of(cell)}.step: returned {kind_of(result)}, wanted the pair (output, next_state)")
        leaves, treedef = tree.flatten(result[1])
        if treedef != self.state_structure or _specs(leaves) != self.states:
            _reject(cell, "next_state", t, leaves, treedef, self.states, self.state_structure)
        ys, treedef = tree.flatten(result[0])
        if self.outputs is None:
            self.output_structure, self.outputs = treedef, _specs(ys)
            _check_output(cell, t, ys, xs[0].shape[0])
        elif treedef != self.output_structure or _specs(ys) != self.outputs:
            _reject(cell, "output", t, ys, treedef, self.outputs, self.output_structure)
        self.leaves = leaves
        return ys


class Masks:
    """Runs masked steps: rows that are not valid keep their state and put out zeros.

    A step takes the whole batch all the same. So rows that are not valid are given an input and a state that some row
    really meets: with arbitrary padding, the step's results might be infinite, and gradients of zero through them NaN.
    Where no row is valid, nothing flows back to the step.

    Parameters
    ----------
    valid, resets : bool arrays (T, B) or None
        Valid steps, and those before which a row is reset, in execution order; None for all, and for none.
    reset_states : list of tensors or None
        States after a reset. Default: those that the runner starts from.
    """

    def __init__(self, valid: np.ndarray | None, resets: np.ndarray | None, reset_states: list[Tensor] | None = None):
        self.valid, self.resets, self.reset_states = valid, resets, reset_states

    def run(self, runner: StepRunner, inputs: list[Tensor], steps: list[tuple]) -> list[list[Tensor]]:
        """The outputs of all steps."""
        reset_states = runner.leaves if self.reset_states is None else self.reset_states
        if self.valid is not None:
            spare_inputs, spare_states = self._spare(inputs, runner.leaves, reset_states)
        collected: list = []
        idle = False  # whether a step without a valid row may be left out
        for t, xs in enumerate(steps):
            if self.resets is not None and self.resets[t].any():
                runner.leaves = choose(self.resets[t], reset_states, runner.leaves)
            valid = None if self.valid is None else self.valid[t]
            if valid is None or valid.all():
                collected.append(runner.step(t, xs))
            elif idle and not valid.any():
                collected.append([Tensor(np.zeros(shape, dtype)) for shape, dtype in runner.outputs or ()])
            elif not valid.any():
                random = rng_state(runner.cell)
                collected.append(_run_aside(runner, t, xs, spare_inputs, spare_states))
                idle = rng_state(runner.cell) == random  # random numbers are drawn for every step
            else:
                before = runner.leaves
                runner.leaves = choose(valid, before, spare_states)
                ys = runner.step(t, choose(valid, xs, spare_inputs))
                runner.leaves = choose(valid, runner.leaves, before)
                collected.append(choose(valid, ys, [np.zeros((), y.dtype) for y in ys]))
        return collected

    def _spare(self, inputs: list[Tensor], carried: list[Tensor], reset_states: list[Tensor]) -> tuple[list, list]:
        """For each row, input and state of its first valid step, or of another row's if it has none."""
        valid: Any = self.valid
        first, rows = valid.argmax(axis=0), np.arange(valid.shape[1])
        some = valid.any(axis=0)
        donor = np.where(some, rows, some.argmax())
        first = first[donor]
        spare = [x.data[first, donor] if some.any() else np.zeros(x.shape[1:], x.dtype) for x in inputs]
        renewed = np.zeros(len(rows), bool)
        if self.resets is not None:
            renewed = np.logical_or.accumulate(self.resets, axis=0)[first, donor]
        states = [np.where(_fit(renewed, s), f.data[donor], s.data[donor]) for s, f in zip(carried, reset_states)]
        return spare, states


def _run_aside(runner: StepRunner, t: int, xs, inputs: list[np.ndarray], states: list[np.ndarray]) -> list[Tensor]:
    """The outputs of a step without a valid row, run on spare `inputs` and `states`; the state stays.

    Tensors that the step reads get gradients of zero all the same, past the step, whose derivatives may be NaN.
    """
    before, now = runner.leaves, next(clock)
    runner.leaves = [Tensor(s) for s in states]
    with np.errstate(all="ignore"):
        ys = runner.step(t, [Tensor(x) for x in inputs])
    read = [placeholder(item) for item in dependencies(now, [*ys, *runner.leaves])]
    zeros = [Tensor(np.zeros(y.shape, y.dtype)) for y in ys]
    linked = link_zeros([*before, *zeros], [*read, *xs])
    runner.leaves = linked[: len(before)]
    return linked[len(before) :]


def link_zeros(values: list[Tensor], sources: list[Tensor]) -> list[Tensor]:
    """The same values, on the tape as functions of `sources` too, by which their derivatives are zero."""
    # one number of each is enough to lead the walk there
    numbers = [a[(0,) * a.ndim] for a in sources if a.requires_grad and a.size]
    if not numbers:
        return values
    link = functools.reduce(_joined, numbers)
    return [_joined(v, link) if is_float(v.dtype) else v for v in values]


def _joined(value: Tensor, other: Tensor) -> Tensor:
    # not a product with zero, which an infinity would make NaN
    return ops.where(False, other.astype(value.dtype), value)


def choose(condition: np.ndarray, those, others) -> list[Tensor]:
    """Row by row, `those` where the condition holds, else `others`."""
    return [ops.where(_fit(condition, a), a, b) for a, b in zip(those, others)]


def _fit(condition: np.ndarray, like) -> np.ndarray:
    return condition.reshape(-1, *(1,) * (len(like.shape) - 1))


# ---- checks of the results of a step


def _specs(leaves) -> list:
    return [(x.data.shape, x.data.dtype) if isinstance(x, Tensor) else type(x) for x in leaves]


def _check_output(cell: Cell, t: int, leaves, batch: int) -> None:
    for y in leaves:
        if not isinstance(y, Tensor) or not y.shape or y.shape[0] != batch:
            raise ShapeError(f"{title_of(cell)}.step: output at t={t}: got {kind_of(y)}, wanted tensors ({batch}, ...)")


def _reject(cell: Cell, what: str, t: int, leaves, structure, wanted, wanted_structure) -> None:
    """Raise the error that says how a step's output or state differs from the one before."""
    place = f"{title_of(cell)}.step: {what} at t={t}"
    if structure != wanted_structure:
        raise ShapeError(f"{place}: got {tree.describe(structure)}, wanted {tree.describe(wanted_structure)}")
    for x, spec in zip(leaves, wanted):
        shape, dtype = spec
        if not isinstance(x, Tensor):
            raise DTypeError(f"{place}: got {kind_of(x)}, wanted a tensor")
        if x.shape != shape:
            raise ShapeError(f"{place}: got shape {x.shape}, wanted {shape} as before the step")
        if x.dtype != dtype:
            raise DTypeError(f"{place}: got {x.dtype}, wanted {dtype} as before the step")


def _mixed_dtypes(cell: Cell, xs, states: list[Tensor]) -> str:
    """The float dtypes of parameters, inputs and states, in words, if there are several; else ""."""
    kinds = [(f"parameter {name}", p.dtype) for name, p in cell.named_parameters()]
    kinds += [("the input", x.dtype) for x in xs]
    kinds += [("the state" if len(states) == 1 else f"state {i}", s.dtype) for i, s in enumerate(states)]
    owners: dict[np.dtype, list[str]] = {}
    for name, dtype in kinds:
        if dtype.kind == "f":
            owners.setdefault(dtype, []).append(name)
    if len(owners) < 2:
        return ""
    said = [
        f"{names[0]}{f' and {len(names) - 1} others' if len(names) > 1 else ''} {dtype}"
        for dtype, names in owners.items()
    ]
    state = any("state" in names[0] for names in owners.values())
    remedy = "make the initial state with dtype=self.dtype" if state else f'cell.to("{cell.dtype}") makes them one'
    return f"mixed dtypes: {', '.join(said)}; {remedy}"
