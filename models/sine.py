"""Sine waves: a tanh RNN reads 25 steps of a wave and says the next value.

Every sample is a wave of its own phase and period, so a single value tells nothing: the network has to find
out from the steps before where in which wave it stands. Backpropagation through time goes through all 25
steps; gradients are clipped by their norm, as they may grow on the way.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import DataLoader, train_test_split
from tinygrad_rnn.train import Trainer

from . import _common

PERIODS = 20.0, 30.0  # steps
HELD_OUT = 0.2
BATCH_SIZE = 16


# ---- 1. Data: waves of amplitude one, and the value that follows each


def waves(samples: int, steps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (samples, steps, 1) and targets (samples, 1)."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 2 * np.pi, (samples, 1))
    period = rng.uniform(*PERIODS, (samples, 1))
    wave = np.sin(phase + 2 * np.pi * np.arange(steps + 1) / period).astype(np.float32)
    return wave[:, :-1, None], wave[:, -1:]


# ---- 2. Model: a simple recurrent network, and a linear layer on its last output


class Predictor(nn.Module):
    """(N, steps, 1) to (N, 1)."""

    def __init__(self, hidden_size: int):
        self.rnn = nn.RNN(1, hidden_size, nonlinearity="tanh", batch_first=True)
        self.head = nn.Linear(hidden_size, 1)

    def forward(self, x):
        outputs, _ = self.rnn(x)
        return self.head(outputs[:, -1])


# ---- 3. Training


def trainer(model: nn.Module, epochs: int) -> Trainer:
    """Adam on the squared error, with a learning rate that falls along a cosine."""
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    schedule = optim.CosineAnnealingLR(optimizer, epochs)
    return Trainer(model, optimizer, nn.mse_loss, schedule=schedule, clip_norm=1.0)


# ---- 4. Result: the error on waves that the network has never seen, and two pictures


def draw_loss(path: Path, history: dict) -> Path:
    figure, (ax,) = _common.picture(widths=(7,))
    _common.draw_loss(ax, history)
    return _common.save_picture(figure, path)


def draw_predictions(path: Path, inputs, targets, predictions, title: str) -> Path:
    """Prediction against truth for all held-out waves, and three of them with the value that follows."""
    figure, (scatter, wave) = _common.picture(widths=(4.8, 6.2))
    scatter.axline((0, 0), slope=1, color=_common.GREY, linewidth=1, label="truth")
    scatter.plot(targets, predictions, ".", color=_common.ORANGE, markersize=8, label="prediction")
    ticks = np.linspace(-1, 1, 5)
    scatter.set(title=title, xlabel="true next value", ylabel="predicted", xticks=ticks, yticks=ticks)
    scatter.set_aspect("equal")
    few, steps = inputs[:3, :, 0], inputs.shape[1]
    wave.plot(few.T, color=_common.BLUE, linewidth=1.2, label=["what it reads"] + [None] * (len(few) - 1))
    end = np.full(len(few), steps)
    wave.plot(end, targets[:3], "o", color=_common.GREY, markersize=9, fillstyle="none", label="truth")
    wave.plot(end, predictions[:3], ".", color=_common.ORANGE, markersize=8, label="prediction")
    wave.set(title="Three of the held-out waves", xlabel="step")
    for ax in (scatter, wave):
        ax.legend(frameon=False, loc="upper left")
    return _common.save_picture(figure, path)


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Train, print and draw; returns the errors."""
    parser = _common.options(__name__, __doc__, epochs=200)
    _common.count(parser, "--samples", 200, least=5)
    _common.count(parser, "--steps", 25, "of a wave")
    _common.count(parser, "--hidden-size", 32)
    args = parser.parse_args(argv)
    tr.seed(args.seed)
    inputs, targets = waves(args.samples, args.steps, args.seed)
    train_x, test_x, train_y, test_y = train_test_split(inputs, targets, test_size=HELD_OUT)
    args.out.mkdir(parents=True, exist_ok=True)

    model = Predictor(args.hidden_size)
    print(f"{args.samples} waves of {args.steps} steps: {len(train_x)} to train on, {len(test_x)} held out")
    print(model)
    history = trainer(model, args.epochs).fit(
        DataLoader((train_x, train_y), BATCH_SIZE, shuffle=True), [(test_x, test_y)], epochs=args.epochs
    )

    predictions = _common.predict(model, test_x)
    errors = {
        "mae": float(np.abs(predictions - test_y).mean()),
        "persistence_mae": float(np.abs(test_x[:, -1] - test_y).mean()),
    }
    seconds = sum(history["seconds"])
    print(f"after {args.epochs} epochs in {seconds:.1f} s, mean absolute error on held-out waves:")
    print(f"{'RNN':<24}{errors['mae']:8.2%} of the amplitude")
    print(f"{'repeating the last value':<24}{errors['persistence_mae']:8.2%}")
    title = f"Held-out waves: mean error {errors['mae']:.2%}"
    _common.name_files(
        [
            draw_loss(args.out / "loss.png", history),
            draw_predictions(args.out / "predictions.png", test_x, test_y, predictions, title),
            _common.save_weights(args.out / "weights.safetensors", model.state_dict()),
            _common.save_metrics(args.out / "metrics.json", errors),
        ]
    )
    return errors
