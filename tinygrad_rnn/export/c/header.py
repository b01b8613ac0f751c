"""The text of a C header: weights, state, elementary functions, a step, and a run over a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...compiler.ir.printer import Printer
from ...compiler.ir.program_ops import LOOKUP
from .functions import Dialect
from .step import StepWriter
from .traced import TracedCell
from .weights import Weights

NOTE = """\
 * Nothing is allocated, and arguments may not overlap. Functions are static inline; define {upper}_API to change that.
 * Elementary functions are within 4 units in the last place; with {upper}_USE_LIBM defined they are the C library's.
 * Loops become vectors at -O3 without -ffast-math."""
USAGE = """\
 *     {name}_state state;
 *     {name}_init(&state);  before the first sequence
 *     {name}_step(&state, {args});  one time step
 *     {name}_run(&state, {args}, T);  T steps, whose rows lie one after the other
 *     {name}_reset(&state);  before another sequence"""

INTEGERS = """
 * Integers are whole numbers of the state and of the program{which}. Those that numbers
 * cannot hold exactly count as 0, and so does an index for which its table has no row."""


class HeaderText(NamedTuple):
    """A header, and how many bytes it takes: of constants, of a state, of arrays on the stack."""

    text: str
    weights: int
    state: int
    scratch: int


def cell_header(cell: TracedCell, name: str, dtype: np.dtype, int8: bool) -> HeaderText:
    """The header of one cell."""
    dialect, program = Dialect(name, dtype), cell.program
    weights = Weights(dialect, int8)
    fields = [f"s{i}" for i in range(len(program.states))]
    kinds = [["int32_t" if whole else dialect.real for whole in part] for part in cell.whole]
    integers = [f"{letter}{i}" for letter, part in zip("xy", cell.whole) for i, whole in enumerate(part) if whole]
    writer = StepWriter(cell, fields, weights, dialect, integers)
    body = writer.write()
    begin = _beginning(cell, fields, weights, dialect)
    ins, outs, states = ([s.width for s in part] for part in (program.inputs, program.outputs, program.states))
    args = arguments(len(ins), len(outs))
    counts = HeaderText("", weights.bytes, sum(states) * dtype.itemsize, writer.scratch)
    title = f"{cell.title}: {' and '.join(map(str, ins))} features to {' and '.join(map(str, outs))}."
    parts = [
        comment(title, USAGE.format(name=name, args=args) + _integers(cell), listing(cell), counts, dialect, int8),
        opening(name, [("INPUT", ins), ("OUTPUT", outs)]),
        struct(f"{name}_state", dialect.real, list(zip(fields, states))),
        weights.text(),
        dialect.functions(),
        _functions(name, pointers(*kinds), ins, outs, begin, body),
    ]
    return counts._replace(text=closed(parts, name))


def _integers(cell: TracedCell) -> str:
    """Lines about the integers of a cell, if there are any."""
    args = [n for kind, part in zip(("in", "out"), cell.whole) for n, w in zip(named(kind, len(part)), part) if w]
    looks_up = any(s.op is LOOKUP for s in cell.program.expressions.values())
    if not args and not looks_up and not cell.program.cast_results:
        return ""
    return INTEGERS.format(which=f"; {' and '.join(args)} are of int32_t" if args else "")


def closed(parts: Sequence[str], name: str) -> str:
    """The whole text."""
    return "\n\n".join([*filter(None, parts), f"#endif  /* {name.upper()}_H */"]) + "\n"


def comment(title: str, usage: str, lines: Sequence[str], counts: HeaderText, dialect: Dialect, int8: bool) -> str:
    """The comment at the beginning: sizes, how to call it, and the program."""
    name = dialect.prefix
    libm = " (but for sine and cosine of huge numbers: -lm)" if {"sin", "cos"} & dialect.used else ""
    return "\n".join([
        f"/* {title}".replace("*/", "* /"),
        f" * {counts.weights} bytes of constants, {counts.state} of state, {counts.scratch} of the stack in a call;",
        f" * numbers are {dialect.real}{', matrices int8 with a scale for each row' if int8 else ''}.",
        " *",
        f" * Include it in one or more C files; it needs no library{libm}.",
        " *", usage, " *",
        NOTE.format(upper=name.upper()),
        " *",
        *[f" * {line}".replace("*/", "* /").replace("/*", "/ *").rstrip() for line in lines],
        " */",
    ])  # fmt: skip


def listing(cell: TracedCell) -> list[str]:
    """The program of a step, in lines."""
    program = cell.program
    names = {s.uid: f"x{i}" for i, s in enumerate(program.inputs)}
    names |= {s.uid: f"s{i}" for i, s in enumerate(program.states)}
    printer = Printer(names | cell.hints)
    results = [f"y{i} = {printer.name(s)}" for i, s in enumerate(program.outputs)]
    results += [f"next s{i} = {printer.name(s)}" for i, s in enumerate(program.new_states)]
    lines = printer.listing(program.results, [*cell.constants, *names])
    return [
        f"One step of {cell.title}, of rows of features:",
        *[f"    {line}" for line in [*lines, "; ".join(results)]],
    ]


def named(kind: str, count: int) -> list[str]:
    """A name for each of several."""
    return [kind] if count == 1 else [f"{kind}_{i}" for i in range(count)]


def arguments(inputs: int, outputs: int) -> str:
    """The inputs and outputs in a call."""
    return ", ".join([*named("in", inputs), *named("out", outputs)])


def opening(name: str, sizes: Sequence[tuple[str, Sequence[int]]]) -> str:
    """The guard, the includes, and the sizes as macros."""
    upper = name.upper()
    lines = [f"#ifndef {upper}_H", f"#define {upper}_H", "", "#include <math.h>  /* INFINITY, NAN */"]
    lines += ["#include <stdint.h>", "#include <string.h>", "", f"#ifndef {upper}_API"]
    lines += [f"#define {upper}_API static inline", "#endif"]
    defines = [f"#define {upper}_{n} {w}" for kind, widths in sizes for n, w in zip(named(kind, len(widths)), widths)]
    return "\n".join([*lines, *([""] * bool(defines)), *defines])


def struct(name: str, real: str, fields: Sequence[tuple[str, int]]) -> str:
    """A type for a state."""
    inside = [f"    {real} {field}[{width}];" for field, width in fields] or ["    char none;"]
    return "\n".join(["typedef struct {", *inside, f"}} {name};"])


def _beginning(cell: TracedCell, fields: Sequence[str], weights: Weights, dialect: Dialect) -> list[str]:
    """Statements that set the state before the first step."""
    lines = []
    for field, row in zip(fields, cell.initial):
        value = f"{weights.vector(row, 'initial')}[j]" if row.any() else dialect.number(0.0)
        lines.append(f"    for (int j = 0; j < {row.size}; j++) s->{field}[j] = {value};")
    return lines or ["    s->none = 0;"]


def pointers(inputs: Sequence[str], outputs: Sequence[str]) -> list[str]:
    """Parameters for the inputs and outputs of a step, of these types."""
    ins = [f"const {kind} *restrict x{i}" for i, kind in enumerate(inputs)]
    return ins + [f"{kind} *restrict y{i}" for i, kind in enumerate(outputs)]


def unused(names: Sequence[str]) -> str:
    """A statement that keeps compilers from warning of parameters that nothing reads."""
    return "    " + " ".join(f"(void){name};" for name in names)


def _functions(
    name: str, pointers: Sequence[str], ins: Sequence[int], outs: Sequence[int], begin: Sequence[str], body: str
) -> str:
    api, parameters = f"{name.upper()}_API", ", ".join(pointers)
    moved = [f"x{i} + t * {w}" for i, w in enumerate(ins)] + [f"y{i} + t * {w}" for i, w in enumerate(outs)]
    return "\n".join([
        f"{api} void {name}_reset({name}_state *restrict s) {{", *begin, "}", "",
        f"{api} void {name}_init({name}_state *restrict s) {{", f"    {name}_reset(s);", "}", "",
        f"{api} void {name}_step({name}_state *restrict s, {parameters}) {{",
        unused(["s", *[f"x{i}" for i in range(len(ins))]]), body, "}", "",
        f"{api} void {name}_run({name}_state *restrict s, {parameters}, long T) {{",
        f"    for (long t = 0; t < T; t++) {name}_step(s, {', '.join(moved)});", "}",
    ])  # fmt: skip
