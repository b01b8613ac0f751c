"""How good predictions are: counts of classes, F1, edit distances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import DataError, DTypeError, ShapeError


def confusion_matrix(targets: Any, predictions: Any, classes: int) -> np.ndarray:
    """How often each class was taken for each.

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

    Examples
    --------
    >>> confusion_matrix([0, 1, 1, 1], [0, 1, 0, 1], classes=2)
    array([[1, 0],
           [1, 2]])
    """
    truth, guess = np.asarray(targets), np.asarray(predictions)
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


def f1_scores(confusion: np.ndarray) -> np.ndarray:
    """The F1 of each class: the harmonic mean of precision and recall.

    Parameters
    ----------
    confusion : ndarray, (C, C)
        From :func:`confusion_matrix`.

    Returns
    -------
    ndarray, (C,)
        NaN for a class that occurs in neither targets nor predictions.

    References
    ----------
    van Rijsbergen, "Information retrieval", 1979, chapter 7.

    Examples
    --------
    >>> f1_scores(np.array([[1, 0], [1, 2]]))
    array([0.66666667, 0.8       ])
    """
    hits = np.diag(confusion).astype(np.float64)
    both = confusion.sum(0) + confusion.sum(1)
    return np.divide(2 * hits, both, out=np.full(len(hits), np.nan), where=both > 0)


def edit_distance(a: Sequence, b: Sequence) -> int:
    """The least number of insertions, deletions and substitutions that turn `a` into `b` (Levenshtein 1966).

    Parameters
    ----------
    a, b : str or sequences of words, ids, ...

    Examples
    --------
    >>> edit_distance("kitten", "sitting")
    3
    """
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def error_rate(targets: Sequence[Sequence], predictions: Sequence[Sequence]) -> float:
    """Edits per symbol over a corpus: of characters (CER) if the sequences are strings, of words (WER) if lists.

    Raises
    ------
    ShapeError
        If there are not as many predictions as targets.
    DataError
        If the targets hold no symbol.

    Examples
    --------
    >>> error_rate(["one", "two"], ["one", "too"])
    0.16666666666666666
    """
    if len(targets) != len(predictions):
        raise ShapeError(f"predictions: got {len(predictions)} sequences, wanted {len(targets)} as targets")
    symbols = sum(len(target) for target in targets)
    if not symbols:
        raise DataError("targets: got no symbols, wanted at least one")
    return sum(edit_distance(p, t) for p, t in zip(predictions, targets)) / symbols
