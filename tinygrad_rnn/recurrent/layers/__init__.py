"""Layers that run cells over sequences, and cells around a cell that change one thing about it.

Files, in reading order: `wrappers` (`Recurrent`, `Stacked` and `Bidirectional`, for any cell), `rnn_lstm_gru`
(PyTorch's layers), `multilayer` (their base), `layer_options` (their keyword options), `cell_parameters` (their weights
by PyTorch's names), `cell_wrapper` (the base of cells around a cell) and `regularisers` (variational dropout,
DropConnect, zoneout).

They hold parameters and options; each sequence is run by `scan`. They know nothing of how it is compiled.
"""
