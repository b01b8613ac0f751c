"""The CTC loss as one operation, on a jitted kernel forward and backward."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..config import grad_mode
from ..core import Op, apply, grad, primitive
from ..core.aliases import Value
from ..core.signatures import like_first
from .create import zeros
from .elementwise import where
from .join import stack, unstack
from .shape import pad
from .softmax import logsumexp

NOWHERE = -1e30  # minus infinity, for gradients of gradients: these need numbers


def _vjp(g: Value, y: Value, log_probs: Value, alignment: tuple, zero_infinity: bool, saved: dict[str, Any]) -> Value:
    if grad_mode.tracer is not None:
        return apply(_GRADIENT, (g, log_probs), {"alignment": alignment, "zero_infinity": zero_infinity})
    if not isinstance(g, np.ndarray):
        losses = _on_tape(log_probs, zero_infinity, *alignment)
        (gradient,) = grad(losses, log_probs, [g], create_graph=True)
        return gradient
    return _gradient(g, log_probs, alignment, zero_infinity, saved["losses"], saved["alphas"])


def _gradient(
    g: np.ndarray, log_probs: np.ndarray, alignment: tuple, zero_infinity: bool, *forward: np.ndarray
) -> np.ndarray:
    """Gradient by the log-probabilities; `forward`: losses and alphas, computed anew if not given."""
    from ..kernels.fused import ctc as kernels  # numba is imported at first use

    losses, alphas = forward or kernels.ctc_forward(log_probs, *alignment)
    if zero_infinity:  # any number gives rows without an alignment the gradient zero
        losses = np.where(losses == np.inf, 0.0, losses)
    return kernels.ctc_backward(g, losses, alphas, log_probs, *alignment)


_GRADIENT = Op("ctc_gradient", _gradient)  # of programs, whose own gradients are taken on the tape


@primitive(vjps=[_vjp], saves=(0,), floats=True)
def _ctc(log_probs: Value, alignment: tuple, zero_infinity: bool, saved: dict[str, Any]) -> Value:
    from ..kernels.fused import ctc as kernels

    saved["losses"], saved["alphas"] = losses, _ = kernels.ctc_forward(log_probs, *alignment)
    if zero_infinity:
        losses = np.where(losses == np.inf, 0.0, losses)
    return losses.astype(log_probs.dtype)


@like_first
def ctc(
    log_probs: Value,
    labels: np.ndarray,
    offsets: np.ndarray,
    lengths: np.ndarray,
    blank: int,
    zero_infinity: bool = False,
) -> Value:
    """Negative log-likelihoods of label sequences, summed over their alignments: (T, B, C) to (B,).

    Parameters
    ----------
    log_probs : (T, B, C)
    labels : (n,) integer array
        Of all rows, one after the other; none is the blank.
    offsets : (B + 1,) integer array
        Row b has ``labels[offsets[b] : offsets[b + 1]]``.
    lengths : (B,) integer array
        Time steps of each row.
    blank : int
    zero_infinity : bool
        Rows without an alignment have the loss 0, and no gradient.
    """
    alignment = (labels, offsets, lengths, blank)
    return _ctc(log_probs, alignment=alignment, zero_infinity=zero_infinity, saved={})


def _on_tape(
    log_probs: Value, zero_infinity: bool, labels: np.ndarray, offsets: np.ndarray, lengths: np.ndarray, blank: int
) -> Value:
    """The forward recursion in tensor operations, all rows at a time."""
    batch, counts = log_probs.shape[1], np.diff(offsets)
    rows, width = np.arange(batch), 2 * int(counts.max(initial=0)) + 1
    z = np.full((batch, width), blank)
    for row, start, count in zip(z, offsets, counts):
        row[1 : 2 * count : 2] = labels[start : start + count]
    skips = np.zeros((batch, width), bool)
    skips[:, 3::2] = z[:, 3::2] != z[:, 1:-2:2]
    emitted = log_probs[:, rows[:, None], z]
    alpha = zeros((batch, width), log_probs.dtype) + np.where(np.arange(width) > 0, NOWHERE, 0.0)  # before time 0
    for t, e in enumerate(unstack(emitted)):
        behind = pad(alpha, ((0, 0), (2, 0)), constant_values=NOWHERE)
        ways = [alpha, behind[:, 1:-1], where(skips, behind[:, :-2], NOWHERE)]
        alpha = where((t < lengths)[:, None], logsumexp(stack(ways), 0) + e, alpha)
    ends = [alpha[rows, 2 * counts], where(counts > 0, alpha[rows, np.maximum(2 * counts - 1, 0)], NOWHERE)]
    losses = -logsumexp(stack(ends), 0)
    impossible = losses.data > -0.5 * NOWHERE
    return where(impossible, 0.0, losses) if zero_infinity else losses * np.where(impossible, np.nan, 1.0)
