"""A model for streams: one time step, with the states of its layers handed in and out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core import tree
from ..errors import ExportError
from ..ops import shape as shapes
from ..recurrent.scan.tracing import close
from .evaluate import evaluate, given_array, run_nodes
from .graph import STEP, Fill, Graph, Input, Node, Range, Result, Scan, Step, StepValue, Value, order
from .sizes import Ratio, Size
from .source_names import step_names

RESHAPE = shapes._reshape.op


@dataclass(eq=False)
class Stream:
    """A model for streams.

    Attributes
    ----------
    graph : Graph
        Its inputs are those of one time step, then the states of the layers that the model's arguments do not give; its
        outputs are those of one time step, then the states after it.
    first : list of Value
        The first states, in the graph of the whole model.
    outputs : int
        How many of the outputs are not states.
    """

    graph: Graph
    first: list[Value]
    outputs: int


def stream(graph: Graph) -> Stream:
    """The model for one time step.

    Raises
    ------
    ExportError
        If it looks at several time steps at once, outside of its recurrent layers.
    """
    scans = graph.scans()
    if not scans:
        raise ExportError(f"{graph.title}: there is no recurrent layer in it, so that it has no state to hand on")
    for scan in scans:
        if scan.reverse or scan.steps:
            why = "runs backwards in time" if scan.reverse else f"takes {', '.join(scan.steps)}"
            raise ExportError(f"{graph.title}: a layer{_of(scan)} {why}, which a stream of time steps cannot")
    time = scans[0].time
    if not isinstance(time, Size) or not time.is_name:
        raise ExportError(f"{graph.title}: its layers do not run over the time of its inputs, but over {time} steps")
    if any(scan.time != time for scan in scans):
        times = ", ".join(dict.fromkeys(str(scan.time) for scan in scans))
        raise ExportError(f"{graph.title}: its layers run over sequences of several lengths, {times}")
    made = _Streamed(graph, next(iter(time.names))).made()
    _compare(graph, made, next(iter(time.names)))
    return made


def _of(scan: Scan) -> str:
    return f" of {scan.module}" if scan.module else ""


class _Streamed:
    """The making of the model for one time step: all nodes anew, with 1 in place of the time."""

    def __init__(self, graph: Graph, time: str):
        self.graph, self.time = graph, time
        self.values: dict[int, Value] = {}

    def made(self) -> Stream:
        graph = self.graph
        inputs: list[Input] = []
        places: dict[str, tuple[Input, int]] = {}
        for v in graph.inputs:
            axis = self._axis(v)
            kept = tuple(n for i, n in enumerate(v.shape) if i != axis)
            inputs.append(Input(kept, v.dtype, v.name))
            self.values[id(v)] = inputs[-1] if axis is None else self._reshaped(inputs[-1], self._shape(v.shape))
            for i, n in enumerate(kept):
                if isinstance(n, Size) and n.is_name:
                    places.setdefault(next(iter(n.names)), (inputs[-1], i))
        first: list[Value] = []
        states: list[Input] = []
        finals: list[Value] = []
        for node in graph.nodes:
            if isinstance(node, Scan):
                hidden = not any(isinstance(v, Input) for v in _sources(node.states))
                names = step_names(node.cell, len(node.step_inputs), len(node.states))[1]
                for s, word in zip(node.states if hidden else (), names):
                    word = f"{node.module}_{word}".replace(".", "_").strip("_")
                    taken = {i.name for i in (*inputs, *states)}
                    states.append(Input(s.shape, s.dtype, word if word not in taken else f"{word}_{len(states)}"))
                    first.append(s)
                self._step(node, states[len(states) - len(node.states) :] if hidden else None)
                finals += node.final_states if hidden else []
            else:
                self._copy(node)
        outputs = [self._squeezed(v) for v in graph.outputs]
        outputs += [self.values[id(v)] for v in finals]
        n = len(graph.outputs)
        structure = (tuple, None, (graph.structure, (tuple, None, (tree.LEAF,) * len(states))))
        example = [
            a if self._axis(v) is None else a.take(0, self._axis(v)) for v, a in zip(graph.inputs, graph.example)
        ]
        made = Graph(
            graph.title,
            [*inputs, *states],
            outputs,
            structure,
            places,
            graph.modules,
            example,
            graph.arguments,
            graph.names,
        )
        return Stream(made, first, n)

    def _axis(self, v: Value) -> int | None:
        """Which axis is the time; None: there is none."""
        found = [i for i, n in enumerate(v.shape) if isinstance(n, Size) and self.time in n.names]
        if not found:
            return None
        size: Any = v.shape[found[0]]
        if len(found) > 1 or not size.is_name:
            raise ExportError(
                f"{self.graph.title}: an axis of {size} elements comes and goes, as steps do not come alone"
            )
        return found[0]

    def _shape(self, shape: Sequence[Any]) -> tuple:
        return self._setting(tuple(shape))

    def _setting(self, value: Any) -> Any:
        """A setting with 1 in place of the time."""
        if isinstance(value, Size | Ratio):
            return _with_one(value, self.time)
        if isinstance(value, slice):
            return slice(*(self._setting(v) for v in (value.start, value.stop, value.step)))
        if isinstance(value, tuple | list):
            return type(value)(map(self._setting, value))
        return {k: self._setting(v) for k, v in value.items()} if isinstance(value, dict) else value

    def _value(self, v: Any) -> Any:
        """What a value of the model is here."""
        if not isinstance(v, Value):
            return self._setting(v)
        if id(v) not in self.values:
            found = v
            if isinstance(v, Fill):
                found = Fill(self._shape(v.shape), v.dtype, self._setting(v.value))
            elif isinstance(v, Range):
                found = Range(self._shape(v.shape), v.dtype, self._setting(v.start), self._setting(v.step), v.axis)
            self.values[id(v)] = found
        return self.values[id(v)]

    def _copy(self, node: Node) -> None:
        args = tuple(map(self._value, node.args))
        if node.op is RESHAPE and isinstance(args[0], Result) and args[0].node.op is RESHAPE:
            args = args[0].node.args  # one after the other are one
        static = self._setting(node.static)
        if all(a is b for a, b in zip(args, node.args)) and str(static) == str(node.static):
            self.values |= {id(r): r for r in node.results}  # of weights alone
            return
        shape = self._shape(node.results[0].shape)
        if node.op is RESHAPE and args[0].shape == shape:
            self.values[id(node.results[0])] = args[0]
            return
        made = Node(node.op, args, static, [], node.where, node.module)
        for r in node.results:
            made.results.append(Result(self._shape(r.shape), r.dtype, made, r.index))
            self.values[id(r)] = made.results[-1]

    def _reshaped(self, v: Value, shape: tuple) -> Value:
        if isinstance(v, Result) and v.node.op is RESHAPE:
            v = v.node.args[0]
        if v.shape == shape:
            return v
        node = Node(RESHAPE, (v,), {"shape": shape})
        node.results.append(Result(shape, v.dtype, node, 0))
        return node.results[0]

    def _step(self, scan: Scan, states: Sequence[Input] | None) -> None:
        sequences = [self._value(v) for v in scan.inputs]
        axis = 1 - scan.batch_axis
        xs = [self._reshaped(v, (*v.shape[:axis], *v.shape[axis + 1 :])) for v in sequences]
        hs = [*states] if states is not None else [self._value(v) for v in scan.states]
        extras = [self._value(v) for v in scan.invariants]
        if any(
            isinstance(n, Size) and self.time in n.names for node in scan.body for r in node.results for n in r.shape
        ):
            raise ExportError(f"{self.graph.title}: a layer{_of(scan)} reads all time steps at each of its own")
        step = Step(STEP, (*xs, *hs, *extras), {}, [], scan.where, scan.module, scan)
        step.replaced = {id(v): x for v, x in zip((*scan.step_inputs, *scan.step_states), (*xs, *hs))}
        step.replaced |= {id(v): x for v, x in zip(scan.invariants, extras)}
        for v in (*scan.step_outputs, *scan.new_states):
            step.results.append(Result(v.shape, v.dtype, step, len(step.results)))
        for sequence, one in zip(scan.outputs, step.results):
            self.values[id(sequence)] = self._reshaped(one, self._shape(sequence.shape))
        for last, one in zip(scan.final_states, step.results[len(scan.outputs) :]):
            self.values[id(last)] = one

    def _squeezed(self, v: Value) -> Value:
        """An output without the axis of the time."""
        axis, found = self._axis(v), self._value(v)
        if axis is None:
            return found
        return self._reshaped(found, (*found.shape[:axis], *found.shape[axis + 1 :]))


def _with_one(value: Any, time: str) -> Any:
    """An expression of sizes with 1 in place of one of them."""
    if isinstance(value, Ratio):
        size = _with_one(value.size, time)
        return Ratio(value.value, size) if isinstance(size, Size) else value.value / size
    terms: dict[tuple, int] = {}
    for factor, atoms in value.terms:
        rest = []
        for atom in atoms:
            if atom == time:
                continue
            if not isinstance(atom, str) and atom.name == time:
                factor *= (1 + atom.shift) // atom.divisor
            else:
                rest.append(atom)
        terms[tuple(rest)] = terms.get(tuple(rest), 0) + factor
    kept = tuple((factor, atoms) for atoms, factor in terms.items() if factor)
    if all(not atoms for _, atoms in kept):
        return sum(factor for factor, _ in kept)
    return Size(kept)


def _sources(values: Sequence[Value]) -> list[Value]:
    """What values are computed of, at the beginning."""
    nodes = order(values, None)
    return [*values, *(a for node in nodes for a in node.operands)]


def first_states(graph: Graph, made: Stream, sizes: Mapping[str, int]) -> list[np.ndarray]:
    """The first states of a stream."""
    values = {id(v): given_array(v, sizes) for v in graph.values() if not isinstance(v, Input | StepValue)}
    run_nodes(order(made.first, None), values, sizes)
    return [values[id(v)] for v in made.first]


def _compare(graph: Graph, made: Stream, time: str) -> None:
    """Run the model as a stream and at once."""
    steps, rng = 4, np.random.default_rng(0)
    axes = [next((i for i, n in enumerate(v.shape) if str(n) == time), None) for v in graph.inputs]
    arrays = []
    for a, axis in zip(graph.example, axes):
        a = a if axis is None else np.take(a, np.arange(steps) % a.shape[axis], axis)
        arrays.append(rng.standard_normal(a.shape).astype(a.dtype) if a.dtype.kind == "f" else a)
    wanted = evaluate(graph, arrays)
    states = first_states(graph, made, graph.sizes_of(arrays))
    given = [i for i, axis in enumerate(axes) if axis is None]
    outs = [next((i for i, n in enumerate(v.shape) if str(n) == time), None) for v in graph.outputs]
    now = [*arrays]
    found: list = []
    for t in range(steps):
        xs = [a if axis is None else a.take(t, axis) for a, axis in zip(now, axes)]
        results = evaluate(made.graph, [*xs, *states])
        found, states = results[: made.outputs], results[made.outputs :]
        later = [r for r, axis in zip(found, outs) if axis is None]
        if t < steps - 1 and given and len(given) == len(later):  # states that the caller hands on
            for i, r in zip(given, later):
                now[i] = r if r.shape == now[i].shape else now[i]
        for r, whole, axis in zip(found, wanted, outs):
            part = whole.take(t, axis) if axis is not None else whole
            if (axis is not None or t == steps - 1) and not close(np.asarray(r), part, 1e-6):
                raise ExportError(
                    f"{graph.title}: it looks at several time steps at once, outside of its recurrent layers, and "
                    "cannot be run step by step"
                )
