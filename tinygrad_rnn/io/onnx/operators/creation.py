"""Values out of nothing but numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..graph import Node
from ..reading import DTYPES
from .support import affordable, concrete, operator, whole


def _other_constant(node: Node) -> str:
    kinds = set(node.attributes) - {"value", "value_float", "value_floats", "value_int", "value_ints"}
    return f"its value is given as {', '.join(sorted(kinds))}" if kinds else ""


@operator("Constant", refuse=_other_constant)
def constant(node: Node) -> np.ndarray:
    ((name, value),) = node.attributes.items()
    if name == "value":
        return value
    return np.array(value, np.float32 if "float" in name else np.int64)


@operator("ConstantOfShape", fixed=(0,))
def constant_of_shape(node: Node, shape: Any) -> np.ndarray:
    value = node.get("value")
    value = np.zeros(1, np.float32) if value is None else value
    return np.full(affordable(whole(shape), value.dtype), value.reshape(-1)[0], value.dtype)


@operator("Range", fixed=(0, 1, 2))
def arange(node: Node, start: Any, limit: Any, delta: Any) -> np.ndarray:
    first, end, step = (concrete(v).reshape(())[()] for v in (start, limit, delta))
    if not step:
        raise ValueError("got a step of zero")
    count = max(math.ceil((end - first) / step), 0)
    affordable((count,), first.dtype)
    return (first + np.arange(count) * step).astype(first.dtype)


@operator("EyeLike")
def eye_like(node: Node, x: Any) -> np.ndarray:
    rows, columns = x.shape
    return np.eye(rows, columns, node.get("k", 0), np.dtype(DTYPES.get(node.get("dtype", 0), x.dtype)))
