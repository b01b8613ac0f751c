"""Connectionist temporal classification: labels for sequences that are longer than their labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..checks import flag, is_whole, one_of, shown
from ..core import Tensor, as_tensor
from ..core.aliases import Value
from ..core.signatures import like_first
from ..errors import DTypeError, ShapeError
from ..ops.arguments import operand
from ..ops.ctc import ctc

REDUCTIONS = ("mean", "sum", "none")


@like_first
def ctc_loss(
    log_probs: Value,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Value:
    """Negative log-likelihood of label sequences whose places in time are not known (Graves et al. 2006).

    An alignment names one class for each time step; it stands for the labels that remain when repeated
    classes become one and blanks are left out. The likelihood of the labels is the sum over all alignments
    that stand for them.

    Parameters
    ----------
    log_probs : Tensor, (T, B, C), or without a batch (T, C)
        Log-probabilities, as ``tr.log_softmax(logits, -1)`` gives them. Classes include the blank.
    targets : integer Tensor or array, (B, S), or (sum(target_lengths),), or list of B lists
        Labels, padded with anything or all in a row; without a batch (S,). None is the blank. Lists may be of unequal
        lengths, which are then at least `target_lengths`.
    input_lengths : integer Tensor, array, list or tuple, (B,)
        Time steps of each row, 0 to T; what lies behind them counts for nothing.
    target_lengths : integer Tensor, array, list or tuple, (B,)
        Labels of each row; zero is allowed.
    blank : int
        The class that stands for no label.
    reduction : {"mean", "sum", "none"}
        "mean" divides each loss by its number of labels (at least 1), then averages over rows.
    zero_infinity : bool
        The loss is infinite where the labels do not fit into the time steps: S labels, of which R equal the
        one before, need S + R. With this flag it is zero there, and so is its gradient.

    Returns
    -------
    Tensor, (B,) for "none", otherwise ()

    Raises
    ------
    ShapeError
        If a shape does not fit.
    DTypeError
        If targets or lengths are not integers.
    IndexError
        If a label or `blank` is no class, or a label is the blank.
    ValueError
        If a length is negative or too large.

    Notes
    -----
    The sums are done in float64 for float32 too. Gradients are the derivatives by `log_probs`. PyTorch's
    contain ``exp(log_probs)`` in addition, which vanishes behind a log-softmax: gradients of logits agree.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tr
    >>> log_probs = tr.log_softmax(tr.zeros((2, 1, 3)), -1)
    >>> loss = tr.nn.functional.ctc_loss(log_probs, np.array([[1]]), [2], [1])
    >>> round(float(loss), 4)  # three alignments of nine, log(3)
    1.0986
    """
    one_of("reduction", reduction, REDUCTIONS)
    zero_infinity = flag("zero_infinity", zero_infinity)
    log_probs, labels = (
        as_tensor(operand(log_probs, "ctc_loss: log_probs")),
        check_integers("ctc_loss: targets", _padded(targets, target_lengths)),
    )
    single = log_probs.ndim == 2
    if log_probs.ndim not in (2, 3):
        raise ShapeError(f"ctc_loss: log_probs: got shape {log_probs.shape}, wanted (T, B, C) or (T, C)")
    if single:
        if labels.ndim != 1:
            raise ShapeError(f"ctc_loss: targets: got shape {labels.shape}, wanted (S,) for log_probs without a batch")
        log_probs, labels = ops.expand_dims(log_probs, 1), labels[None]
    if not labels.ndim:
        raise ShapeError("ctc_loss: targets: got one number, wanted (B, S), or all labels in a row, (n,)")
    time, batch, classes = log_probs.shape
    if batch == 0:
        raise ShapeError(f"ctc_loss: log_probs: got shape {log_probs.shape}, an empty batch, wanted B >= 1")
    check_blank("ctc_loss", blank, classes)
    steps = check_lengths("ctc_loss: input_lengths", input_lengths, batch, single, time)
    counts = check_lengths("ctc_loss: target_lengths", target_lengths, batch, single, labels.shape[-1])
    labels = _concatenated(labels, counts)
    _check_labels(labels, counts, int(blank), classes)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    losses = ctc(log_probs, labels, offsets, steps, int(blank), zero_infinity)
    if reduction == "mean":
        return (losses * (1.0 / np.maximum(counts, 1))).mean()
    if reduction == "sum":
        return losses.sum()
    return losses[0] if single else losses


def _padded(targets: Any, lengths: Any) -> Any:
    """Label lists of unequal lengths as one array, padded with zeros; other targets as they are."""
    if not isinstance(targets, list | tuple) or not targets:
        return targets
    rows = [check_integers("ctc_loss: targets", row) for row in targets]
    if any(row.ndim != 1 for row in rows) or len({row.size for row in rows}) == 1:
        return targets
    counts = check_lengths("ctc_loss: target_lengths", lengths, len(rows), False, max(row.size for row in rows))
    for b, (row, n) in enumerate(zip(rows, counts.tolist())):
        if row.size < n:
            raise ShapeError(f"ctc_loss: targets: got {row.size} labels in row {b}, wanted {n} as target_lengths says")
    padded = np.zeros((len(rows), max(row.size for row in rows)), np.int64)
    for row, to in zip(rows, padded):
        to[: row.size] = row
    return padded


def check_integers(argument: str, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value.data if isinstance(value, Tensor) else value)
    except ValueError:
        raise ShapeError(f"{argument}: got rows of unequal lengths, wanted a rectangular array") from None
    if array.size == 0:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise DTypeError(f"{argument}: got {array.dtype}, wanted integers")
    return array.astype(np.int64)


def check_lengths(argument: str, value: Any, batch: int, single: bool, most: int) -> np.ndarray:
    array = check_integers(argument, value)
    if single and array.ndim == 0:
        array = array[None]
    if array.shape != (batch,):
        raise ShapeError(f"{argument}: got shape {array.shape}, wanted ({batch},), one for each row")
    for b, n in enumerate(array.tolist()):
        if not 0 <= n <= most:
            raise ValueError(f"{argument}: got {n} for row {b}, wanted 0 to {most}")
    return array


def check_blank(name: str, blank: Any, classes: int) -> None:
    if not is_whole(blank) or not 0 <= blank < classes:
        raise IndexError(f"{name}: blank: got {shown(blank)}, wanted a class from 0 to {classes - 1}")


def _concatenated(labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The labels of all rows, one after the other."""
    batch = counts.size
    if labels.ndim == 1:
        if labels.size != counts.sum():
            raise ShapeError(
                f"ctc_loss: targets: got {labels.size} labels, wanted {counts.sum()}, the sum of target_lengths"
            )
        return labels
    if labels.ndim != 2 or labels.shape[0] != batch:
        raise ShapeError(
            f"ctc_loss: targets: got shape {labels.shape}, wanted ({batch}, S), or all labels in a row, (n,)"
        )
    return labels[np.arange(labels.shape[1]) < counts[:, None]]


def _check_labels(labels: np.ndarray, counts: np.ndarray, blank: int, classes: int) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= classes) | (labels == blank))
    if wrong.size:
        label, b = int(labels[wrong[0]]), int(np.repeat(np.arange(counts.size), counts)[wrong[0]])
        what = "the blank" if label == blank else f"class {label}"
        raise IndexError(f"ctc_loss: targets: got {what} in row {b}, wanted 0 to {classes - 1} but the blank, {blank}")
