"""The simple recurrent unit."""

from __future__ import annotations

from ...ops import matmul_tanh, relu, sigmoid, tanh
from ...ops.linear import linear
from .base import GatedCell, Init
from .registry import register_cell


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
