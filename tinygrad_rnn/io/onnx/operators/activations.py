"""Activations, and softmax, of which older opsets have another idea."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .... import ops
from ..graph import Node
from .support import concrete, operator, plainly, rank

_PLAIN: dict[str, Callable[..., Any]] = {
    "Relu": ops.relu,
    "Sigmoid": ops.sigmoid,
    "Tanh": ops.tanh,
    "Softplus": ops.softplus,
    "Mish": ops.mish,
    "HardSwish": ops.hard_swish,
    "Softsign": lambda x: x / (1 + ops.abs(x)),
    "PRelu": lambda x, slope: ops.where(x > 0, x, x * slope),
}
for _name, _function in _PLAIN.items():
    plainly(_name, _function)


@operator("LeakyRelu")
def leaky_relu(node: Node, x: Any) -> Any:
    return ops.leaky_relu(x, node.get("alpha", 0.01))


@operator("Elu")
def elu(node: Node, x: Any) -> Any:
    return ops.elu(x, node.get("alpha", 1.0))


@operator("Celu")
def celu(node: Node, x: Any) -> Any:
    alpha = node.get("alpha", 1.0)
    return ops.maximum(x, 0.0) + ops.minimum(alpha * ops.expm1(ops.minimum(x, 0.0) / alpha), 0.0)


@operator("Selu")
def selu(node: Node, x: Any) -> Any:
    alpha, gamma = node.get("alpha", 1.6732632423543772), node.get("gamma", 1.0507009873554805)
    return gamma * (ops.maximum(x, 0.0) + alpha * ops.expm1(ops.minimum(x, 0.0)))


@operator("ThresholdedRelu")
def thresholded_relu(node: Node, x: Any) -> Any:
    return ops.where(x > node.get("alpha", 1.0), x, 0 * x)


@operator("HardSigmoid")
def hard_sigmoid(node: Node, x: Any) -> Any:
    return ops.clip(node.get("alpha", 0.2) * x + node.get("beta", 0.5), 0.0, 1.0)


@operator("Gelu")
def gelu(node: Node, x: Any) -> Any:
    return ops.gelu(x, node.get("approximate", "none"))


@operator("Swish")
def swish(node: Node, x: Any) -> Any:
    return x * ops.sigmoid(node.get("alpha", 1.0) * x)


@operator("Shrink")
def shrink(node: Node, x: Any) -> Any:
    lambd, bias = node.get("lambd", 0.5), node.get("bias", 0.0)
    return ops.where(x < -lambd, x + bias, ops.where(x > lambd, x - bias, 0 * x))


@operator("Softmax")
def softmax(node: Node, x: Any) -> Any:
    return _along(ops.softmax, node, x)


@operator("LogSoftmax")
def log_softmax(node: Node, x: Any) -> Any:
    return _along(ops.log_softmax, node, x)


def _along(function: Any, node: Node, x: Any) -> Any:
    """Along one axis; before opset 13 along all axes from one on, which is 1 if it does not say."""
    if node.opset >= 13:
        return function(x, node.get("axis", -1))
    axis, shape = node.get("axis", 1), tuple(x.shape)
    axis += rank(x) if axis < 0 else 0
    if axis == rank(x) - 1:
        return function(x, axis)
    flat = ops.reshape(x, (math.prod(shape[:axis]), math.prod(shape[axis:])))
    return ops.reshape(function(flat, -1), shape)


@operator("Dropout", fixed=(1, 2))
def dropout(node: Node, x: Any, ratio: Any = None, training: Any = None) -> Any:
    """What it does after training: nothing."""
    if training is not None and bool(concrete(training)):
        raise ValueError("got training_mode=True, wanted a model that was exported for inference")
    return (x, ops.ones_like(x) > 0) if len(node.outputs) > 1 else x
