"""Executables: run a plan, forward and backward, with the arrays in between."""

from __future__ import annotations

import functools
import itertools
import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from ...errors import CompileError, OutOfMemoryError
from ...kernels.build.uninterrupted import making
from ..codegen.array_names import Role
from ..codegen.layout import Layout
from ..ir.interpret import evaluate
from ..ir.program import bases, row_constants
from ..ir.symbol import Symbol
from ..schedule.buffers import Buffer
from ..schedule.plan import Plan
from .bind_backward import BoundBackward, bind_backward
from .bind_forward import BoundForward, bind_forward
from .buffer_pool import SMALL, BufferPool
from .epilogue import Epilogue
from .memory import check_memory, out_of_memory
from .row_moves import backward_moves, forward_moves
from .segments import Segments

ravel = ndarray.ravel

BINDINGS = 64  # pairs of T and batch whose tables are kept


def check_available() -> None:
    """Raise CompileError where generated code cannot run."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        raise CompileError("Numba's JIT is switched off (NUMBA_DISABLE_JIT)")


class Context(NamedTuple):
    """Arrays and sizes of a forward loop that its backward loop needs."""

    time: int
    batch: int
    arrays: list
    segments: Segments | None
    with_reset_states: bool  # whether states after a reset were given


class Executable:
    """A plan with its loops, which are generated and compiled when they are first run.

    All arrays are contiguous and of the plan's dtype, which the caller has checked.
    """

    def __init__(self, plan: Plan, title: str):
        self.plan = plan
        self.title = title
        self.dtype = plan.traced.dtype
        self._dtypes = itertools.repeat(self.dtype)
        self._small = functools.partial(np.empty, dtype=self.dtype)  # what is small is not worth keeping
        self.bases = bases(plan.traced)
        self.captures = [Role.CAPTURE.of(s.uid) for s in self.bases]
        self._inference: tuple | None = None
        self._training: tuple | None = None
        self._backward_captures: list[Symbol] = []
        self._bound: dict[tuple, Any] = {}
        self.pool = BufferPool(self.dtype)

    # ---- the loops

    @property
    def inference(self) -> tuple[Layout, list[Buffer], list[Buffer]]:
        """The forward loop that saves nothing, with the buffers of its states and outputs."""
        with making:
            if self._inference is None:
                schedule, states, outputs = self.plan.inference()
                layout = Layout(schedule, "inference", False, self.dtype, f"{self.title}: forward, nothing saved.")
                self._inference = layout, states, outputs
            return self._inference

    @property
    def training(self) -> tuple[Layout, Layout, Epilogue]:
        """The forward loop, the backward loop, and what comes after it."""
        with making:
            if self._training is None:
                plan = self.plan
                plan.differentiate()
                forward = Layout(plan.forward, "forward", False, self.dtype, f"{self.title}: forward.")
                reverse = Layout(plan.reverse, "reverse", True, self.dtype, f"{self.title}: backward through time.")
                epilogue = Epilogue(plan, reverse)
                given = {s.uid for s in self.bases}
                wanted = reverse.packing.bases | epilogue.packing.bases
                self._backward_captures = [s for uid, s in wanted.items() if uid not in given]
                self._training = forward, reverse, epilogue
            return self._training

    def prepare(self, train: bool) -> None:
        """Generate and compile the loops, so that what fails does so before they run."""
        layout = self.training[0] if train else self.inference[0]
        layout.load()

    @property
    def backward_captures(self) -> list[Symbol]:
        """Values of invariants that only the backward loop reads, such as an exponent less one."""
        return self._backward_captures if self.training else []

    def evaluate_backward_captures(self, given: list[np.ndarray]) -> list[np.ndarray]:
        """Values of invariants that only the backward loop reads, such as an exponent less one."""
        if not self._backward_captures:
            return []
        values: dict = {s.uid: array for s, array in zip(self.bases, given)}
        values.update((uid, tensor.data) for uid, tensor in self.plan.constants.items())
        return [np.ascontiguousarray(value, self.dtype) for value in evaluate(self._backward_captures, values)]

    # ---- tables for one T and one batch

    def binding(self, kind: str, time: int, batch: int, with_reset_states: bool | None = None) -> Any:
        """The tables of the "inference", "training" or "backward" loop.

        Parameters
        ----------
        with_reset_states : bool, optional
            None: all steps count. Else rows are moved, and states after a reset are given or not.
        """
        key = (kind, time, batch, with_reset_states)
        found = self._bound.get(key)
        if found is not None:
            return found
        self.check_memory(kind, time, batch)
        with making:
            if key not in self._bound:
                if len(self._bound) >= BINDINGS:
                    # sequences come in many lengths; arrays of sizes that do not come again go, too
                    self._bound.pop(next(iter(self._bound)))
                    self.pool.clear()
                bound = self._bind(*key)
                check_memory(self.title, time, batch, self._bytes(bound), f"its {kind} loop")
                self._bound[key] = bound
            return self._bound[key]

    def _bind(self, kind: str, time: int, batch: int, with_reset_states: bool | None) -> BoundForward | BoundBackward:
        """New tables, by the arguments of :meth:`binding`."""
        plan = self.plan
        if kind == "backward":
            _, reverse, epilogue = self.training
            captures = [Role.CAPTURE.of(s.uid) for s in self._backward_captures]
            forward = self.binding("training", time, batch, with_reset_states)
            moves = None if with_reset_states is None else backward_moves(plan, reverse, with_reset_states)
            return bind_backward(reverse, epilogue, plan, forward, captures, time, batch, moves)
        if kind == "training":
            layout, states, outputs = self.training[0], plan.states, plan.outputs
        else:
            layout, states, outputs = self.inference
        moves = None if with_reset_states is None else forward_moves(plan, states, outputs, batch, with_reset_states)
        return bind_forward(layout, plan, states, outputs, self.captures, time, batch, moves)

    # ---- memory

    def check_memory(self, kind: str, time: int, batch: int) -> None:
        """Refuse a T and a batch for which not even inputs and outputs fit."""
        traced = self.plan.traced
        width = sum(x.width for x in (*traced.inputs, *traced.outputs)) or 1
        check_memory(self.title, time, batch, time * batch * width * self.dtype.itemsize, f"its {kind} loop")

    def out_of_memory(self, kind: str, time: int, batch: int, segments: Segments | None) -> MemoryError:
        """The error for a loop that did not find its memory."""
        if segments is None:
            needed = self._bytes(self.binding(kind, time, batch))
        else:
            traced = self.plan.traced
            width = sum(s.width for s in (*traced.inputs, *traced.outputs, *traced.states))
            needed = time * batch * width * self.dtype.itemsize
        return out_of_memory(self.title, time, batch, f"its {kind} loop", needed)

    def _bytes(self, bound: BoundForward | BoundBackward) -> int:
        """Bytes that a call allocates."""
        size = bound.arena + sum(bound.w) + sum(bound.results) + sum(math.prod(shape) for shape in bound.copies)
        return (size + (bound.grads if isinstance(bound, BoundBackward) else 0)) * self.dtype.itemsize

    # ---- running

    def forward(
        self,
        inputs: list,
        states: list,
        bases: list,
        time: int,
        batch: int,
        train: bool,
        segments: Segments | None = None,
        reset_states: Sequence = (),
    ) -> tuple[list, list, Context | None]:
        """Outputs (T, B, ...), final states (1, B, ...), and the context of the backward loop.

        Parameters
        ----------
        inputs, states, bases : lists of arrays
            `bases` are the values of :attr:`bases`.
        segments : Segments, optional
            Which steps are run; inputs and outputs are (T, B, ...) or (B, T, ...), as it was made for. None: all are,
            and rows lie as the loop takes them.
        reset_states : arrays (B, ...)
            With `segments`: states after a reset, if they are not `states`.
        """
        kind = "training" if train else "inference"
        try:
            if segments is None:
                key: tuple = (kind, time, batch, None)
            else:
                # tables for a rounded number of steps serve many batches; `steps` has the true one
                key = (kind, segments.slots, segments.batch, bool(reset_states))
                self.check_memory(kind, time, batch)
            bound: BoundForward = self._bound.get(key) or self.binding(*key)
            empty = self._small if bound.largest < SMALL else self.pool.empty
            rows, moved, steps = iter(inputs), (), ()
            if segments is None:
                copies = [*map(np.empty, bound.copies, self._dtypes)]
            else:
                rows, moved = map(empty, bound.packed), (*inputs, *reset_states)
                steps = self._loop_arguments(bound, segments)
                copies = [self._empty_sequence(shape, segments) for shape in self.plan.traced.shapes.outputs]
                copies += [np.empty((1, *s.shape), self.dtype) for s in states]
                # rows of the loop are segments: each gets the constants of its row of the batch
                bases = [b[segments.batch_row] if by_row else b for b, by_row in zip(bases, self.per_row)]
            arrays = [empty(bound.arena), *map(ravel, (*rows, *states)), *map(empty, bound.results), *bases]
            bound.launch.run([*arrays, *map(ravel, (*moved, *copies)), *map(empty, bound.w)], *steps)
        except OutOfMemoryError:
            raise
        except MemoryError as error:
            raise self.out_of_memory(kind, time, batch, segments) from error
        n = len(copies) - len(states)
        # copies, of a small loop or of packed rows; else views of arrays that hold nothing but results
        ys = copies[:n] or [view.of(arrays) for view in bound.outputs]
        return ys, copies[n:], Context(time, batch, arrays, segments, bool(reset_states)) if train else None

    def backward(self, context: Context, output_grads: list, state_grads: list) -> tuple[list, list, dict]:
        """Cotangents of inputs, of initial states (then of reset ones), and of invariants by uid.

        They are arrays of the caller's own.

        Parameters
        ----------
        context : Context
        output_grads, state_grads : lists of arrays or None
            None stands for zeros.
        """
        try:
            return self._backward(context, output_grads, state_grads)
        except OutOfMemoryError:
            raise
        except MemoryError as error:
            raise self.out_of_memory("backward", context.time, context.batch, context.segments) from error

    def _backward(self, context: Context, output_grads: list, state_grads: list) -> tuple[list, list, dict]:
        """Cotangents as of :meth:`backward`; arrays are listed in the order of :class:`.BoundBackward`."""
        time, batch, given, segments, with_reset_states = context
        key: tuple = ("backward", time, batch, None)
        if segments is not None:
            key = ("backward", segments.slots, segments.batch, with_reset_states)
        bound: BoundBackward = self._bound.get(key) or self.binding(*key)
        n, m, k = bound.inputs, len(state_grads), len(output_grads)
        zeros, empty = self.pool.zeros, self._small if bound.largest < SMALL else self.pool.empty
        sizes = bound.seeds if segments is None else self._seeds(time, batch)
        seeds = [zeros(size) if g is None else g.ravel() for g, size in zip((*output_grads, *state_grads), sizes)]
        # one array for the gradients of all bases, so that one task clears it
        grads = empty(bound.grads)
        arrays = [
            empty(bound.arena),
            *(seeds[:k] if segments is None else map(empty, bound.packed)),
            *seeds[k:],
            *map(empty, bound.results),
            grads,
            given[0],
            *given[1 : 1 + n],
            *given[1 + n + m :],
        ]
        if self._backward_captures:
            arrays += self.evaluate_backward_captures(given[len(given) - len(self.bases) :])
        moved: list = []
        steps: tuple = ()
        if segments is None:
            copies = [*map(np.empty, bound.copies, self._dtypes)]
        else:
            for states in bound.next_states:
                # the state after a step is not in the rows of the next step: products get a copy in their order
                moved.append(np.take(states.of(arrays), segments.next_state, axis=0, mode="clip"))
            moved += seeds[:k]
            steps = self._loop_arguments(bound, segments)
            shapes = self.plan.traced.shapes
            copies = [self._empty_sequence(shapes.inputs[i], segments) for i, _ in bound.wanted]
            copies += [np.zeros((batch, *shape), self.dtype) for shape in shapes.states * (1 + with_reset_states)]
        bound.launch.run([*arrays, *map(ravel, (*moved, *copies)), *map(empty, bound.w)], *steps)
        inputs: list[np.ndarray | None] = [None] * n
        for i, view in bound.wanted:
            inputs[i] = copies.pop(0) if view is None else view.of(arrays)
        found = {uid: ndarray(shape, dtype, grads, at) for uid, shape, dtype, at in bound.bases}
        if segments is not None:
            self._sum_segments(found, segments, batch)
        return inputs, copies, found

    # ---- sequences of different lengths

    @functools.cached_property
    def per_row(self) -> list[bool]:
        """Whether each base has a row for each row of the caller's batch."""
        rows = row_constants(self.plan.traced)
        return [s.uid in rows for s in self.bases]

    def _loop_arguments(self, bound: BoundForward | BoundBackward, segments: Segments) -> tuple:
        """The loop's integers, its row table, and the steps of each row."""
        return segments.steps(bound.head), segments.table, segments.lengths

    def _empty_sequence(self, shape: tuple, segments: Segments) -> np.ndarray:
        """An array of the caller's: outputs, or gradients of inputs."""
        first, second = segments.lead
        return self.pool.empty(first * second * math.prod(shape)).reshape(first, second, *shape)

    def _seeds(self, time: int, batch: int) -> list[int]:
        """Elements of the caller's gradients of outputs and of final states."""
        traced = self.plan.traced
        return [time * batch * y.width for y in traced.outputs] + [batch * s.width for s in traced.states]

    def _sum_segments(self, grads: dict, segments: Segments, batch: int) -> None:
        """Add gradients of segments to those of their rows, for bases with a row for each row of the batch."""
        for s, by_row in zip(self.bases, self.per_row):
            if by_row and s.uid in grads:
                rows = grads[s.uid]
                grads[s.uid] = np.zeros((batch, *rows.shape[1:]), rows.dtype)
                np.add.at(grads[s.uid], segments.batch_row, rows)
