"""Windows of pandas frames: targets and covariates by name, in groups, over gaps, with their dates."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import one_of, shown
from ..config import get_default_dtype
from ..errors import DataError, DTypeError, ShapeError
from ._checks import integer
from .frame_times import every_step, following, parsed, zone_of, zoned

MISSING = ("error", "skip", "fill")
DIGITS = 1e-3  # of the range of a column, which rounding may lose


@dataclass(frozen=True, repr=False, eq=False)
class FrameWindows:
    """Windows of a frame as arrays, with the names and the times of what is in them.

    Attributes
    ----------
    inputs : ndarray, (N, look_back, F)
        What is known until the last step: targets, `past` and `known`.
    known : ndarray, (N, horizon, K)
        Covariates of the steps to forecast.
    targets : ndarray, (N, horizon, C)
        NaN in windows of the future.
    observed : bool ndarray, (N, horizon, C)
        Which targets were in the frame: False where they were filled in, or are of the future.
    times : ndarray, (N, horizon)
        Of the steps to forecast: dates, or what else the index holds. Dates of a time zone are those of UTC here.
    origins : ndarray, (N,)
        The times of the last steps of the inputs.
    groups : list or None
        The group of each window.
    input_names, known_names, target_names : tuple of str
    group_names : tuple of str
    zone : tzinfo or None
        The time zone of the frame's dates, which :meth:`frame` has again.
    """

    inputs: np.ndarray
    known: np.ndarray
    targets: np.ndarray
    observed: np.ndarray
    times: np.ndarray
    origins: np.ndarray
    groups: list[Any] | None
    input_names: tuple[str, ...]
    known_names: tuple[str, ...]
    target_names: tuple[str, ...]
    group_names: tuple[str, ...]
    zone: Any = None

    def __repr__(self) -> str:
        """How many windows, of which columns."""
        steps = f"{len(self)} windows of {self.inputs.shape[1]} + {self.times.shape[1]} steps"
        roles = {"inputs": self.input_names, "known": self.known_names, "targets": self.target_names}
        told = [f"{role}: {', '.join(map(str, names))}" for role, names in roles.items() if names]
        return f"FrameWindows({'; '.join([steps, *told])})"

    def __len__(self) -> int:
        """How many windows there are."""
        return len(self.inputs)

    def __getitem__(self, rows: Any) -> FrameWindows:
        """Some of the windows: those of a slice, of indices, or where a mask is true."""
        index = np.arange(len(self))[rows]
        if index.ndim != 1:
            raise TypeError(f"windows: got the index {shown(rows)}, wanted a slice, a list of indices, or a mask")
        parts: Any = [getattr(self, n)[index] for n in ("inputs", "known", "targets", "observed", "times", "origins")]
        groups = None if self.groups is None else [self.groups[i] for i in index]
        names = self.input_names, self.known_names, self.target_names, self.group_names
        return FrameWindows(*[*parts, groups, *names, self.zone])

    def split(self, when: Any) -> tuple[FrameWindows, FrameWindows]:
        """The windows that end before a time, to train on, and those that forecast from it on, to test.

        Windows that forecast steps on both sides are in neither.

        Parameters
        ----------
        when : str, date, or what else the index holds
            Of the time zone of the frame, unless it names one.
        """
        found = parsed(when, self.times, self.zone)
        try:
            before, after = self.times[:, -1] < found, self.times[:, 0] >= found
        except TypeError:
            raise TypeError(f"when: got {shown(when)}, wanted a time as {shown(self.times[0, 0].item())}") from None
        return self[before], self[after]

    def frame(self, forecasts: Any = None) -> Any:
        """Forecasts as a pandas frame, with a row for each step, and a column for each target.

        Parameters
        ----------
        forecasts : array_like, (N, horizon, C), or (N, horizon) of one target, optional
            Default: the targets themselves.

        Returns
        -------
        DataFrame
            Its index has the groups, if there are any, the `origin` and the `time` of each forecast; if there is one
            window, the `time` alone.
        """
        import pandas

        values = np.asarray(self.targets if forecasts is None else forecasts)
        wanted = self.targets.shape
        if values.shape == wanted[:2] and wanted[2] == 1:
            values = values[..., None]
        if values.shape != wanted:
            raise ShapeError(f"forecasts: got shape {values.shape}, wanted {wanted}: windows, steps, targets")
        flat = values.reshape(-1, wanted[2])
        if len(self) == 1:
            return pandas.DataFrame(flat, zoned(self.times[0], self.zone).rename("time"), [*self.target_names])
        steps = wanted[1]
        levels: list[Any] = []
        if self.groups is not None:
            keys = [key if isinstance(key, tuple) else (key,) for key in self.groups]
            levels = [[key[i] for key in keys for _ in range(steps)] for i in range(len(self.group_names))]
        levels += [zoned(np.repeat(self.origins, steps), self.zone), zoned(self.times.reshape(-1), self.zone)]
        names = [*self.group_names, "origin", "time"]
        return pandas.DataFrame(flat, pandas.MultiIndex.from_arrays(levels, names=names), [*self.target_names])


def is_frame(value: Any) -> bool:
    """Whether it is a table of pandas; nothing is imported to find out."""
    return type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "columns")


def frame_windows(
    frame: Any,
    look_back: int,
    horizon: int,
    stride: int,
    targets: Any,
    known: Any,
    past: Any,
    groups: Any,
    time: Any,
    freq: Any,
    missing: str,
    future: bool,
) -> FrameWindows:
    """The windows of a frame; see :func:`windows`."""
    if not is_frame(frame):
        raise TypeError(f"series: got {type(frame).__name__}, wanted a pandas DataFrame, as targets are named")
    look_back, horizon = integer("look_back", look_back, 1), integer("horizon", horizon, 1)
    stride = integer("stride", stride, 1)
    one_of("missing", missing, MISSING)
    by = _names("groups", groups)
    levels = [name for name in (*by, *([] if time is None else [time])) if name in frame.index.names]
    frame = frame.reset_index(level=levels) if levels else frame
    roles = {"targets": _names("targets", targets), "past": _names("past", past), "known": _names("known", known)}
    if not roles["targets"]:
        raise ValueError("targets: got none, wanted the name of a column, or several")
    _check_columns(frame, {**roles, "groups": by, "time": () if time is None else (time,)})
    used = (*roles["targets"], *roles["past"], *roles["known"])
    for name in used:
        if getattr(frame[name].dtype, "kind", "O") not in "biuf":
            hint = "numbers; pandas.get_dummies makes some of words, and .dt of dates"
            raise DTypeError(f"series[{name!r}]: got dtype {frame[name].dtype}, wanted {hint}")
    _warn_of_digits(frame, used)
    counts = len(roles["targets"]), len(roles["past"]), len(roles["known"])
    parts = [
        part
        for key, rows in _grouped(frame, by)
        if len(rows)
        for part in _of_group(key, rows, used, counts, look_back, horizon, stride, time, freq, missing, future)
    ]
    if not parts:
        what = f"a run of look_back + horizon = {look_back + horizon} steps"
        what = f"{what} without missing values" if missing == "skip" else what
        raise ShapeError(f"series: got {len(frame)} rows, wanted {what}" + (" in some group" if by else ""))
    joined: Any = [np.concatenate([part[i] for part in parts]) for i in range(6)]
    keys = [part[6] for part in parts for _ in range(len(part[0]))] if by else None
    return FrameWindows(*[*joined, keys, used, roles["known"], roles["targets"], by, zone_of(frame, time)])


def _names(argument: str, value: Any) -> tuple[str, ...]:
    """Names of columns: none, one, or several."""
    if value is None:
        return ()
    if isinstance(value, str) or not isinstance(value, Sequence):
        return (value,)
    if len({*value}) < len(value):
        raise ValueError(f"{argument}: got {shown(value)}, wanted each column once")
    return tuple(value)


def _check_columns(frame: Any, roles: dict[str, tuple[str, ...]]) -> None:
    """Raise unless each name is that of one column, which has one role."""
    columns = [*frame.columns]
    seen: dict[Any, str] = {}
    for role, names in roles.items():
        for name in names:
            if columns.count(name) != 1:
                found = "several columns" if name in columns else "no column"
                there = ", ".join(map(str, columns))
                raise DataError(f"{role}: got {name!r}, which is the name of {found}, wanted one of: {there}")
            if name in seen:
                raise ValueError(
                    f"{role}: got {name!r}, which is one of {seen[name]} as well, wanted it in one of them"
                )
            seen[name] = role


def _warn_of_digits(frame: Any, used: tuple[str, ...]) -> None:
    """Warn of columns whose differences the default dtype rounds away: large numbers nearly alike."""
    dtype = get_default_dtype()
    for name in used:
        whole = frame[name].to_numpy(np.float64, na_value=np.nan)
        whole = whole[np.isfinite(whole)]
        with np.errstate(over="ignore"):
            lost = np.abs(whole - whole.astype(dtype)).max(initial=0)
        if len(whole) and np.isfinite(lost) and lost > DIGITS * np.ptp(whole) > 0:
            text = f"series[{name!r}]: {dtype} rounds numbers by up to {lost:.2g}, which differ by {np.ptp(whole):.2g}"
            warnings.warn(f"{text}; subtract their mean, or set_default_dtype('float64')", RuntimeWarning, stacklevel=4)


def _grouped(frame: Any, by: tuple[str, ...]) -> Iterator[tuple[Any, Any]]:
    """The rows of each group, with its key."""
    if not by:
        yield None, frame
        return
    for name in by:
        if frame[name].isna().any():
            raise DataError(f"groups: got a row without a {name!r}, wanted one in each")
    for key, rows in frame.groupby([*by], sort=True, observed=True):
        yield key[0] if len(by) == 1 else key, rows


def _of_group(
    key: Any,
    rows: Any,
    used: tuple[str, ...],
    counts: tuple[int, int, int],
    look_back: int,
    horizon: int,
    stride: int,
    time: Any,
    freq: Any,
    missing: str,
    future: bool,
) -> Iterator[tuple]:
    """The windows of a group: inputs, known, targets, observed, times, origins, and the group; or nothing."""
    where = "series" if key is None else f"series, group {key!r}"
    index, values, freq = every_step(rows, used, time, freq, where)  # gaps are rows of NaN
    targets, known = slice(0, counts[0]), slice(counts[0] + counts[1], None)
    observed = np.isfinite(values)
    end = len(values)
    if future:
        told = observed[:, targets].all(1)
        end = int(np.flatnonzero(told)[-1]) + 1 if told.any() else 0
    if missing == "error":
        _require_all(where, index, used, values[:end], observed[:end], rows, end)
    if missing == "fill":
        values = _filled(values)
    there = np.isfinite(values)
    if future:
        zone = zone_of(rows, time)
        yield from _future(
            key, where, index, values, there, targets, known, look_back, horizon, end, freq, missing == "error", zone
        )
        return
    starts = np.arange(0, len(values) - look_back - horizon + 1, stride)
    cut = lambda a, first, size: a[starts[:, None] + np.arange(first, first + size)]
    whole = cut(there, 0, look_back).all((1, 2))
    ahead = cut(there, look_back, horizon)
    whole &= ahead[..., targets].all((1, 2)) & ahead[..., known].all((1, 2))
    starts = starts[whole]
    if not len(starts):
        return
    later = cut(values, look_back, horizon)
    yield (
        cut(values, 0, look_back),
        later[..., known],
        later[..., targets],
        cut(observed, look_back, horizon)[..., targets],
        cut(index, look_back, horizon),
        index[starts + look_back - 1],
        key,
    )


def _future(
    key: Any,
    where: str,
    index: np.ndarray,
    values: np.ndarray,
    there: np.ndarray,
    targets: slice,
    known: slice,
    look_back: int,
    horizon: int,
    end: int,
    freq: Any,
    strict: bool,
    zone: Any,
) -> Iterator[tuple]:
    """The window after which nothing is known but covariates."""
    covariates = values.shape[1] - known.start
    after = values[end : end + horizon, known]
    if covariates and (len(after) < horizon or not np.isfinite(after).all()):
        count = int(np.isfinite(after).all(1).cumprod().sum())
        raise DataError(f"{where}: got known covariates for {count} steps after the last targets, wanted {horizon}")
    if end < look_back or not there[end - look_back : end].all():
        if strict:
            raise ShapeError(f"{where}: got {end} steps, wanted at least look_back = {look_back}")
        return
    dates = np.concatenate([index[end : end + horizon], following(index, freq, horizon, zone)])[:horizon]
    nothing = np.full((1, horizon, targets.stop), np.nan, values.dtype)
    history = values[None, end - look_back : end]
    ahead = after[None] if covariates else np.zeros((1, horizon, 0), values.dtype)
    yield history, ahead, nothing, np.zeros(nothing.shape, bool), dates[None], index[end - 1 : end], key


def _require_all(
    where: str, index: np.ndarray, used: tuple[str, ...], values: np.ndarray, there: np.ndarray, rows: Any, end: int
) -> None:
    """Raise DataError at the first missing value, or time."""
    if there.all():
        return
    hint = "wanted a number; missing='skip' leaves out windows with it, missing='fill' repeats the last one"
    gaps = np.flatnonzero(~there.any(1))
    step, column = (int(i) for i in np.argwhere(~there)[0])
    if step in gaps and len(index) > len(rows):
        raise DataError(f"{where}: got no row for {index[step]}, or nothing in it, {hint}")
    raise DataError(f"{where}[{used[column]!r}] at {index[step]}: got {values[step, column]}, {hint}")


def _filled(values: np.ndarray) -> np.ndarray:
    """Missing values replaced by the last ones before them; those before the first stay missing."""
    there = np.isfinite(values)
    last = np.maximum.accumulate(np.where(there, np.arange(len(values))[:, None], 0), 0)
    return np.take_along_axis(values, last, 0)
