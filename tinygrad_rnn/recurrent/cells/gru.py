"""Gated recurrent units."""

from __future__ import annotations

from ...ops import sigmoid, split, tanh
from ...ops.linear import linear
from .base import GatedCell, Init
from .registry import register_cell


@register_cell("gru")
class GRUCell(GatedCell):
    """The gated recurrent unit (Cho et al. 2014).

    ``r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)``
    ``z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)``
    ``n = tanh(W_in x + b_in + r * (W_hn h + b_hn))``    with ``reset_after``, as cuDNN and PyTorch;
    ``n = tanh(W_in x + b_in + W_hn (r * h) + b_hn)``    without, as in the paper
    ``h' = (1 - z) * n + z * h``

    Parameters
    ----------
    input_size, hidden_size, bias, init, dtype
        See :class:`GatedCell`.
    reset_after : bool
        Whether the reset gate acts on the product (True) or on the state (False).
    """

    gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        reset_after: bool = True,
        init: Init = "default",
        dtype=None,
    ):
        self.reset_after = bool(reset_after)
        super().__init__(input_size, hidden_size, bias, init, dtype)

    def step(self, x, h):
        xr, xz, xn = split(linear(x, self.weight_ih, self.bias_ih), 3, axis=-1)
        if self.reset_after:
            hr, hz, hn = split(linear(h, self.weight_hh, self.bias_hh), 3, axis=-1)
            n = tanh(xn + sigmoid(xr + hr) * hn)
        else:
            (w_rz, w_n), (b_rz, b_n) = self._split_hidden()
            hr, hz = split(linear(h, w_rz, b_rz), 2, axis=-1)
            n = tanh(xn + linear(sigmoid(xr + hr) * h, w_n, b_n))
        h = n + sigmoid(xz + hz) * (h - n)
        return h, h

    def _split_hidden(self):
        """Recurrent weights and biases of the two gates, and of the new value."""
        cut = [2 * self.hidden_size]
        bias = (None, None) if self.bias_hh is None else split(self.bias_hh, cut)
        return split(self.weight_hh, cut), bias

    def extra_repr(self) -> str:
        return super().extra_repr() + ("" if self.reset_after else ", reset_after=False")
