"""Values of tensors as HTML, for notebooks."""

from __future__ import annotations

from html import escape

import numpy as np

MOST, ENDS = 10, 4  # rows or columns that are shown in full, and how many at each end of more


def tensor_html(array: np.ndarray, gradient: str | bool) -> str:
    """What stands above a tensor in a notebook, and its values: as a table if they are a row or a matrix.

    Parameters
    ----------
    array : ndarray
    gradient : str or bool
        Where it comes from, or whether it is a leaf that requires gradients.
    """
    origin = gradient if isinstance(gradient, str) else "requires_grad" if gradient else ""
    head = ", ".join([f"tensor {array.shape}", str(array.dtype), *([origin] if origin else [])])
    return f"<div><code>{escape(head)}</code>{_values(array)}</div>"


def _values(array: np.ndarray) -> str:
    if array.ndim not in (1, 2) or not array.size:
        return f"<pre>{escape(np.array2string(array, separator=', ', threshold=200))}</pre>"
    rows = ("".join(f"<td>{cell}</td>" for cell in _row(row)) for row in _ends(np.atleast_2d(array)))
    return "<table>" + "".join(f"<tr>{row or '<td>…</td>'}</tr>" for row in rows) + "</table>"


def _row(row: np.ndarray | None) -> list[str]:
    """The texts of one row; none for the gap between the first and the last ones."""
    if row is None:
        return []
    return ["…" if value is None else f"{value:.5g}" if row.dtype.kind == "f" else str(value) for value in _ends(row)]


def _ends(items: np.ndarray) -> list:
    """All items, or the first and the last ones of many, with None between them."""
    return [*items] if len(items) <= MOST else [*items[:ENDS], None, *items[-ENDS:]]
