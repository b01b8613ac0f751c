"""Tiers of a training: which batches run on the tape, and which as a program, with ``compile="auto"``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..core import Tensor
from .tbptt import TruncatedBPTT, Window
from .updates import Update

ENOUGH = 0.05  # seconds of work on the tape after which a program is worth its compiling, see docs/compiler.md
CALLS = 0.5e-3  # seconds that the tape takes for an update of next to nothing
RATE = 50e9  # floating-point operations per second in the products of one
PER_WEIGHT = 6  # operations for each weight and row: a product forward, two backward
MOST = 16  # signatures that get a program, each of which has memory of its own
SEEN = 1024  # signatures that are counted
NEVER = -1.0  # in place of the seconds of a signature that stays on the tape


class Tiers:
    """Decides, batch by batch, whether the tape runs it or a program.

    As with the tiers of other compilers, a program is made for what has come up often enough: when the batches of one
    signature (their shapes and dtypes) would have taken a twentieth of a second on the tape. What they take is
    estimated from the numbers of weights and rows and never measured, so that the same updates are made by programs on
    each machine and in each run, also in one that was interrupted, and whatever limits :meth:`Trainer.fit` was given.
    The counts are part of a checkpoint. So a short training is not compiled, and a long one loses next to nothing.

    Parameters
    ----------
    weights : int
        Elements of all parameters.
    worked : dict
        Estimated seconds on the tape by signature; counted on here.
    stream : TruncatedBPTT, optional
        What the batches are windows of.
    """

    def __init__(self, weights: int, worked: dict[str, float], stream: TruncatedBPTT | None = None):
        self.weights, self.worked, self.stream = weights, worked, stream

    def is_hot(self, batch: Any) -> bool:
        """Whether a program runs the batch; counts it, if not."""
        worked = self.worked
        key = self._signature(batch)
        seconds = worked.get(key)
        if seconds is None:
            if len(worked) >= SEEN:
                return False
            seconds = 0.0
        if seconds >= ENOUGH:
            return True
        if seconds != NEVER:
            seconds += CALLS + PER_WEIGHT * self.weights * self._rows(batch) / RATE
            if seconds >= ENOUGH and sum(other >= ENOUGH for other in worked.values()) >= MOST:
                seconds = NEVER
            worked[key] = seconds
        return False

    def _signature(self, batch: Any) -> str:
        if self.stream is None:
            return signature(batch)
        start, carry, first, stop = batch
        return f"{stop - start} {carry - start} {first - start} {'begins' if start == 0 else 'goes on'}"

    def _rows(self, batch: Any) -> int:
        if self.stream is not None:
            window: Window = batch
            return (window.stop - window.start) * self.stream.inputs.shape[1]
        return max((_rows(array) for array in _arrays(batch)), default=1)


def signature(nest: Any) -> str:
    """Shapes and dtypes of the arrays in a nest, and what else it holds, as a text."""
    if isinstance(nest, np.ndarray):
        return f"{nest.dtype.str}{nest.shape}"
    if isinstance(nest, Tensor):
        return f"tensor {nest.dtype.str}{nest.shape}"
    if isinstance(nest, tuple | list):
        return f"{type(nest).__name__}({', '.join(map(signature, nest))})"
    if isinstance(nest, dict):
        return f"dict({', '.join(f'{key!r}: {signature(value)}' for key, value in nest.items())})"
    if nest is None or isinstance(nest, bool | int | float | str):
        return repr(nest)
    return type(nest).__name__


def _arrays(nest: Any) -> Iterable[np.ndarray]:
    if isinstance(nest, np.ndarray | Tensor):
        yield nest.data if isinstance(nest, Tensor) else nest
    elif isinstance(nest, tuple | list | dict):
        for part in nest.values() if isinstance(nest, dict) else nest:
            yield from _arrays(part)


def _rows(array: np.ndarray) -> int:
    """Rows of features, or integers to look up."""
    return array.size // array.shape[-1] if array.dtype.kind == "f" and array.ndim and array.shape[-1] else array.size


class Tiered:
    """Updates the parameters with batches, on the tape or by a program, as tiers say.

    Parameters
    ----------
    tape : callable
    program : callable
    tiers : Tiers
    """

    def __init__(self, tape: Update, program: Any, tiers: Tiers):
        self.tape, self.program, self.tiers = tape, program, tiers

    def __call__(self, batch: Any) -> tuple[float, float | None]:
        if self.tiers.is_hot(batch):
            return self.program(batch)
        self.program.last = None
        return self.tape(batch)
