"""How gradients flow through time: where they vanish or explode, and which gates are stuck."""

from __future__ import annotations

import inspect
import linecache
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from ..compile.ir.symbol import location
from ..config import enable_grad, grad_mode
from ..core import Tensor, grad, is_float, tensor, tree
from ..errors import GraphError
from ..modules.module import Module
from ..recurrent import Cell
from ..recurrent.scan.dry_run import dry_run

LIMITS = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "matmul_tanh": (-1.0, 1.0)}
MARGIN = 0.05  # of the range: a sigmoid below 0.05 or above 0.95 passes less than a fifth of its largest gradient


class Gate(NamedTuple):
    """One sigmoid or tanh of a step.

    Attributes
    ----------
    name : str
        The cell, the operation, and its number in the step.
    where : str
        "file:line".
    source : str
        That line.
    saturation : array, (T,)
        The fraction of units whose value is within 5 % of the range's ends, over the batch.
    """

    name: str
    where: str
    source: str
    saturation: np.ndarray


@dataclass(frozen=True)
class GradientFlow:
    """What :func:`gradient_flow` has found; time is counted in the order in which a cell runs.

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
        """By which factor the gradient by the state `name` changes with each step back in time, on average.

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
        """Draw the three against time and write the picture to `path`; see :func:`plot_gradient_flows`."""
        from .plot import plot_gradient_flows

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


def gradient_flow(layer: Module, x: Any, loss: Callable, state: Any = None, rows: int = 1) -> GradientFlow:
    """Follow the gradient of a loss back through time.

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
        watches = [_Watch(name, cell) for name, cell in cells]
        result = layer(x) if state is None else layer(x, state)
        watches = [watch for watch in watches if watch.states]
        if not watches:
            raise ValueError(f"layer: no recurrent cell of {type(layer).__name__} has run")
        value = _loss(loss, result)
        gradients = _gradients(value, watches)
        singular_values = {w.name: w.singular_values(rows) for w in watches if rows > 0 and w.size}
    return GradientFlow(float(value), gradients, singular_values, tuple(g for w in watches for g in w.gates()))


def _cells(layer: Module) -> list[tuple[str, Cell]]:
    """The cells of a layer or model that are no parts of other cells, with names that tell them apart."""
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
    """The loss of what the layer has returned."""
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


def _gradients(value: Tensor, watches: list[_Watch]) -> dict[str, np.ndarray]:
    """Norms of the gradients by all states, row by row."""
    columns = {f"{w.name} {part}": column for w in watches for part, column in w.columns().items()}
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


class _Watch:
    """Looks on while a cell runs, until the dry_run in which it was made ends."""

    running = False  # any: cells inside of others are not watched

    def __init__(self, name: str, cell: Cell):
        self.name, self.cell, self.step = name, cell, cell.step
        self.inputs: list = []  # of each step
        self.states: list = []  # before each step, and after the last
        self.found: list[list[tuple[str, str, float]]] = []  # gates of each step: operation, where, saturation
        vars(cell)["step"] = self.watched

    def watched(self, x: Any, state: Any) -> tuple[Any, Any]:
        if _Watch.running:
            return self.step(x, state)
        state = tree.map(_on_tape, state)
        _Watch.running = True
        try:
            with _watch_gates() as gates:
                y, new = self.step(x, state)
        finally:
            _Watch.running = False
        self.inputs.append(tree.map(lambda t: t.data, x))
        self.states[-1:] = [state, new]
        self.found.append(gates)
        return y, new

    @property
    def size(self) -> int:
        """Numbers that make up the state of one row."""
        return sum(int(np.prod(s.shape[1:])) for s in tree.flatten(self.states[0])[0] if is_float(s.dtype))

    def columns(self) -> dict[str, list[Tensor]]:
        """Each part of the state over time."""
        names = _names(self.states[0], "state")
        columns = zip(*(tree.flatten(s)[0] for s in self.states))
        return {name: list(column) for name, column in zip(names, columns) if is_float(column[0].dtype)}

    def singular_values(self, rows: int) -> np.ndarray:
        """(T, rows, n): of the Jacobian of each step, from one backward walk per step over n copies of each row."""
        n = self.size
        rows = min(rows, tree.flatten(self.states[0])[0][0].shape[0])
        self.cell.begin_sequence(rows * n)
        found = []
        for x, state in zip(self.inputs, self.states):
            xs = tree.map(lambda a: Tensor(np.repeat(a[:rows], n, axis=0)), x)
            old = tree.map(lambda s: _on_tape(Tensor(np.repeat(s.data[:rows], n, axis=0))), state)
            new = self.step(xs, old)[1]
            found.append(np.linalg.svd(_jacobian(old, new, rows, n), compute_uv=False))
        return np.stack(found)

    def gates(self) -> list[Gate]:
        """One for each sigmoid and tanh of a step."""
        most = max(self.found, key=len)
        table = np.full((len(self.found), len(most)), np.nan)
        for t, gates in enumerate(self.found):
            table[t, : len(gates)] = [value for _, _, value in gates]
        numbers: dict[str, int] = {}
        result = []
        for (op, where, _), column in zip(most, table.T):
            numbers[op] = numbers.get(op, 0) + 1
            path, _, line = where.rpartition(":")
            source = linecache.getline(path, int(line)).strip() if line.isdigit() else ""
            result.append(Gate(f"{self.name} {op} {numbers[op]}", where, source, column))
        return result


def _on_tape(t: Tensor) -> Tensor:
    """A tensor whose gradient can be asked for."""
    return t if t.requires_grad or not is_float(t.dtype) else t.detach().requires_grad_()


def _jacobian(old: Any, new: Any, rows: int, n: int) -> np.ndarray:
    """(rows, n, n) in float64; copy k of a row has the cotangent that is one at k."""
    ins = [s for s in tree.flatten(old)[0] if is_float(s.dtype)]
    outs = [s for s in tree.flatten(new)[0] if is_float(s.dtype)]
    eye, cotangents, start = np.tile(np.eye(n), (rows, 1)), [], 0
    for y in outs:
        width = int(np.prod(y.shape[1:]))
        cotangents.append(eye[:, start : start + width].reshape(y.shape).astype(y.dtype))
        start += width
    pairs = [(y, g) for y, g in zip(outs, cotangents) if y.requires_grad]
    found: Any = [None] * len(ins)
    if pairs:
        found = grad([y for y, _ in pairs], ins, [g for _, g in pairs], allow_unused=True)
    columns = [np.zeros(s.shape) if g is None else g.data for s, g in zip(ins, found)]
    return np.concatenate([c.reshape(rows, n, -1).astype(np.float64) for c in columns], axis=2)


def _names(values: Any, name: str) -> list[str]:
    """Names of the leaves of a nest, such as ``state[0]``."""
    if isinstance(values, dict):
        return [n for key in sorted(values, key=str) for n in _names(values[key], f"{name}[{key!r}]")]
    if isinstance(values, tuple | list):
        return [n for i, value in enumerate(values) for n in _names(value, f"{name}[{i}]")]
    return [] if values is None else [name]


class _Recorder:
    """Stands where the compiler's tracer stands, and lets each operation pass; notes how far gates are saturated."""

    def __init__(self) -> None:
        self.gates: list[tuple[str, str, float]] = []

    def record(self, op: Any, args: tuple, static: dict) -> Any:
        with _paused():
            out = Tensor._record(op, args, static)
        if op.name in LIMITS and isinstance(out, Tensor):
            low, high = LIMITS[op.name]
            margin = MARGIN * (high - low)
            stuck = (out.data < low + margin) | (out.data > high - margin)
            self.gates.append((op.name.removeprefix("matmul_"), location(), float(stuck.mean())))
        return out

    def detach(self, t: Tensor) -> Tensor:
        with _paused():
            return t.detach()

    def copy(self, t: Tensor, requires_grad: bool, dtype: Any) -> Tensor:
        with _paused():
            return tensor(t, requires_grad, dtype)

    def refuse(self, what: str) -> None:
        """Reading values is no problem here."""


@contextmanager
def _paused() -> Iterator[None]:
    before, grad_mode.tracer = grad_mode.tracer, None
    try:
        yield
    finally:
        grad_mode.tracer = before


@contextmanager
def _watch_gates() -> Iterator[list]:
    recorder = _Recorder()
    with _paused():
        grad_mode.tracer = recorder
        yield recorder.gates
