"""Running a plan: buffers, the loops themselves, and what is left to do after them."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np

from ..errors import CompileError
from . import threads
from .gather import Gather
from .layout import Layout
from .plan import Plan
from .schedule import Buffer


def check_available() -> None:
    """Say so where generated code cannot run."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        raise CompileError("Numba's JIT is switched off (NUMBA_DISABLE_JIT)")


class Context(NamedTuple):
    """What the backward loop needs of a forward one."""

    time: int
    batch: int
    arrays: dict[str, np.ndarray]  # by buffer name
    values: dict[int, np.ndarray]  # invariants by uid


class Executable:
    """A plan with its loops; they are generated and compiled when they are first run.

    All arrays are contiguous and of the plan's dtype, which the caller has checked.
    """

    def __init__(self, plan: Plan, title: str):
        self.plan = plan
        self.title = title
        self.dtype = plan.traced.trace.dtype
        self._inference: tuple | None = None
        self._training: tuple | None = None

    # ---- the three loops

    @property
    def inference(self) -> tuple[Layout, list[Buffer], list[Buffer]]:
        if self._inference is None:
            schedule, states, outputs = self.plan.inference()
            layout = Layout(schedule, "inference", False, self.dtype, f"{self.title}: forward, nothing saved.")
            self._inference = layout, states, outputs
        return self._inference

    @property
    def training(self) -> tuple[Layout, Layout, Gather]:
        if self._training is None:
            plan = self.plan
            plan.differentiate()
            forward = Layout(plan.forward, "forward", False, self.dtype, f"{self.title}: forward.")
            reverse = Layout(plan.reverse, "reverse", True, self.dtype, f"{self.title}: backward through time.")
            self._training = forward, reverse, Gather(plan, forward, reverse)
        return self._training

    # ---- buffers

    def _allocate(self, layout: Layout, arrays: dict, time: int, batch: int) -> list[np.ndarray]:
        """The arrays that the generated function takes, in its order; those not given are made."""
        for buffer in layout.emitter.arrays:
            if buffer.name not in arrays:
                arrays[buffer.name] = self.make(layout, buffer, time, batch)
        return [arrays[b.name] for b in layout.emitter.arrays]

    def make(self, layout: Layout, buffer: Buffer, time: int, batch: int) -> np.ndarray:
        slots = {"history": time + 1, "ring": 2, "series": time}.get(buffer.kind, 1)
        size = slots * batch * layout.ld(buffer) + layout.sizes.panel
        return np.zeros(size, self.dtype) if buffer.kind == "total" else np.empty(size, self.dtype)

    def _begin(self, layout: Layout, buffers: list[Buffer], values: list, arrays: dict, time: int, batch: int) -> None:
        """Put initial values into the first slot of states or carries."""
        for buffer, value in zip(buffers, values):
            array = arrays[buffer.name] = self.make(layout, buffer, time, batch)
            ld, width = layout.ld(buffer), buffer.parts[0]
            rows = array[: batch * ld].reshape(batch, ld)
            rows[:, :width] = value.reshape(batch, width)
            rows[:, width:] = 0

    def _result(self, layout: Layout, buffer: Buffer, arrays, time: int, batch: int, shape, first: int = 0):
        ld, width = layout.ld(buffer), buffer.parts[0]
        start = first * batch * ld
        rows = arrays[buffer.name][start : start + time * batch * ld].reshape(time, batch, ld)[:, :, :width]
        return rows if len(shape) > 1 else rows[:, :, 0]

    def _last(self, layout: Layout, buffer: Buffer, arrays, time: int, batch: int, shape) -> np.ndarray:
        """The state after the last step, as an array of its own."""
        slot = time if buffer.kind == "history" else time & 1
        return np.ascontiguousarray(self._result(layout, buffer, arrays, 1, batch, shape, slot)[0])

    # ---- running

    def forward(self, inputs, states, values, time: int, batch: int, train: bool) -> tuple[list, list, Context | None]:
        """Outputs (T, B, ...), final states (B, ...), and what the backward loop needs."""
        plan, t = self.plan, self.plan.traced
        if train:
            layout, state_buffers, outputs = self.training[0], plan.states, plan.outputs
        else:
            layout, state_buffers, outputs = self.inference
        arrays = {f"x{i}": x.reshape(-1) for i, x in enumerate(inputs)}
        self._begin(layout, state_buffers, states, arrays, time, batch)
        self._loop(layout, arrays, values, time, batch)
        ys = [
            self._result(layout, b, arrays, time, batch, y.shape, int(b.kind == "history"))
            for b, y in zip(outputs, t.outputs)
        ]
        finals = [self._last(layout, b, arrays, time, batch, s.shape) for b, s in zip(state_buffers, t.states)]
        return ys, finals, Context(time, batch, arrays, values) if train else None

    def backward(self, context: Context, output_grads: list, state_grads: list) -> tuple[list, list, dict]:
        """Cotangents of inputs, of initial states, and of invariants by uid."""
        _, reverse, gather = self.training
        plan = self.plan
        time, batch = context.time, context.batch
        arrays = dict(context.arrays)
        for i, g in enumerate(output_grads):
            arrays[f"g{i}"] = g.reshape(-1)
        self._begin(reverse, plan.carries, state_grads, arrays, time, batch)
        self._loop(reverse, arrays, context.values, time, batch)
        t = plan.traced
        states = [self._last(reverse, b, arrays, time, batch, s.shape) for b, s in zip(plan.carries, t.states)]
        inputs: list[Any] = [None] * len(t.inputs)
        for i, buffer in plan.input_buffers.items():
            inputs[i] = self._result(reverse, buffer, arrays, time, batch, t.inputs[i].shape)
        gather.inputs(arrays, context.values, time, batch, inputs)
        return inputs, states, gather.invariants(arrays, context.values, time, batch)

    def _loop(self, layout: Layout, arrays: dict, values: dict, time: int, batch: int) -> None:
        d, k, v, w, bias = layout.fill(values, batch, time)
        buffers = self._allocate(layout, arrays, time, batch)
        function = layout.function
        threads.run(lambda b0, b1: function(b0, b1, d, k, v, w, bias, *buffers), batch, time * batch * layout.w_size)
