"""Recording of a cell's steps: inputs, states, saturation of gates, and Jacobians."""

from __future__ import annotations

import linecache
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ..compiler import location
from ..config import grad_mode
from ..core import Tensor, grad, is_float, listening, tree
from ..recurrent import Cell
from .gate_names import gate_names

LIMITS = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "matmul_tanh": (-1.0, 1.0)}
MARGIN = 0.05  # of the range: a sigmoid below 0.05 or above 0.95 passes less than a fifth of its largest gradient


class Gate(NamedTuple):
    """One sigmoid or tanh of a step.

    Attributes
    ----------
    name : str
        The cell, and what its source says, such as "sigmoid(f)" or "n = tanh"; see :func:`gate_names`.
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


class CellRecorder:
    """Records inputs, states and gates of a cell's steps, until the dry run in which it was made ends."""

    running = False  # of all recorders: steps of cells inside of another are not recorded

    def __init__(self, name: str, cell: Cell):
        self.name, self.cell, self.step = name, cell, cell.step
        self.inputs: list = []  # of each step
        self.states: list = []  # before each step, and after the last
        self.found: list[list[tuple[str, str, float]]] = []  # gates of each step: operation, where, saturation
        vars(cell)["step"] = self.recorded_step

    def recorded_step(self, x: Any, state: Any) -> tuple[Any, Any]:
        """The cell's step, recorded."""
        if CellRecorder.running:
            return self.step(x, state)
        state = tree.map(_on_tape, state)
        CellRecorder.running = True
        try:
            with _recording_gates() as gates:
                y, new = self.step(x, state)
        finally:
            CellRecorder.running = False
        self.inputs.append(tree.map(lambda t: t.data, x))
        self.states[-1:] = [state, new]
        self.found.append(gates)
        return y, new

    @property
    def size(self) -> int:
        """The size of the state of one row."""
        return sum(int(np.prod(s.shape[1:])) for s in tree.flatten(self.states[0])[0] if is_float(s.dtype))

    def columns(self) -> dict[str, list[Tensor]]:
        """The tensors of each part of the state over time, by name."""
        names = _names(self.states[0], "state")
        columns = zip(*(tree.flatten(s)[0] for s in self.states))
        return {name: list(column) for name, column in zip(names, columns) if is_float(column[0].dtype)}

    def singular_values(self, rows: int) -> np.ndarray:
        """Singular values of each step's Jacobian, (T, rows, n).

        There is one backward pass per step, over n copies of each row: one for each row of the Jacobian.
        """
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
        """The saturation of each sigmoid and tanh of a step, over time."""
        most = max(self.found, key=len)
        table = np.full((len(self.found), len(most)), np.nan)
        for t, gates in enumerate(self.found):
            table[t, : len(gates)] = [value for _, _, value in gates]
        lines = [(op, where, _source(where)) for op, where, _ in most]
        return [
            Gate(f"{self.name} {name}", where, source, column)
            for name, (_, where, source), column in zip(gate_names(lines), lines, table.T)
        ]


def _source(where: str) -> str:
    """The line of source at "file:line"."""
    path, _, line = where.rpartition(":")
    return linecache.getline(path, int(line)).strip() if line.isdigit() else ""


def _on_tape(t: Tensor) -> Tensor:
    """The tensor itself if it requires gradients, else a leaf with its values that does."""
    return t if t.requires_grad or not is_float(t.dtype) else t.detach().requires_grad_()


def _jacobian(old: Any, new: Any, rows: int, n: int) -> np.ndarray:
    """Jacobians (rows, n, n) in float64; the cotangent of copy k of a row is one at k."""
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


@contextmanager
def _recording_gates() -> Iterator[list[tuple[str, str, float]]]:
    """Context that records sigmoids and tanhs on the tape: operation, place, fraction saturated."""
    gates: list[tuple[str, str, float]] = []
    before = grad_mode.listener  # eager mode's own, which checks the step

    def listener(op: Any, args: tuple, static: dict, out: Any) -> None:
        if before is not None:
            before(op, args, static, out)
        if op.name in LIMITS and isinstance(out, Tensor):
            low, high = LIMITS[op.name]
            margin = MARGIN * (high - low)
            saturated = (out.data < low + margin) | (out.data > high - margin)
            gates.append((op.name.removeprefix("matmul_"), location(), float(saturated.mean())))

    with listening(listener):
        yield gates
