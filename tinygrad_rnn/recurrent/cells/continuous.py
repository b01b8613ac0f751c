"""Cells in continuous time, whose steps may be of different lengths."""

from __future__ import annotations

import numpy as np

from ...modules import init as initialisers
from ...modules.parameter import empty, float_dtype
from ...ops import sigmoid, split, tanh
from ...ops.linear import linear
from ..cell import Cell, of_parameters
from .base import check_count
from .registry import register_cell


@register_cell("cfc")
class CfCCell(Cell):
    """The closed-form continuous-time cell (Hasani et al. 2022, equation 4, in its gated form).

    "Closed-form continuous-time neural networks". An input is x, or a pair of x and the time t (B, 1) since the step
    before, which else is one.

    ``z = 1.7159 tanh(2/3 (W x + U h + b))``
    ``g, k, f, s = W_z z + b_z``
    ``h' = tanh(g) (1 - sigmoid(f t + s)) + tanh(k) sigmoid(f t + s)``

    Parameters
    ----------
    input_size, hidden_size : int
    backbone_size : int, optional
        Features of z; default `hidden_size`.
    dtype : float32 or float64, optional

    Attributes
    ----------
    weight_ih, weight_hh, bias : Parameter, (backbone_size, input_size), (backbone_size, hidden_size), (backbone_size,)
    weight_z, bias_z : Parameter, (4 * hidden_size, backbone_size) and (4 * hidden_size,)
        Of g, k, f and s. Matrices are Xavier, biases zero.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> cell = nn.CfCCell(3, 4)
    >>> y, h = cell((np.ones((2, 3)), np.full((2, 1), 0.5)))
    >>> y.shape
    (2, 4)
    """

    input_size: int
    hidden_size: int

    def __init__(self, input_size: int, hidden_size: int, backbone_size: int | None = None, dtype=None):
        self.input_size = check_count(input_size, "CfCCell: input_size")
        self.hidden_size = check_count(hidden_size, "CfCCell: hidden_size")
        size = self.hidden_size if backbone_size is None else check_count(backbone_size, "CfCCell: backbone_size")
        self.backbone_size, dtype, n = size, float_dtype(dtype), self.hidden_size
        self.weight_ih, self.weight_hh = empty(size, self.input_size, dtype=dtype), empty(size, n, dtype=dtype)
        self.bias = empty(size, dtype=dtype)
        self.weight_z, self.bias_z = empty(4 * n, size, dtype=dtype), empty(4 * n, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        initialisers.xavier_uniform(self.weight_ih)
        initialisers.xavier_uniform(self.weight_hh)
        initialisers.per_gate(initialisers.xavier_uniform, 4)(self.weight_z)
        initialisers.constant(self.bias, 0.0)
        initialisers.constant(self.bias_z, 0.0)

    @property
    @of_parameters
    def dtype(self) -> np.dtype:
        return self.weight_z.dtype

    def step(self, x, h):
        x, time = x if isinstance(x, tuple) else (x, 1.0)
        z = 1.7159 * tanh((2.0 / 3.0) * (linear(x, self.weight_ih, self.bias) + linear(h, self.weight_hh)))
        g, k, f, s = split(linear(z, self.weight_z, self.bias_z), 4, axis=-1)
        gate = sigmoid(f * time + s)
        h = tanh(g) * (1.0 - gate) + tanh(k) * gate
        return h, h

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, backbone_size={self.backbone_size}"
