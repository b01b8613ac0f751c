"""Sine waves: a tanh RNN reads 25 steps of a wave and says the next value.

Every sample is a wave of its own phase and period, so a single value tells nothing: the network has to find
out from the steps before where in which wave it stands. Backpropagation through time goes through all 25
steps; gradients are clipped by their norm, as they may grow on the way. Fed with its own predictions it draws
the wave on. With --data and --column it learns the waves of a series of yours, cut into windows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import DataLoader, MinMaxScaler, read_column, roll_forward, train_test_split, windows
from tinygrad_rnn.errors import DataError
from tinygrad_rnn.train import Trainer

from . import _command, _export, _pictures

PERIODS = 20.0, 30.0  # steps
HELD_OUT = 0.2
BATCH_SIZE = 16
AHEAD = 50  # steps of the longer forecast


# ---- 1. Data: waves of amplitude one, and the values that follow each


def waves(samples: int, steps: int, seed: int, ahead: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (samples, steps, 1) and the values after them (samples, ahead)."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 2 * np.pi, (samples, 1))
    period = rng.uniform(*PERIODS, (samples, 1))
    wave = np.sin(phase + 2 * np.pi * np.arange(steps + ahead) / period).astype(np.float32)
    return wave[:, :steps, None], wave[:, steps:]


def of_series(series: np.ndarray, steps: int, path: Path) -> tuple[list[np.ndarray], MinMaxScaler]:
    """The same from a series, scaled to -1 and 1: its windows, those that are held out, and the values after both."""
    wanted = int((steps + AHEAD) / HELD_OUT) + 1
    if len(series) < wanted:
        raise DataError(f"{path}: got {len(series)} values, wanted at least {wanted} for windows of {steps} steps")
    past, held_out = train_test_split(series, test_size=HELD_OUT)
    scaler = MinMaxScaler((-1, 1))
    scaler.fit(past)
    parts = [windows(scaler.transform(part), steps, AHEAD) for part in (past, held_out)]
    (train_x, train_future), (test_x, test_future) = parts
    return [train_x[..., None], test_x[..., None], train_future, test_future], scaler


# ---- 2. Model: a simple recurrent network, and a linear layer on its last output


class Predictor(nn.Module):
    """(N, steps, 1) to (N, 1)."""

    def __init__(self, hidden_size: int, cell: str = "rnn"):
        self.rnn = _command.layer(cell, 1, hidden_size)
        self.head = nn.Linear(hidden_size, 1)

    def forward(self, x):
        outputs, _ = self.rnn(x)
        return self.head(outputs[:, -1])


# ---- 3. Training


def trainer(model: nn.Module) -> Trainer:
    """Adam on the squared error, with a learning rate that falls by 1.5 % every epoch."""
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    schedule = optim.ExponentialLR(optimizer, 0.985)
    return Trainer(model, optimizer, nn.mse_loss, schedule=schedule, clip_norm=1.0)


def train(run: _command.Run) -> dict[str, float]:
    args = run.args
    if (args.data is None) != (args.column is None):
        raise DataError("--data, --column: got only one of them, wanted both")
    scaler, last = MinMaxScaler((-1, 1)), None
    if args.data is None:
        scaler.fit(np.array([-1.0, 1.0]))
        parts = train_test_split(*waves(args.samples, args.steps, args.seed, AHEAD), test_size=HELD_OUT)
    else:
        series = read_column(args.data, args.column)
        parts, scaler = of_series(series, args.steps, args.data)
        last = series[-args.steps :]
    train_x, test_x, train_future, test_future = parts
    train_y, test_y = train_future[:, :1], test_future[:, :1]
    print(f"waves of {args.steps} steps: {len(train_x)} to train on, {len(test_x)} held out")
    settings = {"hidden_size": args.hidden_size, "cell": args.cell}
    model = Predictor(**settings)
    print(model)
    loader = DataLoader((train_x, train_y), BATCH_SIZE, shuffle=True)
    history = run.fit(trainer(model), loader, [(test_x, test_y)])

    ahead = continued(model, test_x, AHEAD)
    errors = {
        "mae": float(np.abs(ahead[:, :1] - test_y).mean()),
        "persistence_mae": float(np.abs(test_x[:, -1] - test_y).mean()),
        "ahead_mae": float(np.abs(ahead - test_future).mean()),
    }
    print("mean absolute error on held-out waves:")
    print(f"{args.cell.upper():<24}{errors['mae']:8.2%} of the amplitude")
    print(f"{'repeating the last value':<24}{errors['persistence_mae']:8.2%}")
    print(f"{f'fed with itself, {AHEAD} steps':<24}{errors['ahead_mae']:8.2%}")
    draw_predictions(run, test_x, test_future, ahead, f"Held-out waves: mean error {errors['mae']:.2%}")
    figure, (ax,) = _pictures.picture(widths=(7,))
    _pictures.draw_loss(ax, history, "Mean squared error")
    run.picture(figure, "loss.png")
    run.save(model, settings, steps=args.steps, scaler=scaler.state_dict(), last=last)
    return errors


# ---- 4. Result: the error on waves that the network has never seen, and a picture


def continued(model: nn.Module, inputs: np.ndarray, steps: int) -> np.ndarray:
    """The next values of waves (N, T, 1), as the network sees them: (N, steps)."""
    return roll_forward(lambda x: _command.predict(model, x), inputs, steps)[:, :, 0]


def draw_predictions(run: _command.Run, inputs, future, ahead, title: str) -> None:
    """Prediction against truth for all held-out waves, and three of them drawn on."""
    figure, (scatter, wave) = _pictures.picture(widths=(4.8, 7.2))
    scatter.axline((0, 0), slope=1, color=_pictures.GREY, linewidth=1, label="truth")
    scatter.plot(future[:, 0], ahead[:, 0], ".", color=_pictures.ORANGE, markersize=8, label="prediction")
    ticks = np.linspace(-1, 1, 5)
    scatter.set(title=title, xlabel="true next value", ylabel="predicted", xticks=ticks, yticks=ticks)
    scatter.set_aspect("equal")
    few, steps = inputs[:3, :, 0], inputs.shape[1]
    once = [None] * (len(few) - 1)
    time = np.arange(steps, steps + future.shape[1])
    wave.plot(few.T, color=_pictures.BLUE, linewidth=1.2, label=["what it reads", *once])
    wave.plot(time, future[:3].T, color=_pictures.GREY, linewidth=2.5, alpha=0.5, label=["truth", *once])
    wave.plot(time, ahead[:3].T, color=_pictures.ORANGE, linewidth=1, label=["fed with itself", *once])
    wave.set(title="Three of the held-out waves", xlabel="step", ylim=(-1.1, 1.3))
    scatter.legend(frameon=False, loc="upper left")
    wave.legend(frameon=False, loc="upper center", ncols=3)
    run.picture(figure, "predictions.png")


# ---- 5. Use: a wave drawn on


def predict(args) -> np.ndarray:
    """Continue a wave: the values given, the end of your series, or a new wave."""
    model, facts = _command.load(args, "sine", Predictor)
    scaler = MinMaxScaler((-1, 1))
    scaler.load_state_dict(facts["scaler"])
    if args.values and len(args.values) < 2:
        raise DataError(f"--values: got {len(args.values)} values, wanted at least 2 of a wave")
    known = args.values or facts["last"] or waves(1, facts["steps"], args.seed)[0][0, :, 0]
    wave = scaler.transform(np.array(known, np.float32))
    values = scaler.inverse_transform(continued(model, wave[None, :, None], args.steps)[0])
    print("after  ", *(f"{value:.3f}" for value in known))
    print("follow ", *(f"{value:.3f}" for value in values))
    return values


def options(parser) -> None:
    parser.add_argument("--data", type=Path, metavar="CSV", help="a file with a header")
    parser.add_argument("--column", help="the series in it")
    _command.count(parser, "--samples", 200, "waves to generate", least=5)
    _command.count(parser, "--steps", 25, "of a wave")
    _command.count(parser, "--hidden-size", 32)


def predict_options(parser) -> None:
    _command.count(parser, "--steps", 25, "how far to draw it on")
    parser.add_argument(
        "--values", type=float, nargs="+", metavar="X", help="of a wave between -1 and 1, or of your series"
    )
    _command.count(parser, "--seed", 0, "of a new wave", least=0)


main = _command.Command(
    __name__,
    __doc__,
    train,
    options=options,
    epochs=200,
    cell="rnn",
    card=_command.Card(
        form="many to one",
        data="generated waves of random phase and period",
        metric="mean absolute error, share of the amplitude",
        score="mae",
        baseline="repeating the last value",
        baseline_score="persistence_mae",
        style=".2%",
        picture="predictions.png",
    ),
    predict=_command.Use(predict, predict_options, "a wave drawn on"),
    export=_export.use("sine", Predictor, _export.features()),
)
