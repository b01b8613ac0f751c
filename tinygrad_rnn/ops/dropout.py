"""Multiplication by a random mask, one pass each way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core import Lowering, primitive
from ..core.aliases import Value
from . import twins
from .twins import flat, kernels


def _vjp(g: Value, y: Value, x: Value, keep: Value, *, needs: Sequence[bool], scale: float) -> list[Value | None]:
    return [dropout(g, keep=keep, scale=scale), *[None for _ in needs[1:]]]


def _decompose(x: Value, keep: Value, scale: float) -> Value:
    return x * (keep.astype(x.dtype) * np.dtype(x.dtype).type(scale))


@primitive(
    joint_vjp=_vjp, saves=(1,), lowering=Lowering(decompose=_decompose), floats=True, untyped=(1,), owns_gradients=True
)
def dropout(x: Value, keep: Value, scale: float) -> Value:
    """``x * scale`` where `keep` is true, else ``x * 0``; `keep` has the shape of x."""
    if x.size < twins.MANY:
        return _decompose(x, keep, scale)
    out = np.empty(x.shape, x.dtype)
    kernels("dropout", x.size).dropout(flat(x), flat(keep), scale, out.reshape(-1), 0, x.size)
    return out
