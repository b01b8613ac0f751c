"""Airline passengers: an LSTM of four units reads the last months and forecasts the next one.

The series is the classic of Box and Jenkins: thousands of passengers per month, January 1949 to December
1960. The set-up is that of the well-known Keras tutorial: min-max scaling, windows of one month, the first
two thirds to train on, the rest to test, batches of one, Adam, 100 epochs. Fed with its own forecasts it
looks further ahead. With --data and --column it forecasts a series of yours.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import (
    DataLoader,
    MinMaxScaler,
    persistence,
    read_column,
    roll_forward,
    train_test_split,
    walk_forward,
    windows,
)
from tinygrad_rnn.errors import DataError
from tinygrad_rnn.nn import init
from tinygrad_rnn.train import Trainer

from . import _command, _export, _pictures, _series

PASSENGERS = Path(__file__).parent / "data" / "airline.csv"
TRAIN_SIZE = 0.67


# ---- 1. Data: pairs of the last `look_back` values and the value that follows


class Windows:
    """A series, scaled, split in time order and cut into windows.

    Attributes
    ----------
    train, test : (ndarray, ndarray)
        Inputs (N, look_back, 1) and targets (N, 1), scaled.
    cut : int
        Where the test part begins.
    """

    def __init__(self, series: np.ndarray, look_back: int):
        self.series, self.look_back = series, look_back
        # as in the tutorial, the range is that of the whole series: the scale tells how high the test goes
        self.scaler = MinMaxScaler()
        self.scaled = self.scaler.fit_transform(series)[:, None]
        past, future = train_test_split(self.scaled, train_size=TRAIN_SIZE)
        self.train, self.test = pairs(past, look_back), pairs(future, look_back)
        self.cut = len(past)

    def rmse(self, predictions: np.ndarray, targets: np.ndarray) -> float:
        """Root of the mean squared error, in the unit of the series."""
        error = self.scaler.inverse_transform(predictions) - self.scaler.inverse_transform(targets)
        return math.sqrt(np.mean(error**2))


def pairs(series: np.ndarray, look_back: int) -> tuple[np.ndarray, np.ndarray]:
    inputs, targets = windows(series, look_back)  # (N, look_back, 1), (N, 1, 1)
    return inputs, targets[:, 0]


# ---- 2. Model: an LSTM, and a linear layer on its last output


class Forecaster(nn.Module):
    """(N, look_back, 1) to (N, 1)."""

    def __init__(self, hidden_size: int, cell: str = "lstm"):
        options = {"init": like_keras} if cell == "lstm" else {}
        self.rnn = _command.layer(cell, 1, hidden_size, **options)
        self.head = nn.Linear(hidden_size, 1)
        init.xavier_uniform(self.head.weight)
        init.constant(self.head.bias, 0.0)

    def forward(self, x):
        outputs, _ = self.rnn(x)
        return self.head(outputs[:, -1])


def like_keras(cell: nn.LSTMCell) -> None:
    """Glorot and orthogonal weights over all gates at once, a forget bias of one, only one bias vector."""
    init.xavier_uniform(cell.weight_ih)
    init.orthogonal(cell.weight_hh)
    init.constant(cell.bias_ih, 0.0)
    cell.bias_ih.data[cell.hidden_size : 2 * cell.hidden_size] = 1.0
    init.constant(cell.bias_hh, 0.0)
    cell.bias_hh.requires_grad_(False)


# ---- 3. Training


def trainer(model: nn.Module, progress: bool | None = None) -> Trainer:
    """Adam with Keras's settings on the squared error."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    return Trainer(model, optim.Adam(trainable, lr=1e-3, eps=1e-7), nn.mse_loss, progress=progress)


def batches(data: Windows, seed: int | None = None) -> DataLoader:
    """The training windows, one by one, in a new order every epoch."""
    return DataLoader(data.train, batch_size=1, shuffle=True, seed=seed)


def train(run: _command.Run) -> dict[str, float]:
    args = run.args
    series = read_column(args.data, args.column)
    data = Windows(series, args.look_back)
    if args.steps > len(series):
        raise DataError(f"--steps: got {args.steps}, wanted at most {len(series)}, as many as the series has")
    counts = f"{len(data.train[0])} windows to train on, {len(data.test[0])} to test"
    print(f"{args.column}: {len(series)} values, {counts}")
    settings = {"hidden_size": args.hidden_size, "cell": args.cell}
    model = Forecaster(**settings)
    print(model)
    history = run.fit(trainer(model), batches(data))

    errors = evaluate(model, data, args.steps)
    print("root mean squared error:")
    print(f"{'':<24}{'train':>8}{'test':>8}{f'{args.steps} ahead':>12}")
    for label, name in ((args.cell.upper(), "rmse"), ("repeating the last value", "persistence_rmse")):
        cells = "".join(f"{errors[f'{part}_{name}']:8.1f}" for part in ("train", "test"))
        print(f"{label:<24}{cells}{errors[f'ahead_{name}']:12.1f}")

    ahead = data.scaler.inverse_transform(
        roll_forward(lambda x: _command.predict(model, x), data.scaled[None, -args.look_back :], args.steps)[0, :, 0]
    )
    time = _series.longer(_series.times(args.data, len(series), "1949-01", "M"), args.steps)
    draw(run, model, data, time, ahead, f"{args.column}, one step ahead, and {args.steps} at the end", history)
    run.save(model, settings, **_series.facts(args, series, data.scaler))
    return errors


# ---- 4. Result: errors beside those of the simplest forecast, and a picture


def evaluate(model: nn.Module, data: Windows, steps: int = 12) -> dict[str, float]:
    """Errors of the model, and of a forecast that repeats the last value: one step ahead, and over `steps`."""
    errors = {
        f"{part}_{name}": data.rmse(predictions, targets)
        for part, (inputs, targets) in (("train", data.train), ("test", data.test))
        for name, predictions in (
            ("rmse", _command.predict(model, inputs)),
            ("persistence_rmse", inputs[:, -1]),
        )
    }
    steps = min(steps, len(data.series) - data.cut)
    folds = list(walk_forward(len(data.series), data.cut, steps, stride=1))
    past = np.stack([data.scaled[known][-data.look_back :] for known, _ in folds])
    future = np.stack([data.scaled[coming] for _, coming in folds])
    ahead = roll_forward(lambda x: _command.predict(model, x), past, steps)
    errors["ahead_rmse"] = data.rmse(ahead, future)
    errors["ahead_persistence_rmse"] = data.rmse(persistence(past[..., 0], steps)[..., None], future)
    return errors


def draw(run: _command.Run, model, data: Windows, time: np.ndarray, ahead: np.ndarray, title: str, history) -> None:
    """The series with the predictions for both parts and what comes after its end, and the loss."""
    figure, (ax, loss) = _pictures.picture(widths=(9, 3.5))
    steps = len(data.series)
    ax.plot(time[:steps], data.series, color=_pictures.GREY, linewidth=2.5, label="series")
    for part, color, stop, (inputs, _) in (
        ("training", _pictures.BLUE, data.cut, data.train),
        ("test", _pictures.ORANGE, steps, data.test),
    ):
        values = data.scaler.inverse_transform(_command.predict(model, inputs))
        label = f"forecast, {part} part"
        ax.plot(time[stop - len(values) : stop], values, color=color, linewidth=1.5, label=label)
    ax.plot(time[steps:], ahead, ".-", color=_pictures.RED, linewidth=1, markersize=4, label="fed with itself")
    ax.axvline(time[data.cut], color=_pictures.INK, linewidth=0.8, linestyle=":")
    ax.set(title=title, ylabel=run.args.column, xlabel="" if time.dtype.kind == "M" else "step")
    ax.legend(frameon=False, loc="upper left")
    _pictures.draw_loss(loss, history, "Mean squared error")
    run.picture(figure, "forecast.png")


# ---- 5. Use: the months to come


def predict(args) -> np.ndarray:
    """Forecast the steps that follow the series it was trained on, or a series of yours."""
    model, facts = _command.load(args, "airline", Forecaster)
    scaler = MinMaxScaler()
    scaler.load_state_dict(facts["scaler"])
    window = scaler.transform(_series.last_values(args, facts)[None, :, None])
    forecast = roll_forward(lambda x: _command.predict(model, x), window, args.steps)[0, :, 0]
    values = scaler.inverse_transform(forecast)
    print(*(f"{value:.1f}" for value in values))
    return values


def options(parser) -> None:
    parser.add_argument("--data", type=Path, default=PASSENGERS, metavar="CSV", help="a file with a header")
    parser.add_argument("--column", default="passengers", help="the series in it; default: passengers")
    _command.count(parser, "--look-back", 1, "steps that it sees")
    _command.count(parser, "--hidden-size", 4)
    _command.count(parser, "--steps", 12, "how far ahead the longer forecast goes")


def predict_options(parser) -> None:
    _command.count(parser, "--steps", 12, "how far ahead")
    _series.options(parser)


main = _command.Command(
    __name__,
    __doc__,
    train,
    options=options,
    epochs=100,
    cell="lstm",
    card=_command.Card(
        form="one to one",
        data="passengers per month, 1949 to 1960",
        metric="test RMSE, one month ahead",
        score="test_rmse",
        baseline="repeating the last month",
        baseline_score="test_persistence_rmse",
        style=".1f",
        picture="forecast.png",
    ),
    predict=_command.Use(predict, predict_options, "the steps to come"),
    export=_export.use("airline", Forecaster, _export.features()),
)
