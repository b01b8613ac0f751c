"""Normalisation: by layer, by the root mean square, by running averages, by a norm."""

from __future__ import annotations

from typing import Any

from .... import ops
from ..graph import Node
from .support import operator, rank


@operator("LayerNormalization")
def layer_normalization(node: Node, x: Any, scale: Any, bias: Any = None) -> Any:
    """Over all axes from one on; also mean and inverse deviation, if they are asked for."""
    axes = _from(node, x)
    mean = ops.mean(x, axes, True)
    centred = x - mean
    inverse = 1 / ops.sqrt(ops.mean(centred * centred, axes, True) + node.get("epsilon", 1e-5))
    y = centred * inverse * scale
    y = y if bias is None else y + bias
    return (y, mean, inverse)[: len(node.outputs)] if len(node.outputs) > 1 else y


@operator("RMSNormalization")
def rms_normalization(node: Node, x: Any, scale: Any) -> Any:
    return x / ops.sqrt(ops.mean(x * x, _from(node, x), True) + node.get("epsilon", 1e-5)) * scale


def _from(node: Node, x: Any) -> tuple[int, ...]:
    axis = node.get("axis", -1)
    return tuple(range(axis % rank(x), rank(x)))


def _training(node: Node) -> str:
    return "it is in training mode" if node.get("training_mode", 0) or len(node.outputs) > 1 else ""


@operator("BatchNormalization", fixed=(3, 4), refuse=_training)
def batch_normalization(node: Node, x: Any, scale: Any, bias: Any, mean: Any, var: Any) -> Any:
    """By running averages; the channels are axis 1."""
    shape = (1, -1) + (1,) * (rank(x) - 2)
    scale, bias, mean, var = (ops.reshape(v, shape[: max(rank(x), 2)]) for v in (scale, bias, mean, var))
    return (x - mean) / ops.sqrt(var + node.get("epsilon", 1e-5)) * scale + bias


@operator("LpNormalization")
def lp_normalization(node: Node, x: Any) -> Any:
    axis = node.get("axis", -1)
    norm = ops.sum(ops.abs(x), axis, True) if node.get("p", 2) == 1 else ops.sqrt(ops.sum(x * x, axis, True))
    return ops.where(norm == 0, 0 * x, x / ops.where(norm == 0, 1 + 0 * norm, norm))
