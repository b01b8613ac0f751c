"""The forecaster of time series."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_array, check_is_fitted

from ..checks import whole_number
from .base import weights_of
from .dates import End, dated, end_of, require_same_times
from .regressor import NumberEstimator
from .sequences import Sequences, names_of, require_names


class Forecaster(NumberEstimator):
    """A recurrent network that forecasts the next steps of a time series from the last ones.

    The network reads a window of the series, and tells the next steps of all its columns at once; or those of other
    columns, `y`, which the series is to explain. ``GridSearchCV(Forecaster(), grid, cv=TimeSeriesSplit())`` searches.

    Parameters
    ----------
    window : int
        Steps that the network reads.
    horizon : int
        Steps that it tells.
    cell, hidden_size, **options
        Those of :class:`SequenceEstimator`. With `early_stopping` the last windows are those for validation.

    Attributes
    ----------
    weights_ : dict of ndarray
        Of the network.
    history_ : dict of lists
        As of :class:`tinygrad_rnn.train.Trainer`; `n_iter_` epochs, the last loss `loss_`.
    last_window_ : ndarray, (window, F)
        The end of the series of :meth:`fit`, from which ``predict()`` goes on.
    n_features_in_ : int

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn.estimators import Forecaster
    >>> series = np.sin(np.arange(120) / 4)
    >>> forecaster = Forecaster(window=16, horizon=4, hidden_size=8, max_iter=60, random_state=0).fit(series[:100])
    >>> forecaster.predict().shape, forecaster.predict(horizon=20).shape
    ((4,), (20,))
    >>> bool(abs(forecaster.predict() - series[100:104]).max() < 0.3), forecaster.score(series) > 0.9
    (True, True)
    """

    _alone: bool  # whether it forecasts the series that it reads
    _one_number: bool
    _names: Any  # of what it forecasts, if pandas named it
    _end: End | None  # of the last series

    def __init__(
        self,
        window: int = 24,
        horizon: int = 1,
        cell: Any = "gru",
        hidden_size: int = 32,
        *,
        num_layers: int = 1,
        dropout: float = 0.0,
        cell_options: dict | None = None,
        learning_rate: float = 0.01,
        weight_decay: float = 0.0,
        batch_size: int | None = 32,
        max_iter: int = 50,
        clip_norm: float | None = 1.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 0.0,
        standardize: bool = True,
        warm_start: bool = False,
        random_state: Any = None,
        compile: str = "auto",
        verbose: bool = False,
    ):
        super().__init__(
            cell,
            hidden_size,
            num_layers=num_layers,
            dropout=dropout,
            cell_options=cell_options,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            batch_size=batch_size,
            max_iter=max_iter,
            clip_norm=clip_norm,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            tol=tol,
            standardize=standardize,
            warm_start=warm_start,
            random_state=random_state,
            compile=compile,
            verbose=verbose,
        )
        self.window = window
        self.horizon = horizon

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Forecaster:
        """Fit to a series, or to several.

        Parameters
        ----------
        X : array_like, (T,) or (T, F), or a list of such
            One step after the other, without gaps. Forecasts of a Series or DataFrame with dates are one, too.
        y : array_like, (T,) or (T, K), or a list of such, optional
            What to forecast. Default: `X` itself.
        sample_weight : array_like, (T,), or a list of such, optional
            Factors of the losses of the steps that are forecast.

        Returns
        -------
        self
        """
        self._check_settings()
        for name in ("window", "horizon"):
            whole_number(name, getattr(self, name))
        several = _is_several(X)
        series = self._series(X)
        goals = series if y is None else self._goals(y, X, series, several)
        if self._is_warm() and (y is None) != self._alone:
            raise ValueError("warm_start: got y in one fit, and none in the other, wanted the same columns")
        weights = _weights(sample_weight, series, several)
        windows, targets, factors = self._windows(series, goals, weights)
        self.n_features_in_ = series[0].shape[1]
        self._columns = None
        self._feature_names = next(filter(None, map(names_of, X if several else [X])), None)
        self._alone = y is None
        told = X if y is None else y
        self._one_number = all(np.asarray(part).ndim == 1 for part in (told if several else [told]))
        ends = [end_of(part, "X") for part in (X if several else [X])]
        goal = told[-1] if several else told
        self._names = getattr(goal, "name", None) if self._one_number else tuple(getattr(goal, "columns", ())) or None
        self._end = ends[-1]
        self.last_window_ = series[-1][-self.window :].copy()
        if factors is not None:
            windows, targets, factors = windows.rows(factors > 0), targets[factors > 0], factors[factors > 0]
        self._measure_inputs(windows, factors)
        self._fit_numbers(windows, targets, factors, in_order=True)
        return self

    def predict(self, X: Any = None, horizon: int | None = None) -> Any:
        """Forecast the steps after the end of a series.

        Parameters
        ----------
        X : array_like, (T,) or (T, F), or a list of such, optional
            At least `window` steps. Default: the series of :meth:`fit`, the last one.
        horizon : int, optional
            So many steps; more than those of the network are forecast from its own forecasts, which takes a forecaster
            of a series by itself. Default: those of the network.

        Returns
        -------
        ndarray, (horizon,) or (horizon, K)
            Or a Series or DataFrame with the dates of these steps, of one with dates; of several series, a list.
        """
        check_is_fitted(self, "weights_")
        steps = self.horizon if horizon is None else whole_number("horizon", horizon)
        if steps > self.horizon and not self._alone:
            raise ValueError(f"horizon: got {steps}, wanted at most {self.horizon}, as X is not forecast")
        series = [self.last_window_] if X is None else self._series(X, fitted=True)
        for i, s in enumerate(series):
            if len(s) < self.window:
                raise ValueError(f"X[{i}]: got {len(s)} steps, wanted at least {self.window}, a window")
        values = np.stack([s[-self.window :] for s in series])
        parts, told = [], 0
        while told < steps:
            numbers = self._tell(Sequences(values, None, None))
            parts.append(numbers)
            told += self.horizon
            if told < steps:
                values = np.concatenate([values, numbers], 1)[:, -self.window :]
        found = np.concatenate(parts, 1)[:, :steps]
        found = found[..., 0] if self._one_number else found
        if X is None:
            return dated(found[0], self._names, self._end)
        parts = X if _is_several(X) else [X]
        named = [dated(one, self._names, end_of(part, "X")) for one, part in zip(found, parts)]
        return named if _is_several(X) else named[0]

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """The R^2 of forecasts from each window of a series, or of several."""
        check_is_fitted(self, "weights_")
        several = _is_several(X)
        series = self._series(X, fitted=True)
        goals = series if y is None else self._goals(y, X, series, several)
        weights = _weights(sample_weight, series, several)
        windows, targets, factors = self._windows(series, goals, weights)
        return float(r2_score(targets, self._tell(windows).reshape(len(targets), -1), sample_weight=factors))

    def _tell(self, windows: Sequences) -> np.ndarray:
        """Forecasts of windows, (N, horizon, K)."""
        return self._numbers(self._scores(windows)).reshape(len(windows), self.horizon, -1)

    def _series(self, X: Any, fitted: bool = False) -> list[np.ndarray]:
        """One series or several as arrays, (T, F)."""
        several = _is_several(X)
        names = [f"X[{i}]" for i in range(len(X))] if several else ["X"]
        parts = [_columns(part, name, self) for part, name in zip(X if several else [X], names)]
        wanted = self.n_features_in_ if fitted or self._is_warm() else parts[0].shape[1]
        for part in parts:
            if part.shape[1] != wanted:
                text = f"X has {part.shape[1]} features, but {type(self).__name__} is expecting {wanted} features"
                raise ValueError(f"{text} as input")
        frames = [names_of(part) for part in (X if several else [X])]
        known = self._feature_names if fitted or self._is_warm() else next(filter(None, frames), None)
        for name, columns in zip(names, frames):
            require_names(name, columns, known)
        return parts

    def _goals(self, y: Any, X: Any, series: list[np.ndarray], several: bool) -> list[np.ndarray]:
        goals = [_columns(part, "y", self) for part in (y if several else [y])]
        if [len(goal) for goal in goals] != [len(s) for s in series]:
            raise ValueError(f"y: got {[*map(len, goals)]} steps, wanted {[*map(len, series)]} as X has")
        for part, goal in zip(X if several else [X], y if several else [y]):
            require_same_times(part, goal, "y")
        return goals

    def _windows(
        self, series: list[np.ndarray], goals: list[np.ndarray], weights: list[Any] | None
    ) -> tuple[Sequences, np.ndarray, np.ndarray | None]:
        """All windows of series, what comes after each, (N, horizon * K), and the mean weight of that."""
        inputs, targets, factors = [], [], []
        view = np.lib.stride_tricks.sliding_window_view
        for i, (values, goal) in enumerate(zip(series, goals)):
            if len(values) < self.window + self.horizon:
                continue
            inputs.append(view(values[: len(values) - self.horizon], self.window, 0).swapaxes(1, 2))
            targets.append(view(goal[self.window :], self.horizon, 0).swapaxes(1, 2))
            if weights is not None and weights[i] is not None:
                factors.append(view(weights[i][self.window :], self.horizon).mean(1))
        if not inputs:
            longest, wanted = max(map(len, series)), self.window + self.horizon
            raise ValueError(
                f"X: got {longest} steps (n_samples = {longest}), wanted at least {wanted}: a window and a horizon"
            )
        joined = np.concatenate(targets)
        found = Sequences(np.concatenate(inputs), None, None)
        return found, joined.reshape(len(joined), -1), np.concatenate(factors) if factors else None


def _is_several(X: Any) -> bool:
    """Whether it is a list of series."""
    return isinstance(X, list | tuple) and len(X) > 0 and any(hasattr(part, "ndim") and part.ndim for part in X)


def _weights(sample_weight: Any, series: list[np.ndarray], several: bool) -> list[Any] | None:
    """The weights of the steps of each series."""
    if sample_weight is None:
        return None
    given = sample_weight if several else [sample_weight]
    if len(given) != len(series):
        raise ValueError(f"sample_weight: got those of {len(given)} series, wanted {len(series)}")
    return [weights_of(w, len(s)) for w, s in zip(given, series)]


def _columns(part: Any, name: str, owner: Any) -> np.ndarray:
    """A series as columns, (T, F)."""
    array = check_array(part, dtype="numeric", ensure_2d=False, allow_nd=True, estimator=owner, input_name=name)
    if array.ndim not in (1, 2) or not array.size:
        raise ValueError(f"{name}: got shape {array.shape}, wanted (steps,) or (steps, features)")
    return array.reshape(len(array), -1).astype(np.float64, copy=False)
