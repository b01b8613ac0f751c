"""Adagrad."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from .checks import check_range
from .optimizer import Optimizer


class Adagrad(Optimizer):
    r"""Adagrad: divide by the root of the sum of all squared gradients so far.

    :math:`s \leftarrow s + g^2`, :math:`p \leftarrow p - \frac{\text{lr}}{1 + (t - 1)\,\text{lr\_decay}}\,
    g / (\sqrt s + \epsilon)`.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
        Parameters, or groups of them with options of their own.
    lr : float
    lr_decay : float
    weight_decay : float
    initial_accumulator_value : float
        What :math:`s` starts with.
    eps : float
    maximize : bool
        Go up the gradients instead of down.

    References
    ----------
    Duchi, Hazan, Singer, "Adaptive subgradient methods for online learning and stochastic optimization",
    2011.

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> from tinygrad_rnn.optim import Adagrad
    >>> w = tr.tensor([1.0], requires_grad=True)
    >>> optimizer = Adagrad([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.9], dtype=float32, requires_grad=True)
    """

    kernel = "adagrad"
    slots = ("sum",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        maximize: bool = False,
    ):
        options = {
            "lr": lr,
            "lr_decay": lr_decay,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "eps": eps,
            "maximize": maximize,
        }
        super().__init__(params, options)

    def _check(self, group):
        inf = math.inf
        check_range(group, lr=inf, lr_decay=inf, weight_decay=inf, initial_accumulator_value=inf, eps=inf)

    def _initial_values(self, group):
        return (group["initial_accumulator_value"],)

    def _update(self, group, step, values, grads, total):
        self._run(
            values,
            grads,
            total,
            float(group["lr"]),
            float(group["lr_decay"]),
            float(group["eps"]),
            float(group["weight_decay"]),
            step,
        )
