"""Bars of speed-ups: how many times as long the others take."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def speedups(rows: list[dict[str, Any]], file: Path) -> None:
    """Draw the rows of a report: a panel for each cell and task, a group of bars for each shape.

    Parameters
    ----------
    rows : list of dict
        With ``cell``, ``task``, ``shape`` and ``ratio``.
    file : Path
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cells = list(dict.fromkeys(row["cell"] for row in rows))
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    shapes = list(dict.fromkeys(tuple(row["shape"]) for row in rows))
    others = list(dict.fromkeys(name for row in rows for name in row["ratio"]))
    ratios = {(r["cell"], r["task"], tuple(r["shape"]), n): x for r in rows for n, x in r["ratio"].items()}
    figure = Figure(figsize=(2 + 1.1 * len(shapes) * len(tasks), 1 + 2 * len(cells)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(cells), len(tasks), squeeze=False, sharex=True, sharey=True)
    width = 0.8 / max(1, len(others))
    for panels, cell in zip(axes, cells):
        for ax, task in zip(panels, tasks):
            for i, other in enumerate(others):
                heights = [ratios.get((cell, task, shape, other), float("nan")) for shape in shapes]
                places = [s + (i - (len(others) - 1) / 2) * width for s in range(len(shapes))]
                bars = ax.bar(places, heights, width, label=other)
                ax.bar_label(bars, fmt="%.1f", fontsize=7)
            ax.axhline(1, color="black", linewidth=0.8)
            ax.set_yscale("log")
            ax.set_title(f"{cell}, {task}", fontsize=10)
            labels = ["x".join(map(str, s)) for s in shapes]
            ax.set_xticks(range(len(shapes)), labels, rotation=35, ha="right", fontsize=8)
    axes[0][0].legend(fontsize=8)
    figure.supylabel("times as long as ours")
    figure.savefig(file, dpi=110)
    print(f"wrote {file}")
