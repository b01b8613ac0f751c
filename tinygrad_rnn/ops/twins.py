"""The choice between a jitted kernel and its NumPy twin: a call with little to do costs less in NumPy."""

from __future__ import annotations

import functools
from importlib import import_module
from typing import Any

import numpy as np

# elements, below which nothing needs Numba nor its compiler, which take their time at the first call
FEW = 2048
MANY = 65536  # for what takes NumPy less than twice as long


def kernels(name: str, elements: int) -> Any:
    """The module `name` of kernels for so many elements: the jitted one, or that of the twins."""
    return _module("reference" if elements < FEW else "fused", name)


@functools.cache
def _module(room: str, name: str) -> Any:
    if room == "fused":
        from ..kernels.build import target  # numba is imported at first use

        if not target.config.DISABLE_JIT:  # vectors exist in compiled code only
            return getattr(import_module("..kernels.fused", __package__), name)  # by way of the room: Ctrl-C may come
    return import_module(f"..kernels.reference.{name}", __package__)


def flat(array: np.ndarray) -> np.ndarray:
    """The elements in C order, in writeable memory: kernels are compiled for one kind of array."""
    array = np.ascontiguousarray(array)
    return (array if array.flags.writeable else array.copy()).reshape(-1)
