"""Sequences as scikit-learn users hold them: tables, 3-D arrays, ragged lists; as padded arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_array


class Sequences(NamedTuple):
    """Sequences of one number of features, those that are shorter padded in front.

    Attributes
    ----------
    values : ndarray of float64, (N, T, F)
        Zero where there is padding.
    mask : bool ndarray, (N, T), or None
        Which steps are there; None if all are.
    columns : int or None
        Of the table that it was, in which each row is a sequence of single numbers.
    names : tuple of str or None
        Of the features, if the sequences are frames.
    """

    values: np.ndarray
    mask: np.ndarray | None
    columns: int | None
    names: tuple[str, ...] | None = None

    @property
    def features(self) -> int:
        return self.values.shape[2]

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, index: Any) -> Sequences:
        """Some of the sequences."""
        return Sequences(self.values[index], None if self.mask is None else self.mask[index], self.columns, self.names)


def read(X: Any, owner: Any) -> Sequences:
    """Sequences of any of these forms.

    Parameters
    ----------
    X : array_like, (N, T), (N, T, F), or a list of N arrays, (T_i,) or (T_i, F)
    owner : estimator
        Named in messages.

    Raises
    ------
    ValueError
        If it is something else, is empty, or holds NaN or infinity.
    """
    if _is_ragged(X):
        return _ragged(list(X), owner)
    array = check_array(X, dtype="numeric", allow_nd=True, estimator=owner, input_name="X")
    if array.ndim > 3:
        raise ValueError(f"X: got shape {array.shape}, wanted (sequences, steps), or (sequences, steps, features)")
    if 0 in array.shape:
        raise ValueError(f"X: got shape {array.shape}, wanted at least one step and one feature")
    columns = array.shape[1] if array.ndim == 2 else None
    return Sequences(array.reshape(*array.shape[:2], -1).astype(np.float64, copy=False), None, columns)


def names_of(part: Any) -> tuple[str, ...] | None:
    """The names of a frame's columns, if it is one and they are words."""
    names = tuple(getattr(part, "columns", ()))
    return names if names and all(isinstance(name, str) for name in names) else None


def require_names(what: str, names: tuple[str, ...] | None, wanted: tuple[str, ...] | None) -> None:
    """Raise ValueError if columns have other names than others had, or another order."""
    if names is not None and wanted is not None and names != wanted:
        raise ValueError(f"{what}: got the columns {', '.join(names)}, wanted {', '.join(wanted)}, in this order")


def _is_ragged(X: Any) -> bool:
    """Whether it is a list of sequences whose lengths differ, or of tables."""
    if not isinstance(X, list | tuple) and not (isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1):
        return False
    if not len(X) or any(not hasattr(item, "__len__") or isinstance(item, str | bytes | dict) for item in X):
        return False
    return len({len(item) for item in X}) > 1 or any(getattr(item, "ndim", 1) == 2 for item in X)


def _ragged(items: list, owner: Any) -> Sequences:
    arrays: list[np.ndarray] = []
    names = next(filter(None, map(names_of, items)), None)
    for i, item in enumerate(items):
        if not len(item):
            raise ValueError(f"X[{i}]: got no steps, wanted at least one")
        array = check_array(
            item, dtype="numeric", ensure_2d=False, allow_nd=True, estimator=owner, input_name=f"X[{i}]"
        )
        if array.ndim not in (1, 2) or array.ndim != np.ndim(arrays[0] if arrays else array) or not array.size:
            raise ValueError(f"X[{i}]: got shape {array.shape}, wanted (steps,), or (steps, features) as the others")
        if arrays and array.shape[1:] != arrays[0].shape[1:]:
            raise ValueError(f"X[{i}]: got {array.shape[1]} features, wanted {arrays[0].shape[1]} as the first one has")
        require_names(f"X[{i}]", names_of(item), names)
        arrays.append(array)
    lengths = np.array([len(a) for a in arrays])
    longest = lengths.max()
    values = np.zeros((len(arrays), longest, arrays[0].size // len(arrays[0])))
    for row, a in zip(values, arrays):
        row[longest - len(a) :] = a.reshape(len(a), -1)
    mask = np.arange(longest) >= longest - lengths[:, None]
    return Sequences(values, None if mask.all() else mask, None, names)


class Scale(NamedTuple):
    """Mean and spread of features."""

    mean: np.ndarray
    spread: np.ndarray

    @staticmethod
    def of(values: np.ndarray, weights: np.ndarray) -> Scale:
        """Of rows, (N, F), each with a weight."""
        low = values.min(0)
        with np.errstate(over="ignore", invalid="ignore"):
            mean = low + np.average(values - low, axis=0, weights=weights)  # of a constant column just that
            spread = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weights))
        if not np.isfinite(spread).all():
            raise ValueError(f"standardize: got numbers up to {np.abs(values).max():.3g}, whose variance overflows")
        return Scale(mean, np.where(spread > 1e-12 * np.abs(mean), spread, 1.0))

    @staticmethod
    def none(features: int) -> Scale:
        """The one that leaves values as they are."""
        return Scale(np.zeros(features), np.ones(features))

    def apply(self, values: np.ndarray) -> np.ndarray:
        return ((values - self.mean) / self.spread).astype(np.float32)

    def undo(self, values: np.ndarray) -> np.ndarray:
        return values * self.spread + self.mean
