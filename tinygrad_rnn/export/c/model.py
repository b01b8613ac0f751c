"""A whole model in C: its loops, what is around them, and whether it runs step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...core import tree
from ...errors import ExportError
from ..evaluate import given_array, run_nodes
from ..graph import SCAN, Graph, Input, Node, Parameter, Scan, Value
from ..sizes import Size, at, named
from ..streaming import stream
from .arrays import Array, Length, packed, product, row_strides
from .graph_writer import GraphWriter
from .operations import rule_of, write
from .traced import TracedCell, trace_cell


class Part(NamedTuple):
    """A loop of a model: its node, the program of its cell, and the number in its names."""

    scan: Scan
    cell: TracedCell
    number: int


def parts_of(graph: Graph) -> list[Part]:
    """The loops of a model, with the programs of their cells.

    Raises
    ------
    CompileError, ExportError
        For a cell that does not compile, or cannot be traced.
    """
    found: list[Part] = []
    for scan in graph.scans():
        rows = []
        for v in scan.inputs:
            row = [n for n in v.shape[2:] if isinstance(n, int)]
            if len(row) < len(v.shape) - 2 or not _is_row(scan.batch):
                raise ExportError(
                    f"{type(scan.cell).__name__}: got inputs of shape ({', '.join(map(str, v.shape))}), wanted a batch "
                    "of any size; pass an example whose batch has another length than its other axes"
                )
            rows.append(np.zeros((1, *row), v.dtype))
        example = tree.unflatten(scan.input_structure, rows)
        found.append(Part(scan, trace_cell(scan.cell, example), len(found)))
    return found


def _is_row(batch: int | Size) -> bool:
    return batch == 1 if isinstance(batch, int) else batch.names <= {"B"} and batch.at({"B": 1}) == 1


def constants_of(graph: Graph) -> dict[int, np.ndarray]:
    """The values that no call changes, by id: computed of parameters alone."""
    values: dict[int, Any] = {}
    for v in graph.values():
        if not isinstance(v, Input):
            try:
                values[id(v)] = given_array(v, {"B": 1})
            except KeyError:  # of another size
                continue
    for node in graph.nodes:
        if isinstance(node, Scan) or not all(id(a) in values for a in node.operands):
            continue
        try:
            run_nodes([node], values, {"B": 1})
        except KeyError:
            continue
    return values


def refuse_unknown(graph: Graph, constants: Mapping[int, np.ndarray]) -> None:
    """Raise an error that lists all operations that C has no rule for."""
    unknown = [
        n for n in graph.nodes if not isinstance(n, Scan) and rule_of(n.op) is None and not _is_known(n, constants)
    ]
    if unknown:
        words = sorted({f"{n.op.name} at {n.where}" for n in unknown})
        raise ExportError(f"{graph.title}: C has no such operations: {'; '.join(words)}")


def _is_known(node: Node, constants: Mapping[int, np.ndarray]) -> bool:
    return all(id(r) in constants for r in node.results)


def least_sizes(graph: Graph) -> dict[str, int]:
    """The least of each size but the batch with which all values have the shapes that were traced.

    A model that takes the last two steps, say, makes another shape of one step alone, for which the file is not made.
    """
    whole = graph.sizes_of(graph.example)
    return {
        name: next((n for n in range(1, whole[name]) if _has_shapes(graph, name, n)), whole[name])
        for name in whole
        if name != "B"
    }


def _has_shapes(graph: Graph, name: str, n: int) -> bool:
    """Whether the example, with one of its sizes changed, gives the shapes of the graph."""
    arrays = []
    for v, a in zip(graph.inputs, graph.example):
        for axis in [i for i, length in enumerate(v.shape) if length == named(name)]:
            a = np.take(a, np.arange(n) % a.shape[axis], axis)
        arrays.append(np.minimum(a, n) if a.dtype.kind in "iu" else a)  # lengths and places may be no larger
    sizes = graph.sizes_of(arrays)
    values: dict[int, Any] = {id(v): a for v, a in zip(graph.inputs, arrays)}
    values |= {id(v): given_array(v, sizes) for v in graph.values() if id(v) not in values}
    try:
        with np.errstate(all="ignore"):
            run_nodes(graph.nodes, values, sizes)
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return False
    return all(values[id(r)].shape == at(r.shape, sizes) for node in graph.nodes for r in node.results)


# ---- step by step


def streams(graph: Graph, constants: Mapping[int, np.ndarray]) -> str:
    """The reason why a model does not run step by step; empty if it does."""
    if any(id(v) not in constants for scan in graph.scans() for v in scan.states):
        return "a state begins with what a call computes"
    try:
        stream(graph)
    except ExportError as error:
        return str(error).removeprefix(f"{graph.title}: ")
    if set(graph.sizes) - {"B"} != {"T"} or any(time_axis(v) is None for v in graph.inputs):
        return "its inputs have other sizes than batch and time"
    if not all(_leads(v) for v in (*graph.inputs, *graph.outputs)):
        return "an input or an output has other axes before its time"
    return ""


def _leads(value: Value) -> bool:
    """Whether the steps of a value lie one after the other."""
    axis = time_axis(value)
    return axis is None or all(_is_row(n) for n in value.shape[:axis])


def time_axis(value: Value) -> int | None:
    """The axis of a value that is the time."""
    return next((i for i, n in enumerate(value.shape) if n == named("T")), None)


# ---- statements


def write_loop(out: GraphWriter, part: Part, name: str, kept: bool) -> None:
    """A recurrent layer; its state is `kept` in ``s``, or begins anew."""
    scan, cell, length, real = part.scan, part.cell, out.length, out.dialect.real
    time = length(scan.time)
    sequences = [_by_step(out, out.of(v)) for v in scan.inputs]
    ys = [out.new([*map(length, r.shape)]) for r in scan.outputs]
    state = f"s->c{part.number}" if kept else f"c{part.number}"
    widths = [s.width for s in cell.program.states]
    if not kept:
        out.lines.append(f"{name}_cell{part.number}_state {state};")
        out.lines += begin(out, scan.states, state, widths)
    at = lambda t: [t, 0] if not scan.batch_first else [0, t]
    steps = {key: out.of(v) for key, v in scan.steps.items()}
    lines = [f"const long t = {time} - 1 - k;"] if scan.reverse else []
    t = "t" if scan.reverse else "k"
    lines += _resets(out, scan, steps, state, widths, time, t, at)
    pointers = [a.address([*at(t), *[0] * (len(a.shape) - 2)]) for a in (*sequences, *ys)]
    call = f"{name}_cell{part.number}({', '.join([f'&{state}', *pointers])});"
    tests = []
    if "lengths" in steps:
        tests.append(f"({real}){t} < {steps['lengths'].at([0])}")
    if "mask" in steps:
        tests.append(f"{steps['mask'].at(at(t))} != {out.dialect.number(0.0)}")
    if tests:
        zeros = [
            f"    for (long j = 0; j < {product(y.shape[2:])}; j++) ({pointer})[j] = {out.dialect.number(0.0)};"
            for y, pointer in zip(ys, pointers[len(sequences) :])
        ]
        lines += [f"if ({' && '.join(tests)}) {{", f"    {call}", "} else {", *zeros, "}"]
    else:
        lines.append(call)
    out.lines += [f"for (long k = 0; k < {time}; k++) {{", *["    " + line for line in lines], "}"]
    for r, y in zip(scan.outputs, ys):
        out.arrays[id(r)] = y
    for i, r in enumerate(scan.final_states):
        out.arrays[id(r)] = packed([*map(length, r.shape)], f"{state}.s{i}")


def _by_step(out: GraphWriter, x: Array) -> Array:
    """A sequence whose rows lie in memory one by one."""
    rows = x.base and x.text == "{}" and x.strides[2:] == row_strides(x.shape)[2:]
    return x if rows else out.filled(x.shape, x.at)


def begin(out: GraphWriter, states: Sequence[Value], state: str, widths: Sequence[int]) -> list[str]:
    """Set a state to the first one."""
    lines = []
    for i, (v, width) in enumerate(zip(states, widths)):
        row = out.reshape(out.of(v), (width,))
        lines.append(f"for (long j = 0; j < {width}; j++) {state}.s{i}[j] = {row.at(['j'])};")
    return lines or [f"{state}.none = 0;"]


def _resets(
    out: GraphWriter,
    scan: Scan,
    steps: dict[str, Array],
    state: str,
    widths: Sequence[int],
    time: Length,
    t: str,
    at: Any,
) -> list[str]:
    """Set the state anew before the steps that say so; backwards, a cut before a step is one after it."""
    if "resets" not in steps:
        return []
    cut = f"({t} + 1)" if scan.reverse else t
    tests = [f"{cut} < {time}"] if scan.reverse else []
    tests.append(f"{steps['resets'].at(at(cut))} != {out.dialect.number(0.0)}")
    if "lengths" in steps:
        tests.append(f"({out.dialect.real}){cut} < {steps['lengths'].at([0])}")
    begun = begin(out, scan.reset_states or scan.states, state, widths)
    return [f"if ({' && '.join(tests)}) {{", *["    " + line for line in begun], "}"]


def write_graph(out: GraphWriter, graph: Graph, parts: Sequence[Part], name: str, kept: bool) -> None:
    """All operations, from the inputs ``x0``, ... to the outputs ``y0``, ..."""
    real = out.dialect.real
    for i, v in enumerate(graph.inputs):
        text = "{}" if v.dtype.kind == "f" else f"({real}){{}}"
        out.arrays[id(v)] = packed([*map(out.length, v.shape)], f"x{i}", text)
    loops = {id(p.scan): p for p in parts}
    for node in graph.nodes:
        if node.op is SCAN:
            write_loop(out, loops[id(node)], name, kept)
        elif not _is_known(node, out.constants):
            write(out, node)
    for i, y in enumerate(graph.outputs):
        array = out.of(y)
        size, whole = product(array.shape), y.dtype.kind != "f"
        flat = out.reshape(array, (size,))
        text = out.dialect.call("whole", flat.at(["j"])) if whole else flat.at(["j"])
        out.lines.append(f"for (long j = 0; j < {size}; j++) y{i}[j] = {text};")


def rounded(graph: Graph, quantise: Any) -> dict[int, np.ndarray]:
    """The matrices of products as integers of a byte have them, by the ids of parameters."""
    tables = {id(n.args[0]) for n in graph.all_nodes() if n.op.name == "embedding" and n.operands}
    found = {}
    for v in graph.values():
        if isinstance(v, Parameter) and v.array.ndim == 2 and min(v.array.shape) > 1 and id(v) not in tables:
            whole, scale = quantise(v.array.T)
            found[id(v)] = (whole * scale).T.astype(v.array.dtype)
    return found
