"""The affine layer."""

from __future__ import annotations

import math

from ..checks import flag
from ..core.aliases import DTypeLike, Value
from ..errors import ShapeError
from ..ops.arguments import operand
from ..ops.linear import linear
from . import init
from .module import Module
from .parameter import Parameter, check_sizes, empty


class Linear(Module):
    """An affine map of the last axis, ``x @ weight.T + bias``.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
    dtype : float32 or float64, optional

    Attributes
    ----------
    weight : Parameter, (out_features, in_features)
    bias : Parameter, (out_features,), or None
        Both drawn uniformly from ``±1/sqrt(in_features)``.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> nn.Linear(3, 2)(np.zeros((5, 3))).shape
    (5, 2)
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, dtype: DTypeLike | None = None) -> None:
        check_sizes("Linear", in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        bias = flag("Linear: bias", bias)
        self.weight = empty(out_features, in_features, dtype=dtype)
        self.bias: Parameter | None = empty(out_features, dtype=dtype) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        bound = 1.0 / math.sqrt(max(1, self.in_features))
        for parameter in self.parameters():
            init.uniform(parameter, -bound, bound)

    def forward(self, x: Value) -> Value:
        x = operand(x, "Linear: x")
        if x.shape[-1:] != (self.in_features,):
            raise ShapeError(f"Linear: x: got shape {tuple(x.shape)}, wanted (..., {self.in_features})")
        return linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
