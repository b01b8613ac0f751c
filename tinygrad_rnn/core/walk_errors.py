"""Errors of the backward walk: which node, what it got, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import DTypeError, GraphError, ShapeError
from .node import Node


def freed(node: Node) -> GraphError:
    """The error for a walk over what an earlier walk has released."""
    return GraphError(
        f"backward: the graph behind {node.name} was freed by an earlier walk; pass retain_graph=True to that one"
    )


def unfit(node: Node, rules: Sequence, rule: Any, new: Any, parent: Any) -> Exception:
    """The error for a cotangent of wrong type, dtype or shape that a rule returned for `parent`."""
    i = next(i for i, r in enumerate(rules) if r is rule)
    place = f"as input {i} of {node.name}"
    if not hasattr(new, "dtype") or not hasattr(new, "shape"):
        return DTypeError(f"vjp: a rule returned {type(new).__name__}, wanted an array {place}")
    if new.dtype != parent.dtype:
        return DTypeError(f"vjp: a rule returned {new.dtype}, wanted {parent.dtype} {place}")
    return ShapeError(f"vjp: a rule returned shape {tuple(new.shape)}, wanted {parent.shape} {place}")


def overwritten(node: Node) -> GraphError:
    """The error for a saved value that was written to in place; says which one."""
    i = next(i for i, c in enumerate(node.counters) if c is not None and c[0] > node.seq)
    inputs = node.args or ()
    what = f"its input {i}, of shape {tuple(inputs[i].shape)}" if i < len(inputs) else "its result"
    of = "" if node.shape is None else f" (shape {node.shape})"  # an operation with several results has several
    return GraphError(
        f"backward: a value that {node.name}{of} saved was overwritten in place ({what}); "
        "write to a copy, or after the backward walk"
    )
