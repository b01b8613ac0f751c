"""Recurrence: the cell protocol, built-in cells, and the layers that run any cell over a sequence."""

from ..core.tree import detach_state
from .cell import Cell
from .layers.cell_wrapper import LearnedInitialState, Modifier
from .layers.regularisers import VariationalDropout, WeightDrop, Zoneout
from .layers.rnn_lstm_gru import GRU, LSTM, RNN
from .layers.wrappers import Bidirectional, Recurrent, Stacked
from .scan.driver import scan
from .streaming.rtrl import RTRL

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "RTRL",
    "Bidirectional",
    "Cell",
    "LearnedInitialState",
    "Modifier",
    "Recurrent",
    "Stacked",
    "VariationalDropout",
    "WeightDrop",
    "Zoneout",
    "detach_state",
    "scan",
]
