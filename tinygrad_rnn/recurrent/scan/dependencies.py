"""Dependencies of steps: the tensors from before a step in the graph that its results depend on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ...core import Tensor, producer
from ...core.node import Node


def dependencies(before: int, results: Iterable[Tensor], own: Iterable[list[Tensor]] = ()) -> dict[Any, None]:
    """Leaves, and nodes older than `before`, that `results` depend on; tensors in `own` are left out."""
    found: dict[Any, None] = {}
    stack: list[Any] = [producer(t) for t in results if t.requires_grad]
    mine = {id(t) for group in own for t in group}
    seen = set(map(id, stack))
    while stack:
        item = stack.pop()
        if not isinstance(item, Node) or item.seq < before:
            if id(item) not in mine:
                found[item] = None
            continue
        for parent in item.parents:
            if parent is not None and id(parent) not in seen:
                seen.add(id(parent))
                stack.append(parent)
    return found


def placeholder(item: Any) -> Tensor:
    """A leaf itself; for a node, a zero-stride tensor that passes its cotangent on to the node."""
    if isinstance(item, Node):
        return Tensor(np.broadcast_to(np.zeros((), item.dtype), item.shape), True, item)
    return item
