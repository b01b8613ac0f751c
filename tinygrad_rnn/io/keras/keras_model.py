"""A Sequential or Functional model of Keras as a module: layers, and how they are called."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from ...core import Tensor
from ...errors import CheckpointError, DataError
from ...nn import Module
from ...recurrent.scan.kinds import Opaque
from ..attribute_names import attribute_name
from .configuration import INPUT, MODELS, layer_of
from .keras_layers import Layer
from .reading import Group
from .weights import arrays_of_layer

Key = tuple[str, int]  # a layer, and which of its calls


@dataclass
class Call(Opaque):
    """One call of a layer: what goes in, by layer, call and output; several inputs are a list."""

    key: Key
    layer: Any
    inputs: list[tuple[Key, int]]
    several: bool
    states: list[tuple[Key, int]]


class KerasModel(Module):
    """A model of Keras, made by :func:`~tinygrad_rnn.io.from_keras`; it is called as there, batch first.

    Attributes
    ----------
    inputs, outputs : tuple of str
        Names of the layers.
    """

    def __init__(self, config: dict[str, Any], group: Group):
        self._attributes: dict[str, str] = {}  # layer -> attribute
        self._layers: dict[str, Any] = {}
        self._calls: list[Call] = []
        made: Counter[str] = Counter()
        layers = config["layers"]
        for entry in layers:
            settings = entry["config"]
            name = settings["name"]
            if name in self._layers:
                raise CheckpointError(f"holds two layers with the name {name}")
            kind = _snake_case(entry["class_name"])
            key = kind if not made[kind] else f"{kind}_{made[kind]}"
            made[kind] += 1
            if entry["class_name"] != INPUT:
                self._add(name, entry, key, group.groups.get("layers", Group()).groups.get(key, Group()))
            else:
                self._layers[name] = None
        if any("inbound_nodes" in entry for entry in layers):
            self._graph(layers, config)
        else:
            self._chain()
        self.inputs, self.outputs = (tuple(key[0] for key, _ in keys) for keys in (self._entries, self._exits))

    def _add(self, name: str, entry: dict[str, Any], key: str, group: Group) -> None:
        """Make a layer, and own its module."""
        settings, group.title = entry["config"], name
        if entry["class_name"] in MODELS:
            layer = Layer(KerasModel(settings, group))
        else:
            arrays = {n: a for n, a in arrays_of_layer(key, group).items() if not n.startswith("vars.")}
            try:
                layer = layer_of(entry["class_name"], settings, arrays)
            except (KeyError, TypeError, ValueError) as error:
                raise CheckpointError(f"holds the layer {name}, which cannot be made: {error}") from None
        self._layers[name] = layer
        if isinstance(layer.module, Module):
            self._attributes[name] = attribute_name(name, "layer", vars(self))
            setattr(self, self._attributes[name], layer.module)
            layer.module.requires_grad_(bool(settings.get("trainable", True)))

    # ---- which layer gets what

    def _chain(self) -> None:
        """A Sequential: each layer gets what the one before gives."""
        source: Key = ("", 0)
        self._entries = [(source, 0)]
        for name, layer in self._layers.items():
            if layer is not None:
                self._calls.append(Call((name, 0), layer, [(source, 0)], False, []))
                source = (name, 0)
        self._exits = [(source, 0)]

    def _graph(self, layers: list[dict[str, Any]], config: dict[str, Any]) -> None:
        """A Functional model: calls in an order in which their inputs are there."""
        waiting = []
        for entry in layers:
            for i, node in enumerate(entry.get("inbound_nodes", [])):
                waiting.append(self._call(entry["config"]["name"], i, node))
        self._entries, self._exits = (_references(config[key]) for key in ("input_layers", "output_layers"))
        there = {key for key, _ in self._entries}
        while waiting:
            ready = [call for call in waiting if {key for key, _ in (*call.inputs, *call.states)} <= there]
            if not ready:
                raise CheckpointError(f"holds the layer {waiting[0].key[0]}, whose inputs no other one gives")
            self._calls += ready
            there |= {call.key for call in ready}
            waiting = [call for call in waiting if call.key not in there]
        if not {key for key, _ in self._exits} <= there:
            raise CheckpointError("holds a model with outputs that no layer gives")

    def _call(self, name: str, i: int, node: Any) -> Call:
        if not isinstance(node, dict):
            raise CheckpointError("is of a version before Keras 3, which writes calls of layers in another way")
        arguments, more = list(node["args"]), dict(node["kwargs"])
        first = arguments.pop(0) if arguments else more.pop("inputs", None)
        states = more.pop("initial_state", None) or (arguments.pop(0) if arguments else [])
        odd = [key for key, value in more.items() if key not in ("training", "mask") and value is not None]
        if odd or arguments:
            raise CheckpointError(f"holds a call of the layer {name} with {', '.join(odd) or 'more inputs'}")
        several = isinstance(first, list)
        return Call((name, i), self._layers[name], _tensors(first), several, _tensors(states))

    # ---- calling it

    def forward(self, *inputs: Any) -> Any:
        if len(inputs) == 1 and isinstance(inputs[0], list | tuple):
            inputs = tuple(inputs[0])
        if len(inputs) != len(self._entries):
            raise TypeError(
                f"KerasModel: got {len(inputs)} inputs, wanted {len(self._entries)}: {', '.join(self.inputs)}"
            )
        values: dict[Key, tuple[Any, ...]] = {}
        masks: dict[Key, Any] = {}
        for (key, _), x in zip(self._entries, inputs):
            values[key], masks[key] = (_as_input(x),), None
        for call in self._calls:
            xs = [values[key][i] for key, i in call.inputs]
            given = [masks[key] for key, _ in call.inputs]
            states = [values[key][i] for key, i in call.states] or None
            x, mask = (xs, given) if call.several else (xs[0], given[0])
            y = call.layer.run(x, mask, states)
            values[call.key] = y if isinstance(y, tuple) else (y,)
            masks[call.key] = call.layer.mask_after(x, mask)
        found = tuple(_output(values, key, i) for key, i in self._exits)
        return found if len(found) > 1 else found[0]

    def names(self, prefix: str = "", ours: str = "") -> dict[str, str]:
        """From names of layers to those of attributes, of models inside too."""
        found = {}
        for name, attribute in self._attributes.items():
            inner = getattr(self, attribute)
            found[prefix + name] = ours + attribute
            if isinstance(inner, KerasModel):
                found |= inner.names(f"{prefix}{name}.", f"{ours}{attribute}.")
        return found


def _output(values: dict[Key, tuple[Any, ...]], key: Key, i: int) -> Any:
    if i >= len(values[key]):
        raise DataError(f"KerasModel: layer {key[0]} gives {len(values[key])} outputs, wanted number {i}")
    return values[key][i]


def _as_input(x: Any) -> Any:
    """Floats as a tensor; integers stay what they are."""
    if isinstance(x, Tensor):
        return x
    tensor = Tensor(x)
    return tensor if tensor.dtype.kind == "f" else tensor.data


def _tensors(value: Any) -> list[tuple[Key, int]]:
    """What stands for the outputs of layers, in the arguments of a call."""
    if value is None:
        return []
    found = []
    for entry in value if isinstance(value, list) else [value]:
        if not isinstance(entry, dict) or entry.get("class_name") != "__keras_tensor__":
            raise CheckpointError("holds a call of a layer with something else than outputs of layers")
        name, i, which = entry["config"]["keras_history"]
        found.append(((name, i), which))
    return found


def _references(value: Any) -> list[tuple[Key, int]]:
    """Inputs or outputs of a model: one, a list, or by name."""
    if isinstance(value, dict):
        value = list(value.values())
    if len(value) == 3 and isinstance(value[0], str):
        value = [value]
    return [((name, i), which) for name, i, which in value]


def _snake_case(name: str) -> str:
    """The name of a class as Keras writes it into files: ``SimpleRNN`` is ``simple_rnn``."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
