"""Losses of probabilities, distributions and quantiles as functions, in PyTorch's names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..checks import flag, is_number, number, one_of, shown
from ..core import as_tensor
from ..core.aliases import Value
from ..core.signatures import like_first
from ..errors import ShapeError
from ..ops.arguments import operand
from ..ops.bounds import require_between
from ..ops.elementwise import constant, masked_product
from ..ops.loss import bernoulli_loss
from .functional import _cast, _factors, _floats, _pair, _reduce, check_reduction, huber_loss, l1_loss

BATCH_REDUCTIONS = ("mean", "sum", "none", "batchmean")


def check_beta(beta: float) -> float:
    return number("beta", beta, "a number from 0 on", lambda beta: beta >= 0)


@like_first
def smooth_l1_loss(input: Value, target: Value, reduction: str = "mean", beta: float = 1.0) -> Value:
    """Squared error near zero, absolute error from `beta` on (Girshick 2015).

    ``d**2 / (2 * beta)`` where ``|d| < beta``, else ``|d| - beta / 2``: Huber's loss divided by `beta`; with
    ``beta=0`` the absolute error. Parameters as :func:`mse_loss`.
    """
    beta = check_beta(beta)
    if beta == 0:
        return l1_loss(input, target, reduction)
    return huber_loss(input, target, reduction, beta) * (1.0 / beta)


@like_first
def binary_cross_entropy(input: Value, target: Value, weight: Value = None, reduction: str = "mean") -> Value:
    """Cross-entropy of independent yes/no decisions, from probabilities.

    ``-(t * log(p) + (1 - t) * log(1 - p))``; logarithms end at -100, as PyTorch's. From logits,
    :func:`binary_cross_entropy_with_logits` keeps more digits.

    Parameters
    ----------
    input : Tensor
        Probabilities, as of a sigmoid.
    target : Tensor or array, shaped as `input`
    weight : Tensor or array, optional
        Constant factors; broadcast against `input`.
    reduction : {"mean", "sum", "none"}

    Raises
    ------
    ValueError
        If an input is no probability.
    """
    check_reduction(reduction)
    input, target = _pair("binary_cross_entropy", input, target)
    input = _floats(input)
    text = "binary_cross_entropy: input: got numbers outside [0, 1], wanted probabilities"
    input = require_between(input, 0.0, 1.0, text)
    loss = bernoulli_loss(input, _cast(target, input.dtype))
    if weight is not None:
        loss = loss * _factors("weight", weight, input)
    return _reduce(loss, reduction)


@like_first
def kl_div(input: Value, target: Value, reduction: str = "mean", log_target: bool = False) -> Value:
    """Kullback-Leibler divergence ``target * (log(target) - input)`` from log-probabilities.

    Parameters
    ----------
    input : Tensor, (..., C)
        Log-probabilities.
    target : Tensor or array, shaped as `input`
        Probabilities; where they are 0 so is the divergence.
    reduction : {"mean", "sum", "none", "batchmean"}
        "batchmean" divides the sum by the number of distributions, which stand on the last axis; "mean" by that of
        elements.
    log_target : bool
        Whether `target` holds log-probabilities too.
    """
    one_of("reduction", reduction, BATCH_REDUCTIONS)
    log_target = flag("log_target", log_target)
    input, target = _pair("kl_div", input, target)
    input = _floats(input)
    target = _cast(target, input.dtype)
    if log_target:
        loss = masked_product(ops.exp(target), target - input)
    else:
        loss = masked_product(target, ops.log(ops.where(target == 0, 1.0, target)) - input)
    if reduction != "batchmean":
        return _reduce(loss, reduction)
    if not loss.size:
        raise ShapeError(f"kl_div: input: got shape {tuple(input.shape)}, wanted at least one distribution")
    return loss.sum() * (input.shape[-1] / loss.size if input.shape else 1.0)


@like_first
def gaussian_nll_loss(
    input: Value, target: Value, var: Value, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Value:
    """Negative log-likelihood of normal distributions (Nix and Weigend 1994).

    ``(log(var) + (input - target)**2 / var) / 2``

    Parameters
    ----------
    input : Tensor
        Means.
    target : Tensor or array, shaped as `input`
    var : Tensor, array or number
        Variances, which broadcast to `input`. Those below `eps` count as `eps`; their gradient goes on.
    full : bool
        Whether to add the constant ``log(2 * pi) / 2``.
    eps : float
    reduction : {"mean", "sum", "none"}

    Raises
    ------
    ValueError
        If a variance is negative.

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> tr.nn.functional.gaussian_nll_loss(tr.tensor([1.0]), [3.0], tr.tensor([4.0])).item()  # (log(4) + 1) / 2
    1.1931471824645996
    """
    check_reduction(reduction)
    full, eps = flag("full", full), number("eps", eps, "a positive number", lambda eps: eps > 0)
    input, target = _pair("gaussian_nll_loss", input, target)
    input = _floats(input)
    var = _cast(operand(var, "gaussian_nll_loss: var"), input.dtype)
    var = require_between(
        var, 0.0, math.inf, "gaussian_nll_loss: var: got negative numbers, wanted variances", nan=True
    )
    try:
        var = ops.broadcast_to(var, input.shape)
    except ShapeError:
        shape = tuple(input.shape)
        raise ShapeError(f"gaussian_nll_loss: var: got shape {tuple(var.shape)}, wanted {shape} as the input") from None
    var = var + constant(ops.maximum(eps - var, 0.0))  # the bound is a constant shift, as in PyTorch
    error = input - _cast(target, input.dtype)
    loss = 0.5 * (ops.log(var) + error * error / var)
    return _reduce(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)


def check_quantiles(quantiles: Any) -> tuple[float, ...] | float:
    """Numbers strictly between 0 and 1: one, or several."""
    if is_number(quantiles):
        return number("quantiles", quantiles, "numbers between 0 and 1", lambda q: 0 < q < 1)
    if not isinstance(quantiles, Sequence | np.ndarray) or isinstance(quantiles, str) or not len(quantiles):
        raise TypeError(f"quantiles: got {shown(quantiles)}, wanted a number or a sequence of numbers")
    return tuple(number("quantiles", q, "numbers between 0 and 1", lambda q: 0 < q < 1) for q in quantiles)


@like_first
def quantile_loss(input: Value, target: Value, quantiles: Any = 0.5, reduction: str = "mean") -> Value:
    """Pinball loss ``max(q * d, (q - 1) * d)`` with ``d = target - input`` (Koenker and Bassett 1978).

    Its expectation is smallest where `input` is the `q`-th quantile of the target.

    Parameters
    ----------
    input : Tensor
        Shaped as the target for one quantile; (..., Q) for a sequence of Q quantiles.
    target : Tensor or array, (...)
    quantiles : float or sequence of float, between 0 and 1
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> forecast = tr.tensor([[1.0, 2.0, 3.0]])
    >>> tr.nn.functional.quantile_loss(forecast, [4.0], (0.25, 0.5, 0.75), reduction="none").tolist()
    [[0.75, 1.0, 0.75]]
    """
    check_reduction(reduction)
    found = check_quantiles(quantiles)
    input, target = _floats(operand(input, "quantile_loss: input")), operand(target, "quantile_loss: target")
    wanted = tuple(target.shape) if isinstance(found, float) else (*target.shape, len(found))
    if tuple(input.shape) != wanted:
        raise ShapeError(
            f"quantile_loss: input: got shape {tuple(input.shape)} for targets {tuple(target.shape)}, wanted {wanted}"
        )
    target = as_tensor(_cast(target, input.dtype))
    if isinstance(found, float):
        d = target - input
        return _reduce(ops.where(d > 0, found * d, (found - 1.0) * d), reduction)
    q = np.array(found, input.dtype)
    d = ops.expand_dims(target, -1) - input
    return _reduce(ops.where(d > 0, d * q, d * (q - 1)), reduction)
