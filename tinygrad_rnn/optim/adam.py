"""Adam and AdamW."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from .checks import check_flags, check_range
from .optimizer import Optimizer


class Adam(Optimizer):
    r"""Adam: steps of about ``lr``, whatever the scale of the gradients.

    :math:`m \leftarrow \beta_1 m + (1 - \beta_1) g`, :math:`v \leftarrow \beta_2 v + (1 - \beta_2) g^2`,
    :math:`p \leftarrow p - \text{lr}\, \hat m / (\sqrt{\hat v} + \epsilon)` with
    :math:`\hat m = m / (1 - \beta_1^t)` and :math:`\hat v = v / (1 - \beta_2^t)`.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
        Parameters, or groups of them with options of their own.
    lr : float
    betas : (float, float)
    eps : float
    weight_decay : float
        Added to the gradient, times the parameter (see :class:`AdamW` for the decoupled form).
    amsgrad : bool
        Use the largest :math:`v` so far in the denominator.
    maximize : bool
        Go up the gradients instead of down.

    References
    ----------
    Kingma, Ba, "Adam: a method for stochastic optimization", 2015. AMSGrad: Reddi, Kale, Kumar, "On the
    convergence of Adam and beyond", 2018.

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> from tinygrad_rnn.optim import Adam
    >>> w = tr.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = Adam([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.9, 1.9], dtype=float32, requires_grad=True)
    """

    kernel = "adam"
    slots = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        maximize: bool = False,
    ):
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        options["maximize"] = maximize
        super().__init__(params, options)

    def _check(self, group):
        check_range(group, lr=math.inf, betas=1.0, eps=math.inf, weight_decay=math.inf)
        check_flags(group, "amsgrad")

    def _initial_values(self, group):
        return (0.0, 0.0, 0.0 if group["amsgrad"] else None)

    def _update(self, group, step, values, grads, exp_avg, exp_avg_sq, max_exp_avg_sq):
        beta1, beta2 = group["betas"]
        self._run(
            values,
            grads,
            exp_avg,
            exp_avg_sq,
            max_exp_avg_sq,
            float(group["lr"]),
            float(beta1),
            float(beta2),
            float(group["eps"]),
            float(group["weight_decay"]),
            step,
            self.decoupled,
        )


class AdamW(Adam):
    r"""Adam with decoupled weight decay.

    First :math:`p \leftarrow (1 - \text{lr}\, \lambda) p`, then Adam's step.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
        Parameters, or groups of them with options of their own.
    lr : float
    betas : (float, float)
    eps : float
    weight_decay : float
        :math:`\lambda`.
    amsgrad, maximize : bool

    References
    ----------
    Loshchilov, Hutter, "Decoupled weight decay regularization", 2019.

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> from tinygrad_rnn.optim import AdamW
    >>> w = tr.tensor([1.0], requires_grad=True)
    >>> optimizer = AdamW([w], lr=0.5, weight_decay=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.25], dtype=float32, requires_grad=True)
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        maximize: bool = False,
    ):
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize)
