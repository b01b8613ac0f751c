"""A selective state space (S6), the recurrence of Mamba."""

from __future__ import annotations

import numpy as np

from ...modules import init as initialisers
from ...modules.parameter import empty, float_dtype
from ...ops import einsum, exp, softplus, split, zeros
from ...ops.linear import linear
from ..cell import Cell, constant, of_parameters
from .base import check_count
from .heads import inverse_softplus
from .registry import register_cell


@register_cell("s6")
class S6Cell(Cell):
    """The selective state space of Mamba (Gu and Dao 2023, section 3.2, algorithm 2).

    "Mamba: linear-time sequence modeling with selective state spaces". Each feature has a diagonal recurrence of
    `state_size` numbers, whose step, input and output depend on the input; the state is h (B, hidden_size, state_size).

    ``u = W_u x``,  ``delta = softplus(W_d x + b_d)``,  ``B, C = W_bc x``
    ``h' = exp(-delta exp(a_log)) * h + (delta u) B^T``,  ``y = h' C + d * u``

    Parameters
    ----------
    input_size, hidden_size : int
    state_size : int
    dtype : float32 or float64, optional

    Attributes
    ----------
    weight_ih : Parameter, (2 * hidden_size, input_size)
        Of u and delta.
    bias : Parameter, (hidden_size,)
        Of delta; it begins so that its softplus is from 0.001 to 0.1.
    weight_bc : Parameter, (2 * state_size, input_size)
    a_log : Parameter, (hidden_size, state_size)
        ``exp(a_log)`` begins at 1, 2, ..., state_size for each feature.
    d : Parameter, (hidden_size,)
        Begins at one.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> y, h = nn.S6Cell(3, 4, state_size=8)(np.ones((2, 3)))
    >>> y.shape, h.shape
    ((2, 4), (2, 4, 8))
    """

    input_size: int
    hidden_size: int

    def __init__(self, input_size: int, hidden_size: int, state_size: int = 16, dtype=None):
        self.input_size = check_count(input_size, "S6Cell: input_size")
        self.hidden_size = check_count(hidden_size, "S6Cell: hidden_size")
        self.state_size = check_count(state_size, "S6Cell: state_size")
        dtype, size = float_dtype(dtype), self.hidden_size
        self.weight_ih = empty(2 * size, self.input_size, dtype=dtype)
        self.bias = empty(size, dtype=dtype)
        self.weight_bc = empty(2 * self.state_size, self.input_size, dtype=dtype)
        self.a_log = empty(size, self.state_size, dtype=dtype)
        self.d = empty(size, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        initialisers.per_gate(initialisers.xavier_uniform, 2)(self.weight_ih)
        initialisers.per_gate(initialisers.xavier_uniform, 2)(self.weight_bc)
        initialisers.set_to(self.bias, inverse_softplus(self.hidden_size))
        initialisers.set_to(self.a_log, np.log(np.arange(1.0, self.state_size + 1)))
        initialisers.constant(self.d, 1.0)

    @property
    @of_parameters
    def dtype(self) -> np.dtype:
        return self.weight_ih.dtype

    @constant
    def initial_state(self, batch_size: int):
        return zeros((batch_size, self.hidden_size, self.state_size), self.dtype)

    def step(self, x, h):
        u, delta = split(linear(x, self.weight_ih), 2, axis=-1)
        delta = softplus(delta + self.bias)
        b, c = split(linear(x, self.weight_bc), 2, axis=-1)
        h = exp(-delta[:, :, None] * exp(self.a_log)) * h + einsum("bh,bn->bhn", delta * u, b)
        return einsum("bhn,bn->bh", h, c) + self.d * u, h

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, state_size={self.state_size}"
