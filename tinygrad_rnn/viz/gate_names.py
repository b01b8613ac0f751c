"""Names of a step's sigmoids and tanhs, from the lines of its source."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Sequence

MOST = 28  # letters of a call that is a name


def gate_names(gates: Sequence[tuple[str, str, str]]) -> list[str]:
    """A name for each gate of a step, in order.

    It is what is assigned, as in "n = tanh", or else the call, as in "sigmoid(f)"; where the source does not say, it is
    the operation and its number in the step. Names that come twice are numbered.

    Parameters
    ----------
    gates : sequence of (operation, "file:line", source of the line)
    """
    lines: dict[str, list[int]] = {}
    numbers: Counter[str] = Counter()
    names = []
    for i, (op, where, _) in enumerate(gates):
        lines.setdefault(where, []).append(i)
        numbers[op] += 1
        names.append(f"{op} {numbers[op]}")
    for places in lines.values():
        found = list(_calls(gates[places[0]][2]))
        if [op for op, _ in found] == [gates[i][0] for i in places]:
            for i, (_, text) in zip(places, found):
                names[i] = text if len(text) <= MOST else names[i]
    twice, again = Counter(names), Counter[str]()
    for i, name in enumerate(names):
        if twice[name] > 1:
            again[name] += 1
            names[i] = f"{name} {again[name]}"
    return names


def _calls(source: str) -> Iterator[tuple[str, str]]:
    """The sigmoids and tanhs of a line in the order in which they run: operation, and text."""
    try:
        (statement,) = ast.parse(source).body
    except (SyntaxError, ValueError):  # part of a longer statement
        return
    assigned: dict[int, str] = {}
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1 and isinstance(statement.targets[0], ast.Name):
        assigned[id(statement.value)] = statement.targets[0].id
    for call in _inside_out(statement):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        op = name.removeprefix("matmul_")
        if op in ("sigmoid", "tanh"):
            text = f"{name}({', '.join(map(ast.unparse, call.args))})"
            yield op, f"{assigned[id(call)]} = {op}" if id(call) in assigned else text


def _inside_out(node: ast.AST) -> Iterator[ast.Call]:
    """All calls below a node, arguments before the call that takes them."""
    for child in ast.iter_child_nodes(node):
        yield from _inside_out(child)
    if isinstance(node, ast.Call):
        yield node
