"""Gradient flow through time: norms by state, singular values of Jacobians, saturation of gates."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from html import escape
from os import PathLike
from typing import Any

import numpy as np

from ..config import enable_grad
from ..core import Tensor, grad
from ..errors import GraphError
from ..modules.module import Module
from ..recurrent import Cell
from ..recurrent.scan.dry_run import dry_run
from .plot import plot_gradient_flows
from .recorder import CellRecorder, Gate
from .svg import curves_svg


@dataclass(frozen=True)
class GradientFlow:
    """The result of :func:`gradient_flow`; time is counted in the order in which a cell runs.

    Attributes
    ----------
    loss : float
    gradients : dict of arrays, (T + 1, B)
        For each part of each cell's state, the norm of the gradient of the loss by it, row by row: at t, by the
        state before step t; at T, by the final state. It goes through all that was computed from that part, outputs
        and (as from c to h in an LSTM) other parts of the same state too, as in backpropagation through time.
    singular_values : dict of arrays, (T, rows, n)
        For each cell, those of the Jacobian of step t, the new state's by the old one's, largest first; n numbers
        make up the state of a row.
    gates : tuple of Gate
    """

    loss: float
    gradients: dict[str, np.ndarray]
    singular_values: dict[str, np.ndarray]
    gates: tuple[Gate, ...]

    def rate(self, name: str) -> float:
        """The mean factor by which the gradient by the state `name` changes with each step back in time.

        Below one it vanishes, above it explodes. NaN if it is zero everywhere.
        """
        norms = np.linalg.norm(self.gradients[name], axis=1)
        there = np.flatnonzero(norms > 0)
        if not there.size:
            return float("nan")
        first, last = there[0], there[-1]
        if first > 0 and first == last:
            return 0.0
        with np.errstate(all="ignore"):
            return float((norms[first] / norms[last]) ** (1.0 / max(1, last - first)))

    def plot(self, path: str | PathLike) -> None:
        """Draw gradients, singular values and gates to a file; see :func:`plot_gradient_flows`."""
        plot_gradient_flows({"": self}, path)

    def __str__(self) -> str:
        lines = [f"loss {self.loss:.6g}"]
        for name, norms in self.gradients.items():
            total = np.linalg.norm(norms, axis=1)
            lines.append(
                f"gradient by {name}: {total[-1]:.3g} at the end, {total[0]:.3g} at the beginning, "
                f"times {self.rate(name):.3g} with each step back"
            )
        for name, values in self.singular_values.items():
            largest, least = values[..., 0], values[..., -1]
            lines.append(
                f"singular values of {name}'s step: {np.median(values):.3g} in the middle, the largest "
                f"{largest.min():.3g} to {largest.max():.3g}, the smallest {least.min():.3g} to {least.max():.3g}"
            )
        for gate in self.gates:
            lines.append(f"{gate.name}: {np.nanmean(gate.saturation):.0%} saturated    {gate.where}: {gate.source}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Curves of the gradients, a table of states and one of gates, for notebooks."""
        rows = [("gradient by", "at the end", "at the beginning", "with each step back")]
        for name, norms in self.gradients.items():
            total = np.linalg.norm(norms, axis=1)
            rows.append((name, f"{total[-1]:.3g}", f"{total[0]:.3g}", f"times {self.rate(name):.3g}"))
        gates = [(gate.name, f"{np.nanmean(gate.saturation):.0%}", gate.where, gate.source) for gate in self.gates]
        if gates:
            rows += [("gate", "saturated", "line", "source"), *gates]
        cells = ("".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in rows)
        table = "<table>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>"
        curves = {name: np.linalg.norm(values, axis=1).tolist() for name, values in self.gradients.items()}
        title = "Norm of the gradient of the loss by the state before step t"
        return f"{curves_svg(curves, title, 't', log=True)}{table}<p>loss {self.loss:.6g}</p>"


def gradient_flow(layer: Module, x: Any, loss: Callable, state: Any = None, rows: int = 1) -> GradientFlow:
    """The gradient of a loss by all states of a layer, back through time.

    The layer runs once in evaluation mode, on the tape.

    Parameters
    ----------
    layer : Module
        A recurrent layer, or any model that calls some.
    x : as the layer takes it
    loss : callable
        ``loss(outputs)``, or ``loss(outputs, state)`` if it takes two, gives a scalar tensor.
    state : optional
        The initial state, as the layer takes it.
    rows : int
        Of how many rows of the batch Jacobians are computed; 0 leaves them out. A step then runs on ``rows * n`` rows,
        n being the size of the state of one.

    Returns
    -------
    GradientFlow
        Arrays, and ``plot(path)``, which needs matplotlib.

    Raises
    ------
    TypeError
        If `layer` is no such module, or `loss` no function.
    ValueError
        If no recurrent cell has run.
    GraphError
        If the loss depends on no state.

    Examples
    --------
    Relu units that halve their state at each step, and a loss at the end:

    >>> import numpy as np, tinygrad_rnn as tr
    >>> from tinygrad_rnn import nn, viz
    >>> cell = nn.IndRNNCell(1, 3)
    >>> with tr.no_grad():
    ...     weights = cell.weight_ih.fill_(1.0), cell.weight_hh.fill_(0.5)
    >>> flow = viz.gradient_flow(nn.Recurrent(cell), np.ones((5, 1, 1)), lambda outputs: outputs[-1].sum())
    >>> flow.gradients["IndRNNCell state"].round(3)[:, 0].tolist()
    [0.054, 0.108, 0.217, 0.433, 0.866, 1.732]
    >>> flow.singular_values["IndRNNCell"][0].tolist()
    [[0.5, 0.5, 0.5]]
    """
    if isinstance(layer, Cell):
        raise TypeError(f"layer: got a cell, {type(layer).__name__}; make it a layer with nn.Recurrent(cell)")
    if not isinstance(layer, Module):
        raise TypeError(f"layer: got {type(layer).__name__}, wanted a recurrent layer, or a module that calls some")
    if not callable(loss):
        raise TypeError(f"loss: got {loss!r}, wanted a function of the outputs")
    cells = _cells(layer)
    with ExitStack() as stack:
        for module in (layer, *(cell for _, cell in cells)):
            stack.enter_context(dry_run(module))
        stack.enter_context(enable_grad())
        layer.eval()
        for module in layer.modules():
            if hasattr(module, "mode"):
                module.mode = "eager"
            if hasattr(module, "checkpoint_every"):  # its states are not kept on the tape
                module.checkpoint_every = None
        recorders = [CellRecorder(name, cell) for name, cell in cells]
        result = layer(x) if state is None else layer(x, state)
        recorders = [recorder for recorder in recorders if recorder.states]
        if not recorders:
            raise ValueError(f"layer: no recurrent cell of {type(layer).__name__} has run")
        value = _loss(loss, result)
        gradients = _gradients(value, recorders)
        singular_values = {r.name: r.singular_values(rows) for r in recorders if rows > 0 and r.size}
    return GradientFlow(float(value), gradients, singular_values, tuple(g for r in recorders for g in r.gates()))


def _cells(layer: Module) -> list[tuple[str, Cell]]:
    """The cells of a layer or model that are not inside other cells, with distinct names."""
    found: list[tuple[str, Cell]] = []
    inside: set[int] = set()
    for path, module in layer.named_modules():
        if id(module) in inside:
            continue
        if isinstance(module, Cell):
            inside |= {id(part) for part in module.modules()}
            found.append((path, module))
        for name, value in vars(module).items():
            if name == "_with_states":  # the same cells, for return_states="all"
                continue
            if isinstance(value, list) and value and isinstance(value[0], Cell):  # of an RNN, LSTM or GRU
                found += [(f"{path}[{i}]" if len(value) > 1 or path else "", cell) for i, cell in enumerate(value)]
    if len(found) == 1:
        return [(type(found[0][1]).__name__, found[0][1])]
    return [(f"{path} {type(cell).__name__}", cell) for path, cell in found]


def _loss(loss: Callable, result: Any) -> Tensor:
    """The loss of the layer's results, checked to be one number."""
    arguments = result[:1] if isinstance(result, tuple) else (result,)
    try:
        parameters = inspect.signature(loss).parameters.values()
        if sum(p.default is p.empty and p.kind is not p.VAR_KEYWORD for p in parameters) == 2:
            arguments = result
    except (TypeError, ValueError):  # no signature
        pass
    value = loss(*arguments)
    if not isinstance(value, Tensor) or value.size != 1:
        got = f"a tensor of shape {value.shape}" if isinstance(value, Tensor) else repr(value)
        raise GraphError(f"loss: returned {got}, wanted a tensor with one element")
    return value


def _gradients(value: Tensor, recorders: list[CellRecorder]) -> dict[str, np.ndarray]:
    """Norms of the gradients by all states, (T + 1, B) for each."""
    columns = {f"{r.name} {part}": column for r in recorders for part, column in r.columns().items()}
    wanted = [t for column in columns.values() for t in column]
    if not value.requires_grad:
        raise GraphError("loss: depends on no state of a recurrent cell")
    found = iter(grad(value, wanted, allow_unused=True))
    norms = {}
    for name, column in columns.items():
        gs = [(t, next(found)) for t in column]
        rows = [np.zeros(t.shape[0]) if g is None else _row_norms(g.data) for t, g in gs]
        norms[name] = np.stack(rows)
    return norms


def _row_norms(g: np.ndarray) -> np.ndarray:
    return np.linalg.norm(g.reshape(len(g), -1).astype(np.float64), axis=1)
