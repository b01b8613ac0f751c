"""NumPy twin of the kernel in `embedding`: same name and arguments. It also serves small arrays."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def scatter_add(x: Array, width: int, index: Array, padding: int, out: Array, first: int, last: int) -> None:
    index, rows = index[first:last], x.reshape(len(index), width)[first:last]
    table = out.reshape(-1, width)
    inside = (index != padding) & (index >= 0) & (index < len(table))
    if not inside.all():
        index, rows = index[inside], rows[inside]
    np.add.at(table, index, rows)
