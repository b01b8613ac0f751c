"""Layers and losses as functions, in PyTorch's names.

In the losses, classes stand on the **last** axis: logits are (..., C) and targets (...), so that outputs over
sequences, (T, B, C), go in as they are. (PyTorch puts the classes on axis 1; for (N, C) the two agree.)
"""

from .. import foreign_names
from ..decoding import ctc_beam_search, ctc_greedy_decode
from ..modules.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    ctc_loss,
    huber_loss,
    l1_loss,
    layer_norm,
    linear,
    mse_loss,
    nll_loss,
)

__all__ = [
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "ctc_beam_search",
    "ctc_greedy_decode",
    "ctc_loss",
    "huber_loss",
    "l1_loss",
    "layer_norm",
    "linear",
    "mse_loss",
    "nll_loss",
]


def __getattr__(name: str):  # called for what is not found
    raise foreign_names.missing("tinygrad_rnn.nn.functional", name, foreign_names.FUNCTIONAL)
