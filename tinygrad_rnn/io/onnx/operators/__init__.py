"""What each type of node computes: one table, by families.

Files, in reading order: `support` (the table, and how arguments are read), `elementwise`, `activations`, `reductions`,
`products`, `shapes`, `indexing`, `creation`, `normalisation`, `recurrent` (RNN, LSTM, GRU as cells), `loops`
(Scan, Loop, If).

Functions take the node and its values, tensors or arrays; what is made of arrays alone stays an array, so that shapes
are computed with numbers.
"""

from . import activations, creation, elementwise, indexing, normalisation, products, reductions, shapes
from .support import FIXED, OPERATORS, REFUSALS

_FAMILIES = (
    activations,
    creation,
    elementwise,
    indexing,
    normalisation,
    products,
    reductions,
    shapes,
)  # fill the table

__all__ = ["FIXED", "OPERATORS", "REFUSALS"]
