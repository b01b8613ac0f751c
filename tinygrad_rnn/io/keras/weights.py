"""Arrays of Keras's layers by our names, in our order of gates and axes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...errors import CheckpointError
from .reading import Group

Arrays = dict[str, np.ndarray]
GATES = {"lstm": 4, "gru": 3, "simple_rnn": 1}
BIDIRECTIONAL = ("forward_layer", "backward_layer")
INSIDE = ("functional", "sequential", "model")  # groups of models in models


def arrays_of(root: Group) -> Arrays:
    """All weights of a file, by the names of its layers and ours: ``{"lstm.weight_ih_l0": ...}``."""
    out: Arrays = {}
    for key, group in root.groups.get("layers", Group()).groups.items():
        name = group.title or key
        for own, array in arrays_of_layer(key, group).items():
            full = f"{name}.{own}" if own else name
            if full in out:
                raise CheckpointError(f"holds {full} twice")
            out[full] = array
    return out


def arrays_of_layer(key: str, group: Group) -> Arrays:
    """The weights of one layer, whose class its key says, by our names."""
    kind = re.sub(r"_\d+$", "", key)
    try:
        if kind in INSIDE:
            return arrays_of(group)
        if kind == "time_distributed":
            return _plain(group.groups["layer"])
        if kind == "bidirectional":
            first, second = (group.groups[name] for name in BIDIRECTIONAL)
            cell = first.groups["cell"]
            kind = re.sub(r"_cell(_\d+)?$", "", cell.title) if cell.title else _kind(cell)
            return {**_recurrent(kind, first, "_l0"), **_recurrent(kind, second, "_l0_reverse")}
        if kind in GATES:
            return _recurrent(kind, group, "_l0")
        if kind in PLAIN:
            return PLAIN[kind](_variables(group))
        return {f"vars.{name}": array for name, array in group.groups.get("vars", Group()).arrays.items()}
    except (KeyError, IndexError, ValueError) as error:
        raise CheckpointError(
            f"holds the layer {group.title or key}, whose arrays do not fit {kind}: {error}"
        ) from None


def _kind(cell: Group) -> str:
    """The kind of a cell, where the file does not name it, by how many gates its weights have."""
    kernel = _variables(cell)[1]
    gates = kernel.shape[1] / kernel.shape[0]
    return next((name for name, n in GATES.items() if n == gates), "")


def _variables(group: Group) -> list[np.ndarray]:
    arrays = group.groups.get("vars", Group()).arrays
    return [arrays[str(i)] for i in range(len(arrays))]


def _recurrent(kind: str, group: Group, suffix: str) -> Arrays:
    """Kernel, recurrent kernel and bias of a cell. Gates i f c o are ours; z r h become r z n."""
    kernel, recurrent, *bias = _variables(group.groups["cell"])
    gates, units = GATES[kind], recurrent.shape[0]
    if recurrent.shape != (units, gates * units) or kernel.shape[1:] != (gates * units,):
        raise ValueError(f"got {kernel.shape} and {recurrent.shape} for {gates} gates")
    out = {"weight_ih": kernel, "weight_hh": recurrent}
    if bias:
        both = bias[0] if bias[0].ndim == 2 else np.stack([bias[0], np.zeros_like(bias[0])])
        if both.shape != (2, gates * units):
            raise ValueError(f"got a bias {bias[0].shape} for {gates} gates of {units} units")
        out |= {"bias_ih": both[0], "bias_hh": both[1]}
    order: Sequence[int] = (1, 0, 2) if kind == "gru" else range(gates)
    return {f"{name}{suffix}": _ordered(array, gates, order).T.copy() for name, array in out.items()}


def _ordered(array: np.ndarray, gates: int, order: Sequence[int]) -> np.ndarray:
    """Gates, which stand on the last axis, in another order."""
    parts = np.split(array, gates, axis=-1)
    return np.concatenate([parts[i] for i in order], axis=-1)


def _dense(variables: list[np.ndarray]) -> Arrays:
    kernel, *bias = variables
    if kernel.ndim != 2:
        raise ValueError(f"got a kernel {kernel.shape}")
    return {"weight": kernel.T.copy(), **_bias(bias)}


def _bias(bias: list[np.ndarray]) -> Arrays:
    return {"bias": bias[0]} if bias else {}


def _conv(variables: list[np.ndarray]) -> Arrays:
    kernel, *bias = variables
    return {"weight": np.transpose(kernel, (2, 1, 0)).copy(), **_bias(bias)}


def _embedding(variables: list[np.ndarray]) -> Arrays:
    (table,) = variables
    return {"weight": table}


def _norm(variables: list[np.ndarray]) -> Arrays:
    return dict(zip(("weight", "bias"), variables))


def _batch_norm(variables: list[np.ndarray]) -> Arrays:
    names = ("weight", "bias", "running_mean", "running_var")[-len(variables) :]
    return {**dict(zip(names, variables, strict=True)), "num_batches_tracked": np.array(0)}


PLAIN: dict[str, Callable[[list[np.ndarray]], Any]] = {
    "dense": _dense,
    "embedding": _embedding,
    "conv1_d": _conv,
    "conv1d": _conv,
    "layer_normalization": _norm,
    "batch_normalization": _batch_norm,
    "p_re_lu": _norm,
}


def _plain(group: Group) -> Arrays:
    """A layer inside of TimeDistributed, whose class the file says only by its arrays."""
    variables = _variables(group)
    if not variables:
        return {}
    return _dense(variables) if variables[0].ndim == 2 else _norm(variables)
