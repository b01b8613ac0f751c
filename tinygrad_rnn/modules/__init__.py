"""Modules without time: parameters, layers, losses and initialisers, in PyTorch's names and layouts.

Files, in reading order: `parameter`, `module`, `init` (initialisers), `containers`; the layers `linear`, `embedding`,
`dropout`, `norm` and `attention`; `functional` (layers and losses as functions), `losses` (those as modules), `ctc`.

They know nothing of cells and compiled loops. Users import them from `nn`.
"""
