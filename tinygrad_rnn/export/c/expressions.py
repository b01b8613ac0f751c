"""Expressions of operations in C: trees of the language of lowerings, with operands in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...compiler.ir.lane_language import COMPARISONS, LOGIC, Apply, Input, Number, Static, Tree
from .functions import Dialect

RENAMED = {"vabs": "abs", "vfloor": "floor", "vround": "round", "vmax": "max", "vmin": "min", "vbits": "bits_of_both"}


def printed(tree: Tree, operands: Sequence[str], static: Mapping[str, Any], dialect: Dialect) -> str:
    """C for a tree; numbers are of the dialect's dtype, truth values masks with all bits set or none."""
    if isinstance(tree, Number):
        return dialect.number(tree.value)
    if isinstance(tree, Input):
        return operands[tree.position]
    if isinstance(tree, Static):
        return dialect.number(static[tree.name])
    assert isinstance(tree, Apply)
    args = [printed(a, operands, static, dialect) for a in tree.args]
    name = tree.function
    if name == "vsplat":
        return args[0]
    if name == "vselect":
        return dialect.call("select", *args)
    if name in COMPARISONS.values():
        return dialect.call("mask", f"{args[0]} {name} {args[1]}")
    if name == "~" or (name == "-" and len(args) == 1):
        return f"({name}{args[0]})"
    if name in LOGIC.values() or name in ("+", "-", "*", "/"):
        return f"({args[0]} {name} {args[1]})"
    return dialect.call(RENAMED.get(name, name), *args)
