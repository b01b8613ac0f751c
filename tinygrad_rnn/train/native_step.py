"""Native training steps: loss, gradients, clipping and update in one native call."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from operator import is_
from typing import Any, NamedTuple

import numpy as np

from ..compiler.model.native import NativeProgram
from ..compiler.model.one_dtype import with_one_dtype
from ..compiler.model.pool import dtype_of
from ..compiler.model.stage_list import StageList
from ..compiler.runtime.contents import Contents
from ..core.inplace import touch_all
from ..errors import CompileError, NonFiniteError
from ..optim import Optimizer, clip_grad_norm_
from ..optim.buckets import Bucket, LargeBucket
from .accumulation import Accumulation, check_gradients
from .checks import has_plain_step, methods_of
from .gradients import check_loss
from .known_numbers import KnownNumbers, is_fixed
from .left_gradients import left_gradients


class Update(NamedTuple):
    """The update of neighbours in a flat buffer that have gradients, and have been updated equally often."""

    group: dict[str, Any]
    bucket: Bucket
    first: int  # parameter
    last: int  # the one after
    arrays: list[np.ndarray]  # values, gradients and states
    numbers: np.ndarray  # the options of the group, as the kernel takes them
    step: np.ndarray  # updates so far


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
    accumulation : Accumulation
        How many batches share an update; counted on here.

    Raises
    ------
    CompileError
        If part of it runs in Python: an operation, the optimiser, or a gradient that the optimiser does not take.
    """

    def __init__(
        self,
        found: Any,
        optimizer: Optimizer,
        clip_norm: float | None,
        clip_value: float | None,
        watch: bool,
        accumulation: Accumulation,
    ):
        operation = found.capture.operation
        self.runner, self.program = operation.runner, with_one_dtype(operation.runner.program)
        self.optimizer, self.clipping = optimizer, (clip_norm, clip_value)
        self._kind, self._methods = type(optimizer), methods_of(optimizer)
        self.accumulation, self.every = accumulation, accumulation.every
        leaves = [*found.arguments.values, *found.tensors]
        n = len(found.capture.results)
        if any(i < len(found.arguments.values) for i in operation.wanted):
            raise CompileError("an argument gets a gradient")  # another call may have another tensor there
        place = {id(leaves[i]): n + k for k, i in enumerate(operation.wanted)}
        params = [p for group in optimizer.param_groups for p in group["params"]]
        self.params, self.others = ([p for p in params if (id(p) in place) is there] for there in (True, False))
        if len(self.params) < len(operation.wanted):
            raise CompileError("the optimiser does not have some parameters that get a gradient")
        if not has_plain_step(optimizer) or optimizer.kernel is None:
            raise CompileError(f"{type(optimizer).__name__} updates in Python")
        self.buckets, self._layout = optimizer.flat_buffers(), optimizer.layout
        self.native = NativeProgram(self.program, found.capture.captured(found.tensors), dtype_of(self.program))
        if self.native.stages.host:
            raise CompileError(f"{self.native.stages.host[0]} has no machine code")
        self.results = n
        self.status = np.zeros(1, np.int64)  # 1: something was not finite, and there was no update
        self.measured = np.zeros(2)  # by clipping: its second number is the norm
        grads = {id(p): self.native.outputs[place[id(p)]] for p in self.params}
        self._add_update(grads, clip_norm, clip_value, watch)
        self.native.stages.finish()
        self._left = left_gradients(self.grads, self.buckets)
        self._ours = ours = type(optimizer).__module__.startswith(f"{Optimizer.__module__.rpartition('.')[0]}.")
        self._written: list[Any] = [None] * len(self.updates)  # the options that the kernels have now
        self._known = [KnownNumbers(functools.partial(self._numbers, update), ours) for update in self.updates]

    def _add_update(
        self, grads: dict[int, np.ndarray], clip_norm: float | None, clip_value: float | None, watch: bool
    ) -> None:
        """Add the stages that clip and update to those of the program."""
        stages = self.native.stages
        self.updates: list[Update] = []
        self.grads: dict[int, np.ndarray] = {}  # after clipping, by the id of the parameter
        self.found: dict[int, np.ndarray] = {}  # those of one batch that is watched before others are added
        if watch and self.every > 1:
            grads = self.found = {i: self._contiguous(grad) for i, grad in grads.items()}
            for array in (self.native.outputs[0], *grads.values()):
                stages.finite(array.reshape(-1), self.status)
        runs: list[tuple[dict[str, Any], Bucket, int, int, np.ndarray]] = []
        for group, bucket in self.buckets:
            present = [id(p) in grads for p in bucket.params]
            if not any(present):
                continue
            if isinstance(bucket, LargeBucket):
                (p,) = bucket.params
                found = grads[id(p)]
                own = self.every == 1 and self._own(found, grads, p)
                flat = found if own else np.empty(found.shape, found.dtype)
                if flat is not found:
                    self._collect(found, flat)
                self.grads[id(p)] = flat
                runs.append((group, bucket, 0, 1, flat.reshape(-1)))
                continue
            for p, part in zip(bucket.params, bucket.parts(bucket.grads)):
                if id(p) in grads:
                    self._collect(grads[id(p)], part)
                    self.grads[id(p)] = part
            for first, last, _ in bucket.runs(present):
                part = bucket.grads[bucket.bounds[first] : bucket.bounds[last]]
                runs.append((group, bucket, first, last, part))
        with stages.last_of_group():
            self._add_update_of(runs, clip_norm, clip_value, watch)

    def _contiguous(self, grad: np.ndarray) -> np.ndarray:
        """A gradient, copied if it has to be."""
        if grad.flags.c_contiguous:
            return grad
        copied = np.empty(grad.shape, grad.dtype)
        self.native.stages.copy(grad, copied)
        return copied

    def _collect(self, found: np.ndarray, flat: np.ndarray) -> None:
        """Copy a gradient to where the update reads it, or add it to those of the batches before."""
        if self.every == 1:
            self.native.stages.copy(found, flat)
        else:
            self.native.stages.collect(found, flat)

    def _add_update_of(
        self,
        runs: Sequence[tuple[dict[str, Any], Bucket, int, int, np.ndarray]],
        clip_norm: float | None,
        clip_value: float | None,
        watch: bool,
    ) -> None:
        stages, flats = self.native.stages, [flat for *_, flat in runs]
        if self.every > 1:
            for flat in flats:
                stages.divide(flat, self.every)
        if watch:
            for array in (self.native.outputs[0].reshape(-1), *flats):
                stages.finite(array, self.status)
        if clip_value is not None:
            for flat in flats:
                stages.clip_value(flat, clip_value)
        if clip_norm is not None:
            self.measured = stages.clip_norm(flats, clip_norm)
        for group, bucket, first, last, flat in runs:
            at = slice(bucket.bounds[first], bucket.bounds[last])
            arrays = [bucket.values[at], flat, *(s[at] for s in bucket.state)]
            options = self.optimizer.kernel_numbers(group, bucket.steps[first] + 1, arrays)
            if options is None:
                raise CompileError(f"{type(self.optimizer).__name__} updates in Python")
            numbers, step = np.array(options, np.float64), np.array([bucket.steps[first]])
            stages.update(self.optimizer.kernel or "", arrays, numbers, step)
            self.updates.append(Update(group, bucket, first, last, arrays, numbers, step))

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
        """Whether the optimiser still has its state where it was, with one count of updates for each run."""
        if not self.has_its_methods() or not has_plain_step(self.optimizer):
            return False
        if not self.optimizer.is_laid_out(self._layout):
            return False
        for group, _ in self._layout:
            if group.get("maximize"):
                return False
        return self.counts_fit()

    def has_its_methods(self) -> bool:
        """Whether the optimiser is of the class that it was of, and that updates as it did."""
        optimizer, methods = self.optimizer, self._methods
        return type(optimizer) is self._kind and all(map(is_, methods_of(optimizer), methods))

    def counts_fit(self) -> bool:
        """Whether all parameters of each run have been updated equally often."""
        for update in self.updates:
            steps = update.bucket.steps[update.first : update.last]
            if steps.count(steps[0]) != len(steps):
                return False
        return True

    def describe(self, contents: Contents) -> bool:
        """Add all that has to be the same for the optimiser to have its state where it was.

        That is what its attributes hold now; False if there is more, or it may be written to in its place.
        """
        groups = self.optimizer.param_groups
        sequences = [groups, *[group["params"] for group in groups]]
        if not self._ours or not all(isinstance(group, dict) for group in groups):
            return False  # another optimiser may decide by anything which states it needs
        if not all(isinstance(a, list | tuple) for a in sequences):
            return False
        if not all(is_fixed(v) for group in groups for name, v in group.items() if name != "params"):
            return False
        contents.kinds([(self.optimizer, self._kind)])
        contents.dicts([(d, [*d], [*d.values()]) for d in (vars(self.optimizer), *groups)])
        contents.lists([(a, [*a]) for a in sequences if isinstance(a, list)])  # a tuple cannot be written to
        for _, bucket in self.buckets:
            for p in bucket.params:
                contents.slots(p, _array=p._array)
        return True

    def goes_on(self) -> bool:
        """Whether gradients that wait for an update, if any, are those of its parameters, and no others."""
        if not self.accumulation.waiting:
            return True
        if self.accumulation.waiting >= self.every or any(p.grad is not None for p in self.others):
            return False
        return all(p.grad is not None and p.grad._array.dtype == self.grads[id(p)].dtype for p in self.params)

    def __call__(self, arrays: Sequence[np.ndarray]) -> float:
        """Update with one batch; the loss before. With `watch`, :meth:`check` says whether it was applied."""
        native = self.native
        self.refresh()
        native.load(arrays)
        try:
            self.run(native.stages, 1)
        finally:  # Ctrl-C waits for the native call
            self.settle(0 if self.status[0] else 1)
        return float(native.outputs[0].item())

    def run(self, stages: StageList, count: int) -> None:
        """Run its stages, or others that hold them, for so many batches; :meth:`settle` is to follow."""
        self.status[0] = 0
        if self.accumulation.waiting:
            for p in self.params:
                self.grads[id(p)][...] = p.grad._array
        stages.run_steps(count, self.status, self.accumulation.waiting, self.every)

    @property
    def norm_of_last(self) -> float | None:
        """Norm of the last gradients before clipping; 0 without `clip_norm`, None if they wait."""
        return None if self.accumulation.waiting else float(self.measured[1])

    def norms(self, found: list[float]) -> list[float | None]:
        """For each of the last batches, that were settled, the norm of its update; None if it waits for one.

        `found` are the norms of the last batches of updates, at the places of these batches.
        """
        every = self.every
        if every == 1:
            return [*found]
        first = (self.accumulation.waiting - len(found)) % every  # in its group
        return [norm if (first + k) % every == every - 1 else None for k, norm in enumerate(found)]

    def check(self) -> None:
        """Raise FloatingPointError if the last run has ended before an update that was not finite.

        Batches that wait are left alone if that is the batch's own loss or gradient, and else wait no longer.
        """
        if not self.status[0]:
            return
        loss = float(self.native.outputs[0].item())
        check_loss(loss, True)
        if self.every > 1:
            check_gradients(self.params, [self.found[id(p)] for p in self.params])
            self.accumulation.waiting = 0  # their sum is not finite
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
            self._numbers(update) == self._numbers(update, ahead) for update in self.updates for ahead in (2, most)
        )

    def refresh(self) -> None:
        """Read the options of the optimiser's groups, which may have changed."""
        for i, (update, known) in enumerate(zip(self.updates, self._known)):
            done = update.bucket.steps[update.first]
            numbers = known.next(update.group, done)
            if numbers is not self._written[i]:
                update.numbers[:] = self._written[i] = numbers
            update.step[0] = done

    def foresee(self, tables: Sequence[np.ndarray], preview: Sequence[Sequence[dict[str, Any]]] | None) -> None:
        """Write the options of updates, from those of the groups at each, to the rows of kernels' tables."""
        self._written = [None] * len(self.updates)
        place = {id(group): i for i, group in enumerate(self.optimizer.param_groups)}
        for update, table in zip(self.updates, tables):
            for k, row in enumerate(table):
                group = None if preview is None else preview[k][place[id(update.group)]]
                row[:] = self._numbers(update, k + 1, group)

    def _numbers(self, update: Update, ahead: int = 1, group: dict[str, Any] | None = None) -> list[float]:
        """The options of an update as its kernel takes them, of the next update or of a later one."""
        step = update.bucket.steps[update.first] + ahead
        return self.optimizer.kernel_numbers(group or update.group, step, update.arrays) or []

    def settle(self, batches: int) -> None:
        """Note that so many batches were run, and leave their gradients in the parameters.

        They are left as the last update had them; those of batches that had no update yet as their sum.
        """
        count = self.accumulation.count(batches)
        for _, bucket, first, last, *_ in self.updates:
            bucket.steps[first:last] = [bucket.steps[first] + count] * (last - first)
        for p in self.others:
            p.grad = None
        touch_all(self.params)
        for left in self._left:
            left.leave()
