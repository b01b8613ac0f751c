"""NumPy twins of the kernels in `ctc`: a row of the batch at a time, written from the equations."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def interleave(labels: Array, blank: int) -> tuple[Array, Array]:
    """The labels with blanks around each, (2 S + 1,), and which of them may follow without a blank."""
    z = np.full(2 * labels.size + 1, blank, np.int64)
    z[1::2] = labels
    skips = np.zeros(z.size, bool)
    skips[3::2] = labels[1:] != labels[:-1]
    return z, skips


def _log_sum(*terms: Array) -> Array:
    """``log(sum(exp(term)))``, elementwise."""
    top = terms[0]
    for term in terms[1:]:
        top = np.maximum(top, term)  # NaN if one is
    shift = np.where(np.isinf(top), 0.0, top)
    with np.errstate(divide="ignore", over="ignore"):
        return shift + np.log(sum(np.exp(term - shift) for term in terms))


def _shifted(a: Array, by: int) -> Array:
    """``out[s] = a[s - by]``, and minus infinity where there is none."""
    out = np.full(a.size, -np.inf)
    if by > 0:
        out[by:] = a[:-by]
    else:
        out[:by] = a[-by:]
    return out


def _then(ways: Array, emitted: Array) -> Array:
    """Log-probability of getting there and emitting; where there is no way, whatever is emitted."""
    with np.errstate(invalid="ignore"):
        return np.where(ways == -np.inf, -np.inf, ways + emitted)


def ctc_forward(log_probs: Array, labels: Array, offsets: Array, lengths: Array, blank: int) -> tuple[Array, Array]:
    """Losses (B,) and forward variables (B, T, 2 max(S) + 1), in float64; see `ctc.ctc_forward`."""
    T, B, _ = log_probs.shape
    width = 2 * int(np.diff(offsets).max(initial=0)) + 1
    losses, alphas = np.empty(B), np.full((B, T, width), -np.inf)
    for b in range(B):
        z, skips = interleave(labels[offsets[b] : offsets[b + 1]], blank)
        alpha = np.full(z.size, -np.inf)
        for t in range(lengths[b]):
            emitted = log_probs[t, b, z].astype(np.float64)
            if t == 0:
                alpha[:2] = emitted[:2]
            else:
                skipped = np.where(skips, _shifted(alpha, 2), -np.inf)
                alpha = _then(_log_sum(alpha, _shifted(alpha, 1), skipped), emitted)
            alphas[b, t, : z.size] = alpha
        if lengths[b] == 0:
            losses[b] = 0.0 if z.size == 1 else np.inf
        else:
            losses[b] = 0.0 - _log_sum(alpha[-1], alpha[-2] if z.size > 1 else np.array(-np.inf))
    return losses, alphas


def ctc_backward(
    g: Array, losses: Array, alphas: Array, log_probs: Array, labels: Array, offsets: Array, lengths: Array, blank: int
) -> Array:
    """Gradients by log_probs (T, B, C) for the cotangent `g` (B,) of the losses."""
    out = np.zeros(log_probs.shape, log_probs.dtype)
    for b in range(log_probs.shape[1]):
        z, skips = interleave(labels[offsets[b] : offsets[b + 1]], blank)
        beta = np.full(z.size, -np.inf)
        beta[-2:] = 0.0
        for t in reversed(range(lengths[b])):
            if t < lengths[b] - 1:
                later = _then(beta, log_probs[t + 1, b, z].astype(np.float64))
                skipped = _shifted(np.where(skips, later, -np.inf), -2)
                beta = _log_sum(later, _shifted(later, -1), skipped)
            alpha = alphas[b, t, : z.size]
            dead = (alpha == -np.inf) | (beta == -np.inf)
            with np.errstate(invalid="ignore"):
                share = np.where(dead, 0.0 * losses[b], np.exp(alpha + beta + losses[b]))
                np.add.at(out[t, b], z, (-g[b] * share).astype(out.dtype))
    return out
