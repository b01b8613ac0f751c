"""What the pictures of the models share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

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
    """Training loss, and the validation loss if there is one, over epochs; after one epoch as bars."""
    if len(history["loss"]) == 1:
        names = {"training": "loss", "held out": "val_loss"} if "val_loss" in history else {"training": "loss"}
        values = [history[key][0] for key in names.values()]
        ax.bar(list(names), values, color=[BLUE, ORANGE][: len(names)])
        for i, value in enumerate(values):
            ax.text(i, value, f"{value:.3g}", ha="center", va="bottom")
        ax.set(title=f"{title}, after one epoch")
        return
    for key, label, color in (("loss", "training", BLUE), ("val_loss", "held out", ORANGE)):
        if key in history:
            marker = "." if len(history[key]) < 20 else None
            ax.plot(range(1, len(history[key]) + 1), history[key], color=color, label=label, marker=marker)
    low, high = min(map(min, (history[k] for k in history if k.endswith("loss")))), max(history["loss"])
    ax.set(title=title, xlabel="epoch", yscale="log" if low > 0 and high > 5 * low else "linear")
    if ax.get_yscale() == "log":
        ax.yaxis.set_minor_formatter("")
    whole_numbers(ax.xaxis)
    if "val_loss" in history:
        ax.legend(frameon=False)


def whole_numbers(axis: Axis) -> None:
    """Ticks at integers only, also where there is but one value."""
    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def no_ticks() -> NullLocator:
    """Takes away the small ticks of an axis."""
    return NullLocator()


def draw_confusion(ax: Axes, confusion: np.ndarray, names: Sequence) -> None:
    """A confusion matrix: rows are true classes, and sum to one in colour; the numbers are counts."""
    share = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    ax.grid(False)
    small = 6 if len(names) > 10 else 9 if confusion.max(initial=0) < 1000 else 7
    for (i, j), count in np.ndenumerate(confusion):
        if count:
            color = "white" if share[i, j] > 0.5 else INK
            ax.text(j, i, count, ha="center", va="center", color=color, fontsize=small)
    ax.set(xlabel="taken for", ylabel="is")
    turn = 90 if max(len(str(name)) for name in names) > 3 else 0
    ax.set_xticks(range(len(names)), names, rotation=turn)
    ax.set_yticks(range(len(names)), names)
