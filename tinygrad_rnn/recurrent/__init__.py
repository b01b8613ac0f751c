"""Recurrence: the cell protocol, built-in cells, and the layers that run any cell over a sequence, searches."""

from .cell import Cell
from .decoding import Hypothesis, beam_search, greedy_search, sample
from .layers import GRU, LSTM, RNN
from .modifiers import LearnedInitialState, Modifier
from .nest import detach_state
from .regularisers import VariationalDropout, WeightDrop, Zoneout
from .rtrl import RTRL
from .scan import scan
from .wrappers import Bidirectional, Recurrent, Stacked

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "RTRL",
    "Bidirectional",
    "Cell",
    "Hypothesis",
    "LearnedInitialState",
    "Modifier",
    "Recurrent",
    "Stacked",
    "VariationalDropout",
    "WeightDrop",
    "Zoneout",
    "beam_search",
    "detach_state",
    "greedy_search",
    "sample",
    "scan",
]
