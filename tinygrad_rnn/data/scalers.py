"""Scaling columns to a range or to unit variance, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..checks import shown
from ..config import get_default_dtype
from ..errors import CheckpointError, DataError, ShapeError
from ._checks import as_any, as_array, integer, real, require_finite


class _Scaler:
    """``low + span * (x - shift) / scale``: subclasses measure `shift` and `scale`.

    The last axis of an array holds its columns. A scaler fitted to a 1-D series has one shift and scale (0-d
    arrays), which then hold for every entry of an array of any shape.
    """

    shift: np.ndarray | None = None
    scale: np.ndarray | None = None
    _low, _span = 0.0, 1.0

    def _measure(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shift and scale of the columns of the float64 array `x`, shape (N,) or (N, F)."""
        raise NotImplementedError

    def fit(self, x):
        """Measure the columns of `x`.

        Parameters
        ----------
        x : array_like, shape (N,) or (..., F)
            Statistics are taken over all axes but the last; a 1-D array is a single column.

        Returns
        -------
        self

        Raises
        ------
        DataError
            If `x` is empty or holds NaN or infinity.
        """
        array = as_array("x", x)
        if array.ndim == 0:
            raise ShapeError("x: got a single number, wanted shape (N,) or (..., F)")
        if array.size == 0:
            raise DataError(f"x: got the empty shape {array.shape}, wanted at least one row")
        require_finite("x", array)
        rows = array.astype(np.float64)
        if rows.ndim > 1:
            rows = rows.reshape(-1, rows.shape[-1])
        with np.errstate(over="ignore", invalid="ignore"):
            shift, scale = self._measure(rows)
        if not np.isfinite(scale).all():
            raise DataError("x: got values so large that their spread overflows float64")
        # a constant column is shifted only; so is one whose variance underflows to 0
        self.shift, self.scale = np.asarray(shift), np.where(scale > 0, scale, 1.0)
        return self

    def transform(self, x, columns: int | Sequence[int] | None = None) -> np.ndarray:
        """Scale `x` by what :meth:`fit` measured.

        Parameters
        ----------
        x : array_like, shape (..., F)
        columns : int or sequence of int, optional
            The fitted columns that `x` holds; all of them unless given. With a single int every entry of `x`,
            of any shape, belongs to that column.

        Returns
        -------
        ndarray
            Of the dtype of `x` if that is floating, else of the default dtype.

        Raises
        ------
        RuntimeError
            If the scaler is not fitted.
        ShapeError
            If the last axis does not fit the columns.
        DataError
            If `x` holds NaN or infinity.
        """
        array, shift, scale = self._fitted(x, columns)
        require_finite("x", array)
        return self._cast(array, (array.astype(np.float64) - shift) / scale * self._span + self._low)

    def inverse_transform(self, x, columns: int | Sequence[int] | None = None) -> np.ndarray:
        """Undo :meth:`transform`, on its result or on the predictions of a model.

        Parameters and errors are those of :meth:`transform`; but NaN and infinity pass through, so that a
        diverged model can be seen.
        """
        array, shift, scale = self._fitted(x, columns)
        return self._cast(array, (array.astype(np.float64) - self._low) / self._span * scale + shift)

    def fit_transform(self, x) -> np.ndarray:
        """:meth:`fit`, then :meth:`transform` of the same array."""
        return self.fit(x).transform(x)

    def _fitted(self, x, columns) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`x` as an array, with the shift and scale of its columns."""
        array = as_array("x", x)
        shift, scale = self._statistics()
        if columns is not None:
            fitted = shift.size
            pick = as_any("columns", columns)
            for column in columns if pick.ndim == 1 else [columns]:
                if integer("columns", column, 0) >= fitted:
                    raise ValueError(f"columns: got {column}, wanted 0 <= column < {fitted}")
            pick = pick.astype(np.intp)
            shift, scale = shift.reshape(-1)[pick], scale.reshape(-1)[pick]
        if shift.ndim and array.shape[-1:] != shift.shape and not (shift.size == 1 and array.ndim <= 1):
            raise ShapeError(f"x: got shape {array.shape}, wanted (..., {shift.size}), one entry per column")
        if array.ndim <= 1 and shift.size == 1:
            shift, scale = shift.reshape(()), scale.reshape(())
        return array, shift, scale

    def _statistics(self) -> tuple[np.ndarray, np.ndarray]:
        if self.shift is None or self.scale is None:
            raise RuntimeError(f"this {type(self).__name__} is not fitted: call fit() or load_state_dict() first")
        return self.shift, self.scale

    @staticmethod
    def _cast(like: np.ndarray, result: np.ndarray) -> np.ndarray:
        return result.astype(like.dtype if like.dtype.kind == "f" else get_default_dtype())

    def state_dict(self) -> dict[str, np.ndarray]:
        """The measured numbers, as float64 arrays."""
        shift, scale = self._statistics()
        return {"shift": shift.copy(), "scale": scale.copy()}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what :meth:`state_dict` of a scaler of the same class returned.

        Raises
        ------
        CheckpointError
            If keys are missing or unexpected, or the arrays do not fit each other.
        """
        wanted = ["shift", "scale"]
        self._check_keys(state, wanted)
        shift, scale = (self._numbers(state, key) for key in wanted)
        if shift.shape != scale.shape or shift.ndim > 1:
            raise CheckpointError(
                f"state: got shift of shape {shift.shape} and scale of shape {scale.shape}, "
                "wanted the same shape () or (F,) for both"
            )
        if not (np.isfinite(shift) & np.isfinite(scale) & (scale > 0)).all():
            raise CheckpointError(f"state: got shift {shift} and scale {scale}, wanted finite and scale > 0")
        self.shift, self.scale = shift, scale

    def _check_keys(self, state: Mapping[str, np.ndarray], wanted: list[str]) -> None:
        if not isinstance(state, Mapping):
            raise CheckpointError(f"state: got {type(state).__name__}, wanted the keys {sorted(wanted)}")
        if set(state) != set(wanted):
            raise CheckpointError(f"state: got the keys {sorted(map(str, state))}, wanted {sorted(wanted)}")

    @staticmethod
    def _numbers(state: Mapping[str, np.ndarray], key: str) -> np.ndarray:
        """An array of a state, in float64."""
        try:
            return as_array(key, state[key], np.float64).copy()
        except (ValueError, TypeError) as error:  # DataError, ShapeError and DTypeError are such
            raise CheckpointError(f"state: {error}") from None


class MinMaxScaler(_Scaler):
    """Scales every column so that its smallest and largest fitted values become the ends of a range.

    A constant column becomes the lower end; its inverse is the constant.

    Parameters
    ----------
    feature_range : (float, float)
        Lower and upper end.

    Examples
    --------
    >>> scaler = MinMaxScaler()
    >>> scaled = scaler.fit_transform(np.array([[1.0, 10.0], [3.0, 30.0], [2.0, 50.0]]))
    >>> scaled
    array([[0. , 0. ],
           [1. , 0.5],
           [0.5, 1. ]])
    >>> scaler.inverse_transform(np.array([0.25, 0.5]), columns=1)  # predictions of the second column
    array([20., 30.])
    """

    def __init__(self, feature_range: tuple[float, float] = (0.0, 1.0)):
        try:
            low, high = (real("feature_range", end) for end in feature_range)
        except (TypeError, ValueError):
            raise TypeError(f"feature_range: got {shown(feature_range)}, wanted two numbers (low, high)") from None
        if not -np.inf < low < high < np.inf:
            raise ValueError(f"feature_range: got {(low, high)}, wanted (low, high) with low < high, both finite")
        self._set_range(low, high)

    def _set_range(self, low: float, high: float) -> None:
        self.feature_range = low, high
        self._low, self._span = low, high - low

    def _measure(self, x):
        return x.min(axis=0), x.max(axis=0) - x.min(axis=0)

    def state_dict(self) -> dict[str, np.ndarray]:
        return {**super().state_dict(), "feature_range": np.array(self.feature_range)}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        self._check_keys(state, ["shift", "scale", "feature_range"])
        ends = self._numbers(state, "feature_range")
        if ends.shape != (2,) or not -np.inf < ends[0] < ends[1] < np.inf:
            raise CheckpointError(f"state: got the feature_range {ends}, wanted (low, high) with low < high")
        super().load_state_dict({key: state[key] for key in ("shift", "scale")})
        self._set_range(*ends.tolist())


class StandardScaler(_Scaler):
    """Scales every column to mean 0 and standard deviation 1 (of the population: divided by N).

    A constant column becomes 0; its inverse is the constant.

    Examples
    --------
    >>> scaler = StandardScaler().fit([1, 2, 3, 4, 5, 6, 7])
    >>> scaler.transform([4, 6])
    array([0., 1.], dtype=float32)
    >>> scaler.inverse_transform([-1.0, 0.0])
    array([2., 4.], dtype=float32)
    """

    def _measure(self, x):
        constant = x.min(axis=0) == x.max(axis=0)  # rounding would give it a tiny deviation
        return np.where(constant, x[0], x.mean(axis=0)), np.where(constant, 0.0, x.std(axis=0))
