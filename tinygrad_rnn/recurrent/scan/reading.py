"""What steps read: the tensors of the graph from before them that their results depend on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ...core import Tensor
from ...core.node import Node


def read_before(begun: int, results: Iterable[Tensor], own: Iterable[list[Tensor]] = ()) -> dict[Any, None]:
    """What `results` depend on, as leaves and nodes from before `begun`, apart from the tensors in the lists `own`."""
    found: dict[Any, None] = {}
    stack: list[Any] = [t._node or t for t in results if t.requires_grad]
    mine = {id(t) for group in own for t in group}
    seen = set(map(id, stack))
    while stack:
        item = stack.pop()
        if not isinstance(item, Node) or item.seq < begun:
            if id(item) not in mine:
                found[item] = None
            continue
        for parent in item.parents:
            if parent is not None and id(parent) not in seen:
                seen.add(id(parent))
                stack.append(parent)
    return found


def stand_in(item: Any) -> Tensor:
    """A leaf itself; for a node a tensor that passes its cotangent on, whose values are of no use."""
    if isinstance(item, Node):
        return Tensor(np.broadcast_to(np.zeros((), item.dtype), item.shape), True, item)
    return item
