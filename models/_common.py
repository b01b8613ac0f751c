"""What the models share: options, pictures and files."""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from safetensors.numpy import save_file

import tinygrad_rnn as tr
from tinygrad_rnn import nn

INK, GREY, BLUE, ORANGE = "#222222", "#9a9a9a", "#2166ac", "#e08214"


def at_least(least: int) -> Callable[[str], int]:
    """The type of an option that is an integer of at least `least`."""

    def integer(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"got {text!r}, wanted an integer of at least {least}")
        return number

    return integer


def options(module: str, doc: str | None, epochs: int) -> argparse.ArgumentParser:
    """A parser with the options of every model: --epochs, --seed and --out."""
    name = module.rpartition(".")[2]
    parser = argparse.ArgumentParser(
        prog=f"python -m models {name}",
        description=inspect.cleandoc(doc or ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    count(parser, "--epochs", epochs)
    count(parser, "--seed", 0, "of everything random", least=0)
    parser.add_argument("--out", type=Path, default=Path("out", name), metavar="FOLDER", help=f"default: out/{name}")
    return parser


def count(parser: argparse.ArgumentParser, name: str, default: int, what: str = "", least: int = 1) -> None:
    """Add an option that is an integer of at least `least`."""
    text = f"{what}; default: {default}" if what else f"default: {default}"
    parser.add_argument(name, type=at_least(least), default=default, metavar="N", help=text)


def predict(model: nn.Module, inputs: np.ndarray) -> np.ndarray:
    """What the model puts out, without a graph."""
    with tr.no_grad():
        return model(inputs).numpy()


def save_weights(path: Path, state: dict[str, np.ndarray]) -> Path:
    """Write arrays to a safetensors file."""
    save_file({key: np.ascontiguousarray(array) for key, array in state.items()}, path)
    return path


def save_metrics(path: Path, metrics: dict) -> Path:
    """Write numbers to a JSON file."""
    path.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    return path


def picture(widths: Sequence[float], height: float = 4.5) -> tuple[Figure, list[Axes]]:
    """A figure and its axes in a row, drawn to a file and never shown: no display is needed."""
    figure = Figure(figsize=(sum(widths), height), layout="constrained")
    axes = figure.subplots(1, len(widths), width_ratios=widths, squeeze=False)[0].tolist()
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="y", color="#e6e6e6", linewidth=0.8)
        ax.set_axisbelow(True)
    return figure, axes


def draw_loss(ax: Axes, history: dict[str, list[float]]) -> None:
    """Training loss, and the validation loss if there is one, over epochs."""
    for key, label, color in (("loss", "training", BLUE), ("val_loss", "held out", ORANGE)):
        if key in history:
            ax.plot(range(1, len(history[key]) + 1), history[key], color=color, label=label)
    ax.set(title="Mean squared error", xlabel="epoch", yscale="log")
    if "val_loss" in history:
        ax.legend(frameon=False)


def save_picture(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG."""
    figure.savefig(path, dpi=150)
    return path


def name_files(paths: Iterable[Path]) -> None:
    """Say what was written."""
    print("wrote:")
    for path in paths:
        print(f"  {path}")
