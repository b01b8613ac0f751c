"""The gated recurrent unit, and smaller relatives."""

from __future__ import annotations

from ...checks import flag
from ...modules import init as initialisers
from ...modules.parameter import Parameter, empty
from ...ops import sigmoid, split, tanh
from ...ops.linear import linear
from .base import GatedCell, Init, masked
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
    biases = ("bias_ih", "bias_hh")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        reset_after: bool = True,
        init: Init = "default",
        dtype=None,
    ):
        self.reset_after = flag("GRUCell: reset_after", reset_after)
        super().__init__(input_size, hidden_size, bias, init, dtype)

    def step(self, x, h, recurrent_mask=None):
        u = masked(h, recurrent_mask)
        xr, xz, xn = split(linear(x, self.weight_ih, self.bias_ih), 3, axis=-1)
        if self.reset_after:
            hr, hz, hn = split(linear(u, self.weight_hh, self.bias_hh), 3, axis=-1)
            n = tanh(xn + sigmoid(xr + hr) * hn)
        else:
            (w_rz, w_n), (b_rz, b_n) = self._split_hidden()
            hr, hz = split(linear(u, w_rz, b_rz), 2, axis=-1)
            n = tanh(xn + linear(sigmoid(xr + hr) * u, w_n, b_n))
        h = n + sigmoid(xz + hz) * (h - n)
        return h, h

    def _split_hidden(self):
        """Recurrent weights and biases of the two gates, and of the new value."""
        cut = [2 * self.hidden_size]
        bias = (None, None) if self.bias_hh is None else split(self.bias_hh, cut)
        return split(self.weight_hh, cut), bias

    def extra_repr(self) -> str:
        return super().extra_repr() + ("" if self.reset_after else ", reset_after=False")


@register_cell("mgu")
class MGUCell(GatedCell):
    """The minimal gated unit (Zhou et al. 2016).

    Zhou, Wu, Zhang and Zhou, "Minimal gated unit for recurrent neural networks".

    ``f = sigmoid(W_if x + W_hf h + b_f)``
    ``n = tanh(W_in x + W_hn (f * h) + b_n)``
    ``h' = (1 - f) * h + f * n``

    Parameters
    ----------
    input_size, hidden_size, bias, init, dtype
        See :class:`GatedCell`; the gates are f, n.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> y, h = nn.MGUCell(3, 4)(np.ones((2, 3)))
    >>> h.shape
    (2, 4)
    """

    gates = 2

    def step(self, x, h, recurrent_mask=None):
        u = masked(h, recurrent_mask)
        w_f, w_n = split(self.weight_hh, 2)
        xf, xn = split(linear(x, self.weight_ih, self.bias), 2, axis=-1)
        f = sigmoid(xf + linear(u, w_f))
        n = tanh(xn + linear(f * u, w_n))
        h = h + f * (n - h)
        return h, h


@register_cell("ugrnn")
class UGRNNCell(GatedCell):
    """The update gate network (Collins et al. 2017).

    Collins, Sohl-Dickstein and Sussillo, "Capacity and trainability in recurrent neural networks".

    ``g, n = W_ih x + W_hh h + b``
    ``h' = sigmoid(g) * h + (1 - sigmoid(g)) * tanh(n)``

    Parameters
    ----------
    input_size, hidden_size, bias, init, dtype
        See :class:`GatedCell`. The bias of the update gate begins at one.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> y, h = nn.UGRNNCell(3, 4)(np.ones((2, 3)))
    >>> h.shape
    (2, 4)
    """

    gates = 2
    forget_gate = 0

    def step(self, x, h, recurrent_mask=None):
        u = masked(h, recurrent_mask)
        g, n = split(linear(x, self.weight_ih, self.bias) + linear(u, self.weight_hh), 2, axis=-1)
        n = tanh(n)
        h = n + sigmoid(g) * (h - n)
        return h, h


@register_cell("fastgrnn")
class FastGRNNCell(GatedCell):
    """One product for gate and new value (Kusupati et al. 2018).

    "FastGRNN: a fast, accurate, stable and tiny kilobyte sized gated recurrent neural network".

    ``a = W_ih x + W_hh h``
    ``z = sigmoid(a + b_z)``, ``n = tanh(a + b_n)``
    ``h' = (zeta * (1 - z) + nu) * n + z * h``

    ``zeta`` and ``nu`` are numbers between 0 and 1, the sigmoids of the parameters of these names.

    Parameters
    ----------
    input_size, hidden_size, init, dtype
        See :class:`GatedCell`. Biases begin at one, ``zeta`` at 1 and ``nu`` at -4, as in the authors' code.
    bias : bool

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> y, h = nn.FastGRNNCell(3, 4)(np.ones((2, 3)))
    >>> h.shape
    (2, 4)
    """

    biases = ("bias_z", "bias_n")
    bias_z: Parameter | None
    bias_n: Parameter | None

    def build(self, bias: bool, dtype) -> None:
        super().build(bias, dtype)
        self.zeta, self.nu = empty(1, dtype=dtype), empty(1, dtype=dtype)

    def draw_parameters(self) -> None:
        super().draw_parameters()
        initialisers.constant(self.zeta, 1.0)
        initialisers.constant(self.nu, -4.0)
        for bias in (self.bias_z, self.bias_n):
            if bias is not None:
                initialisers.constant(bias, 1.0)

    def step(self, x, h, recurrent_mask=None):
        a = linear(x, self.weight_ih) + linear(masked(h, recurrent_mask), self.weight_hh)
        z, n = (a, a) if self.bias_z is None else (a + self.bias_z, a + self.bias_n)
        z, n = sigmoid(z), tanh(n)
        h = (sigmoid(self.zeta) * (1 - z) + sigmoid(self.nu)) * n + z * h
        return h, h
