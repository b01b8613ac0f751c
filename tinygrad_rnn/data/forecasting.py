"""Forecasts of several steps, naive baselines, and walk-forward evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..checks import MOST_ELEMENTS, shown
from ..errors import ShapeError
from ._checks import as_array, integer, require_finite


def roll_forward(predict: Callable[[np.ndarray], np.ndarray], window, steps: int) -> np.ndarray:
    """Forecast several steps with a one-step model: predictions become the input of later ones.

    Parameters
    ----------
    predict : callable
        From windows (N, look_back, F) to the values that follow, (N, F).
    window : array_like, shape (N, look_back, F)
        The last values that are known.
    steps : int

    Returns
    -------
    ndarray, shape (N, steps, F)

    Raises
    ------
    ShapeError
        If `predict` returns another shape than (N, F).

    Examples
    --------
    >>> growth = lambda x: x[:, -1] + (x[:, -1] - x[:, -2])
    >>> roll_forward(growth, np.array([[[1.0], [3.0]]]), steps=3)[0, :, 0]
    array([5., 7., 9.])
    """
    window = as_array("window", window)
    steps = integer("steps", steps, 1, MOST_ELEMENTS)
    if window.ndim != 3 or not window.size:
        raise ShapeError(f"window: got shape {window.shape}, wanted (N, look_back, F)")
    forecast = []
    if not callable(predict):
        raise TypeError(f"predict: got {shown(predict)}, wanted a function of windows")
    for _ in range(steps):
        value = as_array("predict", predict(window))
        wanted = (window.shape[0], window.shape[2])
        if value.shape != wanted:
            raise ShapeError(f"predict: returned shape {value.shape}, wanted {wanted} for windows {window.shape}")
        forecast.append(value)
        dtype = window.dtype if window.dtype.kind == "f" else np.result_type(window, value)  # integers would round
        window = np.concatenate([window[:, 1:], value[:, None]], axis=1, dtype=dtype, casting="same_kind")
    return np.stack(forecast, axis=1)


def persistence(past, steps: int) -> np.ndarray:
    """The naive forecast: the last value, `steps` times.

    Parameters
    ----------
    past : array_like, shape (..., T)
        Series along the last axis.
    steps : int

    Returns
    -------
    ndarray, shape (..., steps)

    Examples
    --------
    >>> persistence([1, 2, 3], steps=2)
    array([3, 3])
    """
    return seasonal_naive(past, 1, steps)


def seasonal_naive(past, period: int, steps: int) -> np.ndarray:
    """The seasonal naive forecast: the values of the last `period`, repeated for `steps` steps.

    Parameters
    ----------
    past : array_like, shape (..., T)
        Series along the last axis, of at least `period` steps.
    period, steps : int

    Returns
    -------
    ndarray, shape (..., steps)

    Raises
    ------
    ShapeError
        If `past` is shorter than `period`.

    References
    ----------
    Hyndman, Athanasopoulos, "Forecasting: principles and practice", section 5.2.

    Examples
    --------
    >>> seasonal_naive([1, 2, 3, 4, 5], period=3, steps=4)
    array([3, 4, 5, 3])
    """
    past = as_array("past", past)
    period, steps = integer("period", period, 1), integer("steps", steps, 1, MOST_ELEMENTS)
    if past.ndim == 0 or past.shape[-1] < period:
        raise ShapeError(f"past: got shape {past.shape}, wanted at least period = {period} steps on the last axis")
    return past[..., past.shape[-1] - period :][..., np.arange(steps) % period]


def find_period(series, longest: int | None = None) -> int:
    """The period of a series: the lag at which its differences are correlated most.

    Differences have no trend, and those of a random walk have no season. A lag counts if the autocorrelation of
    the differences has a peak there that lies four standard errors above zero.

    Parameters
    ----------
    series : array_like, shape (T,)
    longest : int, optional
        The longest season to look for. Default: a third of the series, so that three of them are seen.

    Returns
    -------
    int
        1 if there is no season.

    Raises
    ------
    ShapeError
        If `series` has other than one axis.
    DataError
        At a NaN or infinity.

    References
    ----------
    Box, Jenkins, "Time series analysis: forecasting and control", chapters 2 and 9.

    Examples
    --------
    >>> find_period([3, 1, 4, 1, 5] * 6)
    5
    >>> find_period(range(30))
    1
    """
    series = as_array("series", series).astype(np.float64)
    if series.ndim != 1:
        raise ShapeError(f"series: got shape {series.shape}, wanted (T,)")
    require_finite("series", series)
    longest = len(series) // 3 if longest is None else integer("longest", longest, 1)
    longest = min(longest, len(series) - 3)
    if longest < 2:
        return 1
    steps = np.diff(series / (np.abs(series).max() or 1.0))  # of any unit; squares do not overflow
    steps -= steps.mean()
    if not np.any(np.abs(steps) > 1e-9):
        return 1
    spectrum = np.fft.rfft(steps, 2 * len(steps))  # twice as long: lags do not wrap around
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)[: longest + 2]
    correlation /= correlation[0]
    before, here, after = correlation[1:-2], correlation[2:-1], correlation[3:]
    peaks = np.where((here >= before) & (here >= after), here, -1.0)
    best = int(peaks.argmax())
    return best + 2 if peaks[best] > 4 / np.sqrt(len(steps)) else 1


def walk_forward(length: int, first: int, horizon: int, stride: int | None = None) -> Iterator[tuple[slice, slice]]:
    """The folds of a walk-forward evaluation: all that is known at an origin, and the steps to forecast.

    The origin starts at `first` and moves on by `stride`; a fold never sees what comes after its origin.

    Parameters
    ----------
    length : int
        Steps of the series.
    first : int
        Steps that are known at the first origin.
    horizon : int
        Steps to forecast from each origin.
    stride : int, optional
        Default: `horizon`, so that every step is forecast once.

    Yields
    ------
    known, future : slice

    Raises
    ------
    ShapeError
        If the series ends before the first horizon does.

    Examples
    --------
    >>> [(known.stop, (future.start, future.stop)) for known, future in walk_forward(10, first=4, horizon=3)]
    [(4, (4, 7)), (7, (7, 10))]
    """
    length, first = integer("length", length, 1), integer("first", first, 1)
    horizon = integer("horizon", horizon, 1)
    stride = horizon if stride is None else integer("stride", stride, 1)
    if length < first + horizon:
        raise ShapeError(f"length: got {length} steps, wanted at least first + horizon = {first + horizon}")
    return ((slice(0, at), slice(at, at + horizon)) for at in range(first, length - horizon + 1, stride))
