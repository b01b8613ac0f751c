"""Recurrence: any cell, written as one time step, runs over sequences, streams and padded batches.

In reading order: `cell` (the protocol), `as_tensors` (what callers give), `rows` (of states), `cells` (the built-in
ones), `scan` (runs a cell over time, eagerly or compiled), `layers` (that hold cells and run them), `streaming` (one
step per call), `explain` (what became of a cell).

No cell is special: `scan` and the layers of any cell never ask which one it is, and no file here knows Numba. What is
generated and how it is run is left to `compiler`, which gets callables and shapes.
"""

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
