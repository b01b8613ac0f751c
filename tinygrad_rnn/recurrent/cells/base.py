"""The base of the built-in cells: gates, their parameters and initialisation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ...checks import flag, one_of, whole_number
from ...modules import init as initialisers
from ...modules.parameter import Parameter, empty
from ...ops import zeros
from ..cell import Cell, of_parameters

Init = str | Callable[["GatedCell"], None]


def check_count(value, argument: str) -> int:
    return whole_number(argument, value, wanted="a positive integer")


def masked(h, mask):
    """`h` times the mask of variational dropout, if there is one: what recurrent products take."""
    return h if mask is None else h * mask


def pair_of_zeros(cell: Cell, batch_size: int):
    """The initial state ``(h, c)``."""
    shape = (batch_size, cell.hidden_size)
    return zeros(shape, cell.dtype), zeros(shape, cell.dtype)


class GatedCell(Cell):
    """Base of gated cells: the weights of all gates in one matrix, gate after gate along its rows.

    Parameters
    ----------
    input_size, hidden_size : int
    bias : bool
    init : {"default", "torch"} or callable
        "default": orthogonal recurrent weights and Xavier input weights, gate by gate, zero biases (and one
        for a forget gate, after Jozefowicz et al. 2015), and what else the cell's paper says. "torch": all
        uniform within ``±1/sqrt(hidden_size)``, but for layer normalisation. A callable gets the cell with its
        default values and changes them.
    dtype : float32 or float64, optional

    Attributes
    ----------
    weight_ih : Parameter, (gates * hidden_size, input_size)
    weight_hh : Parameter, (gates * hidden_size, hidden_size)
    bias : Parameter, (gates * hidden_size,), or None
        RNNCell, LSTMCell and GRUCell have two of them, bias_ih and bias_hh, as PyTorch.

    Notes
    -----
    Cells with recurrent products take ``step(x, state, recurrent_mask=None)``: what the state is multiplied with
    in these products, see :class:`~tinygrad_rnn.nn.VariationalDropout`.
    """

    gates = 1
    forget_gate: int | None = None  # the one whose bias begins at one
    biases: tuple[str, ...] = ("bias",)
    input_size: int
    hidden_size: int
    weight_ih: Parameter
    weight_hh: Parameter
    bias: Parameter | None
    bias_ih: Parameter | None
    bias_hh: Parameter | None

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, init: Init = "default", dtype=None):
        name = type(self).__name__
        self.input_size = check_count(input_size, f"{name}: input_size")
        self.hidden_size = check_count(hidden_size, f"{name}: hidden_size")
        if not callable(init):
            one_of(f"{name}: init", init, ("default", "torch"), "'default', 'torch' or a callable")
        self.init = init
        self.build(flag(f"{name}: bias", bias), dtype)
        self.reset_parameters()

    def build(self, bias: bool, dtype) -> None:
        """Make the parameters, in the order of the state dict."""
        rows = self.gates * self.hidden_size
        self.weight_ih = empty(rows, self.input_size, dtype=dtype)
        self.weight_hh = empty(rows, self.hidden_size, dtype=dtype)
        self.build_biases(bias, dtype)

    def build_biases(self, bias: bool, dtype) -> None:
        for name in self.biases:
            setattr(self, name, empty(self.gates * self.hidden_size, dtype=dtype) if bias else None)

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as `init` says."""
        if self.init == "torch":
            bound = 1.0 / math.sqrt(self.hidden_size)
            for parameter in self.parameters(recurse=False):
                initialisers.uniform(parameter, -bound, bound)
            return
        self.draw_parameters()
        if callable(self.init):
            self.init(self)

    def draw_parameters(self) -> None:
        """The default initialisation."""
        initialisers.per_gate(initialisers.xavier_uniform, self.gates)(self.weight_ih)
        self.draw_recurrent()
        for name in self.biases:
            if getattr(self, name) is not None:
                initialisers.constant(getattr(self, name), 0.0)
        first = getattr(self, self.biases[0])
        if self.forget_gate is not None and first is not None:
            at = self.forget_gate * self.hidden_size
            first.data[at : at + self.hidden_size] = 1.0
            first.touch()

    def draw_recurrent(self) -> None:
        initialisers.per_gate(initialisers.orthogonal, self.gates)(self.weight_hh)

    @property
    @of_parameters
    def dtype(self) -> np.dtype:
        return self.weight_ih.dtype

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + (
            "" if getattr(self, self.biases[0]) is not None else ", bias=False"
        )
