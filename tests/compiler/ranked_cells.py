"""Cells whose values have several axes, each for some of the operations on them; `RANKED` lists them."""

import math
from typing import NamedTuple

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn


class Ranked(NamedTuple):
    """A step, the shapes of a row of its input and its states, and those of its parameters."""

    step: object
    row: tuple
    states: tuple
    shapes: dict


class RankedCell(nn.Cell):
    """Runs the function that it is given as its step, with parameters of these shapes."""

    def __init__(self, step, states, shapes, dtype=np.float64):
        self.function, self.rows, self.kind = step, tuple(states), np.dtype(dtype).name
        rng = np.random.default_rng(0)
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(rng.uniform(-0.7, 0.7, shape).astype(dtype)))

    @property
    def dtype(self):
        return np.dtype(self.kind)

    def initial_state(self, batch_size):
        return [tr.zeros((batch_size, *row), self.dtype) for row in self.rows]

    def step(self, x, state):
        return self.function(self, x, *state)


RANKED: dict[str, Ranked] = {}


def ranked(row, *states, **shapes):
    def add(step):
        RANKED[step.__name__] = Ranked(step, row, states, shapes)
        return step

    return add


def arguments(name, time, batch, dtype=np.float64):
    """The cell, an input and a state."""
    found = RANKED[name]
    rng = np.random.default_rng(1)
    draw = lambda *shape: tr.tensor(rng.uniform(-1, 1, shape).astype(dtype), requires_grad=True)
    cell = RankedCell(found.step, found.states, found.shapes, dtype)
    return cell, draw(time, batch, *found.row), [draw(batch, *row) for row in found.states]


@ranked((3, 4), (3, 4), w=(3, 4))
def elementwise(c, x, h):
    h = tr.tanh(x * c.w + h * 0.5)
    return h, [h]


@ranked((6,), (2, 3), v=(3,), u=(2, 1), s=(1, 1), t=())
def broadcasts(c, x, h):
    z = x.reshape((-1, 2, 3))
    a, b = h.sum(axis=1, keepdims=True), h.mean(axis=2, keepdims=True)
    h = tr.tanh(z * c.v + a * b * c.u + h * 0.3 * c.s + c.t)
    return h.sum(axis=1), [h]


@ranked((4, 17), (4, 3, 17), a=(4, 1, 1), b=(17,), c=(3, 1))
def few_numbers_for_many(c, x, h):
    """Parameters that a row repeats often, and sums along axes before one of several vectors and a part of one."""
    h = tr.tanh(h * c.a + x[:, :, None] * c.b + c.c) + h.sum(axis=1, keepdims=True) * 0.1
    return h.max(axis=2) + h.sum(axis=(1, 2))[:, None] * tr.exp(c.a[:, :, 0]), [h]


@ranked((6,), (2, 3), (2,))
def reductions(c, x, h, n):
    z = x.reshape((-1, 2, 3))
    n = tr.tanh(n * 0.5 + z.max(axis=2))
    h = tr.sigmoid(h * n[:, :, None] + z.min(axis=1, keepdims=True)) + z.max(axis=(1, 2), keepdims=True)
    return h.sum(axis=(1, 2)), [h, n]


@ranked((8,), (2, 2, 2))
def reductions_of_several_axes(c, x, h):
    z = x.reshape((-1, 2, 2, 2))
    h = tr.tanh(z + h.sum(axis=(1, 3), keepdims=True) * 0.3 + tr.abs(h + z).max(axis=(1, 3), keepdims=True))
    return tr.var(h, axis=2) + tr.norm(z, axis=1), [h]


@ranked((6,), (2, 3))
def softmaxes(c, x, h):
    z = x.reshape((-1, 2, 3))
    total = tr.logsumexp(h * z, axis=2, keepdims=True)
    h = tr.tanh(tr.softmax(h + z, 1) + total * tr.log_softmax(z, axis=-1))
    return h, [h]


@ranked((6,), (2, 3), g=(3,), b=(3,))
def normalised(c, x, h):
    z = nn.functional.layer_norm(h + x.reshape((-1, 2, 3)), (3,), c.g, c.b)
    v = (h - h.mean(1, keepdims=True)) / tr.sqrt(h.var(1, keepdims=True) + 0.1)
    h = tr.tanh(z + v)
    return h, [h]


@ranked((5,), (4, 3))
def fast_weights(c, x, m):
    k, v = x[:, :4], tr.tanh(x[:, 1:4])
    m = 0.9 * m + tr.einsum("bi,bj->bij", k, v)
    return tr.einsum("bij,bi->bj", m, k), [m]


@ranked((5,), (2, 2, 3), w=(5, 14))
def heads(c, x, m):
    z = x @ c.w
    q, k, v = (part.reshape((-1, 2, n)) for part, n in zip(tr.split(z, [4, 8], axis=1), (2, 2, 3)))
    m = 0.9 * m + k[:, :, :, None] * v[:, :, None, :]
    return (m * q[:, :, :, None]).sum(2).reshape((-1, 6)), [m]


@ranked((4,), (3, 4))
def products(c, x, h):
    a = tr.matmul(h, h.swapaxes(1, 2))
    h = tr.tanh(h * 0.5 + tr.matmul(a, h) * 0.2 + x[:, None, :])
    return a, [h]


@ranked((6,), (2, 3), w=(2, 3, 3), m=(3, 4), v=(3,))
def stacks_of_matrices(c, x, h):
    h = tr.tanh(tr.einsum("bhk,hkn->bhn", h, c.w) + x.reshape((-1, 2, 3)) + (h @ c.v)[:, :, None])
    return h @ c.m, [h]


@ranked((20, 2), (20, 3), w=(2, 3), u=(20, 3, 3))
def many_blocks(c, x, h):
    h = tr.tanh(x @ c.w + tr.einsum("blk,lkn->bln", h, c.u))
    return h, [h]


@ranked((6,), (2, 3))
def moved(c, x, h):
    z = tr.flip(h, 2) + h[:, ::-1]
    p = tr.pad(h, ((0, 0), (0, 0), (1, 1)), constant_values=0.5)[:, :, 2:]
    s = tr.stack([x[:, :3], x[:, 3:]], axis=1)
    h = tr.tanh(z * 0.3 + p + s + h[:, [1, 0]])
    return tr.concat([h, s, p], axis=2), [h]


@ranked((6,), (2, 3))
def taken_apart(c, x, h):
    a, b, d = tr.split(h, 3, axis=2)
    first, second = tr.unstack(h, axis=1)
    h = tr.tanh(h * 0.5 + a * b + d + (first * second)[:, None] + x.reshape((-1, 2, 3)))
    return tr.concat([a, b], axis=2), [h]


@ranked((6,), (6,))
def picked(c, x, h):
    h = tr.tanh(h[:, [2, 0, 1, 5, 4, 3]] * 0.8 + x[:, ::-1] + h[:, [0, 0, 1, 1, 2, 2]] + h[:, ::2].repeat(2, 1))
    return h, [h]


@ranked((6,), (2, 3))
def running_sums(c, x, h):
    z = tr.cumsum(x, axis=1).reshape((-1, 2, 3))
    h = tr.tanh(tr.cumsum(h, axis=1) * 0.5 + tr.cumsum(z, axis=2) * 0.2)
    return tr.cumsum(h[:, :, ::-1], 2), [h]


@ranked((6,), (2, 3))
def running_products(c, x, h):
    z = tr.cumprod(x, axis=1).reshape((-1, 2, 3))
    h = tr.tanh(tr.cumprod(h, axis=1) * 0.5 + tr.cumprod(z + 1.0, axis=2) + tr.diff(h, axis=-1).sum(2, keepdims=True))
    return tr.cumprod(tr.where(h > 0, h, 0.0), -1), [h]


@ranked((5,), (2, 3))
def in_order(c, x, h):
    """Sorted along either axis, ties as on the tape: their gradients go to the first."""
    best, where = tr.topk(x, 3)
    ties = tr.sort(tr.relu(h), axis=1, descending=True)
    h = tr.tanh(tr.sort(h, axis=2) * 0.5 + ties + best[:, None]) + tr.median(h, axis=(1, 2), keepdims=True)
    return tr.take_along_axis(x, np.array([[0, 4, -1]]), 1) * where, [h]


@ranked((6,), (2, 3))
def masks(c, x, h):
    z = x.reshape((-1, 2, 3))
    m = (z > h) & (h.mean(2, keepdims=True) < 0.1)
    h = tr.where(m, z, h * 0.9 + 0.1 * z)
    return tr.where(m.any(axis=2), h.sum(2), 1.0), [h]


@ranked((3, 1, 2), (1, 3, 1), w=(1, 2))
def axes_of_length_one(c, x, h):
    h = tr.tanh(x.sum(axis=3).swapaxes(1, 2).reshape((-1, 1, 3, 1)) * h + (x * c.w).mean(axis=(1, 2, 3), keepdims=True))
    return h.squeeze(3).squeeze(1), [h]


@ranked((5, 2), (5, 3), w=(9, 6), u=(6, 6))
def convolution(c, x, h):
    """A window of three along an axis: its neighbours side by side, times a matrix."""
    z = tr.pad(h, ((0, 0), (1, 1), (0, 0)))
    a, b = tr.split(tr.concat([z[:, i : i + 5] for i in range(3)], axis=2) @ c.w, 2, axis=2)
    x = tr.pad(x, ((0, 0), (1, 1), (0, 0)))
    d, e = tr.split(tr.concat([x[:, i : i + 5] for i in range(3)], axis=2) @ c.u, 2, axis=2)
    g = tr.sigmoid(a + d)
    h = g * h + (1 - g) * tr.tanh(b + e)
    return h, [h]


@ranked((12,), (12,), v=(3, 4))
def axes_that_cut_a_row_differently(c, x, h):
    a, b = h.reshape((-1, 4, 3)), x.reshape((-1, 3, 4))
    a = (a * a.sum(2, keepdims=True)).reshape((-1, 12))
    b = (b * b.sum(2, keepdims=True) * c.v).reshape((-1, 12))
    return a, [tr.tanh(h * 0.5 + b)]


@ranked((12,), (12,), w=(12, 12))
def axes_that_fit_nowhere(c, x, h):
    """Rows that are cut in fours and in threes, in one expression: one of them is stored before."""
    a, b = h.reshape((-1, 4, 3)), x.reshape((-1, 3, 4))
    a, b = tr.tanh(a * x[:, :4, None]).reshape((-1, 12)), (b * h[:, :3, None]).reshape((-1, 12))
    h = tr.tanh(a * b + h @ c.w + a)
    return a - b, [h]


@ranked((12,), (3, 4), (4, 3), w=(2, 3, 4, 4), u=(4, 3, 4), v=(3, 5, 4), s=(5, 3))
def a_matrix_for_each_head(c, x, h, g):
    """Gates before the heads, transposed ones, heads behind the features, and results in other orders."""
    a = tr.einsum("bhd,ghed->bghe", h, c.w) + x.reshape((-1, 1, 3, 4))
    h = tr.tanh(a[:, 0] + tr.sigmoid(a[:, 1]) * h)
    wide = tr.einsum("bdh,dhe->beh", g, c.u)
    g = tr.tanh(wide + tr.einsum("bhd,hed,eh->bdh", h, c.v, c.s))
    return tr.einsum("bhd,hed->bhe", h, c.v), [h, g]


@ranked((2, 3, 4), (7, 4), (2, 3, 4), w=(4, 5), u=(5, 4), p=(3, 4, 4))
def one_matrix_for_many_rows(c, x, h, g):
    """Matrices that rows of a matrix share, few or many, alone or beside axes with matrices of their own."""
    h = tr.tanh(tr.tanh(h @ c.w) @ c.u + x.sum(axis=(1, 2))[:, None])
    g = tr.tanh(
        tr.einsum("bthk,hkn->bthn", g + x, c.p) + tr.einsum("bhtk,hkn->btnh", g.swapaxes(1, 2), c.p).swapaxes(2, 3)
    )
    return h.sum(1) + tr.einsum("bhtk,hkn->bhtn", x.swapaxes(1, 2), c.p).sum((1, 2)), [h, g]


@ranked((2, 3), (2, 3), (4, 3), w=(7, 2), v=(6, 6))
def joined(c, x, h, g):
    """Joins along both axes, of masks too, whose parts are states, sums, products and what is joined already."""
    wide = tr.concat([x, h, h.sum(2, keepdims=True)], axis=2)
    h = tr.tanh(wide @ c.w).repeat(2, 2)[:, :, :3] + tr.stack([h[:, 1], x[:, 0]], axis=1) * 0.5
    tall = tr.concat([x[:, :1] > 0, h > 0.1, (x * h)[:, 1:] < 0], axis=1)
    g = tr.where(tall, tr.tanh(g), tr.concat([h, g[:, 1:3]], axis=1))
    flat = tr.concat([g[:, ::-1, 0], h[:, 0, :2]], axis=1)
    return tr.concat([flat @ c.v, flat.reshape((-1, 2, 3)).sum(1)], axis=1), [h, g]


@ranked((6,), (2, 3))
def signs_of_zeros(c, x, h):
    z = x.reshape((-1, 2, 3))
    wide, tall = tr.concat([z, h[:, :, :2]], axis=2), tr.stack([z, h], axis=2)
    border = tr.pad(z, ((0, 0), (1, 0), (0, 1)), constant_values=2.0) + tr.pad(h, ((0, 0), (0, 1), (1, 0)))
    parts = wide[:, ::-1], tall.swapaxes(1, 3), border, tr.split(tall, 2, axis=2)[1], z[:, [1, 0, 1]]
    return tuple(p.reshape((-1, math.prod(p.shape[1:]))) for p in parts), [z[:, ::-1]]


@ranked((2, 3), (2, 3), (3, 4), w=(3,), u=(1, 3, 4), m=(4, 3), s=(2, 3, 2))
def products_by_other_names(c, x, h, g):
    """Vectors from the left, a matrix with an axis for the batch, sums over several axes, products of several."""
    a = c.w @ g + (h[:, 0, None] @ g)[:, 0]
    b = tr.tensordot(h, c.m, ((2,), (1,))) + h @ c.u
    d = tr.einsum("bij,bjk,ik->bik", h, g, c.m[:2, :].repeat(2, 1)[:, :4])
    e = tr.einsum("bij,ijk->bk", x, c.s) + tr.tensordot(h, c.s)
    return tr.concat([a, tr.tile(e, (1, 2)), d[:, 0]], axis=1), [
        tr.tanh((b + d) @ c.m),
        tr.tanh(g + tr.tile(a[:, None], (1, 3, 1))),
    ]
