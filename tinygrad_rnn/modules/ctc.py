"""Connectionist temporal classification: labels for sequences that are longer than their labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..checks import flag, is_whole, one_of, shown
from ..config import grad_mode
from ..core import Tensor, Traceable, as_tensor
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
    log_probs = as_tensor(operand(log_probs, "ctc_loss: log_probs"))
    labels, sizes = _padded(targets)
    single = log_probs.ndim == 2
    if log_probs.ndim not in (2, 3):
        raise ShapeError(f"ctc_loss: log_probs: got shape {log_probs.shape}, wanted (T, B, C) or (T, C)")
    if single:
        if labels.ndim != 1:
            raise ShapeError(f"ctc_loss: targets: got shape {labels.shape}, wanted (S,) for log_probs without a batch")
        log_probs, labels = ops.expand_dims(log_probs, 1), labels.reshape((1, -1))
    if not labels.ndim:
        raise ShapeError("ctc_loss: targets: got one number, wanted (B, S), or all labels in a row, (n,)")
    if log_probs.shape[1] == 0:
        raise ShapeError(f"ctc_loss: log_probs: got shape {log_probs.shape}, an empty batch, wanted B >= 1")
    check_blank("ctc_loss", blank, log_probs.shape[2])
    alignment = labels, _rows(target_lengths, "target_lengths", single), _rows(input_lengths, "input_lengths", single)
    test = _Test(log_probs.shape, sizes, int(blank))
    tracer = grad_mode.tracer
    if tracer is not None and tracer.whole and any(isinstance(a, Traceable) for a in alignment):
        with tracer.suspended():
            test.check_shapes(*alignment)
        alignment = tuple([tracer.lift(a) for a in alignment])
        tracer.check(alignment, test)
    else:
        test(*alignment)
    losses = ctc(log_probs, *alignment, int(blank), zero_infinity)
    if reduction == "mean":
        return (losses * (1.0 / ops.maximum(alignment[1], 1).astype(losses.dtype))).mean()
    if reduction == "sum":
        return losses.sum()
    return losses[0] if single else losses


class _Test:
    """Refuses labels and lengths that do not fit log-probabilities of this shape, (T, B, C).

    Parameters
    ----------
    shape : tuple
    sizes : list of int or None
        Labels that were given for each row, if these differ.
    blank : int
    """

    def __init__(self, shape: tuple[int, ...], sizes: list[int] | None, blank: int):
        (self.steps, self.batch, self.classes), self.sizes, self.blank = shape, sizes, blank

    def check_shapes(self, labels: Any, counts: Any, lengths: Any) -> None:
        """Test shapes alone."""
        zeros = [np.zeros(a.shape, np.int64) for a in (counts, lengths)]
        self._check_lengths(zeros[0], zeros[1], self.batch, labels)

    def __call__(self, labels: np.ndarray, counts: np.ndarray, lengths: np.ndarray) -> None:
        """Test labels and lengths, of one batch or, where each row has a row of labels, of several."""
        batch = self.batch if labels.ndim == 1 or self.sizes is not None else max(counts.size, self.batch)
        self._check_lengths(counts, lengths, batch, labels)
        for b, (size, n) in enumerate(zip(self.sizes or (), counts.tolist())):
            if size < n:
                raise ShapeError(f"ctc_loss: targets: got {size} labels in row {b}, wanted {n} as target_lengths says")
        _check_labels(_concatenated(labels, counts), counts, self.blank, self.classes)

    def _check_lengths(self, counts: np.ndarray, lengths: np.ndarray, batch: int, labels: Any) -> None:
        check_lengths("ctc_loss: input_lengths", lengths, batch, False, self.steps)
        check_lengths("ctc_loss: target_lengths", counts, batch, False, labels.shape[-1])
        if labels.ndim != 1 and (labels.ndim != 2 or labels.shape[0] != batch):
            raise ShapeError(
                f"ctc_loss: targets: got shape {labels.shape}, wanted ({batch}, S), or all labels in a row, (n,)"
            )


def _padded(targets: Any) -> tuple[Any, list[int] | None]:
    """Lists of labels of unequal lengths padded with zeros, and these lengths; other targets as they are."""
    if not isinstance(targets, list | tuple) or not targets:
        return _integers("ctc_loss: targets", targets), None
    traced = any(isinstance(row, Traceable) for row in targets) and grad_mode.tracer is not None
    rows = [_integers("ctc_loss: targets", row) for row in targets]
    sizes = [row.shape[0] for row in rows if row.ndim == 1]
    if len(sizes) < len(rows) or (len({*sizes}) == 1 and not traced):
        return _integers("ctc_loss: targets", targets), None
    zeros = np.zeros(max(sizes), np.int64)
    parts = [part for row, size in zip(rows, sizes) for part in (row.astype(np.int64), zeros[size:])]
    return ops.concat(parts).reshape((len(rows), -1)), sizes


def _rows(lengths: Any, name: str, single: bool) -> Any:
    """Lengths of rows as integers; one number is a row of its own where there is no batch."""
    found = _integers(f"ctc_loss: {name}", lengths)
    return found.reshape(1) if single and found.ndim == 0 else found


def _integers(argument: str, value: Any) -> Any:
    """Integers as an array, or as a value of a program."""
    tracer = grad_mode.tracer
    if tracer is None or not tracer.whole or not isinstance(value, Traceable):
        return check_integers(argument, value)
    found = tracer.lift(value)
    if found.dtype.kind not in "iu":
        raise DTypeError(f"{argument}: got {found.dtype}, wanted integers")
    return found


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
    if labels.ndim == 2:
        return labels[np.arange(labels.shape[1]) < counts[:, None]]
    if labels.size != counts.sum():
        raise ShapeError(
            f"ctc_loss: targets: got {labels.size} labels, wanted {counts.sum()}, the sum of target_lengths"
        )
    return labels


def _check_labels(labels: np.ndarray, counts: np.ndarray, blank: int, classes: int) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= classes) | (labels == blank))
    if wrong.size:
        label, b = int(labels[wrong[0]]), int(np.repeat(np.arange(counts.size), counts)[wrong[0]])
        what = "the blank" if label == blank else f"class {label}"
        raise IndexError(f"ctc_loss: targets: got {what} in row {b}, wanted 0 to {classes - 1} but the blank, {blank}")
