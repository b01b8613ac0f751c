"""Long short-term memory."""

from __future__ import annotations

from ...ops import sigmoid, split, tanh, zeros
from ...ops.linear import linear
from .base import GatedCell
from .registry import register_cell


@register_cell("lstm")
class LSTMCell(GatedCell):
    """Long short-term memory with a forget gate (Hochreiter and Schmidhuber 1997; Gers et al. 2000).

    ``i, f, g, o = W_ih x + b_ih + W_hh h + b_hh``
    ``c' = sigmoid(f) * c + sigmoid(i) * tanh(g)``
    ``h' = sigmoid(o) * tanh(c')``

    The state is ``(h, c)``. Parameters: see :class:`GatedCell`.
    """

    gates = 4

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if self.init == "default" and self.bias_ih is not None:
            forget = slice(self.hidden_size, 2 * self.hidden_size)
            self.bias_ih.data[forget] = 1.0

    def initial_state(self, batch_size: int):
        shape = (batch_size, self.hidden_size)
        return zeros(shape, self.dtype), zeros(shape, self.dtype)

    def step(self, x, state):
        h, c = state
        gates = linear(x, self.weight_ih, self.bias_ih) + linear(h, self.weight_hh, self.bias_hh)
        i, f, g, o = split(gates, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)
        return h, (h, c)
