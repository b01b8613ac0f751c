"""NumPy twins of the kernels in `optimizers`: same names and arguments, written from the formulas."""

import numpy as np


def sgd(values, grads, momentum_buffer, lr, momentum, dampening, weight_decay, nesterov):
    g = grads + weight_decay * values
    if momentum != 0:
        momentum_buffer[:] = momentum * momentum_buffer + (1 - dampening) * g
        g = g + momentum * momentum_buffer if nesterov else momentum_buffer
    values -= lr * g


def adam(
    values,
    grads,
    exp_avg,
    exp_avg_sq,
    max_exp_avg_sq,
    lr,
    beta1,
    beta2,
    eps,
    weight_decay,
    step,
    decoupled,
):
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


def rmsprop(values, grads, square_avg, grad_avg, momentum_buffer, lr, alpha, eps, weight_decay, momentum, centered):
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


def adagrad(values, grads, total, lr, lr_decay, eps, weight_decay, step):
    g = grads + weight_decay * values
    total += g**2
    values -= lr / (1 + (step - 1) * lr_decay) * g / (np.sqrt(total) + eps)
