"""Series of pandas with dates, and forecasts that go on with their dates and names."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..data.frame_times import every_step, following, zone_of, zoned
from ..errors import DataError


class End(NamedTuple):
    """Where a series with dates ends: what its forecasts are called, and when they are."""

    names: tuple[str, ...] | str | None  # of columns, or of a series
    last: np.datetime64  # of UTC, if there is a time zone
    freq: str
    zone: Any = None


def end_of(part: Any, where: str) -> End | None:
    """The end of a series or frame of pandas with dates; None of anything else.

    Raises
    ------
    DataError
        If dates are missing, twice or out of order.
    """
    if type(part).__module__.partition(".")[0] != "pandas" or not hasattr(part, "index"):
        return None
    import pandas
    from pandas.tseries.frequencies import to_offset

    if not isinstance(part.index, pandas.DatetimeIndex | pandas.PeriodIndex) or not len(part):
        return None
    frame = part.to_frame() if part.ndim == 1 else part
    times, _, freq = every_step(frame[[]], (), None, None, where)
    if len(times) > len(part):
        there = part.index.to_timestamp() if isinstance(part.index, pandas.PeriodIndex) else part.index
        gone = np.setdiff1d(times, there.to_numpy())
        raise DataError(f"{where}: got no row for {gone[0]}, wanted one for each step")
    if freq is None:
        return None
    names = part.name if part.ndim == 1 else tuple(part.columns)
    return End(names, times[-1], to_offset(freq).freqstr, zone_of(part))


def require_same_times(X: Any, y: Any, where: str) -> None:
    """Raise ValueError if both are of pandas with dates, and these differ."""
    times: list[Any] = [getattr(part, "index", None) for part in (X, y)]
    if all(hasattr(index, "freq") for index in times) and not times[0].equals(times[1]):
        raise ValueError(f"{where}: got other dates than those of X, wanted the same")


def dated(values: np.ndarray, names: Any, end: End | None) -> Any:
    """Forecasts, (horizon,) or (horizon, K), as pandas has them, if the series has an end with dates."""
    if end is None:
        return values
    import pandas

    index = zoned(following(np.array([end.last]), end.freq, len(values), end.zone), end.zone).rename("time")
    if values.ndim == 1:
        return pandas.Series(values, index, name=None if isinstance(names, tuple) else names)
    return pandas.DataFrame(values, index, [*names] if isinstance(names, tuple) else None)
