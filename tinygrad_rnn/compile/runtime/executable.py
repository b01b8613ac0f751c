"""Running a plan, forward and backward, and the arrays in between."""

from __future__ import annotations

import itertools
import math
import os
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from ...errors import CompileError, OutOfMemoryError
from ...kernels.build.uninterrupted import making
from ..codegen.layout import Layout
from ..ir.interpret import evaluate
from ..ir.program import bases
from ..schedule.buffers import Buffer
from ..schedule.plan import Plan
from .binding import Backward, Forward, bind_backward, bind_forward
from .buffer_pool import Pool
from .epilogue import After
from .memory import check_room, no_room

ravel = ndarray.ravel

BINDINGS = 64  # pairs of T and batch whose tables are kept


def check_available() -> None:
    """Say so where generated code cannot run."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        raise CompileError("Numba's JIT is switched off (NUMBA_DISABLE_JIT)")


class Context(NamedTuple):
    """What the backward loop needs of a forward one."""

    time: int
    batch: int
    arrays: list


class Executable:
    """A plan with its loops; they are generated and compiled when they are first run.

    All arrays are contiguous and of the plan's dtype, which the caller has checked.
    """

    def __init__(self, plan: Plan, title: str):
        self.plan = plan
        self.title = title
        self.dtype = plan.traced.trace.dtype
        self._dtypes = itertools.repeat(self.dtype)
        self.bases = bases(plan.traced)
        self.names = [f"b{s.uid}" for s in self.bases]
        self._inference: tuple | None = None
        self._training: tuple | None = None
        self._derived: list | None = None
        self._bound: dict[tuple, Any] = {}
        self.pool = Pool(self.dtype)

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
    def training(self) -> tuple[Layout, Layout, After]:
        """The forward loop, the backward loop, and what comes after it."""
        with making:
            if self._training is None:
                plan = self.plan
                plan.differentiate()
                forward = Layout(plan.forward, "forward", False, self.dtype, f"{self.title}: forward.")
                reverse = Layout(plan.reverse, "reverse", True, self.dtype, f"{self.title}: backward through time.")
                after = After(plan, reverse)
                given = {s.uid for s in self.bases}
                wanted = reverse.packing.bases | after.packing.bases
                self._derived = [s for uid, s in wanted.items() if uid not in given]
                self._training = forward, reverse, after
            return self._training

    def prepare(self, train: bool) -> None:
        """Make the loops ready, as far as that is done before they run: what fails, fails here."""
        layout = self.training[0] if train else self.inference[0]
        layout.load()

    @property
    def derived(self) -> list[str]:
        """Names of the arrays that :meth:`derive` makes."""
        return [f"b{s.uid}" for s in self._derived or ()]

    def derive(self, given: list[np.ndarray]) -> list[np.ndarray]:
        """What only the backward loop reads of the parameters, such as an exponent less one."""
        if not self._derived:
            return []
        values: dict = {s.uid: array for s, array in zip(self.bases, given)}
        values.update((uid, tensor.data) for uid, tensor in self.plan.constants.items())
        return [np.ascontiguousarray(value, self.dtype) for value in evaluate(self._derived, values)]

    # ---- tables for one T and one batch

    def binding(self, kind: str, time: int, batch: int) -> Any:
        """The tables of the "inference", "training" or "backward" loop."""
        found = self._bound.get((kind, time, batch))
        if found is not None:
            return found
        self.check_room(kind, time, batch)
        with making:
            key = (kind, time, batch)
            if key not in self._bound:
                if len(self._bound) >= BINDINGS:
                    self._bound.pop(next(iter(self._bound)))
                    self.pool.clear()
                bound = self._bind(kind, time, batch)
                check_room(self.title, time, batch, self._bytes(bound), f"its {kind} loop")
                self._bound[key] = bound
            return self._bound[key]

    def _bind(self, kind: str, time: int, batch: int) -> Forward | Backward:
        plan = self.plan
        if kind == "inference":
            layout, states, outputs = self.inference
            return bind_forward(layout, plan, states, outputs, self.names, time, batch)
        layout, reverse, after = self.training
        if kind == "training":
            return bind_forward(layout, plan, plan.states, plan.outputs, self.names, time, batch)
        return bind_backward(reverse, after, plan, self.binding("training", time, batch), self.derived, time, batch)

    # ---- memory

    def check_room(self, kind: str, time: int, batch: int) -> None:
        """Refuse a T and a batch for which not even inputs and outputs fit."""
        traced = self.plan.traced
        width = sum(x.width for x in (*traced.inputs, *traced.outputs)) or 1
        check_room(self.title, time, batch, time * batch * width * self.dtype.itemsize, f"its {kind} loop")

    def no_room(self, kind: str, time: int, batch: int) -> MemoryError:
        """The error for a loop that did not find its memory."""
        return no_room(self.title, time, batch, f"its {kind} loop", self._bytes(self.binding(kind, time, batch)))

    def _bytes(self, bound: Forward | Backward) -> int:
        """What a call allocates."""
        size = bound.arena + sum(bound.w) + sum(bound.results) + sum(math.prod(shape) for shape in bound.copies)
        return (size + (bound.grads if isinstance(bound, Backward) else 0)) * self.dtype.itemsize

    # ---- running

    def forward(self, inputs: list, states: list, bases: list, time: int, batch: int, train: bool):
        """Outputs (T, B, ...), final states (1, B, ...), and what the backward loop needs.

        Parameters
        ----------
        inputs, states, bases : lists of arrays
            `bases` are the values of :attr:`bases`.
        """
        kind = "training" if train else "inference"
        try:
            return self._forward(kind, inputs, states, bases, time, batch, train)
        except OutOfMemoryError:
            raise
        except MemoryError as error:
            raise self.no_room(kind, time, batch) from error

    def _forward(self, kind: str, inputs: list, states: list, bases: list, time: int, batch: int, train: bool):
        bound: Forward = self._bound.get((kind, time, batch)) or self.binding(kind, time, batch)
        empty = self.pool.empty
        arrays = [empty(bound.arena), *map(ravel, (*inputs, *states)), *map(empty, bound.results), *bases]
        copies = [*map(np.empty, bound.copies, self._dtypes)]
        bound.call.run([*arrays, *map(ravel, copies), *map(empty, bound.w)])
        n = len(copies) - len(states)
        ys = copies[:n] or [view.of(arrays) for view in bound.outputs]
        return ys, copies[n:], Context(time, batch, arrays) if train else None

    def backward(self, context: Context, output_grads: list, state_grads: list) -> tuple[list, list, dict]:
        """Cotangents of inputs, of initial states, and of invariants by uid: arrays of the caller's own.

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
            raise self.no_room("backward", context.time, context.batch) from error

    def _backward(self, context: Context, output_grads: list, state_grads: list) -> tuple[list, list, dict]:
        time, batch, given = context
        bound: Backward = self._bound.get(("backward", time, batch)) or self.binding("backward", time, batch)
        n, m = bound.inputs, len(state_grads)
        empty, zeros = self.pool.empty, self.pool.zeros
        grads, copies = empty(bound.grads), [*map(np.empty, bound.copies, self._dtypes)]
        arrays = [
            empty(bound.arena),
            *[zeros(k) if g is None else g.ravel() for g, k in zip((*output_grads, *state_grads), bound.given)],
            *map(empty, bound.results),
            grads,
            given[0],
            *given[1 : 1 + n],
            *given[1 + n + m :],
        ]
        if self._derived:
            arrays += self.derive(given[len(given) - len(self.bases) :])
        bound.call.run([*arrays, *map(ravel, copies), *map(empty, bound.w)])
        inputs: list[np.ndarray | None] = [None] * n
        for i, view in bound.wanted:
            inputs[i] = copies.pop(0) if view is None else view.of(arrays)
        return inputs, copies, {uid: ndarray(shape, dtype, grads, at) for uid, shape, dtype, at in bound.bases}
