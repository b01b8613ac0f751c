"""The built-in cells, one file for each family; those a user may build are exported by ``nn``."""

from .gru import GRUCell
from .lstm import LSTMCell
from .registry import cell_by_name, cell_names, register_cell
from .rnn import RNNCell

__all__ = [
    "GRUCell",
    "LSTMCell",
    "RNNCell",
    "cell_by_name",
    "cell_names",
    "register_cell",
]
