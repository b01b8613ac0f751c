"""Decoding of networks trained with the CTC loss: log-probabilities over time become labels.

It stands beside the loss because it takes what the loss takes; it is plain NumPy and records no gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..checks import whole_number
from ..core import Tensor
from ..errors import DataError, DTypeError, ShapeError
from ..modules.ctc import check_blank, check_lengths

LanguageModel = Callable[[tuple[int, ...]], Any]


class Decoded(NamedTuple):
    """Labels, and the logarithm of their score."""

    labels: tuple[int, ...]
    log_prob: float


def ctc_greedy_decode(log_probs, input_lengths=None, blank: int = 0) -> Any:
    """The labels of the single most probable alignment: the best class of each step.

    Parameters
    ----------
    log_probs : Tensor or array, (T, B, C), or without a batch (T, C)
    input_lengths : integers, (B,), optional
        Time steps of each row. Default: T.
    blank : int

    Returns
    -------
    list of Decoded
        One for each row (without a batch: a Decoded); `log_prob` is that of the alignment.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> best = [1, 1, 0, 1, 2]
    >>> nn.ctc_greedy_decode(np.log(np.eye(3)[best] * 0.7 + 0.1)).labels
    (1, 1, 2)
    """
    rows, single = _rows("ctc_greedy_decode", log_probs, input_lengths, blank)
    found = []
    for row in rows:
        best = row.argmax(-1)
        changes = np.concatenate([np.ones(min(1, best.size), bool), best[1:] != best[:-1]])
        labels = best[changes & (best != blank)]
        found.append(Decoded(tuple(labels.tolist()), float(row.max(-1).sum())))
    return found[0] if single else found


def ctc_beam_search(
    log_probs,
    input_lengths=None,
    blank: int = 0,
    beam_width: int = 16,
    top: int = 1,
    language_model: LanguageModel | None = None,
) -> Any:
    """The most probable labels, by prefix beam search: alignments of equal labels are added up.

    At each step the `beam_width` best prefixes are kept, each with the probability of its alignments that end
    in a blank and of those that do not (Hannun et al. 2014, after Graves and Jaitly 2014). With a beam that
    holds every prefix, the search is exact and `log_prob` is minus :func:`~tinygrad_rnn.nn.ctc_loss`.

    Parameters
    ----------
    log_probs : Tensor or array, (T, B, C), or without a batch (T, C)
    input_lengths : integers, (B,), optional
        Time steps of each row. Default: T.
    blank : int
    beam_width : int
        Prefixes that are kept; the time is proportional to it.
    top : int
        How many results are wanted, at most `beam_width`.
    language_model : callable, optional
        ``language_model(prefix)`` gives, for a tuple of labels, an array (C,) that is added to the
        log-score when the prefix grows by a label: the log-probabilities of the next label, times a weight,
        plus a bonus for each label, as one likes. The entry of the blank is not read.

    Returns
    -------
    list of lists of Decoded
        For each row the `top` results (fewer, where there are no more), best first (without a batch: one such
        list).

    Examples
    --------
    Two steps, of which the blank is the better guess each time; the label is more probable all the same:

    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> log_probs = np.log([[0.6, 0.4], [0.6, 0.4]])
    >>> nn.ctc_greedy_decode(log_probs).labels
    ()
    >>> (best,) = nn.ctc_beam_search(log_probs)
    >>> best.labels, round(float(np.exp(best.log_prob)), 2)
    ((1,), 0.64)
    """
    beam_width = whole_number("ctc_beam_search: beam_width", beam_width)
    top = whole_number("ctc_beam_search: top", top)
    if top > beam_width:
        raise ValueError(f"ctc_beam_search: top: got {top}, wanted at most {beam_width} as beam_width")
    if language_model is not None and not callable(language_model):
        raise TypeError(f"ctc_beam_search: language_model: got {type(language_model).__name__}, wanted a callable")
    rows, single = _rows("ctc_beam_search", log_probs, input_lengths, blank)
    found = [_search(row, int(blank), int(beam_width), language_model)[:top] for row in rows]
    return found[0] if single else found


def _search(log_probs: np.ndarray, blank: int, width: int, language_model: LanguageModel | None) -> list[Decoded]:
    """Prefixes of one row, (T, C), best first."""
    classes = log_probs.shape[1]
    prefixes: list[tuple[int, ...]] = [()]
    in_blank, in_label = np.zeros(1), np.full(1, -np.inf)  # log-probability of alignments that end so
    scores: dict[tuple[int, ...], np.ndarray] = {}
    for step in log_probs:
        if not prefixes:  # nothing is possible
            return []
        last = np.array([p[-1] if p else blank for p in prefixes])
        total = np.logaddexp(in_blank, in_label)
        ends = last != blank
        grown = total[:, None] + step
        grown[ends, last[ends]] = in_blank[ends] + step[last[ends]]  # else the repeated label is the same one
        grown[:, blank] = -np.inf
        if language_model is not None:
            for i, prefix in enumerate(prefixes):
                if prefix not in scores:
                    scores[prefix] = _model_scores(language_model, prefix, classes, blank)
                grown[i] += scores[prefix]
        stay_blank = total + step[blank]
        stay_label = np.where(ends, in_label + step[last], -np.inf)
        place = {p: i for i, p in enumerate(prefixes)}
        for i, prefix in enumerate(prefixes):  # a prefix that another of the beam grows into
            parent = place.get(prefix[:-1]) if prefix else None
            if parent is not None:
                stay_label[i] = np.logaddexp(stay_label[i], grown[parent, prefix[-1]])
                grown[parent, prefix[-1]] = -np.inf
        candidates = np.concatenate([np.logaddexp(stay_blank, stay_label), grown.reshape(-1)])
        kept = _best(candidates, width)
        n = len(prefixes)
        in_blank = np.array([stay_blank[k] if k < n else -np.inf for k in kept])
        in_label = np.array([stay_label[k] if k < n else candidates[k] for k in kept])
        prefixes = [prefixes[k] if k < n else (*prefixes[(k - n) // classes], (k - n) % classes) for k in kept]
    return [Decoded(p, float(s)) for p, s in zip(prefixes, np.logaddexp(in_blank, in_label))]


def _best(candidates: np.ndarray, width: int) -> list[int]:
    """Positions of the largest values, largest first, ties in order; without impossible ones."""
    if candidates.size > width:
        least = np.partition(candidates, candidates.size - width)[candidates.size - width]
        places = np.flatnonzero((candidates >= least) & (candidates > -np.inf))
    else:
        places = np.flatnonzero(candidates > -np.inf)
    return places[np.argsort(-candidates[places], kind="stable")][:width].tolist()


def _model_scores(language_model: LanguageModel, prefix: tuple[int, ...], classes: int, blank: int) -> np.ndarray:
    returned = language_model(prefix)
    try:
        scores = np.array(returned.data if isinstance(returned, Tensor) else returned, np.float64)
    except (TypeError, ValueError):
        scores = np.empty(())
    if scores.shape != (classes,):
        what = f"shape {scores.shape}" if scores.shape else type(returned).__name__
        raise ShapeError(
            f"ctc_beam_search: language_model: returned {what} for the prefix {prefix}, "
            f"wanted ({classes},), a score for each class"
        )
    scores[blank] = 0.0
    if np.isnan(scores).any():
        label = int(np.isnan(scores).argmax())
        raise DataError(f"ctc_beam_search: language_model: returned NaN for label {label} after the prefix {prefix}")
    return scores


def _rows(name: str, log_probs: Any, input_lengths: Any, blank: Any) -> tuple[list[np.ndarray], bool]:
    """Each row's log-probabilities, (its length, C), in float64."""
    array = np.asarray(log_probs.data if isinstance(log_probs, Tensor) else log_probs)
    if array.dtype.kind != "f":
        raise DTypeError(f"{name}: log_probs: got {array.dtype}, wanted floats")
    if array.ndim not in (2, 3):
        raise ShapeError(f"{name}: log_probs: got shape {array.shape}, wanted (T, B, C) or (T, C)")
    single = array.ndim == 2
    if single:
        array = array[:, None]
    time, batch, classes = array.shape
    check_blank(name, blank, classes)
    lengths = [time] * batch
    if input_lengths is not None:
        lengths = check_lengths(f"{name}: input_lengths", input_lengths, batch, single, time).tolist()
    rows = [array[:n, b].astype(np.float64) for b, n in enumerate(lengths)]
    for b, row in enumerate(rows):
        if np.isnan(row).any():
            t, c = np.argwhere(np.isnan(row))[0].tolist()
            raise DataError(f"{name}: log_probs: got NaN in row {b} at time {t}, class {c}")
    return rows, single
