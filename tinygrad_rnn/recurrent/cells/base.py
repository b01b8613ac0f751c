"""What the built-in cells share: gates, their parameters and initialisation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ...nn import init as initialisers
from ...nn.parameter import Parameter, empty
from ..cell import Cell

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
