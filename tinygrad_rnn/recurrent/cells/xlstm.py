"""LSTMs with exponential gates (xLSTM), with heads: the scalar and the matrix kind."""

from __future__ import annotations

import math

import numpy as np

from ...modules import init as initialisers
from ...modules.parameter import empty
from ...ops import abs, einsum, exp, log_sigmoid, maximum, minimum, sigmoid, tanh, where, zeros
from ...ops.linear import linear
from ..cell import constant
from .heads import HeadsCell
from .registry import register_cell

MOST = 60.0  # the exponential of which a float32 holds with room for products


@register_cell("slstm")
class SLSTMCell(HeadsCell):
    """The LSTM with exponential gates, and a matrix for each head (Beck et al. 2024, section 2.2).

    "xLSTM: Extended long short-term memory". The state is ``(h, c, n, m)``; with m, the running maximum of the gates'
    logarithms, nothing overflows, and the result is that without it:

    ``i, f, z, o = W x + R h + b``
    ``m' = max(log sigmoid(f) + m, i)``,  or i while n is zero, of which the maximum might leave nothing
    ``c' = exp(log sigmoid(f) + m - m') * c + exp(i - m') * tanh(z)``,  ``n'`` likewise with 1 for ``tanh(z)``
    ``h' = sigmoid(o) * c' / n'``

    Parameters
    ----------
    input_size, hidden_size, heads, dtype
        See :class:`HeadsCell`.

    Attributes
    ----------
    weight_ih : Parameter, (4 * hidden_size, input_size)
    weight_hh : Parameter, (4 * hidden_size, hidden_size / heads)
        Gate after gate, each head after head: a unit reads the units of its head. Orthogonal.
    bias : Parameter, (4 * hidden_size,)
        That of the forget gate begins at values from 3 to 6, the others at zero.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> y, (h, c, n, m) = nn.SLSTMCell(3, 4, heads=2)(np.ones((2, 3)))
    >>> y.shape, c.shape
    ((2, 4), (2, 2, 2))
    """

    blocks = 4

    def build(self, dtype) -> None:
        self.weight_hh = empty(4 * self.hidden_size, self.head_size, dtype=dtype)
        self.bias = empty(4 * self.hidden_size, dtype=dtype)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        initialisers.per_gate(initialisers.orthogonal, 4 * self.heads)(self.weight_hh)
        forget = np.linspace(3.0, 6.0, self.hidden_size)
        others = np.zeros(self.hidden_size)
        initialisers.set_to(self.bias, np.concatenate([others, forget, others, others]))

    @constant
    def initial_state(self, batch_size: int):
        shape = (batch_size, self.heads, self.head_size)
        return tuple(zeros(shape, self.dtype) for _ in range(4))

    def step(self, x, state):
        h, c, n, m = state
        recurrent = self.weight_hh.reshape((4, self.heads, self.head_size, self.head_size))
        a = linear(x, self.weight_ih, self.bias).reshape((-1, 4, self.heads, self.head_size))
        a = a + einsum("bhd,ghed->bghe", h, recurrent)
        i, f, z, o = a[:, 0], log_sigmoid(a[:, 1]) + m, tanh(a[:, 2]), sigmoid(a[:, 3])
        m = where(n == 0.0, i, maximum(f, i))
        f, i = exp(minimum(f - m, MOST)), exp(i - m)  # only while n is zero is the difference above zero
        c, n = f * c + i * z, f * n + i
        h = o * c / n
        return self.whole(h), (h, c, n, m)


@register_cell("mlstm")
class MLSTMCell(HeadsCell):
    """The LSTM with a matrix as memory and exponential gates (Beck et al. 2024, section 2.3).

    "xLSTM: Extended long short-term memory". The state is ``(C, n, m)``, for each head a matrix, a vector and a number;
    with m, the running maximum of the gates' logarithms, nothing overflows, and the result is that without it:

    ``q, k, v, o = W x``,  ``k = k / sqrt(D)``,  ``i, f = W_g x + b_g``
    ``m' = max(log sigmoid(f) + m, i)``,  ``f' = exp(log sigmoid(f) + m - m')``,  ``i' = exp(i - m')``
    ``C' = f' C + i' v k^T``,  ``n' = f' n + i' k``
    ``h = sigmoid(o + b_o) * C' q / max(|n' q|, exp(-m'))``

    Parameters
    ----------
    input_size, hidden_size, heads, dtype
        See :class:`HeadsCell`.

    Attributes
    ----------
    weight_ih : Parameter, (4 * hidden_size, input_size)
    weight_gates, bias_gates : Parameter, (2 * heads, input_size) and (2 * heads,)
        Input and forget gate; the bias of the forget gate begins at values from 3 to 6.
    bias : Parameter, (hidden_size,)
        Of the output gate.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> y, (c, n, m) = nn.MLSTMCell(3, 4, heads=2)(np.ones((2, 3)))
    >>> y.shape, c.shape
    ((2, 4), (2, 2, 2, 2))
    """

    blocks, gates = 4, 2

    def build(self, dtype) -> None:
        self.bias = empty(self.hidden_size, dtype=dtype)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        initialisers.constant(self.bias, 0.0)
        assert self.bias_gates is not None
        initialisers.set_to(self.bias_gates, np.concatenate([np.zeros(self.heads), np.linspace(3.0, 6.0, self.heads)]))

    @constant
    def initial_state(self, batch_size: int):
        lead, size = (batch_size, self.heads), self.head_size
        return tuple(zeros((*lead, *row), self.dtype) for row in ((size, size), (size,), ()))

    def step(self, x, state):
        c, n, m = state
        q, k, v, o = self.projections(x)
        i, f = self.gate_numbers(x)
        k, f = k * (1.0 / math.sqrt(self.head_size)), log_sigmoid(f) + m
        m = maximum(f, i)
        f, i = exp(f - m)[:, :, None], exp(i - m)[:, :, None]
        c = f[:, :, :, None] * c + einsum("bhv,bhk->bhvk", i * v, k)
        n = f * n + i * k
        scale = maximum(abs(einsum("bhk,bhk->bh", n, q)), exp(-m))
        y = einsum("bhvk,bhk->bhv", c, q) / scale[:, :, None]
        return sigmoid(self.whole(o) + self.bias) * self.whole(y), (c, n, m)
