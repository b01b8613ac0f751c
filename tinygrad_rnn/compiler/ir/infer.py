"""Shape and dtype inference, by running an operation on arrays that take no memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core import Op
from ...core.dtype import promote
from .symbol import BATCH, Symbol


def stand_in(dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """An array that takes no memory: of ones, which suit most domains, or of zeros, indices of any table."""
    return np.broadcast_to(np.asarray(dtype.kind not in "iu", dtype), shape)


def infer(op: Op, args: tuple, static: dict, rows: int) -> Any:
    """Shape and dtype of the result, or a list of them for several results.

    Parameters
    ----------
    rows : int
        How many rows stand for a row for each batch row.
    """
    arrays: list = [
        stand_in(a.dtype, tuple(rows if n is BATCH else n for n in a.shape)) if isinstance(a, Symbol) else a
        for a in args
    ]
    if op.lowering is not None and op.lowering.kind == "matmul":  # sums of nothing cost nothing
        a, b = arrays
        arrays = [a[..., :0], b[:0] if b.ndim == 1 else b[..., :0, :]]
    with np.errstate(all="ignore"):
        out = op.forward(*promote(op, arrays, [isinstance(a, Symbol) for a in args]), **static)
    if isinstance(out, tuple):
        return [(np.shape(o), np.asarray(o).dtype) for o in out]
    return np.shape(out), np.asarray(out).dtype
