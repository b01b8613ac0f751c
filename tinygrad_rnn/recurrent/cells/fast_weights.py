"""Cells whose memory is a matrix that keys write and queries read: linear attention and delta rules."""

from __future__ import annotations

import numpy as np

from ... import config
from ...modules import init as initialisers
from ...modules.parameter import empty
from ...ops import einsum, exp, relu, sigmoid, softplus, sqrt, zeros
from ..cell import constant
from .heads import HeadsCell, inverse_softplus
from .registry import register_cell

TINY = 1e-6  # added to squares of lengths, which may be zero


class MatrixMemoryCell(HeadsCell):
    """Base of cells whose only state is a matrix for each head, (B, heads, D, D): values by keys."""

    @constant
    def initial_state(self, batch_size: int):
        return zeros((batch_size, self.heads, self.head_size, self.head_size), self.dtype)


@register_cell("linear_attention")
class LinearAttentionCell(HeadsCell):
    """Linear attention as a recurrence (Katharopoulos et al. 2020, section 3.4).

    "Transformers are RNNs: fast autoregressive transformers with linear attention". The state is ``(S, z)``.

    ``q, k, v = W x``,  ``phi(a) = elu(a) + 1``
    ``S' = S + v phi(k)^T``,  ``z' = z + phi(k)``,  ``y = S' phi(q) / (z' phi(q))``

    Parameters
    ----------
    input_size, hidden_size, heads, dtype
        See :class:`HeadsCell`.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> y, (s, z) = nn.LinearAttentionCell(3, 4, heads=2)(np.ones((2, 3)))
    >>> y.shape, s.shape
    ((2, 4), (2, 2, 2, 2))
    """

    @constant
    def initial_state(self, batch_size: int):
        lead, size = (batch_size, self.heads), self.head_size
        return zeros((*lead, size, size), self.dtype), zeros((*lead, size), self.dtype)

    def step(self, x, state):
        s, z = state
        q, k, v = self.projections(x)
        q, k = (relu(a) + exp(-relu(-a)) for a in (q, k))  # elu(a) + 1
        s, z = s + einsum("bhv,bhk->bhvk", v, k), z + k
        y = einsum("bhvk,bhk->bhv", s, q) / einsum("bhk,bhk->bh", z, q)[:, :, None]
        return self.whole(y), (s, z)


def unit(v):
    """`v` (B, heads, D), each head divided by its length."""
    return v / sqrt((v * v).sum(axis=-1, keepdims=True) + TINY)


def delta_rule(s, q, k, v, beta):
    """Write `v` under the key `k` as far as `beta` says; returns what `q` reads then, and the memory."""
    error = v - einsum("bhvk,bhk->bhv", s, k)
    s = s + einsum("bhv,bhk->bhvk", beta[:, :, None] * error, k)
    return einsum("bhvk,bhk->bhv", s, q), s


@register_cell("deltanet")
class DeltaNetCell(MatrixMemoryCell):
    """Fast weights that are written by the delta rule (Schlag, Irie and Schmidhuber 2021, section 4.2).

    "Linear transformers are secretly fast weight programmers"; keys and queries are of length one as in Yang et al.
    2024, "Parallelizing linear transformers with the delta rule over sequence length".

    ``q, k, v = W x``,  ``beta = sigmoid(W_g x + b_g)``,  ``q, k`` divided by their lengths
    ``S' = S + beta (v - S k) k^T``,  ``y = S' q``

    Parameters
    ----------
    input_size, hidden_size, heads, dtype
        See :class:`HeadsCell`.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> y, s = nn.DeltaNetCell(3, 4, heads=2)(np.ones((2, 3)))
    >>> y.shape, s.shape
    ((2, 4), (2, 2, 2, 2))
    """

    gates = 1

    def step(self, x, s):
        q, k, v = self.projections(x)
        (beta,) = self.gate_numbers(x)
        y, s = delta_rule(s, unit(q), unit(k), v, sigmoid(beta))
        return self.whole(y), s


@register_cell("gated_deltanet")
class GatedDeltaNetCell(MatrixMemoryCell):
    """The delta rule with a gate that forgets (Yang, Kautz and Hatamizadeh 2024, section 3.1).

    "Gated delta networks: improving Mamba2 with delta rule".

    ``q, k, v = W x``,  ``a, b = W_g x + b_g``,  ``q, k`` divided by their lengths
    ``alpha = exp(-exp(a_log) * softplus(a))``,  ``beta = sigmoid(b)``
    ``S' = alpha S (I - beta k k^T) + beta v k^T``,  ``y = S' q``

    Parameters
    ----------
    input_size, hidden_size, heads, dtype
        See :class:`HeadsCell`.

    Attributes
    ----------
    a_log : Parameter, (heads,)
        ``exp(a_log)`` begins uniform in [1, 16]; the bias of `a` so that its softplus is from 0.001 to 0.1, as in
        Mamba2.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> y, s = nn.GatedDeltaNetCell(3, 4, heads=2)(np.ones((2, 3)))
    >>> y.shape, s.shape
    ((2, 4), (2, 2, 2, 2))
    """

    gates = 2

    def build(self, dtype) -> None:
        self.a_log = empty(self.heads, dtype=dtype)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        rng = config.generator()
        initialisers.set_to(self.a_log, np.log(rng.uniform(1.0, 16.0, self.heads)))
        assert self.bias_gates is not None
        initialisers.set_to(self.bias_gates, np.concatenate([inverse_softplus(self.heads), np.zeros(self.heads)]))

    def step(self, x, s):
        q, k, v = self.projections(x)
        a, b = self.gate_numbers(x)
        s = exp(-exp(self.a_log) * softplus(a))[:, :, None, None] * s
        y, s = delta_rule(s, unit(q), unit(k), v, sigmoid(b))
        return self.whole(y), s
