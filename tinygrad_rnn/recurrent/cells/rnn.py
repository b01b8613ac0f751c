"""Simple recurrent units: Elman's, and units that are connected to themselves only."""

from __future__ import annotations

from ...checks import one_of
from ...modules import init as initialisers
from ...modules.parameter import empty
from ...ops import matmul_tanh, relu, sigmoid, tanh
from ...ops.linear import linear
from .base import GatedCell, Init, check_count, masked
from .registry import register_cell

ACTIVATIONS = {"tanh": tanh, "relu": relu, "sigmoid": sigmoid}


def check_nonlinearity(value: str, owner: str) -> str:
    return one_of(f"{owner}: nonlinearity", value, ACTIVATIONS, f"one of {', '.join(ACTIVATIONS)}")


@register_cell("rnn")
class RNNCell(GatedCell):
    """The simple recurrent unit (Elman 1990).

    ``h' = act(W_ih x + b_ih + W_hh h + b_hh)``

    Parameters
    ----------
    input_size, hidden_size, bias, init, dtype
        See :class:`GatedCell`.
    nonlinearity : {"tanh", "relu", "sigmoid"}
    """

    biases = ("bias_ih", "bias_hh")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        init: Init = "default",
        dtype=None,
    ):
        self.nonlinearity = check_nonlinearity(nonlinearity, "RNNCell")
        super().__init__(input_size, hidden_size, bias, init, dtype)

    def step(self, x, h, recurrent_mask=None):
        h = masked(h, recurrent_mask)
        if self.nonlinearity == "tanh":  # one jitted kernel on the tape
            biases = () if self.bias_ih is None else (self.bias_ih, self.bias_hh)
            h = matmul_tanh(x, self.weight_ih, h, self.weight_hh, *biases, transposed=True)
            return h, h
        act = ACTIVATIONS[self.nonlinearity]
        h = act(linear(x, self.weight_ih, self.bias_ih) + linear(h, self.weight_hh, self.bias_hh))
        return h, h

    def extra_repr(self) -> str:
        return super().extra_repr() + f", nonlinearity={self.nonlinearity!r}"


@register_cell("indrnn")
class IndRNNCell(GatedCell):
    """Independently recurrent units (Li et al. 2018).

    Li, Li, Cook, Zhu and Gao, "Independently recurrent neural network (IndRNN)".

    ``h' = act(W_ih x + weight_hh * h + b)``, elementwise in ``h``

    Parameters
    ----------
    input_size, hidden_size, bias, init, dtype
        See :class:`GatedCell`; here ``weight_hh`` is a vector.
    nonlinearity : {"relu", "tanh", "sigmoid"}
    max_steps : int, optional
        The longest sequence that is expected. Recurrent weights begin uniform in ``[0, 2**(1 / max_steps)]``, so
        that a relu unit at most doubles its state over that many steps. Default: ``[0, 1]``.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> y, h = nn.IndRNNCell(3, 4)(np.ones((2, 3)))
    >>> h.shape
    (2, 4)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "relu",
        max_steps: int | None = None,
        init: Init = "default",
        dtype=None,
    ):
        self.nonlinearity = check_nonlinearity(nonlinearity, "IndRNNCell")
        self.max_steps = None if max_steps is None else check_count(max_steps, "IndRNNCell: max_steps")
        super().__init__(input_size, hidden_size, bias, init, dtype)

    def build(self, bias: bool, dtype) -> None:
        self.weight_ih = empty(self.hidden_size, self.input_size, dtype=dtype)
        self.weight_hh = empty(self.hidden_size, dtype=dtype)
        self.build_biases(bias, dtype)

    def draw_recurrent(self) -> None:
        initialisers.uniform(self.weight_hh, 0.0, 1.0 if self.max_steps is None else 2.0 ** (1.0 / self.max_steps))

    def step(self, x, h):
        h = ACTIVATIONS[self.nonlinearity](linear(x, self.weight_ih, self.bias) + self.weight_hh * h)
        return h, h

    def extra_repr(self) -> str:
        return super().extra_repr() + ("" if self.nonlinearity == "relu" else f", nonlinearity={self.nonlinearity!r}")
