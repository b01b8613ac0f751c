"""The built-in cells, with the parameters and gate orders of PyTorch's RNNCell, LSTMCell and GRUCell."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..nn import init as initialisers
from ..nn.parameter import Parameter, empty
from ..ops import matmul_tanh, relu, sigmoid, split, tanh, zeros
from ..ops.linear import linear
from .cell import Cell

Init = str | Callable[["GatedCell"], None]


def check_count(value, argument: str) -> int:
    if not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{argument}: got {value!r}, wanted a positive integer")
    return int(value)


class GatedCell(Cell):
    """The parameters that the built-in cells share.

    Parameters
    ----------
    input_size, hidden_size : int
    bias : bool
    init : {"default", "torch"} or callable
        "default": orthogonal recurrent weights and Xavier input weights, gate by gate, zero biases (and one
        for an LSTM's forget gate, after Jozefowicz et al. 2015). "torch": all uniform within
        ``±1/sqrt(hidden_size)``. A callable gets the cell and fills its parameters.
    dtype : float32 or float64, optional

    Attributes
    ----------
    weight_ih : Parameter, (gates * hidden_size, input_size)
    weight_hh : Parameter, (gates * hidden_size, hidden_size)
    bias_ih, bias_hh : Parameter, (gates * hidden_size,), or None
    """

    gates = 1
    input_size: int
    hidden_size: int

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, init: Init = "default", dtype=None):
        input_size = check_count(input_size, f"{type(self).__name__}: input_size")
        hidden_size = check_count(hidden_size, f"{type(self).__name__}: hidden_size")
        rows = self.gates * hidden_size
        self.input_size, self.hidden_size, self.init = input_size, hidden_size, init
        self.weight_ih = empty(rows, input_size, dtype=dtype)
        self.weight_hh = empty(rows, hidden_size, dtype=dtype)
        self.bias_ih: Parameter | None = empty(rows, dtype=dtype) if bias else None
        self.bias_hh: Parameter | None = empty(rows, dtype=dtype) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as `init` says."""
        if callable(self.init):
            self.init(self)
        elif self.init == "torch":
            bound = 1.0 / math.sqrt(self.hidden_size)
            for parameter in self.parameters():
                initialisers.uniform(parameter, -bound, bound)
        elif self.init == "default":
            initialisers.per_gate(initialisers.xavier_uniform, self.gates)(self.weight_ih)
            initialisers.per_gate(initialisers.orthogonal, self.gates)(self.weight_hh)
            for bias in (self.bias_ih, self.bias_hh):
                if bias is not None:
                    initialisers.constant(bias, 0.0)
        else:
            raise ValueError(f"{type(self).__name__}: init: got {self.init!r}, wanted 'default', 'torch' or a callable")

    @property
    def dtype(self) -> np.dtype:
        return self.weight_hh.dtype

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias_ih is not None else ", bias=False")


class RNNCell(GatedCell):
    """The simple recurrent unit (Elman 1990).

    ``h' = act(W_ih x + b_ih + W_hh h + b_hh)``

    Parameters
    ----------
    input_size, hidden_size, bias, init, dtype
        See :class:`GatedCell`.
    nonlinearity : {"tanh", "relu", "sigmoid"}
    """

    activations = {"tanh": tanh, "relu": relu, "sigmoid": sigmoid}  # noqa: RUF012

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        init: Init = "default",
        dtype=None,
    ):
        if nonlinearity not in self.activations:
            raise ValueError(
                f"RNNCell: nonlinearity: got {nonlinearity!r}, wanted one of {', '.join(self.activations)}"
            )
        self.nonlinearity = nonlinearity
        super().__init__(input_size, hidden_size, bias, init, dtype)

    def step(self, x, h):
        if self.nonlinearity == "tanh":  # one jitted kernel on the tape
            biases = () if self.bias_ih is None else (self.bias_ih, self.bias_hh)
            h = matmul_tanh(x, self.weight_ih, h, self.weight_hh, *biases, transposed=True)
            return h, h
        act = self.activations[self.nonlinearity]
        h = act(linear(x, self.weight_ih, self.bias_ih) + linear(h, self.weight_hh, self.bias_hh))
        return h, h

    def extra_repr(self) -> str:
        return super().extra_repr() + f", nonlinearity={self.nonlinearity!r}"


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
