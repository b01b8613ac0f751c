"""The built-in cells, one file for each family; those a user may build are exported by ``nn``."""

from .gru import FastGRNNCell, GRUCell, MGUCell, UGRNNCell
from .linear import LRUCell, MinGRUCell, MinLSTMCell
from .lstm import CIFGCell, LSTMCell, PeepholeLSTMCell
from .norm import LayerNormGRUCell, LayerNormLSTMCell
from .registry import cell_by_name, cell_names, register_cell
from .rnn import IndRNNCell, RNNCell

__all__ = [
    "CIFGCell",
    "FastGRNNCell",
    "GRUCell",
    "IndRNNCell",
    "LRUCell",
    "LSTMCell",
    "LayerNormGRUCell",
    "LayerNormLSTMCell",
    "MGUCell",
    "MinGRUCell",
    "MinLSTMCell",
    "PeepholeLSTMCell",
    "RNNCell",
    "UGRNNCell",
    "cell_by_name",
    "cell_names",
    "register_cell",
]
