"""The network of an estimator: a recurrent layer, whose last output is read by a linear one."""

from __future__ import annotations

from typing import Any

from .. import nn
from .settings import cell_class


class Network(nn.Module):
    """Layers of a cell over sequences, and a linear layer over the last output.

    Parameters
    ----------
    cell : str or class of cells
    cell_options : dict
    features, hidden_size, outputs : int
    num_layers : int
    dropout : float
        Of the last output, in training.
    """

    def __init__(
        self,
        cell: Any,
        cell_options: dict[str, Any],
        features: int,
        hidden_size: int,
        outputs: int,
        num_layers: int,
        dropout: float,
    ):
        make, cells = cell_class(cell), []
        width: Any = features
        for _ in range(num_layers):
            cells.append(make(width, hidden_size, **cell_options))  # type: ignore[call-arg]
            width = cells[-1].output_size or cells[-1].hidden_size
            if not isinstance(width, int):
                raise ValueError(f"cell: got {make.__name__} with outputs of {width}, wanted rows of features")
        self.layer = nn.Recurrent(cells[0] if num_layers == 1 else nn.Stacked(cells))
        self.dropout, self.head = nn.Dropout(dropout), nn.Linear(width, outputs)

    def forward(self, x: Any, mask: Any = None) -> Any:
        """Scores of sequences, (T, B, F), which are padded in front, so that all end at the last step."""
        outputs, _ = self.layer(x, mask=mask)
        return self.head(self.dropout(outputs[-1]))
