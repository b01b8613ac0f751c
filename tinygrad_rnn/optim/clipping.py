"""Gradient clipping, by norm and by value."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from ..checks import flag, number
from ..core import Tensor
from .buckets import LARGE


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> float:
    """Scale all gradients, in place, so that their norm together is at most `max_norm`.

    Parameters
    ----------
    parameters : Tensor or iterable of Tensor
        Those without a gradient are left out; one that is named twice, as a tied one is, counts once.
    max_norm : float
        With ``math.inf`` the norm is only measured: no gradient is changed, whatever it holds.
    norm_type : float
        The p of the p-norm; ``math.inf`` for the largest absolute value.
    error_if_nonfinite : bool
        Raise if the norm is NaN or infinite, and leave the gradients alone. Otherwise an infinite norm
        scales them to zero (the infinite ones to NaN), and a NaN spreads to all.

    Returns
    -------
    float
        The norm before clipping; 0 if there is no gradient.

    Raises
    ------
    FloatingPointError
        If asked to by `error_if_nonfinite`.
    ValueError
        If `max_norm` is negative or `norm_type` is not positive.

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> from tinygrad_rnn.optim import clip_grad_norm_
    >>> w = tr.tensor([1.0, 1.0], requires_grad=True)
    >>> (w * tr.tensor([3.0, 4.0])).sum().backward()
    >>> clip_grad_norm_([w], max_norm=1.0)
    5.0
    >>> w.grad.numpy().round(4)
    array([0.6, 0.8], dtype=float32)
    """
    max_norm = number("max_norm", max_norm, "at least 0", lambda norm: norm >= 0)
    norm_type = number("norm_type", norm_type, "a positive number or math.inf", lambda p: p > 0)
    error_if_nonfinite = flag("error_if_nonfinite", error_if_nonfinite)
    grads = _grads(parameters)
    with np.errstate(over="ignore", invalid="ignore"):  # the norm itself says so
        norm = _total_norm([g.data for g in grads], float(norm_type))
        if error_if_nonfinite and not math.isfinite(norm):
            raise FloatingPointError(f"gradients: got a norm of {norm}, wanted a finite one")
        scale = max_norm / (norm + 1e-6)
        if max_norm != math.inf and not scale >= 1:  # NaN too
            for g in {id(g): g for g in grads}.values():  # two parameters may share one
                _writeable(g)
                g.data *= scale
                g.touch()
    return norm


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Bring every element of the gradients, in place, into ``[-clip_value, clip_value]``.

    Parameters
    ----------
    parameters : Tensor or iterable of Tensor
        Those without a gradient are left out.
    clip_value : float

    Raises
    ------
    ValueError
        If `clip_value` is negative.

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> from tinygrad_rnn.optim import clip_grad_value_
    >>> w = tr.tensor([1.0, 1.0], requires_grad=True)
    >>> (w * tr.tensor([3.0, -0.5])).sum().backward()
    >>> clip_grad_value_([w], 1.0)
    >>> w.grad
    tensor([ 1. , -0.5], dtype=float32)
    """
    clip_value = number("clip_value", clip_value, "at least 0", lambda value: value >= 0)
    for g in _grads(parameters):
        _writeable(g)
        np.clip(g.data, -clip_value, clip_value, out=g.data)
        g.touch()


def _grads(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    if isinstance(parameters, Tensor):
        parameters = (parameters,)
    elif not isinstance(parameters, Iterable):
        raise TypeError(f"parameters: got {type(parameters).__name__}, wanted a Tensor or an iterable of tensors")
    once: dict[int, Tensor] = {}
    for i, p in enumerate(parameters):
        if not isinstance(p, Tensor):
            raise TypeError(f"parameters[{i}]: got {type(p).__name__}, wanted a Tensor")
        if p.grad is not None:
            if not isinstance(p.grad, Tensor):
                raise TypeError(f"parameters[{i}].grad: got {type(p.grad).__name__}, wanted a Tensor or None")
            once[id(p)] = p.grad
    return list(once.values())


def _writeable(g: Tensor) -> None:
    if not g.data.flags.writeable:  # somebody's own array
        g.data = g.data.copy()


def _total_norm(arrays: list[np.ndarray], p: float) -> float:
    if p == 2:
        small = [a for a in arrays if a.size < LARGE]
        flats = [np.concatenate(small, axis=None)] if small else []
        flats += [a.ravel("K") for a in arrays if a.size >= LARGE]
        total = sum([float(flat.dot(flat)) for flat in flats])
        if 0 < total < math.inf:
            return math.sqrt(total)
    # squares may have overflowed or underflowed: take the largest value out first
    largest = max((float(np.abs(a).max()) for a in arrays if a.size), default=0.0)
    if any(np.isnan(a).any() for a in arrays):
        return math.nan
    if p == math.inf or largest == 0 or math.isinf(largest):
        return largest
    total = sum(float((np.abs(a / largest, dtype=np.float64) ** p).sum()) for a in arrays)
    return largest * total ** (1 / p)
