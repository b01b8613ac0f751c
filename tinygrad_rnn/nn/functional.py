"""Layers and losses as functions, in PyTorch's names.

In the losses, classes stand on the **last** axis: logits are (..., C) and targets (...), so that outputs over
sequences, (T, B, C), go in as they are. (PyTorch puts the classes on axis 1; for (N, C) the two agree.)
"""

from .. import foreign_names
from ..decoding import ctc_beam_search, ctc_greedy_decode
from ..modules.functional import (
    accuracy,
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
from ..modules.likelihoods import binary_cross_entropy, gaussian_nll_loss, kl_div, quantile_loss, smooth_l1_loss
from ..ops import (
    elu,
    gelu,
    glu,
    leaky_relu,
    log_softmax,
    mish,
    one_hot,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)

__all__ = [
    "accuracy",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "ctc_beam_search",
    "ctc_greedy_decode",
    "ctc_loss",
    "elu",
    "gaussian_nll_loss",
    "gelu",
    "glu",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "mish",
    "mse_loss",
    "nll_loss",
    "one_hot",
    "quantile_loss",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softplus",
    "tanh",
]


def __getattr__(name: str):  # called for what is not found
    raise foreign_names.missing("tinygrad_rnn.nn.functional", name, foreign_names.FUNCTIONAL)
