"""Layers without weights: of one input, and of several."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ... import ops
from .keras_layers import ACTIVATIONS, Averaged, Layer, Masking, Merged

Settings = dict[str, Any]


def _concatenate(settings: Settings) -> Layer:
    axis = settings.get("axis", -1)
    return Merged(lambda values: ops.concat(list(values), axis))


def _of_all(function: Callable[[Any, Any], Any]) -> Callable[[Settings], Layer]:
    return lambda settings: Merged(lambda values: functools.reduce(function, values))


def _average(settings: Settings) -> Layer:
    return Merged(lambda values: functools.reduce(ops.add, values) / len(values))


def _subtract(settings: Settings) -> Layer:
    return Merged(lambda values: values[0] - values[1])


def _reshape(settings: Settings) -> Layer:
    shape = tuple(settings["target_shape"])
    return Layer(lambda x: ops.reshape(x, (x.shape[0], *shape)), keeps=False)


def _permute(settings: Settings) -> Layer:
    order = (0, *settings["dims"])
    return Layer(lambda x: ops.transpose(x, order), keeps=False)


def _repeat(settings: Settings) -> Layer:
    n = settings["n"]
    return Layer(lambda x: ops.repeat(ops.expand_dims(x, 1), n, 1), keeps=False)


def _softmax(settings: Settings) -> Layer:
    axis = settings.get("axis", -1)
    return Layer(lambda x: ops.softmax(x, axis))


def _relu(settings: Settings) -> Layer:
    if settings.get("max_value") is not None or settings.get("negative_slope") or settings.get("threshold"):
        raise ValueError("got max_value, negative_slope or threshold, wanted a plain ReLU")
    return Layer(ops.relu)


def _leaky(settings: Settings) -> Layer:
    slope: Any = settings.get("negative_slope", settings.get("alpha", 0.3))
    return Layer(lambda x: ops.leaky_relu(x, slope))


def _elu(settings: Settings) -> Layer:
    alpha = settings.get("alpha", 1.0)
    return Layer(lambda x: ops.elu(x, alpha))


def _pool_max(settings: Settings) -> Layer:
    keepdims = bool(settings.get("keepdims", False))
    return Layer(lambda x: ops.max(x, 1, keepdims), keeps=False)


def _flatten(settings: Settings) -> Layer:
    return Layer(lambda x: ops.reshape(x, (x.shape[0], -1)), keeps=False)


FUNCTIONS: dict[str, Callable[[Settings], Layer]] = {
    "Concatenate": _concatenate,
    "Add": _of_all(ops.add),
    "Multiply": _of_all(ops.multiply),
    "Maximum": _of_all(ops.maximum),
    "Minimum": _of_all(ops.minimum),
    "Average": _average,
    "Subtract": _subtract,
    "Reshape": _reshape,
    "Permute": _permute,
    "RepeatVector": _repeat,
    "Flatten": _flatten,
    "Softmax": _softmax,
    "ReLU": _relu,
    "LeakyReLU": _leaky,
    "ELU": _elu,
    "Activation": lambda settings: Layer(ACTIVATIONS[settings["activation"]]),
    "ActivityRegularization": lambda settings: Layer(lambda x: x),
    "GlobalMaxPooling1D": _pool_max,
    "GlobalAveragePooling1D": lambda settings: Averaged(bool(settings.get("keepdims", False))),
    "Masking": lambda settings: Masking(settings.get("mask_value", 0.0)),
}
