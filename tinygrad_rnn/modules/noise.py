"""Noise that regularises."""

from __future__ import annotations

from ..checks import not_negative
from ..core.aliases import Value
from ..ops import draws
from .module import Module
from .parameter import as_floats


class GaussianNoise(Module):
    """Add normal noise of mean 0 in training; nothing in evaluation (Bishop 1995).

    Parameters
    ----------
    std : float
        The standard deviation.

    Notes
    -----
    The noise comes from the package's generator (:func:`tinygrad_rnn.seed`), and gradients pass. It stands before,
    between or after layers, or within the step of a cell, where it is drawn anew at each step (``tr.random``).

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> noise = nn.GaussianNoise(0.1)
    >>> noise(np.zeros((5, 2))).shape, float(abs(noise.eval()(np.zeros((5, 2)))).max())
    ((5, 2), 0.0)
    """

    def __init__(self, std: float = 0.1) -> None:
        self.std = not_negative("GaussianNoise: std", std)

    def forward(self, x: Value) -> Value:
        if not self.training or self.std == 0.0:
            return x
        x = as_floats(x, "GaussianNoise: x", None)
        return x + self.std * draws.normal(tuple(x.shape), dtype=x.dtype)

    def extra_repr(self) -> str:
        return f"std={self.std}"
