"""What steps of random models compute: functions of values, then weights, then settings."""

from __future__ import annotations

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.nn import functional as F


def tanh(x):
    return tr.tanh(x)


def log(x):
    return tr.log(tr.abs(x) + 0.5)


def root(x):
    return tr.sqrt(x * x + 0.1)


def detached(x):
    return (x if isinstance(x, np.ndarray) else x.detach()) * x


def rounded(x):
    return tr.floor(x * 2.0) + x


def cut(x):
    return tr.clip(x, -0.7, 0.9)


def power(x):
    return (tr.abs(x) + 0.3) ** 1.7


def itself(x):
    return x


UNARY = [
    tanh, tr.sigmoid, tr.relu, tr.exp, log, root, tr.softplus, tr.gelu, tr.silu, tr.abs, tr.sin, tr.cos, tr.erf,
    tr.leaky_relu, tr.elu, tr.hard_tanh, tr.hard_sigmoid, tr.log_sigmoid, tr.expm1, tr.negative, detached, rounded, cut,
    power, itself, tr.arctan, tr.arcsinh,
]  # fmt: skip


def quotient(a, b):
    return a / (tr.abs(b) + 0.5)


def angle(a, b):
    return tr.arctan2(a, tr.abs(b) + 0.5)


def raised(a, b):
    return (tr.abs(a) + 0.5) ** tr.tanh(b)


BINARY = [
    tr.add,
    tr.subtract,
    tr.multiply,
    quotient,
    tr.maximum,
    tr.minimum,
    raised,
    tr.add,
    tr.multiply,
    angle,
    tr.hypot,
]


def plus(x, n):
    return n + x


def minus(x, n):
    return n - x


def divided(x, n):
    return x / n


def into(x, n):
    return n / (tr.abs(x) + 1.0)


def squared(x, n):
    return x**2 * n


def base(x, n):
    return abs(n) ** x


def larger(x, n):
    return tr.maximum(x, n)


NUMBER = [plus, minus, divided, into, squared, base, larger]


def bias(x, w):
    return x + w


def gain(x, w):
    return x * w


def gate(x, w):
    return tr.sigmoid(w) * x


def over(x, w):
    return x / (tr.abs(w) + 0.5)


def difference(x, w):
    return w - x


VECTOR = [bias, gain, gate, over, difference, bias]


def linear(x, w, b):
    return F.linear(x, w, b)


def dense(x, w, b):
    return tr.tanh(x @ w + b)


def matmul(x, w):
    return x @ w


def transposed(x, w):
    return x @ w.T


def attention(a, b):
    return tr.softmax(a @ b.swapaxes(-1, -2), -1) @ b


def gram(a, b):
    return a.swapaxes(-1, -2) @ b


def contracted(a, b):
    return tr.einsum("...ij,...kj->...ik", a, b)


PRODUCTS = [attention, gram, contracted]


def total(x, axis, keepdims):
    return tr.sum(x, axis=axis, keepdims=keepdims)


def mean(x, axis, keepdims):
    return tr.mean(x, axis=axis, keepdims=keepdims)


def largest(x, axis, keepdims):
    return tr.max(x, axis=axis, keepdims=keepdims)


def smallest(x, axis, keepdims):
    return tr.min(x, axis=axis, keepdims=keepdims)


def spread(x, axis, keepdims):
    return tr.sqrt(tr.var(x, axis=axis, keepdims=keepdims) + 0.1)


def logsumexp(x, axis, keepdims):
    return tr.logsumexp(x, axis=axis, keepdims=keepdims)


def length(x, axis, keepdims):
    return tr.norm(x + 0.1, axis=axis, keepdims=keepdims)


REDUCTIONS = [total, mean, largest, smallest, spread, logsumexp, length, mean, total]


def softmax(x, axis):
    return tr.softmax(x, axis)


def log_softmax(x, axis):
    return tr.log_softmax(x, axis)


def running(x, axis):
    return tr.cumsum(x, axis)


def centred(x, axis):
    return x - x.mean(axis, keepdims=True)


ALONG = [softmax, log_softmax, running, centred, softmax]


def reshape(x, shape):
    return x.reshape(shape)


def permute(x, axes):
    return x.transpose(axes)


def swap(x, a, b):
    return x.swapaxes(a, b)


def move(x, a, b):
    return tr.moveaxis(x, a, b)


def expand(x, axis):
    return tr.expand_dims(x, axis)


def squeeze(x, axis):
    return tr.squeeze(x, axis)


def broadcast(x, shape):
    return tr.broadcast_to(x, shape)


def flip(x, axis):
    return tr.flip(x, axis)


def pad(x, widths):
    return tr.pad(x, widths)


def repeat(x, n, axis):
    return tr.repeat(x, n, axis)


def tile(x, n):
    return tr.tile(x, n)


def index(x, at):
    return x[at]


def concat(a, b, axis):
    return tr.concat([a, b], axis)


def stack(a, b, axis):
    return tr.stack([a, b], axis)


def halves(x, axis, at):
    left, right = tr.split(x, [at], axis)
    return tr.concat([right * 2.0, tr.tanh(left)], axis)


def part(x, axis, at):
    return tr.split(x, [at], axis)[at > 0]


def unstacked(x, axis, at):
    parts = tr.unstack(x, axis)
    return parts[at] * 2.0 + parts[0]


def chosen(a, b):
    return tr.where(a > b, a, b * 0.5)


def positive(a, b):
    return tr.where(a > 0, b, 0.0)


def between(a, b):
    return tr.where((a > -0.5) & ~(b > 0.5), a * b, a)


def counted(a, b):
    return a + (b > a).astype(a.dtype)


WHERE = [chosen, positive, between, counted]


def scaled(x, array):
    return x * array


def masked(x, mask):
    return tr.where(mask, x, -1.0)


class Layer(nn.Module):
    """A recurrent layer, of whose results a step takes one."""

    def __init__(self, layer, part):
        self.layer, self.part = layer, part

    def forward(self, x):
        y, state = self.layer(x)
        if self.part == "outputs":
            return y
        if self.part == "last":
            return y[-1]
        return state[0] if isinstance(state, tuple | list) else state


class LossOf(nn.Module):
    """A loss as one number, whatever it is reduced to."""

    def __init__(self, loss, logs=False):
        self.loss, self.logs = loss, logs

    def forward(self, y, t):
        found = self.loss(tr.log_softmax(y, -1) if self.logs else y, t)
        return found.mean() if found.ndim else found


def draw_loss(rng: np.random.Generator, y: np.ndarray) -> tuple[LossOf, np.ndarray]:
    """A loss that takes predictions like `y`, and targets for it."""
    reduction = str(rng.choice(["mean", "mean", "sum", "none"]))
    kinds = ["mse", "l1", "huber", "binary"] + ["classes", "shares", "nll", "classes"] * (y.ndim > 0)
    kind = kinds[int(rng.integers(len(kinds)))]
    if kind in ("mse", "l1", "huber"):
        made = {"mse": nn.MSELoss, "l1": nn.L1Loss, "huber": nn.HuberLoss}[kind](reduction)
        return LossOf(made), rng.normal(size=y.shape).astype(y.dtype)
    shares = rng.random(y.shape).astype(y.dtype)
    weight = np.linspace(0.5, 2.0, y.shape[-1]).astype(y.dtype) if y.ndim and rng.random() < 0.5 else None
    if kind == "binary":
        return LossOf(nn.BCEWithLogitsLoss(None, reduction, weight)), shares
    smoothing = float(rng.choice([0.0, 0.1]))
    if kind == "shares":
        return LossOf(nn.CrossEntropyLoss(weight, reduction=reduction, label_smoothing=smoothing)), shares
    targets = rng.integers(0, y.shape[-1], y.shape[:-1])
    ignored = int(rng.choice([-100, 0])) if targets.size and (targets != 0).any() else -100
    if kind == "nll":
        return LossOf(nn.NLLLoss(weight, ignored, reduction), logs=True), targets
    return LossOf(nn.CrossEntropyLoss(weight, ignored, reduction, smoothing)), targets
