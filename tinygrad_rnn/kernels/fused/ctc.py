"""CTC loss and its gradient: sums over all alignments of labels with a longer input, in log space.

Eq. 6 to 16 of Graves et al., "Connectionist temporal classification", 2006, with one difference: the backward
variable does not contain the emission of its own time step, so that nothing is divided out. The lattice of a
row is time by places, a place being a label or one of the blanks around the labels. It is computed in float64
whatever the dtype of the input, because its values grow with time while their differences matter; all places
of a time step are done on vectors.

Buffers of one time step begin with two places that cannot be reached and end with enough of them for whole
vectors, so that neighbours are read without a branch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from ..build.fingerprint import kernel
from ..build.target import config
from ..reference import ctc as reference_ctc
from ..simd.lanes import LANES_F64, vabs, vget, vlanes, vload, vmax, vselect, vsplat, vstore
from ..simd.mathfn import exp, log

Array = np.ndarray
FRONT = 2  # places before the first one
SLACK = 2 + LANES_F64  # and after the last: two, and the rest of a vector


@njit(error_model="numpy")
def _log_sum(a: Any, b: Any, c: Any) -> Any:
    """``log(exp(a) + exp(b) + exp(c))`` on lanes; NaN and infinities as by definition."""
    top = vmax(vmax(a, b), c)
    shift = vselect(vabs(top) == math.inf, 0.0, top)
    return shift + log(exp(a - shift) + exp(b - shift) + exp(c - shift))


@njit(error_model="numpy")
def _then(ways: Any, emitted: Any) -> Any:
    """Log-probability of getting there and emitting; where there is no way, whatever is emitted."""
    return vselect(ways == -math.inf, ways, ways + emitted)


@njit(error_model="numpy")
def _places(labels: Array, first: int, count: int, blank: int, z: Array, skips: Array) -> int:
    """The places of one row, and 1 where the blank before may be left out; returns their number."""
    places = 2 * count + 1
    skips[:] = 0.0
    for s in range(places):
        z[s] = blank if s % 2 == 0 else labels[first + s // 2]
        if s % 2 == 1 and s > 1 and z[s] != z[s - 2]:
            skips[FRONT + s] = 1.0
    return places


@njit(error_model="numpy")
def _emit(log_probs: Array, t: int, b: int, z: Array, places: int, out: Array) -> None:
    for s in range(places):
        out[FRONT + s] = log_probs[t, b, z[s]]


@kernel
def forward(
    log_probs: Array, labels: Array, firsts: Array, counts: Array, lengths: Array, blank: int, losses: Array,
    alphas: Array,
) -> None:  # fmt: skip
    """Losses (B,) and forward variables, (B, T, width) with a row's places and the space around them.

    Row b has ``labels[firsts[b] : firsts[b] + counts[b]]``; `width` is :func:`width_for` the most labels, or more.
    """
    lanes, width = vlanes(alphas), alphas.shape[2]
    flat = alphas.reshape(-1)
    z = np.empty(width, np.int64)
    skips, emitted = np.empty(width), np.zeros(width)
    for b in range(log_probs.shape[1]):
        places = _places(labels, firsts[b], counts[b], blank, z, skips)
        for t in range(lengths[b]):
            row = (b * alphas.shape[1] + t) * width
            for s in range(width):
                flat[row + s] = -math.inf
            _emit(log_probs, t, b, z, places, emitted)
            if t == 0:
                for s in range(min(2, places)):
                    flat[row + FRONT + s] = emitted[FRONT + s]
                continue
            for s in range(FRONT, FRONT + places, lanes):
                at = row - width + s
                skipped = vselect(vload(skips, s) > 0.0, vload(flat, at - 2), -math.inf)
                ways = _log_sum(vload(flat, at), vload(flat, at - 1), skipped)
                vstore(flat, row + s, _then(ways, vload(emitted, s)))
        if lengths[b] == 0:
            # without steps and without labels there is one alignment, the empty one
            losses[b] = 0.0 if places == 1 else math.inf
        else:
            end = (b * alphas.shape[1] + lengths[b] - 1) * width + FRONT + places - 1
            both = _log_sum(vsplat(flat[end], alphas), vsplat(flat[end - 1], alphas), vsplat(-math.inf, alphas))
            # less from zero, as the negative of zero would be -0.0
            losses[b] = 0.0 - vget(both, 0)


@kernel
def backward(
    g: Array, losses: Array, alphas: Array, log_probs: Array, labels: Array, firsts: Array, counts: Array,
    lengths: Array, blank: int, out: Array,
) -> None:  # fmt: skip
    """Gradients (T, B, C) by `log_probs`, added to `out`; past a row's length it is not touched."""
    lanes, width = vlanes(alphas), alphas.shape[2]
    flat = alphas.reshape(-1)
    z = np.empty(width, np.int64)
    skips, emitted, shares = np.empty(width), np.zeros(width), np.empty(width)
    beta, later = np.empty(width), np.empty(width)
    for b in range(log_probs.shape[1]):
        places = _places(labels, firsts[b], counts[b], blank, z, skips)
        beta[:] = -math.inf
        later[:] = -math.inf
        for s in range(max(0, places - 2), places):
            # an alignment ends with the last label or the blank after it
            beta[FRONT + s] = 0.0
        for t in range(lengths[b] - 1, -1, -1):
            if t < lengths[b] - 1:
                _emit(log_probs, t + 1, b, z, places, emitted)
                for s in range(FRONT, FRONT + places, lanes):
                    vstore(later, s, _then(vload(beta, s), vload(emitted, s)))
                for s in range(FRONT, FRONT + places, lanes):
                    skipped = vselect(vload(skips, s + 2) > 0.0, vload(later, s + 2), -math.inf)
                    vstore(beta, s, _log_sum(vload(later, s), vload(later, s + 1), skipped))
            row = (b * alphas.shape[1] + t) * width
            for s in range(FRONT, FRONT + places, lanes):
                a, c = vload(flat, row + s), vload(beta, s)
                # log-probabilities: a + c of alignments through here, -losses[b] of all; NaN if there are none
                dead = (a == -math.inf) | (c == -math.inf)
                vstore(shares, s, vselect(dead, 0.0 * losses[b], exp(a + c + losses[b])))
            for s in range(places):
                out[t, b, z[s]] -= g[b] * shares[FRONT + s]


def width_for(labels: int) -> int:
    """Elements of the forward variables of a row and time step, for so many labels at most."""
    return FRONT + 2 * labels + 1 + SLACK


def _contiguous(a: Array, dtype: Any = None) -> Array:
    """The array in C order and writeable, as Numba would compile everything again for other arrays."""
    a = np.ascontiguousarray(a, dtype)
    return a if a.flags.writeable else a.copy()


def _check(log_probs: Array, labels: Array, offsets: Array, lengths: Array, blank: int) -> None:
    """Refuse what would let a kernel leave its arrays."""
    if log_probs.dtype not in (np.float32, np.float64) or log_probs.ndim != 3:
        raise TypeError(f"ctc: log_probs is {log_probs.dtype} {log_probs.shape}, wanted floats (T, B, C)")
    T, B, C = log_probs.shape
    if offsets.shape != (B + 1,) or lengths.shape != (B,):
        raise ValueError(f"ctc: offsets {offsets.shape} and lengths {lengths.shape}, wanted ({B + 1},) and ({B},)")
    if B and (offsets[0] != 0 or offsets[-1] > labels.size or (np.diff(offsets) < 0).any()):
        raise ValueError("ctc: offsets leave the labels")
    if B and not 0 <= lengths.min() <= lengths.max() <= T:
        raise ValueError(f"ctc: lengths from {lengths.min()} to {lengths.max()}, wanted 0 to {T}")
    if not 0 <= blank < C or (labels.size and not 0 <= labels.min() <= labels.max() < C):
        raise ValueError(f"ctc: blank or labels outside 0 to {C - 1}")


def ctc_forward(log_probs: Array, labels: Array, offsets: Array, lengths: Array, blank: int) -> tuple[Array, Array]:
    """Negative log-likelihoods of label sequences.

    Parameters
    ----------
    log_probs : (T, B, C) array of float32 or float64
    labels : (n,) integer array
        Those of row b are ``labels[offsets[b] : offsets[b + 1]]``; none is the blank.
    offsets : (B + 1,) integer array
    lengths : (B,) integer array
        Time steps of each row; what lies behind is never read.
    blank : int

    Returns
    -------
    losses : (B,) array of float64
        Infinity where there is no alignment.
    alphas : array of float64
        Forward variables, for :func:`ctc_backward`.

    Examples
    --------
    >>> import numpy as np
    >>> one, end = np.array([1]), np.array([0, 1])
    >>> ctc_forward(np.log(np.full((2, 1, 2), 0.5)), one, end, np.array([2]), 0)[0].round(3)  # log(3/4)
    array([0.288])
    """
    log_probs, labels, offsets, lengths = (
        _contiguous(log_probs),
        *(_contiguous(a, np.int64) for a in (labels, offsets, lengths)),
    )
    _check(log_probs, labels, offsets, lengths, blank)
    if config.DISABLE_JIT:
        return reference_ctc.ctc_forward(log_probs, labels, offsets, lengths, blank)
    T, B, _ = log_probs.shape
    counts = np.diff(offsets)
    losses, alphas = np.empty(B), np.empty((B, T, width_for(int(counts.max(initial=0)))))
    forward(log_probs, labels, offsets[:-1], counts, lengths, blank, losses, alphas)
    return losses, alphas


def ctc_backward(
    g: Array, losses: Array, alphas: Array, log_probs: Array, labels: Array, offsets: Array, lengths: Array, blank: int
) -> Array:
    """Gradients by log_probs for the cotangent `g` of the losses.

    ``-g[b]`` times the share of the alignments, by probability, that emit class c at time t.

    Parameters
    ----------
    g : (B,) array
    losses, alphas
        What :func:`ctc_forward` has returned.
    log_probs, labels, offsets, lengths, blank
        As there.

    Returns
    -------
    (T, B, C) array of the dtype of `log_probs`
        Where the loss is infinite, NaN for the classes of the lattice.

    Examples
    --------
    >>> import numpy as np
    >>> rest = np.log(np.full((2, 1, 2), 0.5)), np.array([1]), np.array([0, 1]), np.array([2]), 0
    >>> ctc_backward(np.ones(1), *ctc_forward(*rest), *rest)[:, 0].round(3)
    array([[-0.333, -0.667],
           [-0.333, -0.667]])
    """
    log_probs, labels, offsets, lengths = (
        _contiguous(log_probs),
        *(_contiguous(a, np.int64) for a in (labels, offsets, lengths)),
    )
    _check(log_probs, labels, offsets, lengths, blank)
    if g.shape != losses.shape or losses.shape != lengths.shape:
        raise ValueError(f"ctc: g {g.shape} and losses {losses.shape}, wanted {lengths.shape}")
    if config.DISABLE_JIT:
        return reference_ctc.ctc_backward(g, losses, alphas, log_probs, labels, offsets, lengths, blank)
    if alphas.shape[:2] != (log_probs.shape[1], log_probs.shape[0]):
        raise ValueError(f"ctc: alphas {alphas.shape}, wanted those of the forward pass")
    out = np.zeros(log_probs.shape, log_probs.dtype)
    g = _contiguous(g, np.float64)
    backward(g, losses, alphas, log_probs, labels, offsets[:-1], np.diff(offsets), lengths, blank, out)
    return out
