"""Dropout."""

from __future__ import annotations

import numpy as np

from .. import config
from .module import Module


def check_probability(p: float, argument: str = "p") -> float:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"{argument}: got {p}, wanted a probability between 0 and 1")
    return float(p)


def dropout_mask(shape, p: float, dtype) -> np.ndarray:
    """Zeros with probability `p`, else ``1 / (1 - p)``, drawn from the package's generator."""
    if p >= 1.0:
        return np.zeros(shape, dtype)
    keep = config.generator().random(shape, dtype=np.float32) >= p
    return keep * np.dtype(dtype).type(1.0 / (1.0 - p))


class Dropout(Module):
    """Set elements to zero with probability `p` and scale the others by ``1 / (1 - p)``, in training only.

    Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting".

    Parameters
    ----------
    p : float
        Between 0 and 1.
    """

    def __init__(self, p: float = 0.5):
        self.p = check_probability(p)

    def forward(self, x):
        if not self.training or self.p == 0.0:
            return x
        return x * dropout_mask(x.shape, self.p, x.dtype)

    def extra_repr(self) -> str:
        return f"p={self.p}"
