"""The gradient of a table of which rows were read. The plain NumPy twin is in `reference.embedding`."""

from __future__ import annotations

import numpy as np

from ..build.fingerprint import kernel
from ..simd.lanes import vlanes, vload, vload_n, vstore, vstore_n

Array = np.ndarray


@kernel
def scatter_add(x: Array, width: int, index: Array, padding: int, out: Array, first: int, last: int) -> None:
    """Add rows of x to rows of a table, one after the other.

    Parameters
    ----------
    x : (rows * width,) array of float32 or float64
    width : int
    index : (rows,) array of int64
        The row of the table for each row of x. There is none for `padding`, nor for what lies outside of the table.
    padding : int
    out : (table rows * width,) array
        Added to.
    first, last : int
        Rows ``first <= r < last`` of x are added.
    """
    lanes = vlanes(x)
    whole, rest = width // lanes * lanes, width % lanes
    for r in range(first, last):
        source, target = r * width, index[r] * width
        if index[r] == padding or target < 0 or target + width > out.size:
            continue
        for i in range(0, whole, lanes):
            vstore(out, target + i, vload(out, target + i) + vload(x, source + i))
        if rest:
            y = vload_n(out, target + whole, rest) + vload_n(x, source + whole, rest)
            vstore_n(out, target + whole, y, rest)
