"""Shaping sequences: padding, one-hot codes, sliding windows, splits in time order."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..checks import MOST_ELEMENTS, flag, one_of, shown
from ..config import get_default_dtype
from ..errors import DataError, ShapeError
from ._checks import (
    as_any,
    as_array,
    as_dtype,
    common_dtype,
    integer,
    integer_array,
    listed,
    require_holds,
    require_range,
    stacked,
)
from .frames import MISSING, frame_windows


def pad_sequences(
    sequences: Sequence,
    value: float = 0,
    max_length: int | None = None,
    padding: str = "post",
    time_major: bool = False,
    dtype=None,
) -> tuple[np.ndarray, np.ndarray]:
    """Put sequences of different lengths into one array.

    Parameters
    ----------
    sequences : sequence of array_like, each of shape (length, ...)
        The trailing shape is the same for all. Empty ones are allowed.
    value : number
        Fills the places behind (or before) a sequence.
    max_length : int, optional
        Number of time steps T of the result; the longest sequence unless given. Longer sequences are cut on
        the side where shorter ones are padded: "post" keeps their start, "pre" their end.
    padding : "post" or "pre"
    time_major : bool
        Return (T, B, ...) instead of (B, T, ...).
    dtype : dtype, optional
        Of the result; that of the sequences unless given.

    Returns
    -------
    padded : ndarray, shape (B, T, ...) or (T, B, ...)
    lengths : ndarray of int64, shape (B,)
        With "post" padding: steps that hold data, after cutting; the ``lengths=`` of layers and losses.
    mask : ndarray of bool, shape (B, T) or (T, B)
        With "pre" padding, in the place of lengths, which would count the padding: the steps that hold data; the
        ``mask=`` of layers.

    Raises
    ------
    DataError
        If there is no sequence, or `dtype` cannot hold a value.
    ShapeError
        If trailing shapes differ.

    Examples
    --------
    >>> padded, lengths = pad_sequences([[1, 2, 3], [4], []])
    >>> padded
    array([[1, 2, 3],
           [4, 0, 0],
           [0, 0, 0]])
    >>> lengths
    array([3, 1, 0])
    >>> padded, mask = pad_sequences([[1, 2, 3], [4]], value=-1, max_length=2, padding="pre", time_major=True)
    >>> padded
    array([[ 2, -1],
           [ 3,  4]])
    >>> mask
    array([[ True, False],
           [ True,  True]])
    """
    one_of("padding", padding, ("post", "pre"))
    time_major = flag("time_major", time_major)
    arrays = [as_array(f"sequences[{i}]", s, dtype) for i, s in enumerate(listed("sequences", sequences))]
    if not arrays:
        raise DataError("sequences: got none, wanted at least one")
    # a list without an item tells neither a dtype nor a trailing shape
    telling = [array for array in arrays if array.shape != (0,)] or arrays
    trailing = telling[0].shape[1:]
    for i, array in enumerate(arrays):
        if array.ndim == 0 or (array.shape[1:] != trailing and array.shape != (0,)):
            raise ShapeError(
                f"sequences[{i}]: got shape {array.shape}, wanted ({', '.join(['length', *map(str, trailing)])})"
            )
    dtype = common_dtype(telling)
    require_holds("value", value, dtype)

    lengths = np.array([len(array) for array in arrays], dtype=np.int64)
    steps = int(lengths.max()) if max_length is None else integer("max_length", max_length, 1, MOST_ELEMENTS)
    lengths = np.minimum(lengths, steps)
    shape = (steps, len(arrays)) if time_major else (len(arrays), steps)
    padded = np.full((*shape, *trailing), value, dtype)
    mask = np.zeros(shape, bool)
    rows, valid = (part.swapaxes(0, 1) if time_major else part for part in (padded, mask))
    for i, (array, length) in enumerate(zip(arrays, lengths.tolist())):
        at = slice(length) if padding == "post" else slice(steps - length, steps)
        kept = array[:length] if padding == "post" else array[len(array) - length :]
        rows[i, at] = kept.reshape(length, *trailing)
        valid[i, at] = True
    return padded, lengths if padding == "post" else mask


def collate_sequences(examples: Sequence[tuple], value: float = 0, ignore_index: int = -100) -> tuple:
    """Make a batch of sequences and their targets: what a :class:`DataLoader` takes as ``collate=``.

    Parameters
    ----------
    examples : sequence of (sequence, target)
        Sequences of different lengths. Targets are numbers, or sequences too.
    value : number
        Fills the places behind a sequence.
    ignore_index : int
        Fills the places behind a target; losses leave it out.

    Returns
    -------
    (padded, lengths), targets
        Batch first: (B, T, ...), (B,), and (B, ...) or (B, longest target).

    Examples
    --------
    >>> (padded, lengths), targets = collate_sequences([([5, 6, 7], [1, 2, 3]), ([8], [4])])
    >>> padded
    array([[5, 6, 7],
           [8, 0, 0]])
    >>> lengths
    array([3, 1])
    >>> targets
    array([[   1,    2,    3],
           [   4, -100, -100]])
    """
    pairs = listed("examples", examples)
    for i, pair in enumerate(pairs):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"examples[{i}]: got {reprlib.repr(pair)}, wanted a pair of a sequence and its target")
    if not pairs:
        raise DataError("examples: got none, wanted at least one")
    targets = [as_array(f"targets[{i}]", target) for i, (_, target) in enumerate(pairs)]
    padded = pad_sequences([sequence for sequence, _ in pairs], value)
    if all(target.ndim == 0 for target in targets):
        return padded, stacked(targets)
    ignore_index = integer("ignore_index", ignore_index, -(2**63))
    return padded, pad_sequences(targets, ignore_index)[0]


def one_hot(indices, depth: int, dtype=None) -> np.ndarray:
    """Vectors that are 1 at an index and 0 elsewhere.

    Parameters
    ----------
    indices : array_like of int, any shape
        Each within ``0 <= index < depth``.
    depth : int
    dtype : dtype, optional
        Of the result; the default dtype unless given.

    Returns
    -------
    ndarray, shape (*indices.shape, depth)

    Raises
    ------
    DataError
        At an index out of range.

    Examples
    --------
    >>> one_hot([2, 0], depth=3)
    array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """
    array = integer_array("indices", indices)
    depth = integer("depth", depth, 1, MOST_ELEMENTS)
    require_range("indices", array, depth)
    codes = np.zeros((*array.shape, depth), get_default_dtype() if dtype is None else as_dtype("dtype", dtype))
    np.put_along_axis(codes, array[..., None].astype(np.intp), 1, axis=-1)
    return codes


def windows(
    series,
    look_back: int,
    horizon: int = 1,
    stride: int = 1,
    *,
    targets=None,
    known=None,
    past=None,
    groups=None,
    time=None,
    freq=None,
    missing: str = "error",
    future: bool = False,
) -> Any:
    """Cut a series into pairs of `look_back` past steps and the `horizon` steps that follow them.

    Window n starts at step ``n * stride``; there are ``N = (T - look_back - horizon) // stride + 1``.

    Parameters
    ----------
    series : array_like, shape (T, F) or (T,); or a pandas DataFrame
    look_back, horizon, stride : int
    targets : str or list of str, optional
        Columns of a frame to forecast. With it, what is returned keeps names and times.
    known, past : str or list of str, optional
        Columns that help: those that are known ahead, such as holidays, and those that are known afterwards only.
    groups : str or list of str, optional
        Columns, or levels of the index, that tell several series apart. No window is of two of them.
    time : str, optional
        The column, or level of the index, with the times of rows; the index itself unless given.
    freq : str, optional
        From one step to the next, as pandas calls it ("D", "MS"); guessed from dates unless given.
    missing : {"error", "skip", "fill"}
        What to do at a missing value, or where the times leave out steps: raise an error that names the place; leave
        out the windows that would hold it; or repeat the last value before it (and tell, by `observed`, which targets
        are of that kind).
    future : bool
        Only the last window of each series, whose targets are not known yet: it forecasts the steps after the last
        row with all targets. Its `known` columns are those of rows without targets.

    Returns
    -------
    inputs : ndarray, shape (N, look_back, F)
    targets : ndarray, shape (N, horizon, F)
        New arrays. A series of shape (T,) gives windows without a feature axis: (N, look_back), (N, horizon).
        With `targets=`, a :class:`FrameWindows` instead.

    Raises
    ------
    ShapeError
        If the series is shorter than one window and its horizon.
    DataError
        If a frame lacks a column, a value or a step, or its times are not in order.
    DTypeError
        If a column does not hold numbers.

    Examples
    --------
    >>> inputs, targets = windows([10, 20, 30, 40], look_back=2)
    >>> inputs
    array([[10, 20],
           [20, 30]])
    >>> targets
    array([[30],
           [40]])
    """
    if flag("future", future) or targets is not None:
        return frame_windows(
            series, look_back, horizon, stride, targets, known, past, groups, time, freq, missing, bool(future)
        )
    given = {"known": known, "past": past, "groups": groups, "time": time, "freq": freq}
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{name}: got {shown(value)} without targets=, wanted the names of what to forecast")
    one_of("missing", missing, MISSING)
    array = as_array("series", series)
    look_back = integer("look_back", look_back, 1)
    horizon = integer("horizon", horizon, 1)
    stride = integer("stride", stride, 1)
    if array.ndim == 0:
        raise ShapeError("series: got a single number, wanted shape (T,) or (T, F)")
    if len(array) < look_back + horizon:
        raise ShapeError(f"series: got {len(array)} steps, wanted at least look_back + horizon = {look_back + horizon}")
    spans = sliding_window_view(array, look_back + horizon, axis=0)[::stride]  # (N, ..., look_back + horizon)
    spans = np.moveaxis(spans, -1, 1)
    return spans[:, :look_back].copy(), spans[:, look_back:].copy()


def train_test_split(
    *arrays: np.ndarray, test_size: float | None = None, train_size: float | None = None
) -> tuple[np.ndarray, ...]:
    """Split arrays along their first axis in time order: the past to train on, the rest to test.

    Nothing is shuffled. Split a series before cutting it into windows: then no step is in windows of both.

    Parameters
    ----------
    *arrays : ndarray, all of the same length
    test_size, train_size : float or int
        Exactly one of them: a fraction between 0 and 1, or a number of steps. A fraction of the training part
        is rounded down, one of the test part up.

    Returns
    -------
    tuple of ndarray
        ``(train, test)`` of the first array, then of the second, and so on; views, not copies.

    Examples
    --------
    >>> train, test = train_test_split(np.arange(6), train_size=0.67)
    >>> train, test
    (array([0, 1, 2, 3]), array([4, 5]))
    """
    if not arrays:
        raise TypeError("arrays: got none, wanted at least one")
    if (test_size is None) == (train_size is None):
        raise TypeError(f"got test_size={test_size} and train_size={train_size}, wanted exactly one of the two")
    parts = [as_any(f"arrays[{i}]", array) for i, array in enumerate(arrays)]
    for i, part in enumerate(parts):
        if part.shape[:1] != parts[0].shape[:1] or part.ndim == 0:
            wanted = ", ".join([*map(str, parts[0].shape[:1] or ["length"]), "..."])
            raise ShapeError(f"arrays[{i}]: got shape {part.shape}, wanted ({wanted})")
    steps = len(parts[0])
    if train_size is not None:
        cut = _part("train_size", train_size, steps, math.floor)
    else:
        cut = steps - _part("test_size", test_size, steps, math.ceil)
    return tuple(half for part in parts for half in (part[:cut], part[cut:]))


def _part(name: str, size, steps: int, rounded: Callable[[float], int]) -> int:
    """Number of steps in the part of a split that has the given size."""
    if isinstance(size, (float, np.floating)):  # NaN too is no fraction
        count = rounded(round(float(size) * steps, 9)) if 0 < size < 1 else 0  # 0.29 * 100 is 28.999...
    else:
        count = integer(name, size, 0)
    if not 0 < count < steps:
        raise ValueError(
            f"{name}: got {size} of {steps} steps, wanted a fraction or a number of steps "
            "that leaves at least one step to both parts"
        )
    return count
