"""Nodes that run graphs: Scan as a recurrent cell where it is one, Loop and If step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .... import ops
from ....core import Tensor
from ....errors import ShapeError
from ....nn import Cell
from ....recurrent import scan
from ..graph import Graph, Node
from .support import REFUSALS, concrete, kind, rank

Body = Callable[[dict[str, Any]], None]  # fills in what the nodes of a graph make


class BodyCell(Cell):
    """One step of a Scan: from states and slices of the inputs to states and slices of the outputs."""

    def __init__(self, graph: Graph, run: Body, states: int, outer: Sequence[str]):
        self._graph, self._run, self._count, self._outer = graph, run, states, tuple(outer)
        self._shapes: tuple = ()
        self._dtype = np.dtype(np.float32)

    @property
    def dtype(self) -> np.dtype:
        return self._dtype

    def begin(self, states: Sequence[Any], outer: Sequence[Any]) -> None:
        """Keep shapes of states, and values of the graph around, which stay the same over the sequence."""
        self._shapes = tuple((tuple(s.shape[1:]), s.dtype) for s in states)
        self._dtype = next((np.dtype(s.dtype) for s in states if kind(s) == "f"), self._dtype)
        for i, value in enumerate(outer):
            object.__setattr__(self, f"_outer_{i}", value)

    def initial_state(self, batch_size: int) -> Any:
        return tuple(ops.zeros((batch_size, *shape), dtype) for shape, dtype in self._shapes)

    def step(self, x: Any, state: Any) -> Any:
        values = {name: getattr(self, f"_outer_{i}") for i, name in enumerate(self._outer)}
        names = [value.name for value in self._graph.inputs]
        values.update(zip(names, (*state, *x)))
        self._run(values)
        out = [values[value.name] for value in self._graph.outputs]
        after = tuple(out[: self._count])
        return tuple(out[self._count :]) or after, after


class ScanNode:
    """A Scan: states, then sequences that are read slice by slice."""

    def __init__(self, node: Node, run: Body, outer: Sequence[str], mode: str):
        self.node, self.mode = node, mode
        self.graph: Graph = node.attributes["body"]
        self.inputs = node.attributes["num_scan_inputs"]
        self.states = len(node.inputs) - self.inputs
        self.outputs = len(self.graph.outputs) - self.states
        self.cell = BodyCell(self.graph, run, self.states, outer)

    def __call__(self, *values: Any) -> tuple:
        n = self.states + self.inputs
        states, outer = list(values[: self.states]), values[n:]
        axes, backwards = self._settings("input", self.inputs)
        xs = [_first(x, axis, back) for x, axis, back in zip(values[self.states : n], axes, backwards)]
        lengths = {x.shape[0] for x in xs}
        if len(lengths) != 1:
            raise ShapeError(f"got sequences of {sorted(lengths)} steps, wanted as many in each")
        self.cell.begin(states, outer)
        if not _has_rows(xs, states):
            ys, last = self._steps(xs, states)
        else:
            xs = [x if isinstance(x, Tensor) else Tensor(x) for x in xs]
            states = [s if isinstance(s, Tensor) else Tensor(s) for s in states]
            ys, last = scan(self.cell, tuple(xs), tuple(states), self.mode)
        axes, backwards = self._settings("output", self.outputs)
        ys = [_last(y, axis, back) for y, axis, back in zip(ys, axes, backwards)] if self.outputs else []
        return (*last, *ys)

    def _settings(self, which: str, n: int) -> tuple[Sequence[int], Sequence[int]]:
        axes = self.node.get(f"scan_{which}_axes") or (0,) * n
        return axes, self.node.get(f"scan_{which}_directions") or (0,) * n

    def _steps(self, xs: list[Any], states: list[Any]) -> tuple[list[Any], Sequence[Any]]:
        """Slice by slice, for what has no rows."""
        made: list[Sequence[Any]] = []
        state: Sequence[Any] = states
        for t in range(xs[0].shape[0]):
            y, state = self.cell.step([ops.getitem(x, t) for x in xs], state)
            made.append(y)
        if self.outputs and not made:
            raise ShapeError("got sequences of no steps, wanted at least one")
        return [ops.stack(list(column)) for column in zip(*made)], state


def _has_rows(xs: list[Any], states: list[Any]) -> bool:
    """Whether all values have rows, as many as the others, and are floats of one dtype."""
    if not states or not xs[0].shape[0] or len({v.dtype for v in (*xs, *states)}) > 1 or kind(xs[0]) != "f":
        return False
    rows = {x.shape[1] if rank(x) > 1 else 0 for x in xs} | {s.shape[0] if rank(s) else 0 for s in states}
    return len(rows) == 1 and 0 not in rows


def _first(x: Any, axis: int, backwards: int) -> Any:
    """The axis of steps first, and the first step first."""
    x = ops.moveaxis(x, axis, 0) if axis % rank(x) else x
    return ops.flip(x, 0) if backwards else x


def _last(y: Any, axis: int, backwards: int) -> Any:
    y = ops.flip(y, 0) if backwards else y
    return ops.moveaxis(y, 0, axis) if axis % rank(y) else y


class LoopNode:
    """A Loop: a body runs for a number of times, or until its condition fails."""

    def __init__(self, node: Node, run: Body, outer: Sequence[str]):
        self.node, self.run, self.outer = node, run, tuple(outer)
        self.graph: Graph = node.attributes["body"]

    def __call__(self, *values: Any) -> tuple:
        n = len(self.node.inputs)
        most, condition, *states = values[:n]
        outer = dict(zip(self.outer, values[n:]))
        limit = None if most is None else int(concrete(most).reshape(()))
        going = condition is None or bool(concrete(condition).reshape(()))
        names, made, i = [value.name for value in self.graph.inputs], [], 0
        while going and (limit is None or i < limit):
            inner = {**outer, **dict(zip(names, (np.array(i, np.int64), np.array(going), *states)))}
            self.run(inner)
            going_on, *out = (inner[value.name] for value in self.graph.outputs)
            going = condition is None or bool(concrete(going_on).reshape(()))
            states, last = out[: len(states)], out[len(states) :]
            made.append(last)
            i += 1
        if not made and len(self.graph.outputs) - 1 > len(states):
            raise ShapeError("got a loop that never runs, and makes sequences, whose shapes are not known")
        return (*states, *(ops.stack(list(column)) for column in zip(*made)))


class IfNode:
    """An If: one of two graphs runs."""

    def __init__(self, node: Node, runs: Mapping[str, Body], outer: Sequence[str]):
        self.node, self.runs, self.outer = node, runs, tuple(outer)

    def __call__(self, condition: Any, *outer: Any) -> tuple:
        name = "then_branch" if bool(concrete(condition).reshape(())) else "else_branch"
        inner = dict(zip(self.outer, outer))
        self.runs[name](inner)
        return tuple(inner[value.name] for value in self.node.attributes[name].outputs)


def _old(node: Node) -> str:
    return "" if node.opset >= 9 else "its form before opset 9 is not known here"


REFUSALS["Scan"] = _old
NODES = ("Scan", "Loop", "If")
