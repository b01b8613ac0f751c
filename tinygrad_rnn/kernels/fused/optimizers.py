"""Optimiser updates, one fused loop each over flat arrays.

Every kernel takes the values and the gradients of all parameters side by side, shape (n,), and its state
arrays of the same shape; a state that is not in use has shape (0,). Values and states are overwritten.
Coefficients come as Python floats and are rounded once to the dtype of the arrays. The plain NumPy twins
are in `reference.optimizers`.
"""

from __future__ import annotations

import math

import numpy as np

from ..build.fingerprint import kernel

Array = np.ndarray


@kernel
def sgd(
    values: Array, grads: Array, momentum_buffer: Array, lr: float, momentum: float, dampening: float,
    weight_decay: float, nesterov: bool,
) -> None:  # fmt: skip
    """Gradient descent with (Nesterov) momentum; `momentum_buffer` is in use when `momentum` is not 0."""
    number = values.dtype.type
    rate, decay, mu, fresh = number(lr), number(weight_decay), number(momentum), number(1 - dampening)
    if momentum == 0:
        for i in range(values.size):
            values[i] -= rate * (grads[i] + decay * values[i])
    else:
        for i in range(values.size):
            g = grads[i] + decay * values[i]
            b = mu * momentum_buffer[i] + fresh * g
            momentum_buffer[i] = b
            values[i] -= rate * (g + mu * b if nesterov else b)


@kernel
def adam(
    values: Array, grads: Array, exp_avg: Array, exp_avg_sq: Array, max_exp_avg_sq: Array, lr: float, beta1: float,
    beta2: float, eps: float, weight_decay: float, step: int, decoupled: bool,
) -> None:  # fmt: skip
    """Adam at update number `step` (from 1); AdamW if `decoupled`, AMSGrad if there is a `max_exp_avg_sq`."""
    number = values.dtype.type
    old1, new1, old2, new2 = number(beta1), number(1 - beta1), number(beta2), number(1 - beta2)
    size = number(lr / (1 - beta1**step))
    scale = number(1 / math.sqrt(1 - beta2**step))
    small = number(eps)
    keep = number(1 - lr * weight_decay if decoupled else 1)
    decay = number(0 if decoupled else weight_decay)
    if max_exp_avg_sq.size == 0:
        for i in range(values.size):
            g = grads[i] + decay * values[i]
            m = old1 * exp_avg[i] + new1 * g
            v = old2 * exp_avg_sq[i] + new2 * g * g
            exp_avg[i] = m
            exp_avg_sq[i] = v
            values[i] = keep * values[i] - size * m / (math.sqrt(v) * scale + small)
    else:
        for i in range(values.size):
            g = grads[i] + decay * values[i]
            m = old1 * exp_avg[i] + new1 * g
            v = old2 * exp_avg_sq[i] + new2 * g * g
            exp_avg[i] = m
            exp_avg_sq[i] = v
            top = np.maximum(max_exp_avg_sq[i], v)  # max() would keep the loop from becoming vectors
            max_exp_avg_sq[i] = top
            values[i] = keep * values[i] - size * m / (math.sqrt(top) * scale + small)


@kernel
def rmsprop(
    values: Array, grads: Array, square_avg: Array, grad_avg: Array, momentum_buffer: Array, lr: float,
    alpha: float, eps: float, weight_decay: float, momentum: float, centered: bool,
) -> None:  # fmt: skip
    """RMSprop; `grad_avg` is in use when `centered`, `momentum_buffer` when `momentum` is not 0."""
    number = values.dtype.type
    rate, decay, small, mu = number(lr), number(weight_decay), number(eps), number(momentum)
    old, new = number(alpha), number(1 - alpha)
    for i in range(values.size):
        g = grads[i] + decay * values[i]
        s = old * square_avg[i] + new * g * g
        square_avg[i] = s
        if centered:
            a = old * grad_avg[i] + new * g
            grad_avg[i] = a
            s = np.maximum(s - a * a, number(0))  # rounding may bring a small variance below zero; NaN stays
        update = g / (math.sqrt(s) + small)
        if momentum != 0:
            update += mu * momentum_buffer[i]
            momentum_buffer[i] = update
        values[i] -= rate * update


@kernel
def adagrad(
    values: Array, grads: Array, total: Array, lr: float, lr_decay: float, eps: float, weight_decay: float, step: int
) -> None:
    """Adagrad at update number `step` (from 1); `total` is the sum of squared gradients."""
    number = values.dtype.type
    rate, decay, small = number(lr / (1 + (step - 1) * lr_decay)), number(weight_decay), number(eps)
    for i in range(values.size):
        g = grads[i] + decay * values[i]
        s = total[i] + g * g
        total[i] = s
        values[i] -= rate * g / (math.sqrt(s) + small)
