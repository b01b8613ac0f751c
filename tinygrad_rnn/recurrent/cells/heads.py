"""The base of cells with heads, and how steps of time begin in them."""

from __future__ import annotations

import math

import numpy as np

from ... import config
from ...modules import init as initialisers
from ...modules.parameter import Parameter, empty
from ...ops import split
from ...ops.linear import linear
from ..cell import Cell, of_parameters
from .base import check_count


class HeadsCell(Cell):
    """Base of cells whose features are `heads` groups of equal size, each with a memory of its own.

    Parameters
    ----------
    input_size, hidden_size : int
    heads : int
        It divides `hidden_size`; a head has ``D = hidden_size / heads`` features.
    dtype : float32 or float64, optional

    Attributes
    ----------
    weight_ih : Parameter, (blocks * hidden_size, input_size)
        Block after block, each head after head.
    weight_gates : Parameter, (gates * heads, input_size), or None
    bias_gates : Parameter, (gates * heads,), or None
        One number for each head: gate after gate.
    """

    blocks = 3  # queries, keys, values
    gates = 0
    input_size: int
    hidden_size: int
    weight_gates: Parameter | None
    bias_gates: Parameter | None

    def __init__(self, input_size: int, hidden_size: int, heads: int = 1, dtype=None):
        name = type(self).__name__
        self.input_size = check_count(input_size, f"{name}: input_size")
        self.hidden_size = check_count(hidden_size, f"{name}: hidden_size")
        self.heads = check_count(heads, f"{name}: heads")
        if self.hidden_size % self.heads:
            raise ValueError(f"{name}: heads: got {heads}, wanted a divisor of hidden_size={hidden_size}")
        self.weight_ih = empty(self.blocks * self.hidden_size, self.input_size, dtype=dtype)
        self.weight_gates = self.bias_gates = None
        if self.gates:
            self.weight_gates = empty(self.gates * self.heads, self.input_size, dtype=dtype)
            self.bias_gates = empty(self.gates * self.heads, dtype=dtype)
        self.build(dtype)
        self.reset_parameters()

    def build(self, dtype) -> None:
        """Make what other parameters there are."""

    def reset_parameters(self) -> None:
        """Draw the parameters anew: Xavier for matrices, block by block, and zero biases."""
        initialisers.per_gate(initialisers.xavier_uniform, self.blocks)(self.weight_ih)
        if self.weight_gates is not None and self.bias_gates is not None:
            initialisers.xavier_uniform(self.weight_gates)
            initialisers.constant(self.bias_gates, 0.0)

    @property
    @of_parameters
    def dtype(self) -> np.dtype:
        return self.weight_ih.dtype

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.heads

    def by_head(self, v):
        """Features (B, hidden_size) as (B, heads, D)."""
        return v.reshape((-1, self.heads, self.head_size))

    def whole(self, v):
        """The inverse of :meth:`by_head`."""
        return v.reshape((-1, self.hidden_size))

    def projections(self, x):
        """The blocks of ``weight_ih @ x``, each (B, heads, D)."""
        return [self.by_head(v) for v in split(linear(x, self.weight_ih), self.blocks, axis=-1)]

    def gate_numbers(self, x):
        """The gates before their activation, each (B, heads)."""
        return split(linear(x, self.weight_gates, self.bias_gates), self.gates, axis=-1)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, heads={self.heads}"


def inverse_softplus(size: int) -> np.ndarray:
    """Random numbers whose softplus is from 0.001 to 0.1, uniform in its logarithm, as in Mamba."""
    steps = np.exp(config.generator().uniform(math.log(0.001), math.log(0.1), size))
    return steps + np.log(-np.expm1(-steps))
