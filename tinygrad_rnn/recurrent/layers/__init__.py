"""Layers that run cells over sequences, and cells around a cell that change one thing about it.

Files, in reading order: `wrappers` (`Recurrent`, `Stacked` and `Bidirectional`, for any cell), `multilayer` and
`rnn_lstm_gru` (PyTorch's layers), `cell_wrapper` (the base of cells around a cell) and `regularisers` (variational
dropout, DropConnect, zoneout).

They hold parameters and options; each sequence is run by `scan`. They know nothing of how it is compiled.
"""
