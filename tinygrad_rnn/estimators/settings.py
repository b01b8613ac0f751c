"""Checks of the parameters of estimators, when they are fitted, as scikit-learn has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import nn
from ..checks import flag, number, one_of, probability, shown, whole_number


def check_settings(estimator: Any) -> None:
    """Raise TypeError or ValueError unless the parameters of an estimator are what they should be."""
    cell_class(estimator.cell)
    for name in ("hidden_size", "num_layers", "max_iter", "n_iter_no_change"):
        whole_number(name, getattr(estimator, name))
    if estimator.batch_size is not None:
        whole_number("batch_size", estimator.batch_size)
    number("learning_rate", estimator.learning_rate, "above 0", lambda rate: rate > 0)
    for name in ("weight_decay", "tol"):
        number(name, getattr(estimator, name), "at least 0", lambda value: value >= 0)
    if estimator.clip_norm is not None:
        number("clip_norm", estimator.clip_norm, "above 0, or None", lambda value: value > 0)
    probability("dropout", estimator.dropout)
    number("validation_fraction", estimator.validation_fraction, "between 0 and 1", lambda share: 0 < share < 1)
    for name in ("standardize", "early_stopping", "warm_start", "verbose"):
        flag(name, getattr(estimator, name))
    one_of("compile", estimator.compile, ("auto", "always", "never"))
    if estimator.cell_options is not None and not isinstance(estimator.cell_options, Mapping):
        raise TypeError(f"cell_options: got {shown(estimator.cell_options)}, wanted a dict or None")


def cell_class(cell: Any) -> type[nn.Cell]:
    """The class of cells that a name or a class stands for."""
    if isinstance(cell, str):
        if cell not in nn.cell_names():
            raise ValueError(f"cell: got {cell!r}, wanted a class of cells, or one of {', '.join(nn.cell_names())}")
        return nn.cell_by_name(cell)
    if not (isinstance(cell, type) and issubclass(cell, nn.Cell)):
        raise TypeError(f"cell: got {shown(cell)}, wanted the name of a cell, or a class of cells")
    return cell
