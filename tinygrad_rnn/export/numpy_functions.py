"""Functions whose source is copied into the exported NumPy files that call them."""

from __future__ import annotations

import numpy as np


def sigmoid(x):
    with np.errstate(over="ignore"):  # exp(-x) = inf gives the right 0
        return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def log_sigmoid(x):
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


def erf(x):
    from math import erf as of_number

    x = np.asarray(x)
    return np.array([of_number(v) for v in x.ravel().tolist()], x.dtype).reshape(x.shape)


def softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def log_softmax(x, axis):
    z = x - x.max(axis=axis, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=axis, keepdims=True))


def logsumexp(x, axis):
    top = x.max(axis=axis, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, x.dtype.type(0))
    with np.errstate(divide="ignore"):
        return np.log(np.exp(x - top).sum(axis=axis, keepdims=True)) + top


def layer_norm(x, axis, eps, weight=None, bias=None):
    x = x - x.mean(axis=axis, keepdims=True)
    y = x / np.sqrt((x * x).mean(axis=axis, keepdims=True) + x.dtype.type(eps))
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def centre(x, axis):
    return x - x.mean(axis=axis, keepdims=True)


def length(x, axis, keepdims):
    top = np.abs(x).max(axis=axis, keepdims=True, initial=0)  # so that squares do not overflow
    top = np.where((top > 0) & (top < np.inf), top, x.dtype.type(1))
    y = np.sqrt(((x / top) ** 2).sum(axis=axis, keepdims=True)) * top
    return y if keepdims else y.squeeze(axis)


def argsort(x, axis, descending):
    if not descending:
        return np.argsort(x, axis=axis, kind="stable")
    back = np.argsort(np.flip(x, axis), axis=axis, kind="stable")  # from behind, so that ties keep their order
    return np.flip(x.shape[axis] - 1 - back, axis)


def masked_product(a, b):
    with np.errstate(invalid="ignore"):
        return np.where(a == 0, np.zeros_like(a * b), a * b)


def masked_quotient(a, b):
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(a == 0, np.zeros_like(a / b), a / b)


def where_rows(condition, a, b):
    """`a` in the rows of the batch where the condition holds, else `b`."""
    return np.where(condition.reshape(-1, *[1] * (np.ndim(a) - 1)), a, b)
