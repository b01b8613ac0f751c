"""The airline's training written by hand: forward pass, BPTT and Adam of one LSTM as a plain Numba loop.

It is what a person writes who needs this one model at batch size 1 and nothing else: no tape, no layers, a few
arrays of fixed size. It bounds what a framework can reach there.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

NAMES = ("rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.bias_ih_l0", "head.weight", "head.bias")  # as they lie in memory


def sizes(hidden: int) -> list[tuple[int, ...]]:
    """Shapes of the trained arrays in the order of `NAMES`, for one input feature and one output."""
    return [(4 * hidden, 1), (4 * hidden, hidden), (4 * hidden,), (1, hidden), (1,)]


def pack(weights: dict[str, np.ndarray]) -> np.ndarray:
    """Weights by name as one flat array."""
    return np.concatenate([weights[name].ravel() for name in NAMES])


def unpack(flat: np.ndarray, hidden: int) -> dict[str, np.ndarray]:
    """The weights in a flat array, by name."""
    shapes = sizes(hidden)
    ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
    return {name: part.reshape(shape) for name, part, shape in zip(NAMES, np.split(flat, ends), shapes)}


@njit
def train(order, inputs, targets, hidden, params, exp_avg, exp_avg_sq, step, lr, beta1, beta2, eps):
    """Train on one example after the other; parameters and Adam's state are overwritten.

    Parameters
    ----------
    order : ndarray of int, (n,)
        The examples, in the order in which they come.
    inputs : ndarray, (N, T)
    targets : ndarray, (N,)
    hidden : int
    params, exp_avg, exp_avg_sq : ndarray, flat
    step : int
        Updates so far.
    lr, beta1, beta2, eps : float

    Returns
    -------
    ndarray, (n,)
        The loss before each update.
    """
    number = params.dtype.type
    one, two = number(1), number(2)
    old1, new1, old2, new2, small = number(beta1), number(1 - beta1), number(beta2), number(1 - beta2), number(eps)
    T, H, G = inputs.shape[1], hidden, 4 * hidden
    u, b, w, bias = G, G + G * H, 2 * G + G * H, 2 * G + G * H + H  # where each array begins; that of inputs at 0
    grads = np.zeros_like(params)
    h, c = np.zeros((T + 1, H), params.dtype), np.zeros((T + 1, H), params.dtype)
    gates, tanh_c = np.empty((T, G), params.dtype), np.empty((T, H), params.dtype)
    dh, dc, dz = np.empty(H, params.dtype), np.empty(H, params.dtype), np.empty(G, params.dtype)
    losses = np.empty(len(order), params.dtype)
    for n in range(len(order)):
        example = order[n]
        for t in range(T):
            x = inputs[example, t]
            for j in range(G):
                z = params[b + j] + params[j] * x
                for k in range(H):
                    z += params[u + j * H + k] * h[t, k]
                gates[t, j] = math.tanh(z) if 2 * H <= j < 3 * H else one / (one + math.exp(-z))
            for k in range(H):
                c[t + 1, k] = gates[t, H + k] * c[t, k] + gates[t, k] * gates[t, 2 * H + k]
                tanh_c[t, k] = math.tanh(c[t + 1, k])
                h[t + 1, k] = gates[t, 3 * H + k] * tanh_c[t, k]
        y = params[bias]
        for k in range(H):
            y += params[w + k] * h[T, k]
        error = y - targets[example]
        losses[n] = error * error

        grads[:] = 0
        dy = two * error
        grads[bias] = dy
        for k in range(H):
            grads[w + k] = dy * h[T, k]
            dh[k] = dy * params[w + k]
            dc[k] = 0
        for t in range(T - 1, -1, -1):
            x = inputs[example, t]
            for k in range(H):
                i, f, g, o = gates[t, k], gates[t, H + k], gates[t, 2 * H + k], gates[t, 3 * H + k]
                d = dc[k] + dh[k] * o * (one - tanh_c[t, k] * tanh_c[t, k])
                dz[k] = d * g * i * (one - i)
                dz[H + k] = d * c[t, k] * f * (one - f)
                dz[2 * H + k] = d * i * (one - g * g)
                dz[3 * H + k] = dh[k] * tanh_c[t, k] * o * (one - o)
                dc[k] = d * f
                dh[k] = 0
            for j in range(G):
                grads[j] += dz[j] * x
                grads[b + j] += dz[j]
                for k in range(H):
                    grads[u + j * H + k] += dz[j] * h[t, k]
                    dh[k] += dz[j] * params[u + j * H + k]

        step += 1
        rate, scale = number(lr / (1 - beta1**step)), number(1 / math.sqrt(1 - beta2**step))
        for p in range(params.size):
            exp_avg[p] = old1 * exp_avg[p] + new1 * grads[p]
            exp_avg_sq[p] = old2 * exp_avg_sq[p] + new2 * grads[p] * grads[p]
            params[p] -= rate * exp_avg[p] / (math.sqrt(exp_avg_sq[p]) * scale + small)
    return losses
