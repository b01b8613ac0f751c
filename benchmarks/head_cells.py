"""Cells with heads, and with matrices as states, for any library: what ``bench_heads`` compares.

Each is one function of plain maths with einsum, as one writes it in PyTorch or JAX; on our side it is the built-in
cell, where there is one. Weights are those of our cell, by its names.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn


class HeadCell(NamedTuple):
    """A cell: ``make(I, heads, size)`` is ours, ``step(lib, p, x, state)`` what the others run.

    `p` holds the weights, and the numbers `heads` and `size`; ``state(heads, size)`` has shapes without the batch.
    """

    make: Callable[[int, int, int], nn.Cell]
    step: Callable[[Any, Any, Any, tuple], tuple[Any, tuple]]
    state: Callable[[int, int], tuple[tuple[int, ...], ...]]


HEAD_CELLS: dict[str, HeadCell] = {}


def with_heads(kind: Any) -> Callable[[int, int, int], nn.Cell]:
    return lambda I, heads, size: kind(I, heads * size, heads=heads)


def cell(make: Callable, state: Callable) -> Callable:
    def add(step: Callable) -> Callable:
        HEAD_CELLS[step.__name__] = HeadCell(make, step, state)
        return step

    return add


def matrix(heads: int, size: int) -> tuple[tuple[int, ...], ...]:
    return ((heads, size, size),)


def by_head(p: Any, v: Any, n: int) -> Any:
    """`n` blocks of features (B, n, heads, size)."""
    return v.reshape((-1, n, p.heads, p.size))


@cell(with_heads(nn.SLSTMCell), lambda heads, size: ((heads, size),) * 4)
def slstm(lib, p, x, state):
    h, c, n, m = state
    a = by_head(p, x @ p.weight_ih.T + p.bias, 4)
    a = a + lib.einsum("bhd,ghed->bghe", h, p.weight_hh.reshape((4, p.heads, p.size, p.size)))
    f = m - lib.softplus(-a[:, 1])
    m = lib.maximum(f, a[:, 0])
    f, i = lib.exp(f - m), lib.exp(a[:, 0] - m)
    c, n = f * c + i * lib.tanh(a[:, 2]), f * n + i
    h = lib.sigmoid(a[:, 3]) * c / n
    return h.reshape((-1, p.heads * p.size)), (h, c, n, m)


@cell(with_heads(nn.MLSTMCell), lambda heads, size: ((heads, size, size), (heads, size), (heads,)))
def mlstm(lib, p, x, state):
    c, n, m = state
    z = by_head(p, x @ p.weight_ih.T, 4)
    q, k, v, o = z[:, 0], z[:, 1] / p.size**0.5, z[:, 2], z[:, 3].reshape((-1, p.heads * p.size))
    gates = x @ p.weight_gates.T + p.bias_gates
    i, f = gates[:, : p.heads], m - lib.softplus(-gates[:, p.heads :])
    m = lib.maximum(f, i)
    f, i = lib.exp(f - m)[:, :, None], lib.exp(i - m)[:, :, None]
    c = f[:, :, :, None] * c + lib.einsum("bhv,bhk->bhvk", i * v, k)
    n = f * n + i * k
    scale = lib.maximum(lib.abs(lib.einsum("bhk,bhk->bh", n, q)), lib.exp(-m))
    y = lib.einsum("bhvk,bhk->bhv", c, q) / scale[:, :, None]
    return lib.sigmoid(o + p.bias) * y.reshape((-1, p.heads * p.size)), (c, n, m)


@cell(with_heads(nn.GatedDeltaNetCell), matrix)
def gated_deltanet(lib, p, x, state):
    (s,) = state
    z = by_head(p, x @ p.weight_ih.T, 3)
    q, k = (v / lib.sqrt(lib.einsum("bhk,bhk->bh", v, v) + 1e-6)[:, :, None] for v in (z[:, 0], z[:, 1]))
    gates = x @ p.weight_gates.T + p.bias_gates
    s = lib.exp(-lib.exp(p.a_log) * lib.softplus(gates[:, : p.heads]))[:, :, None, None] * s
    error = z[:, 2] - lib.einsum("bhvk,bhk->bhv", s, k)
    s = s + lib.einsum("bhv,bhk->bhvk", lib.sigmoid(gates[:, p.heads :])[:, :, None] * error, k)
    return lib.einsum("bhvk,bhk->bhv", s, q).reshape((-1, p.heads * p.size)), (s,)


@cell(lambda I, heads, size: nn.S6Cell(I, heads * size), lambda heads, size: ((heads * size, 16),))
def s6(lib, p, x, state):
    (h,) = state
    z, bc = x @ p.weight_ih.T, x @ p.weight_bc.T
    u, delta = z[:, : p.heads * p.size], lib.softplus(z[:, p.heads * p.size :] + p.bias)
    h = lib.exp(-delta[:, :, None] * lib.exp(p.a_log)) * h + lib.einsum("bh,bn->bhn", delta * u, bc[:, :16])
    return lib.einsum("bhn,bn->bh", h, bc[:, 16:]) + p.d * u, (h,)


class Written(nn.Cell):
    """A cell of ours that runs the function of the others."""

    def __init__(self, step: Callable, state: Callable, heads: int, size: int, weights: dict[str, tuple[int, ...]]):
        self.function, self.heads, self.size = step, heads, size
        self.shapes = state(heads, size)
        rng = np.random.default_rng(0)
        for name, shape in weights.items():
            bound = 1.0 / np.sqrt(shape[-1])
            setattr(self, name, nn.Parameter(rng.uniform(-bound, bound, shape).astype(np.float32)))

    def initial_state(self, batch_size):
        return tuple(tr.zeros((batch_size, *shape)) for shape in self.shapes)

    def step(self, x, state):
        return self.function(tr, self, x, state)


def written(state: Callable, **weights: Callable) -> Callable:
    """A cell that no library has; each weight's shape is a function of I, heads and size."""

    def add(step: Callable) -> Callable:
        def make(I, heads, size):
            return Written(step, state, heads, size, {k: shape(I, heads, size) for k, shape in weights.items()})

        return cell(make, state)(step)

    return add


@written(matrix, weight_ih=lambda I, heads, size: (3 * heads * size, I))
def fast_weights(lib, p, x, state):
    """Schmidhuber 1992 and Ba et al. 2016, with heads: a decaying sum of outer products."""
    (s,) = state
    z = by_head(p, x @ p.weight_ih.T, 3)
    s = 0.95 * s + lib.einsum("bhv,bhk->bhvk", lib.tanh(z[:, 2]), z[:, 1])
    return lib.tanh(lib.einsum("bhvk,bhk->bhv", s, z[:, 0])).reshape((-1, p.heads * p.size)), (s,)


@written(
    lambda heads, size: ((heads, size),),
    weight_ih=lambda I, heads, size: (3 * heads * size, I),
    bias=lambda I, heads, size: (3 * heads * size,),
    weight_hh=lambda I, heads, size: (heads, 3 * size, size),
)
def block_diagonal(lib, p, x, state):
    """A GRU whose recurrent matrix has a block for each head."""
    (h,) = state
    a = by_head(p, x @ p.weight_ih.T + p.bias, 3)
    u = lib.einsum("bhd,hed->bhe", h, p.weight_hh)
    r, z = lib.sigmoid(a[:, 0] + u[:, :, : p.size]), lib.sigmoid(a[:, 1] + u[:, :, p.size : 2 * p.size])
    n = lib.tanh(a[:, 2] + r * u[:, :, 2 * p.size :])
    h = n + z * (h - n)
    return h.reshape((-1, p.heads * p.size)), (h,)


def torch_library(torch: Any) -> SimpleNamespace:
    names = ("einsum", "exp", "maximum", "abs", "sqrt", "sigmoid", "tanh")
    found = {name: getattr(torch, name) for name in names}
    return SimpleNamespace(**found, softplus=torch.nn.functional.softplus)


def jax_library(jax: Any) -> SimpleNamespace:
    names = ("einsum", "exp", "maximum", "abs", "sqrt", "tanh")
    found = {name: getattr(jax.numpy, name) for name in names}
    return SimpleNamespace(**found, sigmoid=jax.nn.sigmoid, softplus=jax.nn.softplus)
