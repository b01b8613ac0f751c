"""Stochastic gradient descent."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from .checks import check_flags, check_range
from .optimizer import Optimizer


class SGD(Optimizer):
    r"""Stochastic gradient descent, with momentum.

    With the gradient :math:`g` (plus ``weight_decay`` times the parameter), :math:`b \leftarrow \mu b + (1
    - \tau) g` and :math:`p \leftarrow p - \text{lr}\, b`; Nesterov's form goes along :math:`g + \mu b`. The
    first :math:`b` is :math:`g`.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
        Parameters, or groups of them with options of their own.
    lr : float
    momentum : float
        :math:`\mu`.
    dampening : float
        :math:`\tau`.
    weight_decay : float
    nesterov : bool
        Needs a momentum, and no dampening.
    maximize : bool
        Go up the gradients instead of down.

    References
    ----------
    Sutskever, Martens, Dahl, Hinton, "On the importance of initialization and momentum in deep learning",
    2013.

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> from tinygrad_rnn.optim import SGD
    >>> w = tr.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = SGD([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.8, 1.6], dtype=float32, requires_grad=True)
    """

    kernel = "sgd"
    slots = ("momentum_buffer",)
    counts_steps = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        maximize: bool = False,
    ):
        options = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, options)

    def _check(self, group):
        check_range(group, lr=math.inf, momentum=math.inf, dampening=math.inf, weight_decay=math.inf)
        check_flags(group, "nesterov")
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError(
                f"nesterov: got momentum={group['momentum']} and dampening={group['dampening']}, "
                "wanted a momentum above 0 and no dampening"
            )

    def _initial_values(self, group):
        return (0.0,) if group["momentum"] else (None,)

    def _update(self, group, step, values, grads, momentum_buffer):
        self._run(
            values,
            grads,
            momentum_buffer,
            float(group["lr"]),
            float(group["momentum"]),
            0.0 if step == 1 else float(group["dampening"]),
            float(group["weight_decay"]),
            bool(group["nesterov"]),
        )
