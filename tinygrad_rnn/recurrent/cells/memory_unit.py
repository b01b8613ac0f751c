"""The Legendre memory unit: a linear memory of a sliding window, and a nonlinear state that reads it."""

from __future__ import annotations

import numpy as np

from ...checks import number
from ...core import Tensor, tensor
from ...modules import init as initialisers
from ...modules.parameter import empty, float_dtype
from ...ops import tanh, zeros
from ...ops.linear import linear
from ..cell import Cell, constant, of_parameters
from .base import check_count
from .registry import register_cell


@register_cell("lmu")
class LMUCell(Cell):
    """The Legendre memory unit (Voelker, Kajic and Eliasmith 2019, section 2).

    "Legendre memory units: continuous-time representation in recurrent neural networks". The memory m holds the last
    `window` numbers u as coefficients of Legendre polynomials; its matrices A and B are those of the paper, made
    discrete by a hold of order zero, and not trained. The state is ``(h, m)``.

    ``u = e_x x + e_h h + e_m m``
    ``m' = A m + B u``
    ``h' = tanh(W_x x + W_h h + W_m m')``

    Parameters
    ----------
    input_size, hidden_size : int
    memory_size : int
        Polynomials.
    window : float
        Steps that the memory spans (theta in the paper).
    dtype : float32 or float64, optional

    Attributes
    ----------
    e_x, e_h, e_m : Parameter, (input_size,), (hidden_size,) and (memory_size,)
        LeCun uniform, and zero for e_m.
    weight_ih, weight_hh, weight_mh : Parameter, (hidden_size, input_size), (hidden_size, hidden_size) and
        (hidden_size, memory_size). Xavier.
    a, b : buffers, (memory_size, memory_size) and (memory_size,)

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> y, (h, m) = nn.LMUCell(3, 4, memory_size=8, window=32)(np.ones((2, 3)))
    >>> y.shape, m.shape
    ((2, 4), (2, 8))
    """

    input_size: int
    hidden_size: int
    a: Tensor
    b: Tensor

    def __init__(self, input_size: int, hidden_size: int, memory_size: int = 16, window: float = 64.0, dtype=None):
        self.input_size = check_count(input_size, "LMUCell: input_size")
        self.hidden_size = check_count(hidden_size, "LMUCell: hidden_size")
        self.memory_size = check_count(memory_size, "LMUCell: memory_size")
        self.window = number("LMUCell: window", window, "a positive number of steps", lambda w: 0 < w < np.inf)
        dtype, n, m = float_dtype(dtype), self.hidden_size, self.memory_size
        self.e_x, self.e_h, self.e_m = (empty(k, dtype=dtype) for k in (self.input_size, n, m))
        self.weight_ih = empty(n, self.input_size, dtype=dtype)
        self.weight_hh, self.weight_mh = empty(n, n, dtype=dtype), empty(n, m, dtype=dtype)
        a, b = legendre_memory(m, self.window)
        self.register_buffer("a", tensor(a.astype(dtype)))
        self.register_buffer("b", tensor(b.astype(dtype)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        for p in (self.e_x, self.e_h):
            bound = np.sqrt(3.0 / p.size)
            initialisers.uniform(p, -bound, bound)
        initialisers.constant(self.e_m, 0.0)
        for p in (self.weight_ih, self.weight_hh, self.weight_mh):
            initialisers.xavier_uniform(p)

    @property
    @of_parameters
    def dtype(self) -> np.dtype:
        return self.weight_ih.dtype

    @constant
    def initial_state(self, batch_size: int):
        return zeros((batch_size, self.hidden_size), self.dtype), zeros((batch_size, self.memory_size), self.dtype)

    def step(self, x, state):
        h, m = state
        u = x @ self.e_x + h @ self.e_h + m @ self.e_m
        m = linear(m, self.a) + u[:, None] * self.b
        h = tanh(linear(x, self.weight_ih) + linear(h, self.weight_hh) + linear(m, self.weight_mh))
        return h, (h, m)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, memory_size={self.memory_size}, window={self.window:g}"


def legendre_memory(size: int, window: float) -> tuple[np.ndarray, np.ndarray]:
    """The matrix and the vector of a memory of `size` polynomials, for steps of length one."""
    i, j = np.arange(size)[:, None], np.arange(size)
    a = (2 * i + 1) * np.where(i < j, -1.0, (-1.0) ** (i - j + 1)) / window
    b = ((2 * i + 1) * (-1.0) ** i)[:, 0] / window
    # the exponential of both together is that of A, and beside it the integral over one step times B
    both = np.zeros((size + 1, size + 1))
    both[:size, :size], both[:size, size] = a, b
    whole = exponential(both)
    return whole[:size, :size], whole[:size, size]


def exponential(matrix: np.ndarray) -> np.ndarray:
    """The exponential of a matrix: a series of a part of it, squared again and again."""
    squarings = max(0, int(np.ceil(np.log2(max(np.abs(matrix).sum(axis=1).max(), 1e-300)))) + 1)
    part, total = matrix / 2.0**squarings, np.eye(len(matrix))
    term = total
    for k in range(1, 25):
        term = term @ part / k
        total = total + term
    return np.linalg.matrix_power(total, 2**squarings)
