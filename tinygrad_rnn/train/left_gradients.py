"""Gradients that a native step leaves in the parameters, in memory that is used again where it can be."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from operator import add, attrgetter, is_
from typing import Any

import numpy as np

from ..core import Tensor

OFTEN = 64  # steps, after which it pays to compare in machine code


class LeftGradients:
    """Copies of gradients that lie side by side in one array, made by one copy of all of them.

    Parameters
    ----------
    source : ndarray
        Where the step has them; it is overwritten by the next one.
    params : sequence of Tensor
    places : sequence of slices
        Of each parameter's gradient in `source`, which is flat.
    """

    def __init__(self, source: np.ndarray, params: Sequence[Tensor], places: Sequence[slice]):
        self.source, self.params, self.places = source, params, places
        self._views: list[np.ndarray] = []
        self._tensors: list[Tensor] = []  # of the views, that the parameters were given last
        self._alone: list[int] = []
        self._given: list[int] = []
        self._times = 0  # that they were left in what was given last
        self._same: Callable[[], int] | None = None

    def leave(self) -> None:
        """Replace the gradients of the parameters by what is in the source now."""
        if not self._are_ours():
            for p in self.params:
                p.grad = None
            self._tensors = []
            if not self._views or self._references() != self._alone:
                self._room = np.empty(self.source.shape, self.source.dtype)
                self._views = [self._room[at].reshape(p._array.shape) for p, at in zip(self.params, self.places)]
                self._alone = self._references()
            self._give()
            self._given = self._references()
        self._room[...] = self.source
        if self._times == OFTEN:
            self._times += 1
            self._same = self._comparison()

    def _give(self) -> None:
        self._times, self._same = 0, None
        self._tensors = [Tensor(view) for view in self._views]
        for p, tensor in zip(self.params, self._tensors):
            p.grad = tensor

    def _are_ours(self) -> bool:
        """Whether the parameters have the tensors that they were given last, and nobody else has."""
        if self._same is not None:
            return self._same() == 1
        if not self._tensors or not all(map(is_, map(_grad_of, self.params), self._tensors)):
            return False
        if not all(map(is_, map(_array_of, self._tensors), self._views)):
            return False
        if self._references() != self._given or any(map(_needs_gradient, self._tensors)):
            return False
        self._times += 1
        return True

    def _comparison(self) -> Callable[[], int] | None:
        """The same, in machine code."""
        from ..compiler.runtime.contents import Contents  # at first use, as importing the compiler takes a while

        contents = Contents()
        for p, tensor, view in zip(self.params, self._tensors, self._views):
            contents.slots(p, grad=tensor)
            contents.slots(tensor, _array=view, requires_grad=False)
        del p, tensor, view
        contents.references((self._room, *self._views, *self._tensors))
        function = contents.function()  # which counts references
        kept = [contents.held(thing) for thing in (self._room, *self._views, *self._tensors)]
        if self._references() != [*map(add, self._given, kept)]:
            return None  # another thread has taken a gradient since they were counted here
        return function

    def _references(self) -> list[int]:
        """To the memory, to each part of it and to the tensors.

        Interpreters count differently: only equality tells. Whatever refers to them, other than this object, is
        somebody's who wants to keep the numbers.
        """
        count = sys.getrefcount
        return [count(self._room), *map(count, self._views), *map(count, self._tensors)]


_grad_of, _array_of, _needs_gradient = attrgetter("grad"), attrgetter("_array"), attrgetter("requires_grad")


def left_gradients(grads: dict[int, np.ndarray], buckets: Iterable[tuple[Any, Any]]) -> list[LeftGradients]:
    """What leaves all of these gradients, by the ids of parameters, by buckets of an optimiser."""
    found = []
    for _, bucket in buckets:
        params = [p for p in bucket.params if id(p) in grads]
        if not params:
            continue
        if len(bucket.params) == 1:  # it may lie outside of the bucket
            flat = grads[id(params[0])].reshape(-1)
            found.append(LeftGradients(flat, params, [slice(None)]))
        else:
            places = [slice(*bounds) for bounds in zip(bucket.bounds, bucket.bounds[1:])]
            there = [at for p, at in zip(bucket.params, places) if id(p) in grads]
            found.append(LeftGradients(bucket.grads, params, there))
    return found
