"""The header of a model: its loops as functions, and a step or a whole sequence around them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import SCAN, Graph, Node, Parameter, Result, Value
from .arrays import Lengths, product
from .functions import Dialect
from .graph_writer import GraphWriter
from .header import USAGE, HeaderText, arguments, closed, comment, listing, opening, pointers, struct, unused
from .model import Part, begin, constants_of, least_sizes, parts_of, refuse_unknown, streams, time_axis, write_graph
from .step import StepWriter
from .weights import Weights

RUN = """\
 *     {name}_run({args});  a sequence of one row
 * It has no {name}_step, as {reason}."""
WORK = """
 * `work` is memory for {name}_work({sizes}) numbers, which the caller keeps."""


def model_header(graph: Graph, name: str, dtype: np.dtype, int8: bool) -> HeaderText:
    """The header of a model.

    Raises
    ------
    CompileError, ExportError
        If a step does not compile, or C has no rule for an operation.
    """
    constants = constants_of(graph)
    refuse_unknown(graph, constants)
    parts, reason = parts_of(graph), streams(graph, constants)
    dialect = Dialect(name, dtype)
    weights = Weights(dialect, int8)
    cells, scratch = _cells(parts, name, weights, dialect)
    writer = GraphWriter(constants, Lengths({"B": 1} if reason else {"B": 1, "T": 1}), weights, dialect)
    write_graph(writer, graph, parts, name, kept=not reason)
    widths = [s.width for p in parts for s in p.cell.program.states]
    counts = HeaderText("", 0, sum(widths) * dtype.itemsize, writer.scratch + max(scratch, default=0))
    if reason:
        functions, usage = _sequence(graph, name, dialect.real, writer, reason)
        state = ""
    else:
        functions = _stream(graph, parts, name, dialect.real, writer)
        usage = USAGE.format(name=name, args=arguments(len(graph.inputs), len(graph.outputs)))
        fields = [f"    {name}_cell{p.number}_state c{p.number};" for p in parts]
        state = "\n".join(["typedef struct {", *fields, f"}} {name}_state;"])
    counts = counts._replace(weights=weights.bytes)
    lines = [line for p in parts for line in [*listing(p.cell), ""]]
    text = [
        comment(_title(graph), usage, [*_program(graph, constants), "", *lines][:-1], counts, dialect, int8),
        opening(name, _sizes(graph, writer) if not reason else []),
        *[_state(p, name, dialect.real) for p in parts],
        state,
        weights.text(),
        dialect.functions(),
        *cells,
        functions,
    ]
    return counts._replace(text=closed(text, name))


def _title(graph: Graph) -> str:
    ins, outs = (
        ", ".join(f"({', '.join(map(str, v.shape))})" for v in values) for values in (graph.inputs, graph.outputs)
    )
    return f"{graph.title}: {ins} to {outs}, for a batch B of one."


def _sizes(graph: Graph, out: GraphWriter) -> list[tuple[str, list[int]]]:
    count = lambda values: [int(product([*map(out.length, v.shape)])) for v in values]
    return [("INPUT", count(graph.inputs)), ("OUTPUT", count(graph.outputs))]


def _state(part: Part, name: str, real: str) -> str:
    return struct(
        f"{name}_cell{part.number}_state", real, [(f"s{i}", s.width) for i, s in enumerate(part.cell.program.states)]
    )


def _cells(parts: Sequence[Part], name: str, weights: Weights, dialect: Dialect) -> tuple[list[str], list[int]]:
    """The step functions of the loops, and the bytes that each takes of the stack."""
    texts, scratch = [], []
    for p in parts:
        program = p.cell.program
        writer = StepWriter(p.cell, [f"s{i}" for i in range(len(program.states))], weights, dialect)
        body = writer.write()
        scratch.append(writer.scratch)
        parameters = ", ".join(pointers(*([dialect.real] * len(part) for part in (program.inputs, program.outputs))))
        own = f"{name}_cell{p.number}"
        texts.append(
            f"static inline void {own}({own}_state *restrict s, {parameters}) {{  /* {p.cell.title} */\n"
            f"{unused(['s', *[f'x{i}' for i in range(len(program.inputs))]])}\n{body}\n}}"
        )
    return texts, scratch


def _parameters(graph: Graph, real: str) -> list[str]:
    kind = lambda v: real if v.dtype.kind == "f" else "int32_t"
    ins = [f"const {kind(v)} *restrict x{i}" for i, v in enumerate(graph.inputs)]
    return ins + [f"{kind(v)} *restrict y{i}" for i, v in enumerate(graph.outputs)]


def _stream(graph: Graph, parts: Sequence[Part], name: str, real: str, out: GraphWriter) -> str:
    """The functions of a model that runs step by step."""
    api, parameters = f"{name.upper()}_API", ", ".join(_parameters(graph, real))
    begun = [
        line
        for p in parts
        for line in begin(out, p.scan.states, f"s->c{p.number}", [s.width for s in p.cell.program.states])
    ]
    moved = []
    for letter, values in (("x", graph.inputs), ("y", graph.outputs)):
        for i, v in enumerate(values):
            size = product([*map(out.length, v.shape)])
            moved.append(f"{letter}{i}" + (f" + t * {size}" if time_axis(v) is not None else ""))
    ins = [f"x{i}" for i in range(len(graph.inputs))]
    return "\n".join([
        f"{api} void {name}_reset({name}_state *restrict s) {{", *_indented(begun), "}", "",
        f"{api} void {name}_init({name}_state *restrict s) {{", f"    {name}_reset(s);", "}", "",
        f"{api} void {name}_step({name}_state *restrict s, {parameters}) {{",
        unused(["s", *ins]), *_indented(out.lines), "}", "",
        f"{api} void {name}_run({name}_state *restrict s, {parameters}, long T) {{",
        f"    for (long t = 0; t < T; t++) {name}_step(s, {', '.join(moved)});", "}",
    ])  # fmt: skip


def _sequence(graph: Graph, name: str, real: str, out: GraphWriter, reason: str) -> tuple[str, str]:
    """The functions of a model that needs whole sequences, and how they are called."""
    sizes = [n for n in graph.sizes if n != "B"]
    api, longs = f"{name.upper()}_API", [f"long {n}" for n in sizes]
    work = [f"{real} *restrict work"] if out.work else []
    parameters = ", ".join([*_parameters(graph, real), *longs, *work])
    ins = [f"x{i}" for i in range(len(graph.inputs))]
    lines = [f"{api} void {name}_run({parameters}) {{", unused([*ins, *sizes, *["work"] * bool(work)])]
    lines += [*_indented(out.lines), "}"]
    words = [arguments(len(graph.inputs), len(graph.outputs)), *sizes, *["work"] * bool(work)]
    usage = RUN.format(name=name, args=", ".join(words), reason=reason)
    least = [f"{n} at least {count}" for n, count in least_sizes(graph).items() if count > 1]
    usage += f"\n * Sequences have to have {' and '.join(least)}." * bool(least)
    if work:
        total = " + ".join(map(str, out.work))
        before = [f"{api} long {name}_work({', '.join(longs)}) {{", unused(sizes), f"    return {total};", "}", ""]
        lines = [*before, *lines]
        usage += WORK.format(name=name, sizes=", ".join(sizes))
    return "\n".join(lines), usage


def _indented(lines: Sequence[str]) -> list[str]:
    return ["    " + line for line in lines]


def _program(graph: Graph, constants: dict[int, np.ndarray]) -> list[str]:
    """The operations of a model, in lines."""
    names: dict[int, str] = {id(v): v.name for v in graph.inputs}
    lines = ["The model:"]

    def word(a: object) -> str:
        if not isinstance(a, Value):
            return str(a)
        if isinstance(a, Parameter):
            return a.name
        return names.get(id(a), "a constant")

    def named(node: Node, results: Sequence[Result]) -> str:
        for r in results:
            names[id(r)] = f"v{len(names) - len(graph.inputs)}"
        return ", ".join(names[id(r)] for r in results)

    for node in graph.nodes:
        if all(id(r) in constants for r in node.results):
            continue
        title = type(node.cell).__name__ if node.op is SCAN else node.op.name  # type: ignore[attr-defined]
        args = ", ".join(map(word, node.args))
        shape = ", ".join(map(str, node.results[0].shape))
        lines.append(f"    {named(node, node.results)} = {title}({args})  # ({shape})")
    return [*lines, f"    result: {', '.join(map(word, graph.outputs))}"]
