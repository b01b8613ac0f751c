"""Sums, means and extremes over axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .... import ops
from ..graph import Node
from .support import OPERATORS, axes_of, kind, operator

Reduction = Callable[..., Any]


def _reduction(function: Reduction) -> Reduction:
    def run(node: Node, x: Any, axes: Any = None) -> Any:
        over = axes_of(node, axes)
        if not over:
            if node.get("noop_with_empty_axes", 0):
                over = ()
            else:
                over = tuple(range(len(x.shape)))
        return function(x, over, bool(node.get("keepdims", 1)))

    return run


def _l1(x: Any, axes: tuple, keepdims: bool) -> Any:
    return ops.sum(ops.abs(x), axes, keepdims)


def _l2(x: Any, axes: tuple, keepdims: bool) -> Any:
    return ops.sqrt(ops.sum(x * x, axes, keepdims))


def _whole(function: Reduction) -> Reduction:
    """A reduction that keeps the dtype of integers, as ONNX has it; over no axes it changes nothing."""

    def run(x: Any, axes: tuple, keepdims: bool) -> Any:
        if not axes:
            return x
        y = function(x, axes, keepdims)
        return y if kind(x) == "f" or y.dtype == x.dtype else ops.astype(y, x.dtype)

    return run


for _name, _function in {
    "ReduceSum": _whole(ops.sum),
    "ReduceMean": _whole(ops.mean),
    "ReduceProd": _whole(ops.prod),
    "ReduceL1": _whole(_l1),
    "ReduceL2": _l2,
    "ReduceSumSquare": lambda x, axes, keepdims: ops.sum(x * x, axes, keepdims),
    "ReduceLogSum": lambda x, axes, keepdims: ops.log(ops.sum(x, axes, keepdims)),
    "ReduceLogSumExp": lambda x, axes, keepdims: ops.logsumexp(x, axes, keepdims),
}.items():
    OPERATORS[_name] = _reduction(_function)


@operator("ReduceMax")
def reduce_max(node: Node, x: Any, axes: Any = None) -> Any:
    return _reduction(_whole(_extreme(ops.max, -np.inf)))(node, x, axes)


@operator("ReduceMin")
def reduce_min(node: Node, x: Any, axes: Any = None) -> Any:
    return _reduction(_whole(_extreme(ops.min, np.inf)))(node, x, axes)


def _extreme(function: Reduction, of_none: float) -> Reduction:
    """A maximum or minimum, which of no floats at all is infinite."""

    def run(x: Any, axes: tuple, keepdims: bool) -> Any:
        if 0 in [x.shape[a] for a in axes] and kind(x) == "f":
            return np.full_like(np.sum(np.empty(x.shape, x.dtype), axes, keepdims=keepdims), of_none)
        if kind(x) == "b":
            return function(ops.astype(x, np.int8), axes, keepdims) > 0
        return function(x, axes, keepdims)

    return run


@operator("ArgMax")
def argmax(node: Node, x: Any) -> Any:
    return _place(ops.argmax, node, x)


@operator("ArgMin")
def argmin(node: Node, x: Any) -> Any:
    return _place(ops.argmin, node, x)


def _place(function: Reduction, node: Node, x: Any) -> Any:
    axis, keepdims = node.get("axis", 0), bool(node.get("keepdims", 1))
    if not node.get("select_last_index", 0):
        return function(x, axis, keepdims)
    return x.shape[axis] - 1 - function(ops.flip(x, axis), axis, keepdims)
