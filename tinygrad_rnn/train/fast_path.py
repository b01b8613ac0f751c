"""The short way to a native training step, for arrays whose program ran before and still holds."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

import numpy as np

from ..config import grad_mode
from ..core import Tensor
from ..recurrent.scan.attribute_path import CONSTANT, AttributePath

OFTEN = 64  # comparisons of everything, after which it pays to leave them to machine code
MOST = 64  # signatures for which a training step keeps one


def signature(batch: Any) -> tuple | None:
    """What decides which program a pair of plain arrays takes; None of any other batch.

    A tuple of arrays is several inputs.
    """
    if (type(batch) is not tuple and type(batch) is not list) or len(batch) != 2:
        return None
    x, y = batch
    if type(x) is np.ndarray and type(y) is np.ndarray:
        return x.shape, x.dtype, y.shape, y.dtype
    if type(x) is tuple and all(type(a) is np.ndarray for a in (*x, y)):
        return tuple([(a.shape, a.dtype) for a in (*x, y)])
    return None


class FastPath:
    """A native step behind as few guards as see every change: a few microseconds of them.

    Parameters
    ----------
    programs : Programs
        That the program is of.
    found : Found
        The program of a batch that was read the long way.
    native : NativeStep
        Its step.
    """

    def __init__(self, programs: Any, found: Any, native: Any):
        self._programs, self._entry, self.native = programs, found.entry, native
        self._check = found.capture.operation.runner.check
        self._reach = self._entry.verified
        covered = self._reach.covered if self._reach is not None else ()
        sources = [source for _, source in found.capture.sources]
        # what the reach compares are the objects that paths lead through
        self._elsewhere = [(source.get, t) for source, t in zip(sources, found.tensors) if not _is_in(covered, source)]
        self._tensors = [(t, s.uid, t.requires_grad) for (s, _), t in zip(found.capture.sources, found.tensors)]
        self._bound: list[tuple[Tensor, np.ndarray, bool]] = []  # with the arrays of the step
        self._given: Any = None  # where these come from
        self._kinds: tuple | None = None  # of two arrays that took it last
        self._times = 0  # that all was compared since machine code did so
        self._same: Callable[[], int] | None = None
        self._space: dict[str, Any] = {}  # the attributes of the optimiser that it compares

    @staticmethod
    def takes(batch: Any, found: Any) -> bool:
        """Whether the arrays of a batch, which has a signature, are what the program takes."""
        arrays, taken = _arrays(batch), found.arguments.arrays
        return len(arrays) == len(taken) and all(
            a.shape == b.shape and (a.dtype == b.dtype or a.dtype.kind == b.dtype.kind == "f")
            for a, b in zip(arrays, taken)
        )

    def is_for(self, batch: Any) -> bool:
        """Whether a batch, a pair of arrays, is of the kind that took this way last; others are looked up."""
        if self._kinds is None or type(batch) is not tuple or len(batch) != 2:
            return False
        x, y = batch
        if type(x) is not np.ndarray or type(y) is not np.ndarray:
            return False
        kinds = self._kinds
        return x.dtype is kinds[1] and y.dtype is kinds[3] and x.shape == kinds[0] and y.shape == kinds[2]

    def found_for(self, key: tuple) -> None:
        """Note the signature of a batch that takes this way."""
        self._kinds = key if len(key) == 4 and type(key[1]) is not tuple else None

    def holds(self) -> bool:
        """Whether nothing has changed that the program depends on."""
        mode, reach, entry = grad_mode, self._programs.reach, self._entry
        if mode.anomaly is not None or mode.listener is not None or not mode.enabled:
            return False
        if reach is None or reach is not self._reach or entry.verified is not reach or not reach.complete:
            return False
        native = self.native
        optimizer = native.optimizer
        if self._same is not None and self._same() and vars(optimizer) is self._space and native.has_its_methods():
            if not (reach.rest_holds() and native.counts_fit()):
                return False
        elif reach.holds() and native.updates_fit() and self._tensors_hold():
            self._compared(reach)
        else:
            return False
        return entry.rest_holds() and self._are_elsewhere()

    def _compared(self, reach: Any) -> None:
        """Note that all was compared: machine code does so after OFTEN times, until something is set."""
        self._times += 1
        if self._times < OFTEN:
            return
        from ..compiler.runtime.contents import Contents  # at first use, as importing the compiler takes a while

        self._times, self._same, contents = 0, None, Contents()
        if not self.native.describe(contents):
            return
        reach.describe(contents)
        self._space = vars(self.native.optimizer)
        for t, array, needs in self._bound:
            contents.slots(t, _array=array, requires_grad=needs, _node=None, _hooks=None)
        self._same = contents.function()

    def _tensors_hold(self) -> bool:
        """Whether the tensors have the arrays that the step is bound to."""
        given = self.native.native.given
        if given is not self._given:
            self._given = given
            self._bound = [(t, given[uid], needs) for t, uid, needs in self._tensors]
        for t, array, needs in self._bound:
            if t._array is not array or t.requires_grad is not needs or t._node is not None or t._hooks:
                return False
        return True

    def _are_elsewhere(self) -> bool:
        """Whether the same tensors are at their places, where the reach does not say so."""
        try:
            return not self._elsewhere or all(get() is t for get, t in self._elsewhere)
        except (LookupError, AttributeError):
            return False

    def run(self, batch: Any) -> float:
        """Update with one batch; the loss before the update."""
        arrays = _arrays(batch)
        self._check(arrays, self.native.native.given)
        return self.native(arrays)


def _is_in(covered: Container[int], source: Any) -> bool:
    """Whether a tensor is still at its place for as long as what is covered has not changed."""
    return type(source) is AttributePath and (id(source.attributes) in covered or source.name == CONSTANT)


def _arrays(batch: Any) -> list[np.ndarray]:
    x, y = batch
    return [*x, y] if type(x) is tuple else [x, y]
