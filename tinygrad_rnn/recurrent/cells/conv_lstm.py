"""An LSTM whose products are convolutions along one axis."""

from __future__ import annotations

import numpy as np

from ...modules import init as initialisers
from ...modules.parameter import empty, float_dtype
from ...ops import concat, pad, sigmoid, split, tanh, zeros
from ..cell import Cell, constant, of_parameters
from .base import check_count
from .registry import register_cell


@register_cell("conv_lstm")
class ConvLSTMCell(Cell):
    """The convolutional LSTM, along one axis (Shi et al. 2015, section 3.1, without peepholes).

    "Convolutional LSTM network: a machine learning approach for precipitation nowcasting". The features of a row are
    `length` places with equally many channels each, place after place. Places outside are zero, so that there are as
    many after a convolution. The state is ``(h, c)``, (B, length, channels) each.

    ``i, f, g, o = W * x + U * h + b``
    ``c' = sigmoid(f) c + sigmoid(i) tanh(g)``,  ``h' = sigmoid(o) tanh(c')``

    Parameters
    ----------
    input_size, hidden_size : int
        Features in all, of all places.
    length : int
        Places; it divides `input_size` and `hidden_size`.
    kernel_size : int
        Places that a convolution sees; odd.
    dtype : float32 or float64, optional

    Attributes
    ----------
    weight_ih : Parameter, (4 * hidden_size / length, kernel_size * input_size / length)
        Gate after gate; channels for each place of the kernel. Xavier.
    weight_hh : Parameter, (4 * hidden_size / length, kernel_size * hidden_size / length)
    bias : Parameter, (4 * hidden_size / length,)
        One for the forget gate, zero for the others.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> y, (h, c) = nn.ConvLSTMCell(input_size=8, hidden_size=24, length=8)(np.ones((2, 8)))
    >>> y.shape, h.shape
    ((2, 24), (2, 8, 3))
    """

    input_size: int
    hidden_size: int

    def __init__(self, input_size: int, hidden_size: int, length: int = 1, kernel_size: int = 3, dtype=None):
        self.input_size = check_count(input_size, "ConvLSTMCell: input_size")
        self.hidden_size = check_count(hidden_size, "ConvLSTMCell: hidden_size")
        self.length = check_count(length, "ConvLSTMCell: length")
        self.kernel_size = check_count(kernel_size, "ConvLSTMCell: kernel_size")
        for name, size in (("input_size", self.input_size), ("hidden_size", self.hidden_size)):
            if size % self.length:
                raise ValueError(f"ConvLSTMCell: length: got {length}, wanted a divisor of {name}={size}")
        if self.kernel_size % 2 == 0:
            raise ValueError(f"ConvLSTMCell: kernel_size: got {kernel_size}, wanted an odd number of places")
        dtype, gates = float_dtype(dtype), 4 * self.channels
        self.weight_ih = empty(gates, self.kernel_size * (self.input_size // self.length), dtype=dtype)
        self.weight_hh = empty(gates, self.kernel_size * self.channels, dtype=dtype)
        self.bias = empty(gates, dtype=dtype)
        self.reset_parameters()

    @property
    def channels(self) -> int:
        """Channels of a place of the state."""
        return self.hidden_size // self.length

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        initialisers.per_gate(initialisers.xavier_uniform, 4)(self.weight_ih)
        initialisers.per_gate(initialisers.xavier_uniform, 4)(self.weight_hh)
        initialisers.set_to(self.bias, np.repeat([0.0, 1.0, 0.0, 0.0], self.channels))

    @property
    @of_parameters
    def dtype(self) -> np.dtype:
        return self.weight_ih.dtype

    @constant
    def initial_state(self, batch_size: int):
        shape = (batch_size, self.length, self.channels)
        return zeros(shape, self.dtype), zeros(shape, self.dtype)

    def taps(self, v):
        """What the kernel sees at each place of `v` (B, length, n), as (B, length, kernel_size * n)."""
        reach = self.kernel_size // 2
        wide = pad(v, ((0, 0), (reach, reach), (0, 0)))
        return concat([wide[:, k : k + self.length] for k in range(self.kernel_size)], axis=-1)

    def step(self, x, state):
        h, c = state
        x = x.reshape((-1, self.length, self.input_size // self.length))
        gates = self.taps(x) @ self.weight_ih.T + self.taps(h) @ self.weight_hh.T + self.bias
        i, f, g, o = split(gates, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)
        return h.reshape((-1, self.hidden_size)), (h, c)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, length={self.length}, kernel_size={self.kernel_size}"
