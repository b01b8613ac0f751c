"""Odd cells of many kinds: the tape and compiled loops give the same, values and gradients, and so do single steps."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn

from .agreement import agree

WIDTH = 4


class Odd(nn.Cell):
    """A step that is given, with parameters of several shapes."""

    hidden_size = WIDTH

    def __init__(self, step, shape, dtype):
        rng = np.random.default_rng(1)
        self.given, self.shape, self.kind = step, shape, dtype
        self.w, self.v, self.t, self.one = (
            nn.Parameter(rng.normal(size=shape)) for shape in ((WIDTH, WIDTH), (WIDTH,), (2, WIDTH, WIDTH), (1,))
        )
        self.e = nn.Embedding(6, WIDTH, dtype="float64")

    def initial_state(self, batch_size):
        return tr.zeros((batch_size, *self.shape), self.kind)

    def step(self, x, h):
        return self.given(self, x, h)


def numbers(*shape, ints=False):
    rng, shape = np.random.default_rng(2), (5, 3, *shape)
    return tr.tensor(rng.integers(0, 6, shape)) if ints else tr.tensor(rng.normal(size=shape), requires_grad=True)


def twice(h):
    return h, h


CELLS = {
    "outer": (lambda c, x, h: twice(tr.tanh(h * 0.5 + x[:, :, None] * x[:, None, :])), (WIDTH, WIDTH), numbers(WIDTH)),
    "matvec state": (
        lambda c, x, h: ((h @ x[:, :, None])[:, :, 0], 0.5 * h + tr.einsum("bi,bj->bij", x, tr.tanh(x @ c.w))),
        (WIDTH, WIDTH),
        numbers(WIDTH),
    ),
    "len1 mid": (
        lambda c, x, h: twice(tr.tanh(h + x.sum(axis=1, keepdims=True) * c.w)),
        (WIDTH, WIDTH),
        numbers(1, WIDTH),
    ),
    "len1 last": (lambda c, x, h: twice(tr.tanh(h + x * c.v[:, None])), (WIDTH, 1), numbers(WIDTH, 1)),
    "len1 all": (lambda c, x, h: twice(tr.tanh(0.3 * h + x * c.one)), (1, 1), numbers(1, 1)),
    "cumsum1": (lambda c, x, h: twice(tr.tanh(tr.cumsum(h + x, axis=1))), (WIDTH, 3), numbers(WIDTH, 3)),
    "cumsum2": (lambda c, x, h: twice(tr.tanh(tr.cumsum(h + x, axis=-1) * x)), (WIDTH, 3), numbers(WIDTH, 3)),
    "softmax mid": (lambda c, x, h: twice(tr.softmax(h + x, axis=1)), (WIDTH, 3), numbers(WIDTH, 3)),
    "lse": (lambda c, x, h: twice(tr.logsumexp(h[:, None] + x, axis=1) * 0.1), (3,), numbers(WIDTH, 3)),
    "flip stack": (
        lambda c, x, h: twice(tr.stack([tr.flip(h[:, 0], -1) * 0.5, tr.tanh(x + h[:, 1])], axis=1)),
        (2, WIDTH),
        numbers(WIDTH),
    ),
    "pad": (lambda c, x, h: twice(tr.tanh(tr.pad(h, ((0, 0), (1, 0)))[:, :WIDTH] + x)), (WIDTH,), numbers(WIDTH)),
    "split uneven": (
        lambda c, x, h: twice(tr.concat([tr.split(tr.tanh(x + h), [1, 3], axis=1)[i] for i in (2, 0, 1)], axis=1)),
        (WIDTH,),
        numbers(WIDTH),
    ),
    "transposed": (
        lambda c, x, h: twice(tr.tanh(h.transpose((0, 2, 1)) * 0.5 + x)),
        (WIDTH, WIDTH),
        numbers(WIDTH, WIDTH),
    ),
    "heads": (lambda c, x, h: twice(tr.tanh(tr.einsum("bhk,hkn->bhn", h, c.t) + x)), (2, WIDTH), numbers(2, WIDTH)),
    "attention": (
        lambda c, x, h: twice(tr.tanh(tr.softmax(h @ x.swapaxes(1, 2), axis=-1) @ x)),
        (2, WIDTH),
        numbers(3, WIDTH),
    ),
    "max mid": (lambda c, x, h: twice(tr.tanh(tr.max(x, axis=1) + h)), (3,), numbers(WIDTH, 3)),
    "argmax lookup": (lambda c, x, h: twice(tr.tanh(c.e(tr.argmax(x + h, axis=-1)) + h)), (WIDTH,), numbers(WIDTH)),
    "one_hot": (
        lambda c, x, h: twice(tr.tanh(tr.one_hot(x[:, 0], 6, "float64") @ c.e.weight * h + c.v)),
        (WIDTH,),
        numbers(2, ints=True),
    ),
    "take along": (
        lambda c, x, h: twice(tr.tanh(tr.take_along_axis(h + c.v, x % WIDTH, axis=1))),
        (WIDTH,),
        numbers(WIDTH, ints=True),
    ),
    "int state": (lambda c, x, h: (c.e(h), (h + x) % 6), (), numbers(ints=True)),
    "int state 2": (
        lambda c, x, h: (tr.one_hot(h, 6, "float64").sum(axis=1), (h * x + 1) // 2 % 6),
        (2,),
        numbers(2, ints=True),
    ),
    "where mask": (lambda c, x, h: twice(tr.where((x > 0) & (h < 1), x, h * 0.5)), (WIDTH,), numbers(WIDTH)),
    "repeat": (
        lambda c, x, h: twice(tr.repeat(3, lambda s: s + 0.1 * (tr.tanh(s @ c.w) - x), h)),
        (WIDTH,),
        numbers(WIDTH),
    ),
    "norm axis": (
        lambda c, x, h: twice(
            (x + h - (x + h).mean(axis=1, keepdims=True)) / tr.sqrt((x + h).var(axis=1, keepdims=True) + 1)
        ),
        (WIDTH, 3),
        numbers(WIDTH, 3),
    ),
    "gather const": (lambda c, x, h: twice(tr.tanh(h[:, [3, 3, 0, 1]] + x[:, ::-1])), (WIDTH,), numbers(WIDTH)),
    "prod": (
        lambda c, x, h: twice(tr.tanh(tr.prod(x + 1.5, axis=1, keepdims=True) * c.v + h)),
        (WIDTH,),
        numbers(WIDTH),
    ),
    "min std": (
        lambda c, x, h: twice(tr.tanh(tr.min(x, axis=1, keepdims=True) + x.std(axis=1, keepdims=True) + h)),
        (WIDTH,),
        numbers(WIDTH),
    ),
    "scalar state": (lambda c, x, h: (x * h[:, None], tr.tanh(h * 0.5 + x.sum(axis=1))), (), numbers(WIDTH)),
    "rank4": (
        lambda c, x, h: twice(tr.tanh(0.5 * h + x[:, :, None, :, None] * c.t[:, None])),
        (2, 1, WIDTH, WIDTH),
        numbers(2, WIDTH),
    ),
    "einsum trace": (lambda c, x, h: twice(tr.tanh(tr.einsum("bii->bi", x) + h)), (WIDTH,), numbers(WIDTH, WIDTH)),
    "einsum diag3": (
        lambda c, x, h: twice(tr.tanh(tr.einsum("bij,bjk,k->bi", h, x, c.v)[:, :, None] * h) + 0.1 * x),
        (WIDTH, WIDTH),
        numbers(WIDTH, WIDTH),
    ),
    "mod": (lambda c, x, h: twice((x + h) % 0.7 - (x - h) // 0.5 * 0.1), (WIDTH,), numbers(WIDTH)),
    "clip": (lambda c, x, h: twice(tr.clip(x + h, -0.5, 0.5) * c.v), (WIDTH,), numbers(WIDTH)),
    "tile": (lambda c, x, h: twice(tr.tanh(tr.tile(x[:, :2], (1, 2)) + h)), (WIDTH,), numbers(WIDTH)),
    "row const": (lambda c, x, h: twice(tr.tanh(h + x * c.one)), (WIDTH,), numbers(WIDTH)),
    "abs pow": (lambda c, x, h: twice(tr.abs(x) ** 1.5 * 0.1 + h * 0.5), (WIDTH,), numbers(WIDTH)),
    "heads reuse w": (lambda c, x, h: twice(tr.tanh(h @ c.w + x @ c.w.T)), (2, WIDTH), numbers(2, WIDTH)),
    "unstack": (
        lambda c, x, h: twice(
            tr.stack([tr.tanh(a * b) for a, b in zip(tr.unstack(h + 1, axis=1), tr.unstack(x, axis=1))], axis=1)
        ),
        (2, WIDTH),
        numbers(2, WIDTH),
    ),
    "broadcast up": (
        lambda c, x, h: twice(tr.tanh(tr.broadcast_to(x[:, None, :], (x.shape[0], 3, WIDTH)) + h)),
        (3, WIDTH),
        numbers(WIDTH),
    ),
    "int input sum": (
        lambda c, x, h: twice(tr.tanh(h + x.sum(axis=1, keepdims=True) * c.v)),
        (WIDTH,),
        numbers(3, ints=True),
    ),
    "bool out": (lambda c, x, h: ((x > h), tr.tanh(x + h)), (WIDTH,), numbers(WIDTH)),
    "flip mid reversed": (
        lambda c, x, h: twice(tr.tanh(h[:, ::-1, 1:].sum(axis=-1, keepdims=True) + x)),
        (WIDTH, 3),
        numbers(WIDTH, 3),
    ),
    "two gathers same": (
        lambda c, x, h: twice(tr.tanh(h[:, [0, 0, 1], :] * x[:, :, [2, 1, 0]]) + 0.1 * h),
        (3, 3),
        numbers(3, 3),
    ),
    "concat rank3 axis2": (
        lambda c, x, h: twice(tr.tanh(tr.concat([h[:, :, 1:], x[:, :, :1]], axis=2))),
        (WIDTH, 3),
        numbers(WIDTH, 3),
    ),
    "swap reduce": (
        lambda c, x, h: twice(tr.tanh(x.swapaxes(1, 2).sum(axis=1)[:, :, None] + h)),
        (WIDTH, 3),
        numbers(WIDTH, 3),
    ),
    "squeeze": (lambda c, x, h: twice(tr.tanh(tr.squeeze(x, axis=2) + h)), (WIDTH,), numbers(WIDTH, 1)),
    "dot rows": (
        lambda c, x, h: twice(tr.tanh((x * h).sum(axis=(1, 2), keepdims=True) + h)),
        (WIDTH, 3),
        numbers(WIDTH, 3),
    ),
}


@pytest.mark.sampled(36)
@pytest.mark.parametrize("name", CELLS)
def test_odd_cells(name):
    step, shape, x = CELLS[name]
    cell = Odd(step, shape, "int64" if name.startswith("int state") else "float64")
    agree(cell, x, None)
    agree(cell, x, None, lengths=[5, 0, 2])
    agree(cell, tr.tensor(x.numpy()[:1, :1], requires_grad=x.requires_grad), None)
