"""Gradients that a native step leaves in the parameters, in memory that is used again where it can be."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..core import Tensor


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
        self._alone: list[int] = []

    def leave(self) -> None:
        """Replace the gradients of the parameters by what is in the source now."""
        for p in self.params:
            p.grad = None
        # whatever refers to the memory now, other than this object, is somebody's who wants to keep the numbers
        if not self._views or self._references() != self._alone:
            self._room = np.empty(self.source.shape, self.source.dtype)
            self._views = [self._room[at].reshape(p._array.shape) for p, at in zip(self.params, self.places)]
            self._alone = self._references()
        self._room[...] = self.source
        for p, view in zip(self.params, self._views):
            p.grad = Tensor(view)

    def _references(self) -> list[int]:
        """To the memory, and to each part of it; interpreters count differently, so that only equality tells."""
        return [sys.getrefcount(self._room), *map(sys.getrefcount, self._views)]


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
