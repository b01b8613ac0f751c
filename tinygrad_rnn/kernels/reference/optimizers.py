"""NumPy twins of the kernels in `optimizers`: same names and arguments, written from the formulas."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def sgd(
    values: Array, grads: Array, momentum_buffer: Array, lr: float, momentum: float, dampening: float,
    weight_decay: float, nesterov: bool,
) -> None:  # fmt: skip
    g = grads + weight_decay * values
    if momentum != 0:
        momentum_buffer[:] = momentum * momentum_buffer + (1 - dampening) * g
        g = g + momentum * momentum_buffer if nesterov else momentum_buffer
    values -= lr * g


def adam(
    values: Array, grads: Array, exp_avg: Array, exp_avg_sq: Array, max_exp_avg_sq: Array, lr: float, beta1: float,
    beta2: float, eps: float, weight_decay: float, step: int, decoupled: bool,
) -> None:  # fmt: skip
    if decoupled:
        values *= 1 - lr * weight_decay
        g = grads
    else:
        g = grads + weight_decay * values
    exp_avg[:] = beta1 * exp_avg + (1 - beta1) * g
    exp_avg_sq[:] = beta2 * exp_avg_sq + (1 - beta2) * g**2
    second = exp_avg_sq
    if max_exp_avg_sq.size:
        np.maximum(max_exp_avg_sq, exp_avg_sq, out=max_exp_avg_sq)
        second = max_exp_avg_sq
    m_hat = exp_avg / (1 - beta1**step)
    v_hat = second / (1 - beta2**step)
    values -= lr * m_hat / (np.sqrt(v_hat) + eps)


def rmsprop(
    values: Array, grads: Array, square_avg: Array, grad_avg: Array, momentum_buffer: Array, lr: float,
    alpha: float, eps: float, weight_decay: float, momentum: float, centered: bool,
) -> None:  # fmt: skip
    g = grads + weight_decay * values
    square_avg[:] = alpha * square_avg + (1 - alpha) * g**2
    variance = square_avg
    if centered:
        grad_avg[:] = alpha * grad_avg + (1 - alpha) * g
        variance = np.maximum(square_avg - grad_avg**2, 0)
    update = g / (np.sqrt(variance) + eps)
    if momentum != 0:
        momentum_buffer[:] = momentum * momentum_buffer + update
        update = momentum_buffer
    values -= lr * update


def adagrad(
    values: Array, grads: Array, total: Array, lr: float, lr_decay: float, eps: float, weight_decay: float, step: int
) -> None:
    g = grads + weight_decay * values
    total += g**2
    values -= lr / (1 + (step - 1) * lr_decay) * g / (np.sqrt(total) + eps)
