"""Layers with Keras's behaviour: batch first, masks that go from layer to layer, one output or all."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import nn, ops
from ...core import Tensor
from ...nn import GRU, LSTM, RNN
from ...recurrent.layers.wrappers import MERGES
from ...recurrent.scan.kinds import Opaque

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "linear": lambda x: x,
    "tanh": ops.tanh,
    "sigmoid": ops.sigmoid,
    "relu": ops.relu,
    "softmax": ops.softmax,
    "log_softmax": ops.log_softmax,
    "softplus": ops.softplus,
    "softsign": lambda x: x / (1 + ops.abs(x)),
    "elu": ops.elu,
    "selu": ops.selu,
    "gelu": ops.gelu,
    "silu": ops.silu,
    "swish": ops.silu,
    "mish": ops.mish,
    "exponential": ops.exp,
    "relu6": ops.relu6,
    "hard_sigmoid": ops.hard_sigmoid,
    "leaky_relu": lambda x: ops.leaky_relu(x, 0.2),
}


class Dense(nn.Linear):
    """A linear layer with an activation."""

    def __init__(self, in_features: int, units: int, bias: bool, activation: str, dtype: np.dtype):
        super().__init__(in_features, units, bias, dtype=dtype)
        self.activation = activation

    def forward(self, x: Any) -> Any:
        return ACTIVATIONS[self.activation](super().forward(x))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, activation={self.activation!r}"


class Conv1D(nn.Conv1d):
    """A convolution along time, of (B, T, channels), with an activation."""

    def __init__(self, in_channels: int, out_channels: int, size: int, activation: str, **options: Any):
        super().__init__(in_channels, out_channels, size, **options)
        self.activation = activation

    def forward(self, x: Any) -> Any:
        y = super().forward(ops.swapaxes(x, 0, 1))
        return ACTIVATIONS[self.activation](ops.swapaxes(y, 0, 1))


class Layer(Opaque):
    """How a layer is called; by default, as its module, with a mask that goes on to the next layer.

    Parameters
    ----------
    module : Module or function
    keeps : bool
        Whether the mask goes on.
    """

    def __init__(self, module: Callable[..., Any], keeps: bool = True):
        self.module, self.keeps = module, keeps

    def run(self, x: Any, mask: Any, states: Any) -> Any:
        """The output; of a list of inputs, if there are several."""
        return self.module(x)

    def mask_after(self, x: Any, mask: Any) -> Any:
        """The mask of the output."""
        return mask if self.keeps else None


class Embedded(Layer):
    """An embedding, of which zeros are masked if it says so."""

    def __init__(self, module: Callable[..., Any], masks: bool):
        super().__init__(module)
        self.masks = masks

    def mask_after(self, x: Any, mask: Any) -> Any:
        return x != 0 if self.masks else None


class Masking(Layer):
    """Steps whose features are all `value` are masked, and zero."""

    def __init__(self, value: float):
        super().__init__(self._zeroed)
        self.value = value

    def _zeroed(self, x: Any) -> Any:
        return ops.where(ops.expand_dims(self.mask_after(x, None), -1), x, ops.zeros_like(x))

    def mask_after(self, x: Any, mask: Any) -> Any:
        return ops.any(x != self.value, -1)


class Merged(Layer):
    """A function of several inputs; a step counts where it does in all of them."""

    def mask_after(self, x: Any, mask: Any) -> Any:
        given = [m for m in mask if m is not None]
        return functools.reduce(ops.logical_and, given) if given and self.keeps else None


class Averaged(Layer):
    """The mean over time, of the steps that count."""

    def __init__(self, keepdims: bool):
        super().__init__(ops.mean, keeps=False)
        self.keepdims = keepdims

    def run(self, x: Any, mask: Any, states: Any) -> Any:
        if mask is None:
            return ops.mean(x, 1, self.keepdims)
        weights = ops.astype(ops.expand_dims(mask, -1), x.dtype)
        return ops.sum(x * weights, 1, self.keepdims) / ops.sum(weights, 1, self.keepdims)


class Sequences(Layer):
    """A recurrent layer: all outputs or the last one, and states if asked for."""

    module: Any

    def __init__(self, module: RNN | LSTM | GRU, settings: dict[str, Any]):
        super().__init__(module)
        self.every = bool(settings.get("return_sequences", False))
        self.states = bool(settings.get("return_state", False))
        self.zeros = bool(settings.get("zero_output_for_mask", False)) or module.bidirectional

    def run(self, x: Any, mask: Any, states: Any) -> Any:
        layer = self.module
        ys, final = layer(x, _stacked(states, layer), mask=mask)
        parts = final if isinstance(final, tuple) else (final,)
        time = 1 if layer.batch_first else 0
        if not self.every:
            y = self._last(parts[0])
        else:
            y = ys if mask is None or self.zeros else _held(ys, mask, time, layer.reverse)
            y = ops.flip(y, time) if layer.reverse else y
        if not self.states:
            return y
        return (y, *(part[d] for d in range(1 + layer.bidirectional) for part in parts))

    def mask_after(self, x: Any, mask: Any) -> Any:
        if not self.every or mask is None:
            return None
        return mask  # as it was, even of outputs in reverse order: so does Keras

    def _last(self, h: Any) -> Any:
        """The last output of each direction, merged; it is the last state."""
        if not self.module.bidirectional:
            return h[0]
        return MERGES[self.module.merge](h[0], h[1])


def _stacked(states: Any, layer: RNN | LSTM | GRU) -> Any:
    """States as Keras lists them, direction by direction, as those of a layer here."""
    if states is None:
        return None
    listed = list(states) if isinstance(states, list | tuple) else [states]
    n = 2 if isinstance(layer, LSTM) else 1
    columns = [ops.stack([listed[i] for i in range(k, len(listed), n)]) for k in range(n)]
    return tuple(columns) if n == 2 else columns[0]


def _held(ys: Any, mask: Any, time: int, reverse: bool) -> Any:
    """Outputs that stay as they are where the mask leaves a step out; zero before the first that counts."""
    steps = np.asarray(mask.numpy() if isinstance(mask, Tensor) else mask)
    steps = np.flip(steps, time) if reverse else steps
    places = np.arange(steps.shape[time]).reshape((1, -1) if time else (-1, 1))
    last = np.maximum.accumulate(np.where(steps, places, -1), time)
    if reverse:  # in the order in which ys are
        last = np.flip(np.where(last < 0, -1, steps.shape[time] - 1 - last), time)
    last = last[..., None]
    held = ops.take_along_axis(ys, np.broadcast_to(np.maximum(last, 0), ys.shape), time)
    return ops.where(last >= 0, held, ops.zeros_like(held))
