"""Names for values, as the model's own code has them."""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import textwrap
from typing import Any


def targets_at(where: str) -> tuple[str, ...]:
    """The names that the statement at "file:line" assigns to; () if there are none."""
    path, _, line = where.rpartition(":")
    if not path or not line.isdigit():
        return ()
    statement = _statements(path).get(int(line))
    if isinstance(statement, ast.AugAssign | ast.AnnAssign):
        return _names(statement.target)
    return _names(statement.targets[-1]) if isinstance(statement, ast.Assign) else ()


def value_is_tuple(where: str) -> bool:
    """Whether the statement assigns a tuple written out, ``a, b = x, y``."""
    path, _, line = where.rpartition(":")
    statement = _statements(path).get(int(line)) if line.isdigit() else None
    return isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Tuple)


def step_names(cell: Any, inputs: int, states: int) -> tuple[list[str], list[str]]:
    """Names of inputs and states in a cell's step: its parameters, or what it unpacks these to."""
    xs = ["x"] if inputs == 1 else [f"x_{i}" for i in range(inputs)]
    hs = [f"state_{i}" for i in range(states)] if states > 1 else ["state"]
    try:
        function = ast.parse(textwrap.dedent(inspect.getsource(type(cell).step))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        return xs, hs
    if not isinstance(function, ast.FunctionDef) or len(function.args.args) < 3:
        return xs, hs
    first, second = (a.arg for a in function.args.args[1:3])
    unpacked: dict[str, tuple[str, ...]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
            unpacked.setdefault(node.value.id, _names(node.targets[0]))
    for given, found, name in ((inputs, xs, first), (states, hs, second)):
        names = (name,) if given == 1 else unpacked.get(name, ())
        if len(names) == given == len(set(names)):
            found[:] = names
    return xs, hs


def _names(target: ast.expr) -> tuple[str, ...]:
    """The names in a target; () if there is something else in it."""
    if isinstance(target, ast.Name):
        return (target.id,)
    if not isinstance(target, ast.Tuple | ast.List):
        return ()
    parts = [_names(item) for item in target.elts]
    return tuple(name for part in parts for name in part) if all(parts) else ()


@functools.lru_cache(maxsize=64)
def _statements(path: str) -> dict[int, ast.stmt]:
    """By line, the innermost statement there."""
    try:
        module = ast.parse("".join(linecache.getlines(path)))
    except (SyntaxError, ValueError):
        return {}
    found: dict[int, ast.stmt] = {}
    functions = [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef)]
    for node in [inner for function in functions for inner in ast.walk(function)]:  # outer ones first
        if isinstance(node, ast.stmt):
            for line in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                found[line] = node
    return found
