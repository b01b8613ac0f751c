"""Native training steps: loss, gradients, clipping and update in one native call."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..compiler.model.native import NativeProgram
from ..compiler.model.pool import dtype_of
from ..core import Tensor
from ..errors import CompileError, NonFiniteError
from ..optim import Optimizer, clip_grad_norm_
from ..optim.buckets import Bucket, LargeBucket
from .gradients import check_loss

LARGE = 1 << 16  # bytes of a gradient from which on new memory costs more than the copy


class NativeStep:
    """One program with its update, bound to the arrays of the parameters and of the optimiser.

    Parameters
    ----------
    found : Found
        The program of a loss and its gradients, for a call.
    optimizer : Optimizer
    clip_norm, clip_value : float or None
    watch : bool
        Update nothing where the loss or a gradient is not finite; :meth:`check` raises then.

    Raises
    ------
    CompileError
        If part of it runs in Python: an operation, the optimiser, or a gradient that the optimiser does not take.
    """

    def __init__(
        self, found: Any, optimizer: Optimizer, clip_norm: float | None, clip_value: float | None, watch: bool
    ):
        operation = found.capture.operation
        self.runner, self.program = operation.runner, operation.runner.program
        self.optimizer, self.clipping = optimizer, (clip_norm, clip_value)
        leaves = [*found.arguments.values, *found.tensors]
        n = len(found.capture.results)
        self.params = [p for group in optimizer.param_groups for p in group["params"]]
        place = {id(leaves[i]): n + k for k, i in enumerate(operation.wanted)}
        if {id(p) for p in self.params} != set(place):
            raise CompileError("some parameters get no gradient, or the optimiser does not have them")
        if type(optimizer).step is not Optimizer.step or optimizer.kernel is None:
            raise CompileError(f"{type(optimizer).__name__} updates in Python")
        self.buckets = optimizer.flat_buffers()
        if any(len({*bucket.steps}) > 1 for _, bucket in self.buckets):
            raise CompileError("some parameters have had more updates than others")
        self.native = NativeProgram(self.program, found.capture.captured(found.tensors), dtype_of(self.program))
        if self.native.stages.host:
            raise CompileError(f"{self.native.stages.host[0]} has no machine code")
        self.results = n
        self.status = np.zeros(1, np.int64)  # 1: something was not finite, and there was no update
        self.measured = np.zeros(2)  # by clipping: its second number is the norm
        grads = {id(p): self.native.outputs[place[id(p)]] for p in self.params}
        self._add_update(grads, clip_norm, clip_value, watch)
        self.native.stages.finish()
        self._last: dict[int, np.ndarray] = {}  # large gradients that were left in parameters, by parameter

    def _add_update(
        self, grads: dict[int, np.ndarray], clip_norm: float | None, clip_value: float | None, watch: bool
    ) -> None:
        """Add the stages that clip and update to those of the program."""
        stages = self.native.stages
        self._updates: list[tuple[dict, Bucket, np.ndarray, np.ndarray, np.ndarray]] = []
        self.grads: dict[int, np.ndarray] = {}  # after clipping, by the id of the parameter
        flats = []
        for _, bucket in self.buckets:
            if isinstance(bucket, LargeBucket):
                (p,) = bucket.params
                found = grads[id(p)]
                flat = found if self._own(found, grads, p) else np.empty(found.shape, found.dtype)
                if flat is not found:
                    stages.copy(found, flat)
                self.grads[id(p)] = flat
                flats.append(flat.reshape(-1))
            else:
                for p, part in zip(bucket.params, bucket.parts(bucket.grads)):
                    stages.copy(grads[id(p)], part)
                    self.grads[id(p)] = part
                flats.append(bucket.grads)
        if watch:
            for array in (self.native.outputs[0].reshape(-1), *flats):
                stages.finite(array, self.status)
        if clip_value is not None:
            for flat in flats:
                stages.clip_value(flat, clip_value)
        if clip_norm is not None:
            self.measured = stages.clip_norm(flats, clip_norm)
        for (group, bucket), flat in zip(self.buckets, flats):
            options = self.optimizer.kernel_numbers(group, bucket, flat)
            if options is None:
                raise CompileError(f"{type(self.optimizer).__name__} updates in Python")
            numbers, step = np.array(options, np.float64), np.array([bucket.steps[0]])
            arrays = [bucket.values, flat, *bucket.state]
            stages.update(self.optimizer.kernel or "", arrays, numbers, step)
            self._updates.append((group, bucket, flat, numbers, step))

    def _own(self, grad: np.ndarray, grads: dict[int, np.ndarray], p: Any) -> bool:
        """Whether to clip a gradient where it is: nothing else lies in its memory."""
        native = self.native
        others = [*native.captured.values(), native.outputs[0], *[g for i, g in grads.items() if i != id(p)]]
        return grad.flags.c_contiguous and not any(np.may_share_memory(grad, other) for other in others)

    # ---- running

    def fits(self, found: Any) -> bool:
        """Whether the arrays are still those that it was bound to."""
        return self.updates_fit() and self.native.reads(found.capture.captured(found.tensors))

    def updates_fit(self) -> bool:
        """Whether the optimiser still has its state where it was, with one count of updates for each buffer."""
        buckets = self.optimizer.flat_buffers()
        if len(buckets) != len(self.buckets) or any(group.get("maximize") for group, _ in buckets):
            return False
        for (_, now), (_, bound) in zip(buckets, self.buckets):
            if now is not bound or bound.steps.count(bound.steps[0]) != len(bound.steps):
                return False
        return True

    def __call__(self, arrays: Sequence[np.ndarray]) -> float:
        """Update with one batch; the loss before. With `watch`, :meth:`check` says whether it was applied."""
        native = self.native
        self.refresh()
        native.load(arrays)
        self.status[0] = 0
        try:
            native.stages.run_steps(1, self.status)
        finally:  # Ctrl-C waits for the native call
            self.settle(0 if self.status[0] else 1)
        return float(native.outputs[0].item())

    @property
    def norm(self) -> float:
        """Of the last gradients together, before clipping; 0 without `clip_norm`."""
        return float(self.measured[1])

    def check(self) -> None:
        """Raise FloatingPointError if the last run has ended before an update that was not finite."""
        if not self.status[0]:
            return
        loss = float(self.native.outputs[0].item())
        check_loss(loss, True)
        if self.clipping != (None, None):
            clip_grad_norm_(self.params, math.inf, error_if_nonfinite=True)
        raise NonFiniteError("gradients: got NaN or infinity")

    def nest(self, found: Any) -> Any:
        """The result of the function for the last batch, in arrays of its own, without a graph."""
        capture = found.capture
        values = [capture.wrapped(s, np.array(a, s.dtype)) for s, a in zip(capture.results, self.native.outputs)]
        return capture.nest(values, found.arguments.values, found.tensors)

    # ---- options

    def looks_ahead(self, most: int) -> bool:
        """Whether the options of the next updates, at most so many, are those of the first one."""
        return all(
            self._numbers(update) == self._numbers(update, ahead) for update in self._updates for ahead in (2, most)
        )

    def refresh(self) -> None:
        """Read the options of the optimiser's groups, which may have changed."""
        for update in self._updates:
            _, bucket, _, numbers, step = update
            numbers[:] = self._numbers(update)
            step[0] = bucket.steps[0]

    def _numbers(self, update: tuple, ahead: int = 1) -> list[float]:
        """The options of an update as its kernel takes them, of the next update or of a later one."""
        group, bucket, flat, *_ = update
        return self.optimizer.kernel_numbers(group, bucket, flat, ahead) or []

    def settle(self, count: int) -> None:
        """Note that there were `count` updates, and leave the gradients of the last one in the parameters."""
        for _, bucket, _, _, _ in self._updates:
            bucket.steps = [bucket.steps[0] + count] * len(bucket.steps)
        for p in self.params:
            p.touch()
            p.grad = self._left(p, self.grads[id(p)])

    def _left(self, p: Tensor, grad: np.ndarray) -> Tensor:
        """A copy of a gradient, in the memory of the one before if that is large and nobody else holds it."""
        if grad.nbytes < LARGE:
            return Tensor(grad.copy())
        if id(p) not in self._last or not _is_left_alone(p, self._last):
            self._last[id(p)] = np.empty_like(grad)
        last = self._last[id(p)]
        last[...] = grad
        return Tensor(last)


def _is_left_alone(p: Tensor, table: dict[int, np.ndarray]) -> bool:
    """Whether a parameter's gradient is the array in the table, and nobody else holds either."""
    return p.grad is not None and p.grad._array is table[id(p)] and _references(p, table) == _alone()


def _references(p: Tensor, table: dict[int, np.ndarray]) -> tuple[int, int]:
    return sys.getrefcount(p.grad), sys.getrefcount(table[id(p)])


@functools.cache
def _alone() -> tuple[int, int]:
    """The references to a gradient and its array that nobody else holds: interpreters differ."""
    p = Tensor(np.zeros(1))
    p.grad = Tensor(np.zeros(1))
    return _references(p, {id(p): p.grad._array})
