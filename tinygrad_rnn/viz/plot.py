"""Plots of gradient flow; matplotlib is imported by the first one."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from os import PathLike
from typing import Any, Protocol

import numpy as np


class Flow(Protocol):
    """The arrays of a :class:`GradientFlow` that a picture shows."""

    @property
    def gradients(self) -> dict[str, np.ndarray]: ...
    @property
    def singular_values(self) -> dict[str, np.ndarray]: ...
    @property
    def gates(self) -> tuple[Any, ...]: ...


def plot_gradient_flows(flows: Mapping[str, Flow], path: str | PathLike) -> None:
    """Draw several flows into one picture.

    Above, the norm of the gradient of the loss by the state before each step; in the middle, the largest and the
    median of the singular values of each step's Jacobian, where one is what keeps gradients as they are; below, how
    far each sigmoid and tanh is saturated, if there are any. Logarithmic axes leave out zeros.

    Parameters
    ----------
    flows : mapping
        Names to what :func:`gradient_flow` has returned.
    path : str or path
        Where to write to; the suffix says the format (.png, .svg, .pdf).
    """
    from matplotlib.figure import Figure

    panels = 3 if any(flow.gates for flow in flows.values()) else 2
    figure = Figure(figsize=(10, 0.4 + 3.2 * panels), layout="constrained")
    figure.suptitle("Gradient flow through time")
    axes = figure.subplots(panels, 1)
    for i, (title, flow) in enumerate(flows.items()):
        label = _Label(title, flow)
        for k, (name, norms) in enumerate(flow.gradients.items()):
            total = np.linalg.norm(norms, axis=1)
            axes[0].plot(np.where(total > 0, total, np.nan), label=label(name), **_style(i, k, len(flows)))
        for k, (name, values) in enumerate(flow.singular_values.items()):
            color = f"C{(k if len(flows) == 1 else i) % 10}"
            _singular_values(axes[1], values, label(name), color)
        for k, gate in enumerate(flow.gates):
            axes[2].plot(gate.saturation, label=label(gate.name), **_style(i, k, len(flows)))
    _finish(axes[0], "norm of the gradient of the loss\nby the state before step t", "log")
    _finish(axes[1], "singular values of\nthe Jacobian of step t", "log")
    axes[1].axhline(1.0, color="gray", linewidth=0.8)
    if panels == 3:
        _finish(axes[2], "fraction of units\nthat are saturated", "linear")
        axes[2].set_ylim(-0.02, 1.02)
    figure.savefig(path, dpi=120)


class _Label:
    """Names in the legend: the title of the flow replaces the name of its cell, if it has one only."""

    def __init__(self, title: str, flow: Flow):
        self.head = f"{title}: " if title else ""
        cells = {name.partition(" ")[0] for name in flow.gradients}
        self.cell = cells.pop() if title and len(cells) == 1 else ""

    def __call__(self, name: str) -> str:
        if self.cell and name.startswith(self.cell):
            name = name[len(self.cell) :].strip()
        return self.head + name if name else self.head.rstrip(": ")


def _style(flow: int, line: int, flows: int) -> dict[str, Any]:
    """Color and dashes of a line: one color for each flow, or for each line of a single flow."""
    dashes = ("-", "--", ":", "-.", (0, (6, 1)), (0, (1, 3)), (0, (6, 3, 1, 3, 1, 3)))
    return {"color": f"C{(line if flows == 1 else flow) % 10}", "linestyle": dashes[line % len(dashes)]}


def _singular_values(axes: Any, values: np.ndarray, label: str, color: str) -> None:
    """Plot the largest and the median singular value of each step."""
    flat = np.sort(np.where(values > 0, values, np.nan).reshape(len(values), -1), axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of steps without any
        axes.plot(np.nanmax(flat, axis=1), color=color, label=f"{label}, largest")
        axes.plot(np.nanmedian(flat, axis=1), color=color, linestyle=":", label=f"{label}, median")


def _finish(axes: Any, label: str, scale: str) -> None:
    axes.set_ylabel(label)
    axes.set_xlabel("t")
    axes.set_yscale(scale)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
