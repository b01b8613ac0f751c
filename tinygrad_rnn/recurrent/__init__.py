"""Recurrence: the cell protocol, built-in cells, and the layers that run any cell over a sequence."""

from .cell import Cell
from .layers import GRU, LSTM, RNN
from .modifiers import LearnedInitialState, Modifier
from .nest import detach_state
from .regularisers import VariationalDropout, WeightDrop, Zoneout
from .scan import scan
from .wrappers import Bidirectional, Recurrent, Stacked

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
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
