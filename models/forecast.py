"""Forecast: any column of any CSV file, several steps ahead, beside the simplest forecasts that there are.

A recurrent network reads a window of the last values and says the next ones all at once. It is tried walking
forward: at one origin after another it forecasts what it has never seen, and so do two rivals that cost nothing,
the last value (persistence) and the value of one season before (seasonal-naive). How long a season is shows in
the training part, unless --period says it. Where the network does not beat the rivals, it says so. The default
is the daily demand of a shop that is made up: growth, weeks, years, Decembers and noise. With --data and
--column it forecasts a series of yours.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import (
    DataLoader,
    StandardScaler,
    find_period,
    persistence,
    read_column,
    seasonal_naive,
    walk_forward,
    windows,
)
from tinygrad_rnn.errors import DataError
from tinygrad_rnn.train import Trainer

from . import _command, _export, _pictures, _series

TEST = 0.2  # of the series, to walk through
BATCH_SIZE = 32
FIRST_DAY = "2018-01-01"  # of the shop, a Monday


# ---- 1. Data: a series (T,), and windows of it


def demand(days: int, seed: int) -> np.ndarray:
    """Pieces that a shop sells each day: more of them each year, on Saturdays, in December and after a good day."""
    rng = np.random.default_rng(seed)
    day = np.arange(days)
    weekly = np.array([0.9, 0.85, 0.9, 1.0, 1.2, 1.5, 0.65])[day % 7]
    yearly = 1 + 0.2 * np.sin(2 * np.pi * day / 365.25 - 1.2) + 0.35 * np.exp(-(((day % 365 - 350) / 8) ** 2))
    mood = np.zeros(days)  # comes and goes over some days
    for t in range(1, days):
        mood[t] = 0.85 * mood[t - 1] + rng.normal(0, 0.06)
    expected = 120 * (1 + 0.15 * day / 365) * weekly * yearly * np.exp(mood)
    return rng.poisson(expected).astype(np.float32)


class Series:
    """A series, scaled by its training part and cut into windows.

    Attributes
    ----------
    values : ndarray, (T,)
    cut : int
        Where the test part begins.
    period : int
        Of the season: what was given, or what the training part shows; 1 for none.
    train : (ndarray, ndarray)
        Inputs (N, look_back, 1) and targets (N, horizon), scaled.
    """

    def __init__(self, values: np.ndarray, look_back: int, horizon: int, period: int | None, name: str):
        self.values, self.look_back, self.horizon = values, look_back, horizon
        self.cut = int((1 - TEST) * len(values))
        wanted = max(look_back + 4 * horizon, (period or 1) + horizon, 10)
        if self.cut < wanted or len(values) - self.cut < horizon:
            rows = max(int(wanted / (1 - TEST)), int(horizon / TEST)) + 2
            season = f", for a season of {period}" if period else ""
            raise DataError(
                f"{name}: got {len(values)} values, wanted at least {rows} to look back {look_back}, ahead {horizon}"
                f"{season} and to be tested; --look-back, --horizon and --period make it fewer"
            )
        if np.ptp(values[: self.cut]) == 0:
            raise DataError(f"{name}: got the one value {values[0]:g} in the training part, wanted several")
        self.period = find_period(values[: self.cut]) if period is None else period
        self.scaler = StandardScaler()
        self.scaler.fit(values[: self.cut])
        inputs, targets = windows(self.scaler.transform(values[: self.cut]).astype(np.float32), look_back, horizon)
        self.train = inputs[..., None], targets

    def folds(self) -> list[tuple[slice, slice]]:
        """What is known at each origin of the test part, and what comes."""
        return list(walk_forward(len(self.values), self.cut, self.horizon, stride=max(1, self.horizon // 3)))


# ---- 2. Model: a recurrence over the window, and a linear layer to all steps ahead


class Forecaster(nn.Module):
    """Windows (N, look_back, 1) to the next values (N, horizon), both scaled.

    The level of a window, its mean, is taken off before and put back on afterwards: where the series stands does
    not matter, only how it moves.
    """

    def __init__(self, horizon: int, hidden_size: int, cell: str = "lstm"):
        self.rnn = _command.layer(cell, 1, hidden_size)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(hidden_size, horizon)

    def forward(self, x):
        level = x.mean(axis=1)
        outputs, _ = self.rnn(x - level[:, None])
        return self.head(self.dropout(outputs[:, -1])) + level


# ---- 3. Training


def trainer(model: nn.Module) -> Trainer:
    """Adam on the absolute error, with a learning rate that falls by 8 % every epoch."""
    optimizer = optim.AdamW(model.parameters(), lr=5e-3, weight_decay=1e-3)
    schedule = optim.ExponentialLR(optimizer, 0.92)
    return Trainer(model, optimizer, nn.l1_loss, schedule=schedule, clip_norm=1.0)


def train(run: _command.Run) -> dict[str, float]:
    args = run.args
    if args.data is None and args.column is not None:
        raise DataError(f"--column: got {args.column!r} without --data, wanted the file that it is in")
    if args.data is None:
        name, values = "the demand of a shop, by day", demand(args.days, args.seed)
    elif args.column is None:
        raise DataError("--column: got none with --data, wanted the name of the column to forecast")
    else:
        name, values = f"{args.data}, {args.column}", read_column(args.data, args.column)
    series = Series(values, args.look_back, args.horizon, args.period, name)
    folds = series.folds()
    print(f"{name}: {len(values)} values, {len(series.train[0])} windows to train on, {len(folds)} origins to test")
    season = f"of {series.period} steps" if series.period > 1 else "none"
    print(f"season: {season}" + (", as the training part shows; --period sets it" if args.period is None else ""))
    settings = {"horizon": args.horizon, "hidden_size": args.hidden_size, "cell": args.cell}
    model = Forecaster(**settings)
    print(model)
    run.fit(trainer(model), DataLoader(series.train, BATCH_SIZE, shuffle=True))

    model.eval()
    own = args.cell.upper()
    future = np.stack([values[coming] for _, coming in folds])
    rivals = {own: np.stack([ahead(model, series.scaler, values[past][-args.look_back :]) for past, _ in folds])}
    rivals |= naive(series, folds)
    errors = {label: np.abs(forecast - future) for label, forecast in rivals.items()}
    metrics: dict[str, float] = {"period": series.period}
    print(
        f"{f'{args.horizon} steps ahead, walking forward:':<36}{'mean':>12}{'root mean square':>20}{'first step':>14}"
    )
    for (label, e), key in zip(errors.items(), ("", "persistence_", "seasonal_")):
        metrics |= {f"{key}mae": float(e.mean()), f"{key}rmse": float(np.sqrt((e**2).mean()))}
        print(f"{label:<36}{metrics[f'{key}mae']:12.4g}{metrics[f'{key}rmse']:20.4g}{e[:, 0].mean():14.4g}")
    metrics["best_baseline_mae"] = min(metrics.get(f"{key}mae", np.inf) for key in ("persistence_", "seasonal_"))
    print(verdict(own, errors))
    draw(run, series, _series.times(args.data, len(values), FIRST_DAY, "D"), folds, rivals, errors)
    run.save(model, settings, **_series.facts(args, values, series.scaler))
    return metrics


# ---- 4. Result: errors beside those of the rivals, and an honest word


def ahead(model: nn.Module, scaler: StandardScaler, past: np.ndarray) -> np.ndarray:
    """The next values after the last `look_back` ones, in the unit of the series."""
    window = scaler.transform(past.astype(np.float32))[None, :, None]
    return scaler.inverse_transform(_command.predict(model, window.astype(np.float32))[0])


def naive(series: Series, folds: list[tuple[slice, slice]]) -> dict[str, np.ndarray]:
    """Forecasts that cost nothing: that everything stays as it is, and, if there is a season, that it comes back."""
    known = [series.values[past] for past, _ in folds]
    found = {"persistence": np.stack([persistence(past, series.horizon) for past in known])}
    if series.period > 1:
        seasonal = [seasonal_naive(past, series.period, series.horizon) for past in known]
        found[f"seasonal-naive, {series.period}"] = np.stack(seasonal)
    return found


def verdict(name: str, errors: dict[str, np.ndarray]) -> str:
    """Whether the first of the forecasts is worth its while."""
    mine = errors[name].mean()
    rival, best = min(((label, e.mean()) for label, e in errors.items() if label != name), key=lambda pair: pair[1])
    if mine < best:
        return f"The {name} beats {rival}: its mean error is {1 - mine / best:.1%} smaller."
    return f"The {name} does NOT beat {rival}, which costs nothing: its mean error is " + (
        f"{mine / best - 1:.1%} larger. Use {rival}." if best else f"{mine:.4g}, not 0. Use {rival}."
    )


def draw(run: _command.Run, series: Series, times: np.ndarray, folds, rivals: dict, errors: dict) -> None:
    """Forecasts from some origins, and the error by the number of steps ahead."""
    figure, (ax, steps) = _pictures.picture(widths=(8, 4), height=4)
    first = max(0, series.cut - series.look_back)
    stop = min(len(series.values), series.cut + max(8 * series.horizon, 40))
    ax.plot(times[first:stop], series.values[first:stop], color=_pictures.GREY, linewidth=1.5, label="series")
    label = run.args.cell.upper()
    for (_, coming), forecast in list(zip(folds, rivals[label]))[::3]:
        if coming.stop <= stop:
            ax.plot(times[coming], forecast, color=_pictures.ORANGE, linewidth=1.8, label=label)
            ax.axvline(times[coming.start], color="#dddddd", linewidth=0.8, zorder=0)
            label = None
    ax.set(title=f"{series.horizon} steps ahead, from one origin after another")
    ax.set(ylabel=run.args.column or "pieces a day", xlabel="" if times.dtype.kind == "M" else "step")
    ax.margins(y=0.15)
    ax.legend(frameon=False, loc="upper left", ncols=2)
    for (label, e), color in zip(errors.items(), (_pictures.ORANGE, _pictures.GREY, _pictures.BLUE)):
        steps.plot(range(1, series.horizon + 1), e.mean(0), ".-", color=color, label=label)
    steps.set(title="Mean error", xlabel="steps ahead", ylim=(0, 1.35 * max(e.mean(0).max() for e in errors.values())))
    steps.legend(frameon=False, loc="upper left")
    run.picture(figure, "forecast.png")


# ---- 5. Use: what comes next


def predict(args) -> np.ndarray:
    """Forecast what follows the series it was trained on, or a series of yours."""
    model, facts = _command.load(args, "forecast", Forecaster)
    scaler = StandardScaler()
    scaler.load_state_dict(facts["scaler"])
    forecast = ahead(model, scaler, _series.last_values(args, facts))
    print(*(f"{value:.4g}" for value in forecast))
    return forecast


def options(parser) -> None:
    parser.add_argument("--data", type=Path, metavar="CSV", help="a file with a header")
    parser.add_argument("--column", help="the series in it")
    _command.count(parser, "--look-back", 28, "steps that it sees")
    _command.count(parser, "--horizon", 14, "steps that it forecasts")
    _command.count(parser, "--period", None, "of the season, in steps, such as 7 for days; default: found in the data")
    _command.count(parser, "--hidden-size", 32)
    _command.count(parser, "--days", 1400, "of the shop", least=100)


main = _command.Command(
    __name__,
    __doc__,
    train,
    options=options,
    epochs=40,
    cell="lstm",
    card=_command.Card(
        form="many to one",
        data="daily demand of a made-up shop",
        metric="mean error, 14 days ahead, walking forward",
        score="mae",
        baseline="the better of persistence and seasonal-naive",
        baseline_score="best_baseline_mae",
        style=".1f",
        picture="forecast.png",
    ),
    predict=_command.Use(predict, _series.options, "what comes next"),
    export=_export.use("forecast", Forecaster, _export.features()),
)
