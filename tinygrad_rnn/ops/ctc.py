"""The CTC loss as one operation, on a jitted kernel forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..config import grad_mode
from ..core import Op, apply, grad, primitive
from ..core.aliases import Value
from ..core.inplace import values_of
from ..core.signatures import like_first
from .create import zeros
from .elementwise import where
from .join import stack, unstack
from .shape import pad
from .softmax import logsumexp

NOWHERE = -1e30  # minus infinity, for gradients of gradients: these need numbers


def _vjp(
    g: Value, y: Value, log_probs: Value, *alignment: Value, needs: Sequence[bool], blank: int, zero_infinity: bool,
    saved: dict[str, Any] | None,
) -> list[Value | None]:  # fmt: skip
    nothing = [None] * len(alignment)
    if grad_mode.tracer is not None:
        how = {"blank": blank, "zero_infinity": zero_infinity}
        return [apply(CTC_GRADIENT, (g, log_probs, *alignment), how), *nothing]
    labels, counts, lengths = [np.asarray(values_of(a)) for a in alignment]
    if not isinstance(g, np.ndarray):
        losses = _on_tape(log_probs, zero_infinity, labels, counts, lengths, blank)
        return [*grad(losses, log_probs, [g], create_graph=True), *nothing]
    forward = () if saved is None else (saved["losses"], saved["alphas"])
    return [_gradient(g, log_probs, labels, counts, lengths, blank, zero_infinity, *forward), *nothing]


def _gradient(
    g: np.ndarray, log_probs: np.ndarray, labels: np.ndarray, counts: np.ndarray, lengths: np.ndarray, blank: int,
    zero_infinity: bool, *forward: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Gradient by the log-probabilities; `forward`: losses and alphas, computed anew if not given."""
    from ..kernels.fused import ctc as kernels  # numba is imported at first use

    alignment = (*_in_a_row(labels, counts), lengths, blank)
    losses, alphas = forward or kernels.ctc_forward(log_probs, *alignment)
    if zero_infinity:  # any number gives rows without an alignment the gradient zero
        losses = np.where(losses == np.inf, 0.0, losses)
    return kernels.ctc_backward(g, losses, alphas, log_probs, *alignment)


def _in_a_row(labels: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The labels of all rows, one after the other, and where those of each begin and end."""
    if labels.ndim == 2:
        labels = labels[np.arange(labels.shape[1]) < counts[:, None]]
    return labels, np.concatenate([[0], np.cumsum(counts)])


# of programs, whose own gradients are taken on the tape
CTC_GRADIENT = Op(
    "ctc_gradient", lambda *args, blank, zero_infinity: _gradient(*args, blank, zero_infinity), untyped=(2, 3, 4)
)


@primitive(joint_vjp=_vjp, saves=(0, 1, 2, 3), floats=True, untyped=(1, 2, 3))
def _ctc(
    log_probs: Value, labels: Value, counts: Value, lengths: Value, blank: int, zero_infinity: bool,
    saved: dict[str, Any] | None,
) -> Value:  # fmt: skip
    from ..kernels.fused import ctc as kernels

    losses, alphas = kernels.ctc_forward(log_probs, *_in_a_row(labels, counts), lengths, blank)
    if saved is not None:
        saved["losses"], saved["alphas"] = losses, alphas
    if zero_infinity:
        losses = np.where(losses == np.inf, 0.0, losses)
    return losses.astype(log_probs.dtype)


@like_first
def ctc(
    log_probs: Value,
    labels: Value,
    counts: Value,
    lengths: Value,
    blank: int,
    zero_infinity: bool = False,
) -> Value:
    """Negative log-likelihoods of label sequences, summed over their alignments: (T, B, C) to (B,).

    Parameters
    ----------
    log_probs : (T, B, C)
    labels : (B, S) or (n,) integers
        Padded with anything, or of all rows, one after the other; none is the blank.
    counts : (B,) integers
        Labels of each row.
    lengths : (B,) integers
        Time steps of each row.
    blank : int
    zero_infinity : bool
        Rows without an alignment have the loss 0, and no gradient.
    """
    saved: dict[str, Any] | None = {} if grad_mode.tracer is None else None  # programs compute it again, or keep it
    return _ctc(log_probs, labels, counts, lengths, blank=blank, zero_infinity=zero_infinity, saved=saved)


def _on_tape(
    log_probs: Value, zero_infinity: bool, labels: np.ndarray, counts: np.ndarray, lengths: np.ndarray, blank: int
) -> Value:
    """The forward recursion in tensor operations, all rows at a time."""
    batch, (labels, offsets) = log_probs.shape[1], _in_a_row(labels, counts)
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


CTC = _ctc.op  # the record, for programs
