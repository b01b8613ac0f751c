"""What the pictures of the models share."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, GREY, BLUE, ORANGE = "#222222", "#9a9a9a", "#2166ac", "#e08214"
GREEN, RED, PURPLE = "#1b7837", "#b2182b", "#762a83"
COLORS = [BLUE, ORANGE, GREEN, RED, PURPLE, GREY, "#c51b7d", "#01665e", "#8c510a", INK]


def picture(widths: Sequence[float], height: float = 4.5) -> tuple[Figure, list[Axes]]:
    """A figure and its axes in a row, drawn to a file and never shown: no display is needed."""
    figure = Figure(figsize=(sum(widths), height), layout="constrained")
    axes = figure.subplots(1, len(widths), width_ratios=widths, squeeze=False)[0].tolist()
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="y", color="#e6e6e6", linewidth=0.8)
        ax.set_axisbelow(True)
    return figure, axes


def draw_loss(ax: Axes, history: dict[str, list[float]], title: str = "Loss") -> None:
    """Training loss, and the validation loss if there is one, over epochs."""
    for key, label, color in (("loss", "training", BLUE), ("val_loss", "held out", ORANGE)):
        if key in history:
            marker = "." if len(history[key]) < 20 else None
            ax.plot(range(1, len(history[key]) + 1), history[key], color=color, label=label, marker=marker)
    ax.set(title=title, xlabel="epoch", yscale="log")
    ax.yaxis.set_minor_formatter("")
    if "val_loss" in history:
        ax.legend(frameon=False)
