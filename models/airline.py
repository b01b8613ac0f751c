"""Airline passengers: an LSTM of four units reads the last months and forecasts the next one.

The series is the classic of Box and Jenkins: thousands of passengers per month, January 1949 to December
1960. The set-up is that of the well-known Keras tutorial: min-max scaling, windows of one month, the first
two thirds to train on, the rest to test, batches of one, Adam, 100 epochs. With --data and --column it
forecasts a series of yours.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import DataLoader, MinMaxScaler, read_column, train_test_split, windows
from tinygrad_rnn.nn import init
from tinygrad_rnn.train import Trainer

from . import _common

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
        self.series = series
        # as in the tutorial, the range is that of the whole series: the scale tells how high the test goes
        self.scaler = MinMaxScaler()
        scaled = self.scaler.fit_transform(series)[:, None]
        past, future = train_test_split(scaled, train_size=TRAIN_SIZE)
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

    def __init__(self, hidden_size: int):
        self.lstm = nn.LSTM(1, hidden_size, batch_first=True, init=like_keras)
        self.head = nn.Linear(hidden_size, 1)
        init.xavier_uniform(self.head.weight)
        init.constant(self.head.bias, 0.0)

    def forward(self, x):
        outputs, _ = self.lstm(x)
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


# ---- 4. Result: errors beside those of the simplest forecast, and a picture


def evaluate(model: nn.Module, data: Windows) -> dict[str, float]:
    """Errors of the model, and of a forecast that repeats the last value."""
    return {
        f"{part}_{name}": data.rmse(predictions, targets)
        for part, (inputs, targets) in (("train", data.train), ("test", data.test))
        for name, predictions in (
            ("rmse", _common.predict(model, inputs)),
            ("persistence_rmse", inputs[:, -1]),
        )
    }


def draw(path: Path, model: nn.Module, data: Windows, time: np.ndarray, title: str, history: dict) -> Path:
    """The series with the predictions for both parts, and the loss."""
    figure, (ax, loss) = _common.picture(widths=(9, 3.5))
    ax.plot(time, data.series, color=_common.GREY, linewidth=2.5, label="series")
    for part, color, stop, (inputs, _) in (
        ("training", _common.BLUE, data.cut, data.train),
        ("test", _common.ORANGE, len(time), data.test),
    ):
        values = data.scaler.inverse_transform(_common.predict(model, inputs))
        ax.plot(
            time[stop - len(values) : stop],
            values,
            color=color,
            linewidth=1.5,
            label=f"forecast, {part} part",
        )
    ax.axvline(time[data.cut], color=_common.INK, linewidth=0.8, linestyle=":")
    ax.set(title=title)
    ax.legend(frameon=False, loc="upper left")
    _common.draw_loss(loss, history)
    return _common.save_picture(figure, path)


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Train, print and draw; returns the errors."""
    parser = _common.options(__name__, __doc__, epochs=100)
    parser.add_argument("--data", type=Path, default=PASSENGERS, metavar="CSV", help="a file with a header")
    parser.add_argument("--column", default="passengers", help="the series in it; default: passengers")
    _common.count(parser, "--look-back", 1, "steps that it sees")
    _common.count(parser, "--hidden-size", 4)
    args = parser.parse_args(argv)
    tr.seed(args.seed)
    series = read_column(args.data, args.column)
    data = Windows(series, args.look_back)
    args.out.mkdir(parents=True, exist_ok=True)

    model = Forecaster(args.hidden_size)
    counts = f"{len(data.train[0])} windows to train on, {len(data.test[0])} to test"
    print(f"{args.column}: {len(series)} values, {counts}")
    print(model)
    history = trainer(model).fit(batches(data), epochs=args.epochs)

    errors = evaluate(model, data)
    print(f"after {args.epochs} epochs in {sum(history['seconds']):.1f} s, root mean squared error:")
    print(f"{'':<24}{'train':>8}{'test':>8}")
    for label, name in (("LSTM", "rmse"), ("repeating the last value", "persistence_rmse")):
        print(f"{label:<24}{errors[f'train_{name}']:8.1f}{errors[f'test_{name}']:8.1f}")
    title = (
        f"{args.column}, one step ahead: test RMSE {errors['test_rmse']:.1f} "
        f"(repeating the last value: {errors['test_persistence_rmse']:.1f})"
    )
    months = np.datetime64("1949-01") + np.arange(len(series))
    time = months if args.data == PASSENGERS else np.arange(len(series))
    scaling = {f"scaler.{key}": value for key, value in data.scaler.state_dict().items()}
    _common.name_files(
        [
            draw(args.out / "forecast.png", model, data, time, title, history),
            _common.save_weights(args.out / "weights.safetensors", model.state_dict() | scaling),
            _common.save_metrics(args.out / "metrics.json", errors),
        ]
    )
    return errors
