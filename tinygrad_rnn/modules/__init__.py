"""Modules without time: parameters, layers, losses and initialisers, in PyTorch's names and layouts.

Files, in reading order: `parameter`, `module`, `init` (initialisers), `containers`; the layers `linear`, `conv`,
`embedding`, `dropout`, `noise`, `norm`, `batch_norm`, `attention` and `activations`; `functional` and `likelihoods`
(layers and losses as functions), `losses` (those as modules), `ctc`; `saving` (weights as files), `summary` (shapes and
counts).

They know nothing of cells and compiled loops. Users import them from `nn`.
"""
