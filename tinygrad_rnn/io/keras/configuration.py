"""Layers made of their settings: a table of classes, which is all that a file can name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import nn
from ...errors import CheckpointError
from .keras_layers import ACTIVATIONS, Conv1D, Dense, Embedded, Layer, Sequences
from .merging import FUNCTIONS
from .weights import Arrays

Settings = dict[str, Any]
RECURRENT = {"SimpleRNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}
MERGES = {"concat": "concat", "sum": "sum", "ave": "mean"}
SAME = (  # settings of both directions
    "units",
    "use_bias",
    "activation",
    "recurrent_activation",
    "return_sequences",
    "return_state",
    "reset_after",
    "dropout",
    "recurrent_dropout",
)
MODELS = ("Sequential", "Functional", "Model")
INPUT = "InputLayer"


def layer_of(name: str, settings: Settings, arrays: Arrays) -> Layer:
    """A layer with these settings, whose parameters wait for `arrays`.

    Raises
    ------
    ValueError
        If it has settings that are not there.
    """
    if name in FUNCTIONS:
        return FUNCTIONS[name](settings)
    return LAYERS[name](settings, arrays)


def why_not(name: str, settings: Settings, registered: Any) -> str:
    """Why a layer cannot be made; "" if it can."""
    if name not in KNOWN or (registered and registered not in (name, f"keras.layers>{name}")):
        return "a layer of one's own" if registered else "it is not known here"
    policy = settings.get("dtype", "float32")
    policy = policy.get("config", {}).get("name") if isinstance(policy, dict) else policy
    if policy not in ("float32", "float64", None):
        return f"its dtype is {policy}, wanted float32 or float64"
    for which in ("activation", "recurrent_activation"):
        found = settings.get(which, "linear")
        if found is not None and (not isinstance(found, str) or found not in ACTIVATIONS):
            return f"its {which} is {found if isinstance(found, str) else 'a function of its own'}"
    inner = [settings.get(key) for key in ("layer", "backward_layer")]
    for part in (part for part in inner if isinstance(part, dict)):
        if part.get("class_name") not in (*WITHIN, *RECURRENT):
            return f"it is around a {part.get('class_name')}"
        if reason := why_not(part["class_name"], part.get("config", {}), part.get("registered_name")):
            return f"{part['class_name']}: {reason}"
    return REASONS[name](settings) if name in REASONS else ""


def _no_recurrent(settings: Settings, name: str) -> str:
    usual = {"activation": "tanh", "recurrent_activation": "sigmoid"}
    for which, wanted in usual.items():
        found = settings.get(which, wanted)
        if found != wanted and not (name == "SimpleRNN" and found in ("relu", "sigmoid")):
            return f"its {which} is {found}, wanted {wanted}"
    return "it is stateful" if settings.get("stateful") else ""


def _no_bidirectional(settings: Settings) -> str:
    forward, backward = settings["layer"], settings.get("backward_layer") or settings["layer"]
    if forward.get("class_name") not in RECURRENT:
        return "it is around no recurrent layer"
    if settings.get("merge_mode", "concat") not in MERGES:
        return f"its merge_mode is {settings.get('merge_mode')}, wanted one of {', '.join(MERGES)}"
    first, second = forward["config"], backward.get("config", {})
    if forward["class_name"] != backward.get("class_name") or any(first.get(key) != second.get(key) for key in SAME):
        return "its directions differ"
    return "it goes backwards first" if forward["config"].get("go_backwards") else ""


def _no_norm(settings: Settings) -> str:
    axis = settings.get("axis", -1)
    return "" if axis in (-1, [-1]) else f"its axis is {axis}, wanted the last one"


def _no_conv(settings: Settings) -> str:
    if settings.get("data_format", "channels_last") != "channels_last":
        return "its channels come first"
    return ""


REASONS: dict[str, Callable[[Settings], str]] = {
    **{name: lambda settings, name=name: _no_recurrent(settings, name) for name in RECURRENT},  # type: ignore[misc]
    "Bidirectional": _no_bidirectional,
    "LayerNormalization": lambda settings: "it scales by rms" if settings.get("rms_scaling") else _no_norm(settings),
    "BatchNormalization": _no_norm,
    "Conv1D": _no_conv,
}


# ---- layers with weights


def _recurrent(settings: Settings, arrays: Arrays, name: str, both: bool = False, merge: str = "concat") -> Layer:
    weight = arrays["weight_ih_l0"]
    options: dict[str, Any] = {"reset_after": settings.get("reset_after", True)} if name == "GRU" else {}
    if name == "SimpleRNN":
        options["nonlinearity"] = settings.get("activation", "tanh")
    for ours, theirs in {"input_dropout": "dropout", "recurrent_dropout": "recurrent_dropout"}.items():
        if settings.get(theirs):
            options[ours] = settings[theirs]
    layer = RECURRENT[name](
        weight.shape[1],
        settings["units"],
        bias=settings.get("use_bias", True),
        batch_first=not settings.get("time_major", False),
        bidirectional=both,
        reverse=bool(settings.get("go_backwards", False)) and not both,
        merge=merge,
        dtype=weight.dtype,
        **options,
    )
    return Sequences(layer, settings)


def _bidirectional(settings: Settings, arrays: Arrays) -> Layer:
    inner, merge = settings["layer"], MERGES[settings.get("merge_mode", "concat")]
    return _recurrent(inner["config"], arrays, inner["class_name"], True, merge)


def _dense(settings: Settings, arrays: Arrays) -> Layer:
    units, features = arrays["weight"].shape
    name = settings.get("activation") or "linear"
    return Layer(Dense(features, units, "bias" in arrays, name, arrays["weight"].dtype))


def _embedding(settings: Settings, arrays: Arrays) -> Layer:
    table = arrays["weight"]
    return Embedded(
        nn.Embedding(table.shape[0], table.shape[1], dtype=table.dtype), bool(settings.get("mask_zero", False))
    )


def _layer_norm(settings: Settings, arrays: Arrays) -> Layer:
    center, scale = settings.get("center", True), settings.get("scale", True)
    if center != scale or not arrays:
        raise ValueError("got center without scale, or scale without center, or neither, wanted both")
    weight = arrays["weight"]
    return Layer(nn.LayerNorm(weight.shape, settings.get("epsilon", 1e-3), dtype=weight.dtype))


def _batch_norm(settings: Settings, arrays: Arrays) -> Layer:
    center, scale = settings.get("center", True), settings.get("scale", True)
    if center != scale:
        raise ValueError("got center without scale, or scale without center, wanted both or neither")
    mean = arrays["running_mean"]
    momentum = 1 - settings.get("momentum", 0.99)
    return Layer(nn.BatchNorm1d(len(mean), settings.get("epsilon", 1e-3), momentum, bool(scale), dtype=mean.dtype))


def _conv(settings: Settings, arrays: Arrays) -> Layer:
    weight = arrays["weight"]
    (size,), (stride,), (dilation,) = (
        np.atleast_1d(settings.get(key, 1)).tolist() for key in ("kernel_size", "strides", "dilation_rate")
    )
    groups, padding = settings.get("groups", 1), settings.get("padding", "valid")
    if stride > 1 and padding == "same":
        raise ValueError("got strides with padding='same', wanted 'valid' or 'causal'")
    conv = Conv1D(
        weight.shape[1] * groups,
        weight.shape[0],
        size,
        activation=settings.get("activation") or "linear",
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        bias="bias" in arrays,
        dtype=weight.dtype,
    )
    return Layer(conv, keeps=False)


def _distributed(settings: Settings, arrays: Arrays) -> Layer:
    inner = settings["layer"]
    return layer_of(inner["class_name"], inner["config"], arrays)


LAYERS: dict[str, Callable[[Settings, Arrays], Layer]] = {
    **{name: lambda settings, arrays, name=name: _recurrent(settings, arrays, name) for name in RECURRENT},  # type: ignore[misc]
    "Bidirectional": _bidirectional,
    "Dense": _dense,
    "Embedding": _embedding,
    "LayerNormalization": _layer_norm,
    "BatchNormalization": _batch_norm,
    "Conv1D": _conv,
    "TimeDistributed": _distributed,
    "Dropout": lambda settings, arrays: Layer(nn.Dropout(settings["rate"])),
}
WITHIN = ("Dense", "Dropout", "Activation", "LayerNormalization")  # of TimeDistributed: they act on features anyway
KNOWN = {*LAYERS, *FUNCTIONS, *MODELS, INPUT}


def check_all(layers: Any, where: str = "") -> list[str]:
    """Layers that cannot be made, a line for each, of models inside too."""
    if not isinstance(layers, list):
        raise CheckpointError("holds a model without a list of layers")
    lines = []
    for entry in layers:
        name, settings = entry["class_name"], entry["config"]
        title = f"{where}{settings.get('name', '?')}"
        if name in MODELS:
            lines += check_all(settings.get("layers"), f"{title}.")
        elif reason := why_not(name, settings, entry.get("registered_name")):
            lines.append(f"{name}: layer {title}: {reason}")
    return lines
