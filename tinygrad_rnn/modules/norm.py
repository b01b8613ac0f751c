"""Layer normalisation, and that by the root mean square."""

from __future__ import annotations

import numpy as np

from ..checks import flag, shown
from ..core.aliases import DTypeLike, Value
from ..errors import ShapeError
from ..ops import mean
from ..ops.arguments import integers, operand
from . import init
from .functional import normalise
from .module import Module
from .parameter import Parameter, as_floats, check_eps, empty


class LayerNorm(Module):
    """Layer normalisation over the trailing axes (Ba, Kiros and Hinton 2016).

    ``(x - mean) / sqrt(var + eps) * weight + bias``, with the biased variance.

    Parameters
    ----------
    normalized_shape : int or tuple of int
        The trailing axes of the input.
    eps : float
    elementwise_affine : bool
        Whether to learn `weight` and `bias`, both of `normalized_shape`.
    bias : bool
    dtype : float32 or float64, optional

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> y = nn.LayerNorm(4, dtype="float64")(np.arange(8.0).reshape(2, 4))
    >>> np.abs(y.numpy().mean(-1)).round(6).tolist()
    [0.0, 0.0]
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        dtype: DTypeLike | None = None,
    ) -> None:
        shape = integers(normalized_shape, "normalized_shape")
        if not shape or min(shape) < 1:
            raise ShapeError(f"normalized_shape: got {shown(normalized_shape)}, wanted positive lengths")
        self.normalized_shape, self.eps = shape, check_eps("LayerNorm", eps)
        elementwise_affine = flag("LayerNorm: elementwise_affine", elementwise_affine)
        bias = flag("LayerNorm: bias", bias)
        self.weight: Parameter | None = empty(*shape, dtype=dtype) if elementwise_affine else None
        self.bias: Parameter | None = empty(*shape, dtype=dtype) if elementwise_affine and bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the scale to one and the shift to zero."""
        if self.weight is not None:
            init.constant(self.weight, 1.0)
        if self.bias is not None:
            init.constant(self.bias, 0.0)

    def forward(self, x: Value) -> Value:
        x, n = operand(x, "LayerNorm: x"), len(self.normalized_shape)
        if tuple(x.shape[-n:]) != self.normalized_shape:
            wanted = ", ".join(("...", *map(str, self.normalized_shape)))
            raise ShapeError(f"LayerNorm: x: got shape {tuple(x.shape)}, wanted ({wanted})")
        return normalise(x, n, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.weight is not None}"


class RMSNorm(Module):
    """Normalisation by the root mean square of the trailing axes (Zhang and Sennrich 2019).

    ``x / sqrt(mean(x**2) + eps) * weight``

    Parameters
    ----------
    normalized_shape : int or tuple of int
        The trailing axes of the input.
    eps : float or None
        None is the spacing of the input's dtype at 1, as in PyTorch.
    elementwise_affine : bool
        Whether to learn `weight`, of `normalized_shape`.
    dtype : float32 or float64, optional

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> y = nn.RMSNorm(4, dtype="float64")(np.arange(8.0).reshape(2, 4))
    >>> np.square(y.numpy()).mean(-1).round(6).tolist()
    [1.0, 1.0]
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float | None = None,
        elementwise_affine: bool = True,
        dtype: DTypeLike | None = None,
    ) -> None:
        shape = integers(normalized_shape, "normalized_shape")
        if not shape or min(shape) < 1:
            raise ShapeError(f"normalized_shape: got {shown(normalized_shape)}, wanted positive lengths")
        self.normalized_shape = shape
        self.eps = None if eps is None else check_eps("RMSNorm", eps)
        elementwise_affine = flag("RMSNorm: elementwise_affine", elementwise_affine)
        self.weight: Parameter | None = empty(*shape, dtype=dtype) if elementwise_affine else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the scale to one."""
        if self.weight is not None:
            init.constant(self.weight, 1.0)

    def forward(self, x: Value) -> Value:
        x, n = as_floats(x, "RMSNorm: x", self.weight), len(self.normalized_shape)
        if tuple(x.shape[-n:]) != self.normalized_shape:
            wanted = ", ".join(("...", *map(str, self.normalized_shape)))
            raise ShapeError(f"RMSNorm: x: got shape {tuple(x.shape)}, wanted ({wanted})")
        eps = float(np.finfo(x.dtype).eps) if self.eps is None else self.eps
        y = x / (mean(x * x, tuple(range(-n, 0)), keepdims=True) + eps).sqrt()
        return y if self.weight is None else y * self.weight

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.weight is not None}"
