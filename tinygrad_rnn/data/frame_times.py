"""The times of a frame's rows, one step after the other, with rows of NaN where some are left out."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..checks import shown
from ..config import get_default_dtype
from ..errors import DataError

MOST = 1 << 26  # steps of one series, those that are left out among them
SHORTEST = 5  # times of which a frequency is guessed
ENOUGH = 20  # such guesses that agree


def every_step(
    rows: Any, columns: tuple[str, ...], time: Any, freq: Any, where: str
) -> tuple[np.ndarray, np.ndarray, Any]:
    """Times and values of a frame for every step from the first to the last, and the frequency of dates.

    Parameters
    ----------
    rows : DataFrame
    columns : tuple of str
    time : str or None
        The column with times; the index if None.
    freq : str or None
        Of dates, in pandas' words; guessed if None.
    where : str
        Named in messages.

    Raises
    ------
    DataError
        If times are missing, twice, out of order, or between two steps.
    """
    import pandas

    index = pandas.Index(rows.index if time is None else rows[time])
    if index.inferred_type == "date":
        index = pandas.DatetimeIndex(index)
    values = rows[[*columns]].to_numpy(get_default_dtype(), na_value=np.nan)
    if index.hasnans:
        raise DataError(f"{where}: got a row without a time, wanted one in each")
    ordered = index.is_monotonic_increasing and index.is_unique
    if not ordered:
        late = int(np.flatnonzero(~(index[1:] > index[:-1]))[0]) + 1
        raise DataError(f"{where}: got {index[late]} after {index[late - 1]}, wanted each time once, in order")
    if isinstance(index, pandas.PeriodIndex):
        index = index.to_timestamp()
    if isinstance(index, pandas.DatetimeIndex):
        freq = _frequency(index) if freq is None else _offset(freq)
        if freq is None:
            if len(index) > 2 and len({*np.diff(index.asi8)}) > 1:
                raise DataError(f"{where}: got times of no frequency that can be guessed, wanted it as freq=")
            return _dates(index), values, None if len(index) < 2 else index[1] - index[0]
        _require_few(index[0], index[-1], freq, where)
        whole = pandas.date_range(index[0], index[-1], freq=freq)
        places = whole.get_indexer(index)
        if len(whole) == 0 or (places < 0).any():
            odd = index[int(np.argmin(places))] if len(whole) else index[0]
            step = getattr(freq, "freqstr", freq)
            raise DataError(f"{where}: got the time {odd}, which is no step of the frequency {step!r}; pass freq=")
        return _dates(whole), _at(values, places, len(whole)), freq
    if freq is not None:
        raise ValueError(f"freq: got {shown(freq)} for times of dtype {index.dtype}, wanted dates")
    times = index.to_numpy()
    if times.dtype.kind in "ium" and len(times) > 1:
        step = np.diff(times).min()
        step = step if times.dtype.kind == "m" else int(step)
        places, rest = np.divmod(times - times[0], step)
        if (rest != rest[0]).any():
            raise DataError(f"{where}: got the times {times[:4]}, wanted steps of one width")
        count = int(places[-1]) + 1
        if count > MOST:
            raise DataError(f"{where}: got times from {times[0]} to {times[-1]} in steps of {step}, wanted fewer steps")
        return times[0] + step * np.arange(count), _at(values, places, count), step
    return times, values, None


def _require_few(first: Any, last: Any, freq: Any, where: str) -> None:
    """Raise unless there are so few steps of a fixed width that they fit into memory."""
    import pandas

    try:
        width = pandas.Timedelta(freq)
    except (ValueError, TypeError):
        return  # days of work, months and the like
    if (last - first) / width > MOST:
        raise DataError(f"{where}: got times from {first} to {last} in steps of {width}, wanted fewer; pass freq=")


def zone_of(rows: Any, time: Any = None) -> Any:
    """The time zone of a frame's dates, or None."""
    return getattr(rows.index if time is None else rows[time].dtype, "tz", None)


def zoned(times: np.ndarray, zone: Any) -> Any:
    """Times as an index of pandas, in a time zone if there is one."""
    import pandas

    index = pandas.Index(times)
    return index if zone is None else index.tz_localize("UTC").tz_convert(zone)


def _dates(index: Any) -> np.ndarray:
    """Dates as an array; those of a time zone become those of UTC."""
    return (index if index.tz is None else index.tz_convert(None)).to_numpy()


def _at(values: np.ndarray, places: np.ndarray, count: int) -> np.ndarray:
    """Values in so many rows, NaN in the others."""
    out = np.full((count, values.shape[1]), np.nan, values.dtype)
    out[places] = values
    return out


def _frequency(index: Any) -> Any:
    """The frequency of dates, some of which may be left out; None if there is none."""
    import pandas

    if index.freq is not None:
        return index.freq
    if len(index) < 3:
        return None
    whole = _guess(index)
    if whole is not None:
        return whole
    found: dict[Any, int] = {}
    for first in range(len(index) - SHORTEST + 1):
        guess = _guess(index[first : first + SHORTEST])
        if guess is not None:
            found[guess] = found.get(guess, 0) + 1
            if found[guess] > ENOUGH:
                break
    if found:
        return max(found, key=lambda guess: found[guess])
    return pandas.Timedelta(np.diff(index.asi8).min(), unit=index.unit)


def _guess(index: Any) -> Any:
    """The frequency of dates of which none is left out, or None."""
    import pandas

    with warnings.catch_warnings():  # versions of pandas return words or objects, and warn of that
        warnings.simplefilter("ignore")
        found = pandas.infer_freq(index)
    return None if found is None else _offset(found)


def _offset(freq: Any) -> Any:
    """A frequency as pandas' own object."""
    from pandas.tseries.frequencies import to_offset

    try:
        return to_offset(freq)
    except (ValueError, TypeError) as error:
        raise ValueError(f"freq: got {shown(freq)}, wanted a frequency of pandas, such as 'D' ({error})") from None


def following(index: np.ndarray, freq: Any, count: int, zone: Any = None) -> np.ndarray:
    """The times after the last one; those of a time zone are given, and are, of UTC."""
    if index.dtype.kind == "M" and freq is not None:
        import pandas

        return _dates(pandas.date_range(zoned(index[-1:], zone)[0], periods=count + 1, freq=freq))[1:]
    if index.dtype.kind in "iu":
        return index[-1] + (freq or 1) * np.arange(1, count + 1)
    if index.dtype.kind == "m" and freq is not None:
        return index[-1] + freq * np.arange(1, count + 1)
    return np.arange(1, count + 1)  # of words and the like: steps after the last one


def parsed(when: Any, times: np.ndarray, zone: Any = None) -> Any:
    """A time as those of windows are: dates may be words, and are of the time zone unless they name one."""
    if times.dtype.kind != "M":
        return when
    import pandas

    try:
        date = pandas.Timestamp(when)
        date = date.tz_localize(zone) if date.tz is None and zone is not None else date
    except (ValueError, TypeError) as error:
        raise ValueError(f"when: got {shown(when)}, wanted a date ({error})") from None
    if date is pandas.NaT:
        raise ValueError(f"when: got {shown(when)}, wanted a date")
    return (date if date.tz is None else date.tz_convert(None)).to_datetime64()
