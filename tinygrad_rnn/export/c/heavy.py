"""C for what is more than elementwise maths: products, reductions, rearrangements of features."""

from __future__ import annotations

import numpy as np

from ...compiler.ir.lane_language import reduction_code
from ...compiler.ir.symbol import Symbol
from .expressions import printed
from .places import Places

LANES = 8  # totals of a reduction that are kept side by side, as compilers do not reorder sums of floats
ROWS = 4  # of a matrix that are multiplied at a time: sums are loaded and stored once for them


def product(out: Places, products: list[Symbol], matrix: np.ndarray, hint: str) -> None:
    """A row times a matrix; `products` are ranges of its columns, side by side."""
    (height, width), row = matrix.shape, products[0].args[0]
    name = out.array(products[0], width)
    start = 0
    for p in products:
        out.place(p, f"({name} + {start})" if start else name)
        start += p.width
    if not height:
        out.add(f"for (int j = 0; j < {width}; j++) {name}[j] = {out.dialect.number(0.0)};")
        return
    w, scale = out.weights.matrix(matrix, hint)
    cast = f"({out.dialect.real})" if scale else ""
    kind = "int8_t" if scale else out.dialect.real

    def rows(first: int | str, count: int, sign: str) -> list[str]:
        lines = [f"const {kind} *w = {w}{f' + {first} * {width}' if first else ''};"]
        at = [str(first + i) if isinstance(first, int) else f"{first} + {i}" if i else first for i in range(count)]
        lines += [f"const {out.dialect.real} a{i} = {out.at(row, k)};" for i, k in enumerate(at)]
        terms = [f"a{i} * {cast}w[{f'{i * width} + ' if i else ''}j]" for i in range(count)]
        return [*lines, f"for (int j = 0; j < {width}; j++) {name}[j] {sign} {_balanced(terms)};"]

    first, rest = min(height, ROWS), (height - ROWS) % ROWS if height > ROWS else 0
    out.lines += ["{", *_indented(rows(0, first, "=")), "}"]
    if height >= 2 * ROWS:
        out.add(f"for (int k = {ROWS}; k < {height - rest}; k += {ROWS}) {{")
        out.lines += [*_indented(rows("k", ROWS, "+=")), "}"]
    if rest:
        out.lines += ["{", *_indented(rows(height - rest, rest, "+=")), "}"]
    if scale:
        out.add(f"for (int j = 0; j < {width}; j++) {name}[j] *= {scale}[j];")


def _balanced(terms: list[str]) -> str:
    """The sum of terms, in pairs."""
    while len(terms) > 1:
        terms = [f"({' + '.join(terms[i : i + 2])})" for i in range(0, len(terms), 2)]
    return terms[0]


def _indented(lines: list[str]) -> list[str]:
    return ["    " + line for line in lines]


def reduction(out: Places, s: Symbol) -> None:
    """A reduction along features, or along one axis of what they are."""
    assert s.op is not None
    code = reduction_code(s.op, s.static)
    outer, length, inner = s.static.get("along", (1, sum(a.width for a in s.args), 1))
    start = out.dialect.number(code.init)

    def combined(total: str, a: Symbol, j: str) -> str:
        each = printed(code.each.tree, [out.at(a, j)], s.static, out.dialect)
        return f"{total} = {printed(code.combine.tree, [total, each], s.static, out.dialect)};"

    def finished(total: str) -> str:
        return printed(code.finish.tree, [total], s.static, out.dialect)

    if inner > 1:
        name, total = out.array(s), f"r{s.uid}"
        out.add(f"for (int o = 0; o < {outer}; o++) {{")
        lines = [f"{out.dialect.real} {total}[{inner}];"]
        lines.append(f"for (int j = 0; j < {inner}; j++) {total}[j] = {start};")
        lines.append(f"for (int l = 0; l < {length}; l++)")
        index = f"(o * {length} + l) * {inner} + j"
        lines.append(f"    for (int j = 0; j < {inner}; j++) {combined(f'{total}[j]', s.args[0], index)}")
        lines.append(f"for (int j = 0; j < {inner}; j++) {name}[o * {inner} + j] = {finished(f'{total}[j]')};")
        out.lines += [*_indented(lines), "}"]
        return
    single = outer == 1
    total, base = f"r{s.uid}", "" if single else f"o * {length} + "
    lines = [f"{out.dialect.real} {total}[{LANES}];", f"for (int i = 0; i < {LANES}; i++) {total}[i] = {start};"]
    for a in s.args:
        width = a.width if single else length
        whole = width - width % LANES
        if whole:
            lines.append(f"for (int j = 0; j < {whole}; j += {LANES})")
            lines.append(f"    for (int i = 0; i < {LANES}; i++) {combined(f'{total}[i]', a, f'{base}j + i')}")
        if width % LANES:
            index = f"{base}{f'{whole} + ' if whole else ''}i"
            lines.append(f"for (int i = 0; i < {width % LANES}; i++) {combined(f'{total}[i]', a, index)}")
    lines.append(f"for (int n = {LANES // 2}; n > 0; n /= 2)")
    both = printed(code.combine.tree, [f"{total}[i]", f"{total}[i + n]"], s.static, out.dialect)
    lines.append(f"    for (int i = 0; i < n; i++) {total}[i] = {both};")
    if single:
        out.place(s, "", number=True)
        out.add(f"{out.kind(s)} t{s.uid};")
        out.lines += ["{", *_indented([*lines, f"t{s.uid} = {finished(f'{total}[0]')};"]), "}"]
        return
    name = out.array(s)
    out.add(f"for (int o = 0; o < {outer}; o++) {{")
    out.lines += [*_indented([*lines, f"{name}[o] = {finished(f'{total}[0]')};"]), "}"]


def expansion(out: Places, s: Symbol) -> None:
    """Features repeated along the axes that their value does not have."""
    dims, name, depth = s.static["dims"], out.array(s), ""
    to, start = "", ""
    for i, (n, has) in enumerate(dims):
        out.add(f"{depth}for (int i{i} = 0; i{i} < {n}; i{i}++)")
        depth += "    "
        to = f"({to}) * {n} + i{i}" if to else f"i{i}"
        if has:
            start = f"({start}) * {n} + i{i}" if start else f"i{i}"
    out.add(f"{depth}{name}[{to}] = {out.at(s.args[0], start or '0')};")


def picks(out: Places, s: Symbol) -> None:
    """Features by constant numbers, of which -1 stands for zero."""
    numbers, name = s.static["table"].numbers, out.array(s)
    at = f"{out.weights.table(numbers, 'table')}[j]"
    value = out.at(s.args[0], at)
    if (numbers < 0).any():
        zero = "0" if s.dtype.kind == "b" else out.dialect.number(0.0)
        value = f"{at} < 0 ? {zero} : {value}"
    out.add(f"for (int j = 0; j < {s.width}; j++) {name}[j] = {value};")


def concatenation(out: Places, s: Symbol) -> None:
    """Values side by side in one array."""
    name, start = out.array(s), 0
    for a in s.args:
        out.add(f"for (int j = 0; j < {a.width}; j++) {name}[{f'{start} + ' if start else ''}j] = {out.at(a, 'j')};")
        start += a.width
