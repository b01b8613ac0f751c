"""Diagonal recurrences (minGRU, minLSTM, LRU): no matrix multiplies the state."""

from __future__ import annotations

import math

import numpy as np

from ... import config
from ...checks import number
from ...modules import init as initialisers
from ...modules.parameter import empty, float_dtype
from ...ops import cos, exp, sigmoid, sin, split, zeros
from ...ops.linear import linear
from ..cell import Cell, constant
from .base import GatedCell, check_count
from .registry import register_cell


class InputGatedCell(GatedCell):
    """Base of gated cells whose gates depend on the input alone; there is no ``weight_hh``."""

    def build(self, bias: bool, dtype) -> None:
        self.weight_ih = empty(self.gates * self.hidden_size, self.input_size, dtype=dtype)
        self.build_biases(bias, dtype)

    def draw_recurrent(self) -> None:
        pass


@register_cell("mingru")
class MinGRUCell(InputGatedCell):
    """A GRU whose gates depend on the input alone (Feng et al. 2024, section 3.1).

    "Were RNNs all we needed?".

    ``z, n = W x + b``
    ``h' = (1 - sigmoid(z)) * h + sigmoid(z) * n``

    Parameters
    ----------
    input_size, hidden_size, bias, init, dtype
        See :class:`GatedCell`.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> y, h = nn.MinGRUCell(3, 4)(np.ones((2, 3)))
    >>> h.shape
    (2, 4)
    """

    gates = 2

    def step(self, x, h):
        z, n = split(linear(x, self.weight_ih, self.bias), 2, axis=-1)
        h = h + sigmoid(z) * (n - h)
        return h, h


@register_cell("minlstm")
class MinLSTMCell(InputGatedCell):
    """An LSTM whose gates depend on the input alone (Feng et al. 2024, section 3.2).

    "Were RNNs all we needed?".

    ``f, i, n = W x + b``
    ``h' = (sigmoid(f) * h + sigmoid(i) * n) / (sigmoid(f) + sigmoid(i))``

    Parameters
    ----------
    input_size, hidden_size, bias, init, dtype
        See :class:`GatedCell`. The bias of the forget gate begins at one.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> y, h = nn.MinLSTMCell(3, 4)(np.ones((2, 3)))
    >>> h.shape
    (2, 4)
    """

    gates = 3
    forget_gate = 0

    def step(self, x, h):
        f, i, n = split(linear(x, self.weight_ih, self.bias), 3, axis=-1)
        f, i = sigmoid(f), sigmoid(i)
        h = (f * h + i * n) / (f + i)
        return h, h


@register_cell("lru")
class LRUCell(Cell):
    """The linear recurrent unit (Orvieto et al. 2023).

    "Resurrecting recurrent neural networks for long sequences".

    A linear recurrence with a complex diagonal, written in real numbers; the state is ``(re, im)``:

    ``s' = lambda * s + gamma * (B x)``,    ``lambda = exp(-exp(nu_log) + i exp(theta_log))``,  ``|lambda| < 1``
    ``y = Re(C s') + D x``

    Parameters
    ----------
    input_size : int
    hidden_size : int
        Complex units, and features of the output.
    r_min, r_max : float
        The ring in which ``lambda`` begins, uniform in its area: ``0 <= r_min < r_max <= 1``. Units near one
        remember long.
    max_phase : float
        The angle of ``lambda`` begins uniform in ``[0, max_phase]``.
    dtype : float32 or float64, optional

    Attributes
    ----------
    nu_log, theta_log, gamma_log : Parameter, (hidden_size,)
        ``gamma = exp(gamma_log)`` begins at ``sqrt(1 - |lambda|**2)``, which keeps the scale of the input.
    weight_b : Parameter, (2 * hidden_size, input_size)
        Real and imaginary part of B; normal with variance ``1 / (2 * input_size)``.
    weight_c : Parameter, (hidden_size, 2 * hidden_size)
        Real and negated imaginary part of C; normal with variance ``1 / hidden_size``.
    weight_d : Parameter, (hidden_size, input_size)
        Normal with variance ``1 / input_size``.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> y, (re, im) = nn.LRUCell(3, 4, r_min=0.9)(np.ones((2, 3)))
    >>> y.shape, re.shape
    ((2, 4), (2, 4))
    """

    input_size: int
    hidden_size: int

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        r_min: float = 0.0,
        r_max: float = 1.0,
        max_phase: float = 2 * math.pi,
        dtype=None,
    ):
        self.input_size = check_count(input_size, "LRUCell: input_size")
        self.hidden_size = check_count(hidden_size, "LRUCell: hidden_size")
        r_min, r_max = number("LRUCell: r_min", r_min), number("LRUCell: r_max", r_max)
        if not 0.0 <= r_min < r_max <= 1.0:
            raise ValueError(f"LRUCell: r_min, r_max: got {r_min}, {r_max}, wanted 0 <= r_min < r_max <= 1")
        self.r_min, self.r_max = r_min, r_max
        self.max_phase = number("LRUCell: max_phase", max_phase, "a positive angle", lambda phase: 0 < phase < math.inf)
        dtype, size = float_dtype(dtype), self.hidden_size
        self.nu_log, self.theta_log, self.gamma_log = (empty(size, dtype=dtype) for _ in range(3))
        self.weight_b = empty(2 * size, self.input_size, dtype=dtype)
        self.weight_c = empty(size, 2 * size, dtype=dtype)
        self.weight_d = empty(size, self.input_size, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        rng, tiny = config.generator(), 1e-6  # neither |lambda| = 0 or 1 nor an angle of 0 has a logarithm
        square = rng.uniform(max(self.r_min**2, tiny), min(self.r_max**2, 1 - tiny), self.hidden_size)  # |lambda|**2
        angle = rng.uniform(min(tiny, self.max_phase), self.max_phase, self.hidden_size)
        initialisers.set_to(self.nu_log, np.log(-0.5 * np.log(square)))
        initialisers.set_to(self.theta_log, np.log(angle))
        initialisers.set_to(self.gamma_log, 0.5 * np.log1p(-square))
        initialisers.normal(self.weight_b, 0.0, 1 / math.sqrt(2 * self.input_size))
        initialisers.normal(self.weight_c, 0.0, 1 / math.sqrt(self.hidden_size))
        initialisers.normal(self.weight_d, 0.0, 1 / math.sqrt(self.input_size))

    @constant
    def initial_state(self, batch_size: int):
        shape = (batch_size, self.hidden_size)
        return zeros(shape, self.dtype), zeros(shape, self.dtype)

    def step(self, x, state):
        re, im = state
        size, angle, gamma = exp(-exp(self.nu_log)), exp(self.theta_log), exp(self.gamma_log)
        a, b = size * cos(angle), size * sin(angle)  # lambda = a + i b
        u, v = split(linear(x, self.weight_b), 2, axis=-1)
        re, im = a * re - b * im + gamma * u, a * im + b * re + gamma * v
        c_re, c_im = split(self.weight_c, 2, axis=-1)  # c_im holds its sign
        y = linear(re, c_re) + linear(im, c_im) + linear(x, self.weight_d)
        return y, (re, im)
