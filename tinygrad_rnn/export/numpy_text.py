"""Small questions of text that the writer of NumPy files asks of a graph."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..core import tree
from ..core.tree import Structure
from .graph import Constant, Node, Parameter, Scan, Value
from .numpy_table import setting
from .sizes import Ratio, Size


def reads(node: Node) -> Sequence[Value]:
    """The arguments of an operation; of a loop also what its steps take from before it."""
    return [*node.operands, *node.invariants] if isinstance(node, Scan) else node.operands


def is_constant(node: Node, known: set[int]) -> bool:
    """Whether a node is computed of weights and numbers alone."""
    operands = all(isinstance(a, Parameter | Constant) or id(a) in known for a in node.operands)
    return operands and not any(map(has_size, (*node.args, node.static, *[r.shape for r in node.results])))


def has_size(value: Any) -> bool:
    """Whether there is an expression of sizes in a setting."""
    if isinstance(value, Size | Ratio):
        return True
    if isinstance(value, slice):
        return has_size((value.start, value.stop, value.step))
    if isinstance(value, dict):
        return has_size(tuple(value.values()))
    return isinstance(value, tuple | list) and any(map(has_size, value))


def describe(value: Value) -> str:
    """The kind of an array in words: ``float32 (T, B, 3)``."""
    return f"{value.dtype} {setting(value.shape)}"


def one_line(module: Any) -> str:
    """A module as it shows itself, if that is one line; else its class."""
    text = repr(module)
    awkward = len(text) > 80 or any(c in text for c in '\n"\\')  # it becomes part of a docstring
    return plain(type(module).__name__) if awkward else text


def plain(name: str) -> str:
    """A name as comments and docstrings can hold it."""
    return "".join(c if c.isprintable() and c not in '"\\' else "?" for c in name)


def mentions(text: str, name: str) -> bool:
    """Whether a name stands in the text of an expression."""
    return re.search(rf"(?<![.\w]){name}\b", text) is not None


def bare(code: str) -> str:
    """A tuple without its brackets."""
    return code[1:-1] if code.endswith(")") and len(code) > 2 else code


def nest(structure: Structure, codes: Sequence[str]) -> str:
    """The text of a nest of expressions."""
    if structure is tree.LEAF:
        return codes[0]
    return _nest(structure, iter(codes))


def _nest(structure: Structure, codes: Any) -> str:
    if structure is tree.LEAF:
        return next(codes)
    kind, keys, items = structure
    if kind is type(None):
        return "None"
    parts = [_nest(item, codes) for item in items]
    if keys is not None:
        return "{" + ", ".join(f"{key!r}: {part}" for key, part in zip(keys, parts)) + "}"
    text = ", ".join(parts)
    return f"[{text}]" if kind is list else f"({text}{',' * (len(parts) == 1)})"
