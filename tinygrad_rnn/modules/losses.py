"""Losses as modules; the functions of :mod:`tinygrad_rnn.nn.functional` do the work."""

from __future__ import annotations

from typing import Any

from ..checks import flag, whole_number
from ..core import Tensor
from ..core.aliases import Value
from . import functional as F
from .module import Module


class _Loss(Module):
    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = F.check_reduction(reduction)

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"


class MSELoss(_Loss):
    """Squared error; see :func:`~tinygrad_rnn.nn.functional.mse_loss`."""

    def forward(self, input: Value, target: Value) -> Value:
        return F.mse_loss(input, target, self.reduction)


class L1Loss(_Loss):
    """Absolute error; see :func:`~tinygrad_rnn.nn.functional.l1_loss`."""

    def forward(self, input: Value, target: Value) -> Value:
        return F.l1_loss(input, target, self.reduction)


class HuberLoss(_Loss):
    """Huber's loss; see :func:`~tinygrad_rnn.nn.functional.huber_loss`."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = F.check_delta(delta)

    def forward(self, input: Value, target: Value) -> Value:
        return F.huber_loss(input, target, self.reduction, self.delta)

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}, delta={self.delta}"


class BCEWithLogitsLoss(_Loss):
    """Binary cross-entropy; see :func:`~tinygrad_rnn.nn.functional.binary_cross_entropy_with_logits`."""

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(self, weight: Value = None, reduction: str = "mean", pos_weight: Value = None) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Value, target: Value) -> Value:
        return F.binary_cross_entropy_with_logits(input, target, self.weight, self.reduction, self.pos_weight)


class NLLLoss(_Loss):
    """Negative log-likelihood; see :func:`~tinygrad_rnn.nn.functional.nll_loss`."""

    weight: Tensor | None

    def __init__(self, weight: Value = None, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = F.check_ignored(ignore_index)

    def forward(self, input: Value, target: Value) -> Value:
        return F.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)


class CrossEntropyLoss(_Loss):
    """Cross-entropy of logits; see :func:`~tinygrad_rnn.nn.functional.cross_entropy`."""

    weight: Tensor | None

    def __init__(
        self, weight: Value = None, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0
    ) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index, self.label_smoothing = F.check_ignored(ignore_index), F.check_smoothing(label_smoothing)

    def forward(self, input: Value, target: Value) -> Value:
        return F.cross_entropy(input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing)


class CTCLoss(_Loss):
    """Connectionist temporal classification; see :func:`~tinygrad_rnn.nn.functional.ctc_loss`."""

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False) -> None:
        super().__init__(reduction)
        self.blank, self.zero_infinity = whole_number("blank", blank, 0), flag("zero_infinity", zero_infinity)

    def forward(self, log_probs: Value, targets: Any, input_lengths: Any, target_lengths: Any) -> Value:
        return F.ctc_loss(
            log_probs, targets, input_lengths, target_lengths, self.blank, self.reduction, self.zero_infinity
        )

    def extra_repr(self) -> str:
        return f"blank={self.blank}, {super().extra_repr()}" + (", zero_infinity=True" if self.zero_infinity else "")
