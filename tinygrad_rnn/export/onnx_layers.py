"""Recurrent layers in ONNX: RNN, LSTM and GRU, and for other cells Scan with the step as its body."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..recurrent.cells import GRUCell, LSTMCell, RNNCell
from ..recurrent.layers.cell_wrapper import LearnedInitialState
from .graph import Graph, Node, Parameter, Result, Scan, Step, Value
from .onnx_builder import Builder
from .onnx_indexing import slices

Body = Callable[[Builder, Sequence[Node]], None]  # adds the nodes of operations
ACTIVATIONS = {"tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid"}
# of the blocks of our weights, which ONNX has in this order: i o f c of i f g o, and z r h of r z n
ORDERS = {RNNCell: [0], LSTMCell: [0, 3, 1, 2], GRUCell: [1, 0, 2]}


# ---- the standard operators


def is_standard(graph: Graph, scan: Scan) -> bool:
    """Whether a layer is one of ONNX's own, with its own weights, and nothing that ONNX does not know.

    In float64 it is none: onnxruntime has these operators in float32 alone.
    """
    cell = _inner(scan)
    if scan.inputs[0].dtype != np.float32:
        return False
    if type(cell) not in ORDERS or set(scan.steps) - {"lengths"} or getattr(cell, "weight_hr", None) is not None:
        return False
    weights = [getattr(cell, name) for name in ("weight_ih", "weight_hh", *cell.biases)]
    wanted = {graph.names.get(id(w)) for w in weights if w is not None}
    return {v.name for v in _leaves(scan) if isinstance(v, Parameter)} == wanted


def _inner(scan: Scan) -> Any:
    """The cell, without what is around it for its first state."""
    return scan.cell.cell if type(scan.cell) is LearnedInitialState else scan.cell


def _leaves(scan: Scan) -> list[Value]:
    """What the steps read of the model, traced back to weights."""
    found, waiting = [], list(scan.invariants)
    while waiting:
        v = waiting.pop()
        if isinstance(v, Result):
            waiting += v.node.operands
        else:
            found.append(v)
    return found


def standard(b: Builder, scan: Scan) -> None:
    """Add a layer as RNN, LSTM or GRU."""
    cell = _inner(scan)
    x = b.name(scan.inputs[0])
    x = b.node("Transpose", [x], perm=[1, 0, 2]) if scan.batch_first else x
    weights = [_blocks(cell, cell.weight_ih), _blocks(cell, cell.weight_hh)]
    names = [b.initialiser(w[None], f"{b.place}/{letter}") for w, letter in zip(weights, "WR")]
    bias = ""
    if cell.bias_ih is not None:
        both = np.concatenate([_blocks(cell, cell.bias_ih), _blocks(cell, cell.bias_hh)])
        bias = b.initialiser(both[None], f"{b.place}/B")
    lengths = b.cast(b.name(scan.steps["lengths"]), np.int32) if scan.steps else ""
    first = [b.node("Unsqueeze", [b.name(s), b.integers([0])]) for s in scan.states]
    options: dict[str, Any] = {"hidden_size": cell.hidden_size, "direction": "reverse" if scan.reverse else "forward"}
    if type(cell) is RNNCell:
        options["activations"] = [ACTIVATIONS[cell.nonlinearity]]
    if type(cell) is GRUCell:
        options["linear_before_reset"] = int(cell.reset_after)
    kind = type(cell).__name__.removesuffix("Cell")
    y, *finals = b.node(kind, [x, *names, bias, lengths, *first], outputs=1 + len(first), **options)
    y = b.node("Squeeze", [y, b.integers([1])])
    b.bind(scan.outputs[0], b.node("Transpose", [y], perm=[1, 0, 2]) if scan.batch_first else y)
    for result, name, begun in zip(scan.final_states, finals, first):
        if lengths:  # rows without a step keep their first state
            none = b.node("Equal", [lengths, b.constant(0, np.int32)])
            name = b.node("Where", [b.node("Unsqueeze", [none, b.integers([1])]), begun, name])
        b.bind(result, b.node("Squeeze", [name, b.integers([0])]))


def _blocks(cell: Any, tensor: Any) -> np.ndarray:
    """Weights with their blocks in ONNX's order."""
    order = ORDERS[type(cell)]
    parts = np.split(tensor.data, len(order))
    return np.concatenate([parts[i] for i in order])


# ---- any cell


def scan_of(b: Builder, scan: Scan, write: Body) -> None:
    """Add a layer as Scan."""
    axis, extra = 1 - scan.batch_axis, _steps(b, scan)
    first, renewed = [b.name(s) for s in scan.states], [b.name(s) for s in scan.reset_states or scan.states]
    for v in scan.invariants:
        b.name(v)  # what is made at the first use is made outside
    outer, b.nodes = b.nodes, []
    states = [b.fresh(f"{b.place}/state") for _ in scan.step_states]
    xs = [b.bind(v, b.fresh(f"{b.place}/x")) for v in scan.step_inputs]
    flags = {name: b.fresh(f"{b.place}/{name}") for name in extra}
    given = [b.info(n, v.shape, v.dtype) for n, v in zip([*states, *xs], [*scan.step_states, *scan.step_inputs])]
    given += [b.info(n, (scan.batch,), bool) for n in flags.values()]
    now = [*states]
    if "resets" in flags:
        now = [_rows(b, flags["resets"], r, s, v) for r, s, v in zip(renewed, states, scan.step_states)]
    for v, name in zip(scan.step_states, now):
        b.bind(v, name)
    write(b, scan.body)
    results = [b.name(v) for v in (*scan.new_states, *scan.step_outputs)]
    n = len(scan.new_states)
    if "valid" in flags:
        kept = [*now, *(b.constant(0, v.dtype) for v in scan.step_outputs)]
        values = [*scan.new_states, *scan.step_outputs]
        results = [_rows(b, flags["valid"], r, k, v) for r, k, v in zip(results, kept, values)]
    results = [b.node("Identity", [name]) for name in results]  # each a name of its own, made in the body
    shapes = [*scan.step_states, *scan.step_outputs]
    ends = [b.info(name, v.shape, v.dtype) for name, v in zip(results, shapes)]
    body = b.onnx.helper.make_graph(b.nodes, b.fresh(f"{b.place}/step"), given, ends)
    b.nodes = outer
    way, m, k = int(scan.reverse), len(xs) + len(flags), len(scan.step_outputs)
    options: dict[str, Any] = {"body": body, "num_scan_inputs": m}
    if axis:
        options["scan_input_axes"] = [axis] * len(xs) + [0] * len(flags)
        options["scan_output_axes"] = [axis] * k
    if way:
        options["scan_input_directions"], options["scan_output_directions"] = [1] * m, [1] * k
    inputs = [*first, *(b.name(v) for v in scan.inputs), *extra.values()]
    found = b.node("Scan", inputs, outputs=n + k, **{key: v for key, v in options.items() if v != []})
    found = [found] if n + k == 1 else found
    for result, name in zip([*scan.final_states, *scan.outputs], found):
        b.bind(result, name)


def _steps(b: Builder, scan: Scan) -> dict[str, str]:
    """What says which steps count, and before which rows are reset: (T, B), in the order of time."""
    turned = lambda name: b.node("Transpose", [name], perm=[1, 0]) if scan.batch_first else name
    found: dict[str, str] = {}
    if "lengths" in scan.steps:
        numbers = b.node("Range", [b.size(0), b.size(scan.time), b.size(1)])
        lengths = b.cast(b.name(scan.steps["lengths"]), np.int64)
        found["valid"] = b.node("Less", [b.node("Unsqueeze", [numbers, b.integers([1])]), lengths])
    if "resets" in scan.steps:
        resets = turned(b.name(scan.steps["resets"]))
        resets = b.node("And", [resets, found["valid"]]) if found else resets
        if scan.reverse:  # a cut before step t is, backwards, one before step t - 1
            none = b.node("And", [slices(b, resets, {0: slice(0, 1)}), b.constant(False, bool)])
            resets = b.node("Concat", [slices(b, resets, {0: slice(1, None)}), none], axis=0)
    if "mask" in scan.steps:
        mask = turned(b.name(scan.steps["mask"]))
        found["valid"] = b.node("And", [found["valid"], mask]) if found else mask
    if "resets" in scan.steps:
        found["resets"] = resets
    return found


def _rows(b: Builder, condition: str, one: str, other: str, like: Value) -> str:
    """`one` in the rows where a condition (B,) holds, else `other`."""
    axes = list(range(1, len(like.shape)))
    wide = b.node("Unsqueeze", [condition, b.integers(axes)]) if axes else condition
    return b.node("Where", [wide, one, other])


def step_of(b: Builder, step: Step, write: Body) -> None:
    """Add one time step of a layer: its body, in place."""
    for v in (*step.scan.step_inputs, *step.scan.step_states, *step.scan.invariants):
        b.bind(v, b.name(step.replaced[id(v)]))
    write(b, step.scan.body)
    for result, v in zip(step.results, (*step.scan.step_outputs, *step.scan.new_states)):
        b.bind(result, b.name(v))
