"""Metrics of predictions: confusion matrix, F1, edit distance, error rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..checks import is_whole, shown
from ..core import Tensor, as_array
from ..errors import DataError, DTypeError, ShapeError

MOST = 2**28  # classes: with more, indices of the entries would overflow


def confusion_matrix(targets: Any, predictions: Any, classes: int) -> np.ndarray:
    """The confusion matrix: how often each class was predicted as each.

    Parameters
    ----------
    targets, predictions : array_like of int, of one shape
        Each within ``0 <= class < classes``.
    classes : int

    Returns
    -------
    ndarray of int64, (classes, classes)
        Entry (i, j) counts what is of class i and was predicted as class j.

    Raises
    ------
    ShapeError
        If the shapes differ.
    DTypeError
        If they are not integers.
    DataError
        If a class is out of range.
    TypeError, ValueError
        If `classes` is not a whole number above 0.

    Examples
    --------
    >>> confusion_matrix([0, 1, 1, 1], [0, 1, 0, 1], classes=2)
    array([[1, 0],
           [1, 2]])
    """
    if not is_whole(classes):
        raise TypeError(f"classes: got {shown(classes)}, wanted a whole number")
    if not 1 <= classes <= MOST:
        raise ValueError(f"classes: got {shown(classes)}, wanted 1 to {MOST}")
    classes = int(classes)
    truth, guess = _array("targets", targets), _array("predictions", predictions)
    if truth.shape != guess.shape:
        raise ShapeError(f"predictions: got shape {guess.shape}, wanted {truth.shape} as the targets")
    for name, array in (("targets", truth), ("predictions", guess)):
        if array.size and array.dtype.kind not in "iu":
            raise DTypeError(f"{name}: got {array.dtype}, wanted integers")
        if array.size and (array.min() < 0 or array.max() >= classes):
            bad = array.min() if array.min() < 0 else array.max()
            raise DataError(f"{name}: got the class {bad}, wanted 0 to {classes - 1}")
    pairs = truth.reshape(-1).astype(np.int64) * classes + guess.reshape(-1).astype(np.int64)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def f1_scores(confusion: Any) -> np.ndarray:
    """The F1 of each class: the harmonic mean of precision and recall.

    Parameters
    ----------
    confusion : array_like, (C, C)
        From :func:`confusion_matrix`.

    Returns
    -------
    ndarray, (C,)
        NaN for a class that occurs in neither targets nor predictions.

    Raises
    ------
    ShapeError, DTypeError, DataError
        If it is no square matrix, of no numbers, or has a count below 0.

    References
    ----------
    van Rijsbergen, "Information retrieval", 1979, chapter 7.

    Examples
    --------
    >>> f1_scores(np.array([[1, 0], [1, 2]]))
    array([0.66666667, 0.8       ])
    """
    counts = _array("confusion", confusion)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ShapeError(f"confusion: got shape {counts.shape}, wanted a square matrix")
    if not (counts >= 0).all():
        raise DataError(f"confusion: got {counts[~(counts >= 0)][0]}, wanted counts of at least 0")
    hits = np.diag(counts).astype(np.float64)
    both = counts.sum(0) + counts.sum(1)
    return np.divide(2 * hits, both, out=np.full(len(hits), np.nan), where=both > 0)


def edit_distance(a: Sequence, b: Sequence) -> int:
    """The least number of insertions, deletions and substitutions from `a` to `b` (Levenshtein 1966).

    Parameters
    ----------
    a, b : str or sequences of words, ids, ...
        Lists, arrays of one axis, and the like.

    Raises
    ------
    TypeError, ShapeError
        If one is no sequence of single symbols.

    Examples
    --------
    >>> edit_distance("kitten", "sitting")
    3
    """
    return _edits(_symbols("a", a), _symbols("b", b))


def _edits(a: Sequence, b: Sequence) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def error_rate(targets: Sequence[Sequence], predictions: Sequence[Sequence]) -> float:
    """Edits per symbol over a corpus: CER if the sequences are strings, WER if they are lists of words.

    Raises
    ------
    TypeError, ShapeError
        If one is no sequence, or there are not as many predictions as targets.
    DataError
        If the targets hold no symbol.

    Examples
    --------
    >>> error_rate(["one", "two"], ["one", "too"])
    0.16666666666666666
    """
    truth, guess = _corpus("targets", targets), _corpus("predictions", predictions)
    if len(truth) != len(guess):
        raise ShapeError(f"predictions: got {len(guess)} sequences, wanted {len(truth)} as targets")
    symbols = sum(map(len, truth))
    if not symbols:
        raise DataError("targets: got no symbols, wanted at least one")
    return sum(map(_edits, guess, truth)) / symbols


def _array(name: str, value: Any) -> np.ndarray:
    """`value` as an array of numbers."""
    return value.data if isinstance(value, Tensor) else as_array(value, name, dtype=np.dtype(float))


def _corpus(name: str, value: Any) -> list[Sequence]:
    """`value` as a list of sequences of symbols."""
    if not isinstance(value, Sequence) and not getattr(value, "ndim", 0):
        raise TypeError(f"{name}: got {type(value).__name__}, wanted a sequence of sequences of symbols")
    return [_symbols(f"{name}[{i}]", one) for i, one in enumerate(value)]


def _symbols(name: str, value: Any) -> Sequence:
    """`value` as a sequence of symbols, which are compared by ``==``."""
    if hasattr(value, "ndim"):
        if value.ndim != 1:
            raise ShapeError(f"{name}: got shape {tuple(value.shape)}, wanted one axis")
        return np.asarray(value).tolist()
    if not isinstance(value, Sequence):
        raise TypeError(f"{name}: got {type(value).__name__}, wanted a string or a sequence of symbols")
    if isinstance(value, str) or not any(hasattr(x, "ndim") for x in value):
        return value
    for i, x in enumerate(value):
        if getattr(x, "ndim", 0):
            raise ShapeError(f"{name}[{i}]: got shape {tuple(x.shape)}, wanted a single symbol")
    return [x.item() if hasattr(x, "ndim") else x for x in value]
