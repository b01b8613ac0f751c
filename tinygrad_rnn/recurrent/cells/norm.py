"""Cells with layer normalisation."""

from __future__ import annotations

from ...modules.norm import LayerNorm
from ...modules.parameter import check_eps
from ...ops import sigmoid, split, tanh
from ...ops.linear import linear
from ..cell import constant
from .base import GatedCell, Init, masked, pair_of_zeros
from .registry import register_cell


class NormalisedCell(GatedCell):
    """Base of gated cells with layer normalisation, which has no shift where the bias follows.

    Parameters
    ----------
    eps : float
        Added to the variances.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        eps: float = 1e-5,
        init: Init = "default",
        dtype=None,
    ):
        self.eps = check_eps(type(self).__name__, eps)
        super().__init__(input_size, hidden_size, bias, init, dtype)

    def norm(self, gates: int, dtype, bias: bool = False) -> LayerNorm:
        return LayerNorm(gates * self.hidden_size, self.eps, bias=bias, dtype=dtype)

    def reset_parameters(self) -> None:
        for norm in self.children():
            if isinstance(norm, LayerNorm):
                norm.reset_parameters()
        super().reset_parameters()


@register_cell("layernorm_lstm")
class LayerNormLSTMCell(NormalisedCell):
    """An LSTM with layer normalisation (Ba, Kiros and Hinton 2016, "Layer normalization", eq. 20 to 22).

    ``i, f, g, o = LN(W_ih x) + LN(W_hh h) + b``
    ``c' = sigmoid(f) * c + sigmoid(i) * tanh(g)``
    ``h' = sigmoid(o) * tanh(LN(c'))``

    Mean and variance of the first two are taken over all gates together, as in the paper.

    Parameters
    ----------
    input_size, hidden_size, bias, init, dtype
        See :class:`GatedCell`. Gains begin at one: ``norm_ih``, ``norm_hh``, ``norm_c``.
    eps : float
        Added to the variances.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> y, (h, c) = nn.LayerNormLSTMCell(3, 4)(np.ones((2, 3)))
    >>> h.shape
    (2, 4)
    """

    gates = 4
    forget_gate = 1

    def build(self, bias: bool, dtype) -> None:
        super().build(bias, dtype)
        self.norm_ih, self.norm_hh = self.norm(4, dtype), self.norm(4, dtype)
        self.norm_c = self.norm(1, dtype, bias)

    @constant
    def initial_state(self, batch_size: int):
        return pair_of_zeros(self, batch_size)

    def step(self, x, state, recurrent_mask=None):
        h, c = state
        h = masked(h, recurrent_mask)
        gates = self.norm_ih(linear(x, self.weight_ih)) + self.norm_hh(linear(h, self.weight_hh))
        i, f, g, o = split(gates if self.bias is None else gates + self.bias, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(self.norm_c(c))
        return h, (h, c)


@register_cell("layernorm_gru")
class LayerNormGRUCell(NormalisedCell):
    """A GRU with layer normalisation (Ba, Kiros and Hinton 2016, "Layer normalization", appendix).

    ``r, z = LN(W_i x) + LN(W_h h) + b``
    ``n = tanh(LN(W_in x) + b_n + sigmoid(r) * LN(W_hn h))``
    ``h' = (1 - sigmoid(z)) * n + sigmoid(z) * h``

    Both gates are normalised together, and the new value apart, as in the paper.

    Parameters
    ----------
    input_size, hidden_size, bias, init, dtype
        See :class:`GatedCell`. Gains begin at one: ``norm_ih``, ``norm_hh`` (2 * hidden_size,), ``norm_in``,
        ``norm_hn`` (hidden_size,).
    eps : float
        Added to the variances.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> y, h = nn.LayerNormGRUCell(3, 4)(np.ones((2, 3)))
    >>> h.shape
    (2, 4)
    """

    gates = 3

    def build(self, bias: bool, dtype) -> None:
        super().build(bias, dtype)
        self.norm_ih, self.norm_hh = self.norm(2, dtype), self.norm(2, dtype)
        self.norm_in, self.norm_hn = self.norm(1, dtype), self.norm(1, dtype, bias)

    def step(self, x, h, recurrent_mask=None):
        cut = [2 * self.hidden_size]
        x_rz, x_n = split(linear(x, self.weight_ih), cut, axis=-1)
        h_rz, h_n = split(linear(masked(h, recurrent_mask), self.weight_hh), cut, axis=-1)
        rz, n = self.norm_ih(x_rz) + self.norm_hh(h_rz), self.norm_in(x_n)
        if self.bias is not None:
            b_rz, b_n = split(self.bias, cut)
            rz, n = rz + b_rz, n + b_n
        r, z = split(sigmoid(rz), 2, axis=-1)
        n = tanh(n + r * self.norm_hn(h_n))
        h = n + z * (h - n)
        return h, h
