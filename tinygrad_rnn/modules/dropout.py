"""Dropout, and masks for all kinds of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import config
from ..checks import probability
from ..core.aliases import Value
from ..errors import DTypeError
from ..ops.arguments import operand
from ..ops.draws import between_0_and_1
from ..ops.dropout import dropout
from .module import Module


def keep_mask(shape: Sequence[int], p: float) -> Any:
    """False with probability `p`, else True, drawn from the package's generator.

    In a step that is being traced: a leaf of the program, to be drawn for all steps before the loop; in a whole
    function, one that is drawn at each call.
    """
    tracer = config.grad_mode.tracer
    if tracer is not None and tracer.whole:
        return tracer.drawn([(tuple(shape), bool)], lambda: [keep_mask(shape, p)])[0]
    if tracer is not None:
        return tracer.draw(shape, p)
    if p >= 1.0:
        return np.zeros(shape, bool)
    return config.generator().random(shape, dtype=np.float32) >= p


def keep_masks(
    row_shapes: Sequence[tuple[int, ...]], ps: Sequence[float | None], time: int, batch: int
) -> list[np.ndarray]:
    """The masks of several :func:`keep_mask` at every step, in their order: bool arrays (T, B, ...).

    Where there is no probability, they are the numbers of :func:`~tinygrad_rnn.ops.draws.uniform`.
    """
    sizes = [0 if p is not None and p >= 1.0 else batch * math.prod(shape) for shape, p in zip(row_shapes, ps)]
    numbers = config.generator().random((time, sum(sizes)), dtype=np.float32)
    masks, start = [], 0
    for shape, p, size in zip(row_shapes, ps, sizes):
        full = (time, batch, *shape)
        part = numbers[:, start : start + size]
        if p is None:
            masks.append(between_0_and_1(part).reshape(full))
        else:
            masks.append((part >= p).reshape(full) if size else np.zeros(full, bool))
        start += size
    return masks


def dropout_mask(shape: Sequence[int], p: float, dtype: np.dtype) -> Any:
    """Zeros with probability `p`, else ``1 / (1 - p)``; see :func:`keep_mask`."""
    return keep_mask(shape, p).astype(dtype) * np.dtype(dtype).type(_scale(p))


def drop(x: Value, p: float) -> Value:
    """`x` times a :func:`dropout_mask`."""
    return dropout(x, keep=keep_mask(x.shape, p), scale=_scale(p))


def _scale(p: float) -> float:
    return 0.0 if p >= 1.0 else 1.0 / (1.0 - p)


class Dropout(Module):
    """Set elements to zero with probability `p` and scale the others by ``1 / (1 - p)``, in training only.

    Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting".

    Parameters
    ----------
    p : float
        Between 0 and 1.

    Raises
    ------
    DTypeError
        In training, if the input is not of floats, which could not be scaled.
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = probability("Dropout: p", p)

    def forward(self, x: Value) -> Value:
        if not self.training or self.p == 0.0:
            return x
        x = operand(x, "Dropout")
        if x.dtype.kind != "f":
            raise DTypeError(f"Dropout: x: got {x.dtype}, wanted floats")
        return drop(x, self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"
