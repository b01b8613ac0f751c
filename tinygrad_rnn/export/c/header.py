"""The text of a C header: weights, state, elementary functions, a step, and a run over a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...compiler.ir.printer import Printer
from .functions import Dialect
from .step import StepWriter
from .traced import TracedCell
from .weights import Weights

NOTE = """\
 * Include it in one or more C files; it needs no library{libm}.
 *
 *     {name}_state state;
 *     {name}_init(&state);                  before the first sequence
 *     {name}_step(&state, {ins}, {outs});   one time step
 *     {name}_run(&state, {ins}, {outs}, T); T steps, whose rows lie one after the other
 *     {name}_reset(&state);                 before another sequence
 *
 * Nothing is allocated, and arguments may not overlap. Functions are static inline; define {upper}_API to change that.
 * Elementary functions are within 4 units in the last place; with {upper}_USE_LIBM defined they are the C library's.
 * Loops become vectors at -O3 without -ffast-math."""


class HeaderText(NamedTuple):
    """A header, and how many bytes it takes: of constants, of a state, of arrays on the stack."""

    text: str
    weights: int
    state: int
    scratch: int


def cell_header(cell: TracedCell, name: str, dtype: np.dtype, int8: bool) -> HeaderText:
    """The header of one cell."""
    dialect = Dialect(name, dtype)
    weights, program = Weights(dialect, int8), cell.program
    fields = [f"s{i}" for i in range(len(program.states))]
    writer = StepWriter(cell, fields, weights, dialect)
    body = writer.write()
    begin = _beginning(cell, fields, weights, dialect)
    sizes = [s.width for s in program.inputs], [s.width for s in program.outputs], [s.width for s in program.states]
    state_bytes = sum(sizes[2]) * dtype.itemsize
    text = "\n\n".join(
        part
        for part in (
            _comment(cell, name, sizes, (weights.bytes, state_bytes, writer.scratch), dialect, int8),
            _opening(name, sizes),
            _state(name, dialect.real, list(zip(fields, sizes[2]))),
            weights.text(),
            dialect.functions(),
            _functions(name, dialect.real, sizes, begin, body),
            f"#endif  /* {name.upper()}_H */\n",
        )
        if part
    )
    return HeaderText(text, weights.bytes, state_bytes, writer.scratch)


def _comment(cell: TracedCell, name: str, sizes: tuple, counts: tuple, dialect: Dialect, int8: bool) -> str:
    ins, outs = (", ".join(names) for names in (_names("in", len(sizes[0])), _names("out", len(sizes[1]))))
    libm = " (but for sine and cosine of huge numbers: -lm)" if {"sin", "cos"} & dialect.used else ""
    lines = [f"/* {cell.title}: {' and '.join(map(str, sizes[0]))} features to {' and '.join(map(str, sizes[1]))}."]
    lines.append(f" * {counts[0]} bytes of constants, {counts[1]} of state, {counts[2]} of the stack in a step;")
    lines.append(f" * numbers are {dialect.real}{', matrices int8 with a scale for each row' if int8 else ''}.")
    lines += [" *", NOTE.format(name=name, upper=name.upper(), ins=ins, outs=outs, libm=libm), " *"]
    lines.append(" * One step, of rows of features:")
    names = {s.uid: f"x{i}" for i, s in enumerate(cell.program.inputs)}
    names |= {s.uid: f"s{i}" for i, s in enumerate(cell.program.states)}
    names |= cell.hints
    program = cell.program
    printer = Printer(names)
    lines += [f" *     {line}" for line in printer.listing(program.results, [*cell.constants, *names])]
    results = [f"y{i} = {printer.name(s)}" for i, s in enumerate(program.outputs)]
    results += [f"next s{i} = {printer.name(s)}" for i, s in enumerate(program.new_states)]
    return "\n".join([*(line.replace("*/", "* /") for line in lines), f" *     {'; '.join(results)}", " */"])


def _names(kind: str, count: int) -> list[str]:
    return [kind] if count == 1 else [f"{kind}_{i}" for i in range(count)]


def _opening(name: str, sizes: tuple) -> str:
    upper = name.upper()
    lines = [f"#ifndef {upper}_H", f"#define {upper}_H", "", "#include <math.h>  /* INFINITY, NAN */"]
    lines += ["#include <stdint.h>", "#include <string.h>", "", f"#ifndef {upper}_API"]
    lines += [f"#define {upper}_API static inline", "#endif", ""]
    for kind, widths in (("INPUT", sizes[0]), ("OUTPUT", sizes[1])):
        lines += [f"#define {upper}_{n} {w}" for n, w in zip(_names(kind, len(widths)), widths)]
    return "\n".join(lines)


def _state(name: str, real: str, fields: Sequence[tuple[str, int]]) -> str:
    inside = [f"    {real} {field}[{width}];" for field, width in fields] or ["    char none;"]
    return "\n".join(["typedef struct {", *inside, f"}} {name}_state;"])


def _beginning(cell: TracedCell, fields: Sequence[str], weights: Weights, dialect: Dialect) -> list[str]:
    """Statements that set the state before the first step."""
    lines = []
    for field, row in zip(fields, cell.initial):
        value = f"{weights.vector(row, 'initial')}[j]" if row.any() else dialect.number(0.0)
        lines.append(f"    for (int j = 0; j < {row.size}; j++) s->{field}[j] = {value};")
    return lines or ["    s->none = 0;"]


def _functions(name: str, real: str, sizes: tuple, begin: list[str], body: str) -> str:
    api = f"{name.upper()}_API"
    xs, ys = ([f"{letter}{i}" for i in range(len(widths))] for letter, widths in zip("xy", sizes))
    pointers = [f"const {real} *restrict {x}" for x in xs] + [f"{real} *restrict {y}" for y in ys]
    moved = [f"{v} + t * {w}" for v, w in zip(xs + ys, sizes[0] + sizes[1])]
    unused = " ".join(f"(void){v};" for v in ["s", *xs])
    return "\n".join([
        f"{api} void {name}_reset({name}_state *restrict s) {{", *begin, "}", "",
        f"{api} void {name}_init({name}_state *restrict s) {{", f"    {name}_reset(s);", "}", "",
        f"{api} void {name}_step({name}_state *restrict s, {', '.join(pointers)}) {{", f"    {unused}", body, "}", "",
        f"{api} void {name}_run({name}_state *restrict s, {', '.join(pointers)}, long T) {{",
        f"    for (long t = 0; t < T; t++) {name}_step(s, {', '.join(moved)});", "}",
    ])  # fmt: skip
