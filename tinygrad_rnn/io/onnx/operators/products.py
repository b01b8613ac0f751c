"""Products of matrices."""

from __future__ import annotations

from typing import Any

from .... import ops
from ..graph import Node
from .support import operator, plainly

plainly("MatMul", ops.matmul)


@operator("Gemm")
def gemm(node: Node, a: Any, b: Any, c: Any = None) -> Any:
    """``alpha * a @ b + beta * c``, with either matrix transposed if it says so."""
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise ValueError(f"got shapes {tuple(a.shape)} and {tuple(b.shape)}, wanted matrices")
    a = ops.transpose(a) if node.get("transA", 0) else a
    b = ops.transpose(b) if node.get("transB", 0) else b
    y = ops.matmul(a, b)
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    y = y if alpha == 1 else y * alpha
    if c is None or beta == 0:
        return y
    return y + (c if beta == 1 else c * beta)


@operator("Einsum")
def einsum(node: Node, *values: Any) -> Any:
    return ops.einsum(node.attributes["equation"].replace(" ", ""), *values)
