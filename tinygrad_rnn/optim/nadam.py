"""Adam with Nesterov's momentum."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from .checks import check_flags, check_range
from .optimizer import Optimizer


class NAdam(Optimizer):
    r"""Adam that looks one step of its momentum ahead.

    With :math:`\mu_t = \beta_1 (1 - \frac12 0.96^{t \psi})`, and :math:`m`, :math:`v` as of :class:`Adam`,
    :math:`\hat m = \mu_{t+1} m / (1 - \prod_{i=1}^{t+1} \mu_i) + (1 - \mu_t) g / (1 - \prod_{i=1}^t \mu_i)` and
    :math:`p \leftarrow p - \text{lr}\, \hat m / (\sqrt{\hat v} + \epsilon)`.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
        Parameters, or groups of them with options of their own.
    lr : float
    betas : (float, float)
    eps : float
    weight_decay : float
        Added to the gradient, times the parameter.
    momentum_decay : float
        :math:`\psi`.
    decoupled_weight_decay : bool
        Shrink the parameters instead, as :class:`AdamW` does.
    maximize : bool
        Go up the gradients instead of down.

    Notes
    -----
    The update is written in NumPy; a compiled training step does it in Python. PyTorch keeps the product of the
    :math:`\mu_i` in its state; here it is computed from the number of the step, so that options which change in the
    middle count from the beginning.

    References
    ----------
    Dozat, "Incorporating Nesterov momentum into Adam", 2016.

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> from tinygrad_rnn.optim import NAdam
    >>> w = tr.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = NAdam([w], lr=0.1)
    >>> for _ in range(100):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> bool(abs(w.numpy()).max() < 0.1)
    True
    """

    slots = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        maximize: bool = False,
    ):
        self._product = (math.nan, math.nan, 0, 1.0)  # of the factors of momentum: beta1, decay, steps, product
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        options |= {"momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay}
        super().__init__(params, {**options, "maximize": maximize})

    def _check(self, group):
        inf = math.inf
        check_range(group, lr=inf, betas=1.0, eps=inf, weight_decay=inf, momentum_decay=inf)
        check_flags(group, "decoupled_weight_decay")

    def _momentum(self, beta1: float, decay: float, step: int) -> tuple[float, float, float]:
        """The factors of this step and the next one, and the product of all up to this one."""
        known = self._product
        first = known[2] + 1 if known[:2] == (beta1, decay) and known[2] <= step else 1
        product = known[3] if first > 1 else 1.0
        for i in range(first, step + 1):
            product *= beta1 * (1.0 - 0.5 * 0.96 ** (i * decay))
        self._product = (beta1, decay, step, product)
        now, following = (beta1 * (1.0 - 0.5 * 0.96 ** (i * decay)) for i in (step, step + 1))
        return now, following, product

    def _update(self, group, step, values, grads, exp_avg, exp_avg_sq):
        beta1, beta2 = map(float, group["betas"])
        lr, decay = float(group["lr"]), float(group["weight_decay"])
        if decay and group["decoupled_weight_decay"]:
            values *= 1 - lr * decay
        elif decay:
            grads = grads + decay * values
        now, following, product = self._momentum(beta1, float(group["momentum_decay"]), step)
        exp_avg += (1 - beta1) * (grads - exp_avg)
        exp_avg_sq *= beta2
        exp_avg_sq += (1 - beta2) * grads * grads
        scale = np.sqrt(exp_avg_sq / (1 - beta2**step)) + float(group["eps"])
        values -= (lr * (1 - now) / (1 - product)) * grads / scale
        values -= (lr * following / (1 - product * following)) * exp_avg / scale
