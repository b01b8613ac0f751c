"""Spiking neurons, whose gradients are those of a smooth stand-in."""

from __future__ import annotations

import math

import numpy as np

from ...checks import flag, number
from ...core import Lowering, primitive
from ...modules import init as initialisers
from ...modules.parameter import empty, float_dtype
from ...ops import abs, zeros
from ...ops.linear import linear
from ..cell import Cell, constant, of_parameters
from .base import check_count
from .registry import register_cell


def _surrogate(g, y, v, slope):
    scale = 1.0 + slope * abs(v)
    return g / (scale * scale)


@primitive(
    vjps=[_surrogate],
    saves=(0,),
    lowering=Lowering("elementwise", "vselect({0} > 0.0, vsplat(1.0, k), vsplat(0.0, k))", 2),
    floats=True,
)
def spike(v, slope):
    """1 where `v` is positive, else 0, with the derivative of a fast sigmoid, ``1 / (1 + slope |v|)^2``."""
    return np.where(v > 0.0, 1.0, 0.0).astype(v.dtype)


@register_cell("lif")
class LIFCell(Cell):
    """Leaky integrate-and-fire neurons (Neftci, Mostafa and Zenke 2019, equations 4 and 5).

    "Surrogate gradient learning in spiking neural networks", with the surrogate of SuperSpike (Zenke and Ganguli
    2018). The state is the synaptic current, the membrane potential and the spikes, ``(i, v, s)``:

    ``i' = alpha i + W x + V s``
    ``v' = beta v + i - threshold s``
    ``s' = 1 if v' > threshold else 0``,  whose derivative counts as ``1 / (1 + slope |v' - threshold|)^2``

    Differences do not show these gradients: skip those of ``check_cell``.

    Parameters
    ----------
    input_size, hidden_size : int
    alpha, beta : float
        What is left of a current and of a potential after a step, ``exp(-1 / tau)``: from 0 to 1.
    threshold : float
    slope : float
        Of the surrogate; the larger, the narrower.
    recurrent : bool
        Whether neurons receive each other's spikes (V).
    dtype : float32 or float64, optional

    Attributes
    ----------
    weight_ih : Parameter, (hidden_size, input_size)
        Normal with variance ``1 / input_size``.
    weight_hh : Parameter, (hidden_size, hidden_size), or None
        Normal with variance ``1 / hidden_size``.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> spikes, (i, v, s) = nn.Recurrent(nn.LIFCell(3, 4))(np.ones((10, 2, 3)))
    >>> sorted(set(spikes.numpy().ravel().tolist()) | {0.0, 1.0})
    [0.0, 1.0]
    """

    input_size: int
    hidden_size: int

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        alpha: float = 0.9,
        beta: float = 0.85,
        threshold: float = 1.0,
        slope: float = 10.0,
        recurrent: bool = True,
        dtype=None,
    ):
        self.input_size = check_count(input_size, "LIFCell: input_size")
        self.hidden_size = check_count(hidden_size, "LIFCell: hidden_size")
        share = "a share from 0 to 1", lambda v: 0 <= v <= 1
        self.alpha, self.beta = number("LIFCell: alpha", alpha, *share), number("LIFCell: beta", beta, *share)
        positive = "a positive number", lambda v: 0 < v < math.inf
        self.threshold = number("LIFCell: threshold", threshold, *positive)
        self.slope = number("LIFCell: slope", slope, *positive)
        dtype, n = float_dtype(dtype), self.hidden_size
        self.weight_ih = empty(n, self.input_size, dtype=dtype)
        self.weight_hh = empty(n, n, dtype=dtype) if flag("LIFCell: recurrent", recurrent) else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        initialisers.normal(self.weight_ih, 0.0, 1 / math.sqrt(self.input_size))
        if self.weight_hh is not None:
            initialisers.normal(self.weight_hh, 0.0, 1 / math.sqrt(self.hidden_size))

    @property
    @of_parameters
    def dtype(self) -> np.dtype:
        return self.weight_ih.dtype

    @constant
    def initial_state(self, batch_size: int):
        return tuple(zeros((batch_size, self.hidden_size), self.dtype) for _ in range(3))

    def step(self, x, state):
        i, v, s = state
        v = self.beta * v + i - self.threshold * s
        i = self.alpha * i + linear(x, self.weight_ih)
        if self.weight_hh is not None:
            i = i + linear(s, self.weight_hh)
        s = spike(v - self.threshold, slope=self.slope)
        return s, (i, v, s)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, alpha={self.alpha:g}, beta={self.beta:g}"
