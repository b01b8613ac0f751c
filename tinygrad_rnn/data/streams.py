"""Batches for truncated BPTT: one long stream as parallel streams, cut into pieces."""

from __future__ import annotations

import numpy as np

from ..errors import ShapeError
from ._checks import as_array, integer


def contiguous_batches(stream, batch_size: int, seq_len: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Cut a long stream into `batch_size` parallel streams and those into consecutive pieces.

    Column b of each piece goes on where column b of the piece before it stopped, so the state of a recurrent
    network can be carried from piece to piece. Targets are the inputs of one step later.

    Parameters
    ----------
    stream : array_like, shape (N,) or (N, ...)
        Ids of a text, or a series.
    batch_size : int
        Number of parallel streams B, each of ``(N - 1) // B`` steps; up to ``B - 1`` steps at the end are
        left out.
    seq_len : int
        Steps T of a piece; the last one may be shorter.

    Returns
    -------
    list of (inputs, targets)
        Arrays of shape (T, B) or (T, B, ...); views of two arrays that hold the whole stream.

    Raises
    ------
    ShapeError
        If the stream is shorter than ``batch_size + 1``.

    Examples
    --------
    >>> pieces = contiguous_batches(np.arange(9), batch_size=2, seq_len=3)
    >>> inputs, targets = pieces[0]
    >>> inputs
    array([[0, 4],
           [1, 5],
           [2, 6]])
    >>> targets
    array([[1, 5],
           [2, 6],
           [3, 7]])
    >>> pieces[1]  # the state after 2 and 6 is the initial state of 3 and 7
    (array([[3, 7]]), array([[4, 8]]))
    """
    array = as_array("stream", stream)
    batch_size = integer("batch_size", batch_size, 1)
    seq_len = integer("seq_len", seq_len, 1)
    if array.ndim == 0 or len(array) <= batch_size:
        raise ShapeError(f"stream: got shape {array.shape}, wanted at least batch_size + 1 = {batch_size + 1} steps")
    steps = (len(array) - 1) // batch_size
    parallel = (batch_size, steps, *array.shape[1:])
    inputs, targets = (
        np.ascontiguousarray(array[shift : shift + batch_size * steps].reshape(parallel).swapaxes(0, 1))
        for shift in (0, 1)
    )
    return [(inputs[t : t + seq_len], targets[t : t + seq_len]) for t in range(0, steps, seq_len)]
