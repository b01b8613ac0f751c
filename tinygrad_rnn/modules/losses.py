"""Losses as modules; the functions of :mod:`tinygrad_rnn.nn.functional` do the work."""

from __future__ import annotations

from typing import Any

from ..checks import flag, number, one_of, whole_number
from ..core import Tensor
from ..core.aliases import Value
from . import functional as F
from . import likelihoods
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


class BCELoss(_Loss):
    """Binary cross-entropy of probabilities; see :func:`~tinygrad_rnn.nn.functional.binary_cross_entropy`."""

    weight: Tensor | None

    def __init__(self, weight: Value = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)

    def forward(self, input: Value, target: Value) -> Value:
        return likelihoods.binary_cross_entropy(input, target, self.weight, self.reduction)


class SmoothL1Loss(_Loss):
    """Huber's loss divided by `beta`; see :func:`~tinygrad_rnn.nn.functional.smooth_l1_loss`."""

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = likelihoods.check_beta(beta)

    def forward(self, input: Value, target: Value) -> Value:
        return likelihoods.smooth_l1_loss(input, target, self.reduction, self.beta)

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}, beta={self.beta}"


class KLDivLoss(Module):
    """Kullback-Leibler divergence; see :func:`~tinygrad_rnn.nn.functional.kl_div`."""

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        self.reduction = one_of("reduction", reduction, likelihoods.BATCH_REDUCTIONS)
        self.log_target = flag("log_target", log_target)

    def forward(self, input: Value, target: Value) -> Value:
        return likelihoods.kl_div(input, target, self.reduction, self.log_target)

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}, log_target={self.log_target}"


class GaussianNLLLoss(_Loss):
    """Likelihood of means and variances; see :func:`~tinygrad_rnn.nn.functional.gaussian_nll_loss`."""

    def __init__(self, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.full = flag("full", full)
        self.eps = number("eps", eps, "a positive number", lambda eps: eps > 0)

    def forward(self, input: Value, target: Value, var: Value) -> Value:
        return likelihoods.gaussian_nll_loss(input, target, var, self.full, self.eps, self.reduction)


class QuantileLoss(_Loss):
    """Pinball loss of one or several quantiles; see :func:`~tinygrad_rnn.nn.functional.quantile_loss`."""

    def __init__(self, quantiles: Any = 0.5, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.quantiles = likelihoods.check_quantiles(quantiles)

    def forward(self, input: Value, target: Value) -> Value:
        return likelihoods.quantile_loss(input, target, self.quantiles, self.reduction)

    def extra_repr(self) -> str:
        return f"quantiles={self.quantiles}, reduction={self.reduction!r}"
