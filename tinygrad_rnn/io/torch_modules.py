"""Modules of PyTorch made anew here, with their settings and weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import nn
from ..errors import CheckpointError
from ..modules.saving import load_arrays
from ..storage.archives import arrays_of

RECURRENT = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional")
SETTINGS: dict[str, tuple[str, ...]] = {  # class, of the same name in both: settings that are attributes of both
    "RNN": (*RECURRENT, "nonlinearity"),
    "LSTM": (*RECURRENT, "proj_size"),
    "GRU": RECURRENT,
    "Linear": ("in_features", "out_features"),
    "Embedding": ("num_embeddings", "embedding_dim", "padding_idx"),
    "LayerNorm": ("normalized_shape", "eps", "elementwise_affine"),
    "Dropout": ("p",),
    "Identity": (),
    "Flatten": ("start_dim", "end_dim"),
    "ReLU": (),
    "ReLU6": (),
    "Tanh": (),
    "Sigmoid": (),
    "LogSigmoid": (),
    "SiLU": (),
    "Mish": (),
    "SELU": (),
    "Hardsigmoid": (),
    "Hardswish": (),
    "GELU": ("approximate",),
    "ELU": ("alpha",),
    "LeakyReLU": ("negative_slope",),
    "Hardtanh": ("min_val", "max_val"),
    "Softplus": ("beta",),
    "Softmax": ("dim",),
    "LogSoftmax": ("dim",),
    "GLU": ("dim",),
}
CONTAINERS = ("Sequential", "ModuleList", "ModuleDict")
WITH_DTYPE = ("RNN", "LSTM", "GRU", "Linear", "Embedding", "LayerNorm")
REASONS = {
    "Conv1d": "its channels stand before the steps, here behind them; make the model here, and use into=",
    "BatchNorm1d": "its channels stand before the steps, here behind them; make the model here, and use into=",
    "RNNCell": "a cell returns its state alone, here output and state; make the model here, and use into=",
    "LSTMCell": "a cell returns its state alone, here output and state; make the model here, and use into=",
    "GRUCell": "a cell returns its state alone, here output and state; make the model here, and use into=",
}


def build(module: Any) -> nn.Module:
    """A module of PyTorch as one of ours; see :func:`~tinygrad_rnn.io.from_torch`.

    Raises
    ------
    CheckpointError
        If parts have no equal here; all are listed.
    """
    reasons = [(name or "itself", type(part).__name__, _why_not(part)) for name, part in module.named_modules()]
    problems = [": ".join(reason) for reason in reasons if reason[-1]]
    every = [p for _, p in module.named_parameters(remove_duplicate=False)]
    if len(every) > len({id(p) for p in every}):
        problems.append("parameters are shared; make the model here, share them, and use into=")
    if problems:
        raise CheckpointError("source: got parts that are not made anew here:\n  " + "\n  ".join(problems))
    made = _made(module)
    load_arrays(made, arrays_of(module.state_dict()), "source")
    frozen = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    for name, own in made.named_parameters():
        own.requires_grad_(name not in frozen)
    return made


def _why_not(part: Any) -> str:
    """Why a part has no equal here; "" if it has one."""
    name = type(part).__name__
    if not type(part).__module__.startswith("torch.nn."):
        return "a class of one's own; make the model here, and use into="
    if name in REASONS:
        return REASONS[name]
    if name not in SETTINGS and name not in CONTAINERS:
        return f"wanted one of {', '.join((*SETTINGS, *CONTAINERS))}"
    if name == "Embedding" and (part.max_norm is not None or part.scale_grad_by_freq or part.sparse):
        return "max_norm, scale_grad_by_freq and sparse are not there"
    if name in ("Softmax", "LogSoftmax") and part.dim is None:
        return "dim=None depends on the rank of the input; wanted a dim"
    if name == "Softplus" and part.threshold != 20:
        return f"got threshold={part.threshold}, wanted 20"
    dtypes = {str(p.dtype).removeprefix("torch.") for p in part.parameters(recurse=False)}
    if dtypes - {"float32", "float64"}:
        return f"got {', '.join(sorted(dtypes))} parameters, wanted float32 or float64"
    return ""


def _made(part: Any) -> nn.Module:
    """One of ours with the settings of one of PyTorch's, and parameters that wait for values."""
    name = type(part).__name__
    if name in CONTAINERS:
        children = {key: _made(child) for key, child in part.named_children()}
        own = nn.ModuleDict(children) if name == "ModuleDict" else getattr(nn, name)()
        if name != "ModuleDict":
            for key, child in children.items():  # a Sequential of PyTorch may have names of its own
                setattr(own, key, child)
        own.training = part.training
        return own
    return getattr(nn, name)(**_settings(name, part)).train(part.training)


def _settings(name: str, part: Any) -> dict[str, Any]:
    settings = {key: getattr(part, key) for key in SETTINGS[name]}
    if name in ("Linear", "LayerNorm"):
        settings["bias"] = part.bias is not None
    if name == "Embedding" and part.padding_idx is not None:
        settings["padding_idx"] = int(part.padding_idx)
    if name in WITH_DTYPE:
        first = next(iter(part.parameters()), None)
        settings["dtype"] = np.dtype("float32" if first is None else str(first.dtype).removeprefix("torch."))
    return settings
