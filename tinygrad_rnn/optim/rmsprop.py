"""RMSprop."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from .checks import check_flags, check_range
from .optimizer import Optimizer


class RMSprop(Optimizer):
    r"""RMSprop: divide by a running root mean square of the gradient.

    :math:`s \leftarrow \alpha s + (1 - \alpha) g^2`, and along :math:`u = g / (\sqrt s + \epsilon)`;
    `centered` subtracts the squared running mean of :math:`g` from :math:`s` (what rounding leaves below
    zero counts as zero). With momentum, :math:`b
    \leftarrow \mu b + u` takes the place of :math:`u`.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
        Parameters, or groups of them with options of their own.
    lr : float
    alpha : float
        Below 1.
    eps : float
    weight_decay : float
    momentum : float
    centered : bool
    maximize : bool
        Go up the gradients instead of down.

    References
    ----------
    Hinton, "Neural networks for machine learning", lecture 6e, 2012. Centered: Graves, "Generating
    sequences with recurrent neural networks", 2013.

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> from tinygrad_rnn.optim import RMSprop
    >>> w = tr.tensor([1.0], requires_grad=True)
    >>> optimizer = RMSprop([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.numpy().round(4)
    array([0.], dtype=float32)
    """

    kernel = "rmsprop"
    slots = ("square_avg", "grad_avg", "momentum_buffer")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        maximize: bool = False,
    ):
        options = {
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "centered": centered,
            "maximize": maximize,
        }
        super().__init__(params, options)

    def _check(self, group):
        inf = math.inf
        check_range(group, lr=inf, alpha=1.0, eps=inf, weight_decay=inf, momentum=inf)
        check_flags(group, "centered")

    def _initial_values(self, group):
        return (0.0, 0.0 if group["centered"] else None, 0.0 if group["momentum"] else None)

    def _update(self, group, step, values, grads, square_avg, grad_avg, momentum_buffer):
        self._run(
            values,
            grads,
            square_avg,
            grad_avg,
            momentum_buffer,
            float(group["lr"]),
            float(group["alpha"]),
            float(group["eps"]),
            float(group["weight_decay"]),
            float(group["momentum"]),
            bool(group["centered"]),
        )
