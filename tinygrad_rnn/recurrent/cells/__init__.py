"""The built-in cells, one file for each family, in plain tensor maths with paper and equations.

`base` has what gated cells share, `registry` finds cells by name. The families: `rnn`, `lstm`, `gru`, `norm` (with
layer normalisation), `linear` (whose recurrence is diagonal) and `conv` (a causal convolution). Users import them from
`nn`. With several numbers for each feature: `heads` (their base), `xlstm`, `fast_weights` and `state_space`; and
`memory_unit` (Legendre polynomials), `continuous` (steps of any length), `spiking` and `conv_lstm` (convolutions within
a step).

A cell knows operations, parameters and the protocol of :mod:`..cell`; neither layers nor the compiler.
"""

from .continuous import CfCCell
from .conv import Conv1dCell
from .conv_lstm import ConvLSTMCell
from .fast_weights import DeltaNetCell, GatedDeltaNetCell, LinearAttentionCell
from .gru import FastGRNNCell, GRUCell, MGUCell, UGRNNCell
from .linear import LRUCell, MinGRUCell, MinLSTMCell
from .lstm import CIFGCell, LSTMCell, PeepholeLSTMCell
from .memory_unit import LMUCell
from .norm import LayerNormGRUCell, LayerNormLSTMCell
from .registry import cell_by_name, cell_names, register_cell
from .rnn import IndRNNCell, RNNCell
from .spiking import LIFCell
from .state_space import S6Cell
from .xlstm import MLSTMCell, SLSTMCell

__all__ = [
    "CIFGCell",
    "CfCCell",
    "Conv1dCell",
    "ConvLSTMCell",
    "DeltaNetCell",
    "FastGRNNCell",
    "GRUCell",
    "GatedDeltaNetCell",
    "IndRNNCell",
    "LIFCell",
    "LMUCell",
    "LRUCell",
    "LSTMCell",
    "LayerNormGRUCell",
    "LayerNormLSTMCell",
    "LinearAttentionCell",
    "MGUCell",
    "MLSTMCell",
    "MinGRUCell",
    "MinLSTMCell",
    "PeepholeLSTMCell",
    "RNNCell",
    "S6Cell",
    "SLSTMCell",
    "UGRNNCell",
    "cell_by_name",
    "cell_names",
    "register_cell",
]
