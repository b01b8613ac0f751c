"""Flat buffers: the parameters of a group side by side, so that one kernel call updates them.

One update is then one call of one kernel, however many parameters there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from operator import attrgetter, is_
from typing import Any

import numpy as np

from ..core import Tensor
from ..errors import DTypeError, ShapeError

LARGE = 16384  # from this many elements on, copying the gradient costs more than a kernel call
State = dict[str, np.ndarray]
_array_of = attrgetter("_array")


class Bucket:
    """A flat buffer of parameters of one group and dtype, with their optimiser state.

    Attributes
    ----------
    values, grads : ndarray, shape (n,)
        All values and all gradients; every parameter's ``data`` is a view of `values`.
    state : tuple of ndarray, shape (n,) or (0,)
        The state arrays, as the kernel takes them; (0,) for one that is not in use.
    steps : list of int
        For every parameter, how many updates it has had.
    """

    def __init__(self, params: list[Tensor], labels: list[str], slots: tuple[str, ...], initial: tuple):
        self.params = params
        self.labels = labels
        self.slots = slots
        self.initial = initial
        dtype = params[0].data.dtype
        self.bounds = np.cumsum([0] + [p.data.size for p in params]).tolist()
        total = self.bounds[-1]
        self.shapes = [p.data.shape for p in params]
        self.values = np.empty(total, dtype)
        self.grads = np.zeros(total, dtype)
        self.state = tuple(np.full(0 if value is None else total, value or 0, dtype) for value in initial)
        self.steps = [0] * len(params)
        self.missing = False
        self._rows: list[tuple[Tensor, np.ndarray, np.ndarray]] = []
        for i, p in enumerate(params):
            view, grad = self._part(self.values, i), self._part(self.grads, i)
            view[...] = p.data
            p._array = view  # the values are the same: no write that a graph has to know of
            self._rows.append((p, view, grad))
        self._views = [view for _, view, _ in self._rows]

    def _part(self, array: np.ndarray, i: int) -> np.ndarray:
        return array[self.bounds[i] : self.bounds[i + 1]].reshape(self.shapes[i])

    def parts(self, flat: np.ndarray) -> list[np.ndarray]:
        """The parts of an array like `values` that belong to the parameters, in their shapes."""
        return [self._part(flat, i) for i in range(len(self.params))]

    def is_home(self) -> bool:
        """Whether all parameters have their values here."""
        return all(map(is_, map(_array_of, self.params), self._views))  # every step asks

    def gather(self) -> bool:
        """Fetch the gradients; False if a parameter no longer fits its place in the buffer."""
        self.missing = False
        dtype = self.values.dtype
        for p, view, grad in self._rows:
            if p.data is not view and not _take_over(p, view):
                return False
            g = p.grad
            if g is None:
                self.missing = True
                continue
            array = getattr(g, "data", None)
            if not isinstance(array, np.ndarray) or array.shape != grad.shape or array.dtype != dtype:
                self._refuse(p)
            grad[...] = array
            p.touch()
        return True

    def check_finite(self) -> None:
        """Raise FloatingPointError if one of the gradients that were fetched holds NaN or infinity."""
        if np.isfinite(self.grads).all():
            return
        for label, p in zip(self.labels, self.params):
            if p.grad is not None and not np.isfinite(p.grad.data).all():
                at = tuple(np.argwhere(~np.isfinite(p.grad.data))[0].tolist())
                raise FloatingPointError(f"{label}.grad: got {p.grad.data[at]} at {at}, wanted finite numbers")

    def _refuse(self, p: Tensor) -> None:
        label = next(name for name, q in zip(self.labels, self.params) if q is p)
        g: Any = p.grad
        if not isinstance(g, Tensor):
            raise TypeError(f"{label}.grad: got {type(g).__name__}, wanted a Tensor or None")
        if g.shape != p.shape:
            raise ShapeError(f"{label}.grad: got shape {g.shape}, wanted {p.shape} as the parameter")
        raise DTypeError(f"{label}.grad: got {g.dtype}, wanted {p.dtype} as the parameter")

    def update(self, run: Callable[..., None], group: dict[str, Any]) -> None:
        """Call ``run(group, step, values, grads, *state)`` for all parameters that have a gradient."""
        step = self.steps[0] + 1
        if not self.missing and self.steps.count(step - 1) == len(self.steps):
            self.steps = [step] * len(self.steps)
            run(group, step, self.values, self.grads, *self.state)
            return
        for first, last, step in self.runs([p.grad is not None for p in self.params]):
            self.steps[first:last] = [step] * (last - first)
            part = slice(self.bounds[first], self.bounds[last])
            run(group, step, self.values[part], self.grads[part], *(s[part] for s in self.state))

    def runs(self, present: list[bool]) -> Iterator[tuple[int, int, int]]:
        """Neighbours that have gradients and have been updated equally often: first, last, their next update."""
        first = 0
        keys = [*zip(present, self.steps)]
        for (there, step), run in groupby(keys):
            last = first + len(list(run))
            if there:
                yield first, last, step + 1
            first = last

    def saved(self) -> dict[Tensor, tuple[int, State]]:
        """Copies of the states of all parameters that have been updated."""
        out = {}
        for i, p in enumerate(self.params):
            if self.steps[i]:
                state = {
                    n: self._part(a, i).copy() for n, a, f in zip(self.slots, self.state, self.initial) if f is not None
                }
                out[p] = (self.steps[i], state)
        return out

    def restore(self, saved: dict[Tensor, tuple[int, State]]) -> None:
        """Take up the states of those parameters that have one; a new state array starts as at step 0."""
        for i, p in enumerate(self.params):
            if p not in saved:
                continue
            step, state = saved[p]
            used = [n for n, value in zip(self.slots, self.initial) if value is not None]
            if used and not any(n in state for n in used):
                continue  # momentum that was switched on later
            self.steps[i] = step
            for name, array in zip(self.slots, self.state):
                if array.size and name in state:
                    if state[name].shape != self.shapes[i]:
                        raise ShapeError(
                            f"{self.labels[i]}: got a new shape {self.shapes[i]}, "
                            f"wanted {state[name].shape} as its {name}"
                        )
                    self._part(array, i)[...] = state[name]


class LargeBucket(Bucket):
    """One large parameter: its gradient is read where it is, without a copy."""

    def __init__(self, params: list[Tensor], labels: list[str], slots: tuple[str, ...], initial: tuple):
        super().__init__(params, labels, slots, initial)
        self.grads = self.values[:0]
        ((p, view, _),) = self._rows
        self._rows = [(p, view, self.grads)]

    def gather(self) -> bool:
        p, view, _ = self._rows[0]
        if p.data is not view and not _take_over(p, view):
            return False
        self.missing = p.grad is None
        if p.grad is not None:
            array = p.grad.data
            if not isinstance(array, np.ndarray) or array.shape != view.shape or array.dtype != view.dtype:
                self._refuse(p)
            flags = array.flags
            if not (flags.c_contiguous and flags.writeable and flags.aligned):  # one kernel type serves all
                array = array.copy(order="C")
            self.grads = array.reshape(-1)
            p.touch()
        return True

    def update(self, run: Callable[..., None], group: dict[str, Any]) -> None:
        if not self.missing:
            self.steps[0] += 1
            run(group, self.steps[0], self.values, self.grads, *self.state)
        self.grads = self.values[:0]  # the gradient is not ours to keep


def _take_over(p: Tensor, view: np.ndarray) -> bool:
    """Move values that somebody put into ``p.data`` to their place in the buffer."""
    if p.data.shape != view.shape or p.data.dtype != view.dtype:
        return False
    view[...] = p.data
    p._array = view
    return True


def lay_out(params: list[Tensor], labels: list[str], slots: tuple[str, ...], initial: tuple) -> list[Bucket]:
    """Distribute the parameters of one group over buckets: one per dtype, and one per large parameter."""
    small: dict[np.dtype, list[int]] = {}
    buckets: list[Bucket] = []
    for i, p in enumerate(params):
        if p.data.size >= LARGE:
            buckets.append(LargeBucket([p], [labels[i]], slots, initial))
        else:
            small.setdefault(p.data.dtype, []).append(i)
    for members in small.values():
        buckets.append(Bucket([params[i] for i in members], [labels[i] for i in members], slots, initial))
    return buckets
