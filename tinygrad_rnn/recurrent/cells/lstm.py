"""Long short-term memory and its variants, with states ``(h, c)``."""

from __future__ import annotations

from ...checks import whole_number
from ...modules import init as initialisers
from ...modules.parameter import Parameter, empty
from ...ops import sigmoid, split, tanh, zeros
from ...ops.linear import linear
from ..cell import constant
from .base import GatedCell, Init, check_count, masked, pair_of_zeros
from .registry import register_cell


@register_cell("lstm")
class LSTMCell(GatedCell):
    """Long short-term memory with a forget gate (Hochreiter and Schmidhuber 1997; Gers et al. 2000).

    ``i, f, g, o = W_ih x + b_ih + W_hh h + b_hh``
    ``c' = sigmoid(f) * c + sigmoid(i) * tanh(g)``
    ``h' = sigmoid(o) * tanh(c')``, and with `proj_size` ``h' = W_hr (sigmoid(o) * tanh(c'))``

    The state is ``(h, c)``.

    Parameters
    ----------
    input_size, hidden_size, bias, init, dtype
        See :class:`GatedCell`.
    proj_size : int
        If positive, the features of h and of the output, less than `hidden_size` (Sak, Senior and Beaufays 2014).
        ``weight_hh`` is then (4 * hidden_size, proj_size), and ``weight_hr`` (proj_size, hidden_size).

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> y, (h, c) = nn.LSTMCell(3, 8, proj_size=2)(np.ones((5, 3)))
    >>> h.shape, c.shape
    ((5, 2), (5, 8))
    """

    gates = 4
    forget_gate = 1
    biases = ("bias_ih", "bias_hh")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        proj_size: int = 0,
        init: Init = "default",
        dtype=None,
    ):
        self.proj_size = check_projection(proj_size, hidden_size, "LSTMCell")
        if self.proj_size:
            self.output_size = self.proj_size
        super().__init__(input_size, hidden_size, bias, init, dtype)

    def build(self, bias: bool, dtype) -> None:
        rows = self.gates * self.hidden_size
        self.weight_ih = empty(rows, self.input_size, dtype=dtype)
        self.weight_hh = empty(rows, self.proj_size or self.hidden_size, dtype=dtype)
        self.build_biases(bias, dtype)
        self.weight_hr: Parameter | None = None
        if self.proj_size:
            self.weight_hr = empty(self.proj_size, self.hidden_size, dtype=dtype)

    def draw_parameters(self) -> None:
        super().draw_parameters()
        if self.weight_hr is not None:
            initialisers.xavier_uniform(self.weight_hr)

    @constant
    def initial_state(self, batch_size: int):
        sizes = self.proj_size or self.hidden_size, self.hidden_size
        return tuple(zeros((batch_size, n), self.dtype) for n in sizes)

    def step(self, x, state, recurrent_mask=None):
        h, c = state
        h = masked(h, recurrent_mask)
        gates = linear(x, self.weight_ih, self.bias_ih) + linear(h, self.weight_hh, self.bias_hh)
        i, f, g, o = split(gates, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)
        if self.weight_hr is not None:
            h = linear(h, self.weight_hr)
        return h, (h, c)

    def extra_repr(self) -> str:
        return super().extra_repr() + (f", proj_size={self.proj_size}" if self.proj_size else "")


def check_projection(value: int, hidden_size: int, owner: str) -> int:
    hidden_size = check_count(hidden_size, f"{owner}: hidden_size")
    wanted = f"0 or less than hidden_size, {hidden_size}"
    return whole_number(f"{owner}: proj_size", value, 0, hidden_size - 1, wanted)


@register_cell("peephole_lstm")
class PeepholeLSTMCell(GatedCell):
    """An LSTM whose gates see the memory cell (Gers and Schmidhuber 2000).

    "Recurrent nets that time and count".

    ``i, f, g, o = W_ih x + W_hh h + b``
    ``c' = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * tanh(g)``
    ``h' = sigmoid(o + p_o * c') * tanh(c')``

    Parameters
    ----------
    input_size, hidden_size, bias, init, dtype
        See :class:`GatedCell`. The peepholes ``weight_c`` (3 * hidden_size,), for i, f, o, begin as normal numbers of
        deviation 0.1.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> y, (h, c) = nn.PeepholeLSTMCell(3, 4)(np.ones((2, 3)))
    >>> c.shape
    (2, 4)
    """

    gates = 4
    forget_gate = 1

    def build(self, bias: bool, dtype) -> None:
        super().build(bias, dtype)
        self.weight_c = empty(3 * self.hidden_size, dtype=dtype)

    def draw_parameters(self) -> None:
        super().draw_parameters()
        initialisers.normal(self.weight_c, 0.0, 0.1)

    @constant
    def initial_state(self, batch_size: int):
        return pair_of_zeros(self, batch_size)

    def step(self, x, state, recurrent_mask=None):
        h, c = state
        h = masked(h, recurrent_mask)
        i, f, g, o = split(linear(x, self.weight_ih, self.bias) + linear(h, self.weight_hh), 4, axis=-1)
        p_i, p_f, p_o = split(self.weight_c, 3)
        c = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * tanh(g)
        h = sigmoid(o + p_o * c) * tanh(c)
        return h, (h, c)


@register_cell("cifg")
class CIFGCell(GatedCell):
    """An LSTM with coupled input and forget gates (CIFG; Greff et al. 2017).

    "LSTM: a search space odyssey".

    ``f, g, o = W_ih x + W_hh h + b``
    ``c' = sigmoid(f) * c + (1 - sigmoid(f)) * tanh(g)``
    ``h' = sigmoid(o) * tanh(c')``

    Parameters
    ----------
    input_size, hidden_size, bias, init, dtype
        See :class:`GatedCell`.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> nn.CIFGCell(3, 4).weight_ih.shape
    (12, 3)
    """

    gates = 3
    forget_gate = 0

    @constant
    def initial_state(self, batch_size: int):
        return pair_of_zeros(self, batch_size)

    def step(self, x, state, recurrent_mask=None):
        h, c = state
        h = masked(h, recurrent_mask)
        f, g, o = split(linear(x, self.weight_ih, self.bias) + linear(h, self.weight_hh), 3, axis=-1)
        g = tanh(g)
        c = g + sigmoid(f) * (c - g)
        h = sigmoid(o) * tanh(c)
        return h, (h, c)
