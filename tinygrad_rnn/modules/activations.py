"""Activations as modules, for :class:`Sequential`; functions of `ops` do the work."""

from __future__ import annotations

import math
from typing import Any

from .. import ops
from ..checks import number, one_of, whole_number
from ..core.aliases import DTypeLike, Value
from ..errors import ShapeError
from ..ops.arguments import one_axis, operand
from . import init
from .module import Module
from .parameter import empty


class _Activation(Module):
    """A function of one tensor; `options` names the attributes that it takes."""

    function: Any
    options: tuple[str, ...] = ()

    def __init__(self, **unknown: Any) -> None:
        if unknown:
            name = type(self).__name__
            raise TypeError(f"{name}: got {', '.join(unknown)}, wanted no options; results are new, never in place")

    def forward(self, x: Value) -> Value:
        return type(self).function(x, *(getattr(self, name) for name in self.options))

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.options)


class ReLU(_Activation):
    """``maximum(x, 0)``; see :func:`tinygrad_rnn.relu`."""

    function = staticmethod(ops.relu)


class ReLU6(_Activation):
    """`x` limited to [0, 6]; see :func:`tinygrad_rnn.relu6`."""

    function = staticmethod(ops.relu6)


class Tanh(_Activation):
    """The hyperbolic tangent; see :func:`tinygrad_rnn.tanh`.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_rnn import nn
    >>> nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))(np.zeros((5, 3))).shape
    (5, 1)
    """

    function = staticmethod(ops.tanh)


class Sigmoid(_Activation):
    """``1 / (1 + exp(-x))``; see :func:`tinygrad_rnn.sigmoid`."""

    function = staticmethod(ops.sigmoid)


class LogSigmoid(_Activation):
    """``log(sigmoid(x))``; see :func:`tinygrad_rnn.log_sigmoid`."""

    function = staticmethod(ops.log_sigmoid)


class GELU(_Activation):
    """``x * Phi(x)``; see :func:`tinygrad_rnn.gelu`."""

    function = staticmethod(ops.gelu)
    options = ("approximate",)

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = one_of("GELU: approximate", approximate, ("none", "tanh"))


class SiLU(_Activation):
    """``x * sigmoid(x)``; see :func:`tinygrad_rnn.silu`."""

    function = staticmethod(ops.silu)


class Mish(_Activation):
    """``x * tanh(softplus(x))``; see :func:`tinygrad_rnn.mish`."""

    function = staticmethod(ops.mish)


class SELU(_Activation):
    """Scaled ELU; see :func:`tinygrad_rnn.selu`."""

    function = staticmethod(ops.selu)


class Softplus(Module):
    """``log(1 + exp(beta * x)) / beta``; see :func:`tinygrad_rnn.softplus`.

    Parameters
    ----------
    beta : float
        Above 0.
    """

    def __init__(self, beta: float = 1.0) -> None:
        self.beta = number("Softplus: beta", beta, "a positive number", lambda beta: 0 < beta < math.inf)

    def forward(self, x: Value) -> Value:
        return ops.softplus(x) if self.beta == 1 else ops.softplus(operand(x, "Softplus: x") * self.beta) / self.beta

    def extra_repr(self) -> str:
        return f"beta={self.beta}"


class Hardsigmoid(_Activation):
    """Piecewise linear sigmoid; see :func:`tinygrad_rnn.hard_sigmoid`."""

    function = staticmethod(ops.hard_sigmoid)


class Hardswish(_Activation):
    """``x * hard_sigmoid(x)``; see :func:`tinygrad_rnn.hard_swish`."""

    function = staticmethod(ops.hard_swish)


class ELU(_Activation):
    """`x` where positive, else ``alpha * (exp(x) - 1)``; see :func:`tinygrad_rnn.elu`."""

    function = staticmethod(ops.elu)
    options = ("alpha",)

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = number("ELU: alpha", alpha)


class LeakyReLU(_Activation):
    """`x` where positive, else ``negative_slope * x``; see :func:`tinygrad_rnn.leaky_relu`."""

    function = staticmethod(ops.leaky_relu)
    options = ("negative_slope",)

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = number("LeakyReLU: negative_slope", negative_slope)


class PReLU(Module):
    """`x` where positive, else ``weight * x`` with learned weights (He et al. 2015).

    Parameters
    ----------
    num_parameters : int
        1, or the number of features, which stand on the last axis.
    init : float
        What the weight begins with.
    dtype : float32 or float64, optional
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25, dtype: DTypeLike | None = None) -> None:
        self.num_parameters = whole_number("PReLU: num_parameters", num_parameters)
        self.init = number("PReLU: init", init)
        self.weight = empty(self.num_parameters, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to `init`."""
        init.constant(self.weight, self.init)

    def forward(self, x: Value) -> Value:
        x = operand(x, "PReLU: x")
        if self.num_parameters > 1 and tuple(x.shape[-1:]) != (self.num_parameters,):
            raise ShapeError(f"PReLU: x: got shape {tuple(x.shape)}, wanted (..., {self.num_parameters})")
        return ops.where(x > 0, x, self.weight * x)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class Hardtanh(_Activation):
    """`x` limited to ``[min_val, max_val]``; see :func:`tinygrad_rnn.hard_tanh`."""

    function = staticmethod(ops.hard_tanh)
    options = ("min_val", "max_val")

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        self.min_val, self.max_val = number("Hardtanh: min_val", min_val), number("Hardtanh: max_val", max_val)
        if not self.min_val <= self.max_val:
            raise ValueError(f"Hardtanh: min_val, max_val: got {min_val}, {max_val}, wanted min_val <= max_val")


def _axis(value: Any, name: str) -> int:
    """An axis that an array may have."""
    return whole_number(name, value, -64, 63, "an axis, from -64 to 63")


class _AlongAxis(_Activation):
    """An activation along an axis, the last by default; PyTorch's name of it is `dim`."""

    options = ("dim",)

    def __init__(self, dim: int = -1) -> None:
        self.dim = _axis(dim, f"{type(self).__name__}: dim")


class Softmax(_AlongAxis):
    """``exp(x) / sum(exp(x))`` along the axis `dim`; see :func:`tinygrad_rnn.softmax`."""

    function = staticmethod(ops.softmax)


class LogSoftmax(_AlongAxis):
    """``log(softmax(x))`` along the axis `dim`; see :func:`tinygrad_rnn.log_softmax`."""

    function = staticmethod(ops.log_softmax)


class GLU(_AlongAxis):
    """Half of the features times the sigmoid of the others; see :func:`tinygrad_rnn.glu`."""

    function = staticmethod(ops.glu)


class Identity(Module):
    """The input as it is; arguments are accepted and ignored, so that it stands in for any layer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def forward(self, x: Any) -> Any:
        return x


class Flatten(Module):
    """Axes from `start_dim` to `end_dim` as one, in PyTorch's words.

    Parameters
    ----------
    start_dim, end_dim : int
        By default all but the first, the batch; of a sequence (T, B, ...) keep two: ``Flatten(2)``.
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = _axis(start_dim, "Flatten: start_dim"), _axis(end_dim, "Flatten: end_dim")

    def forward(self, x: Value) -> Value:
        x = operand(x, "Flatten: x")
        shape = tuple(x.shape)
        first, last = one_axis(self.start_dim, shape), one_axis(self.end_dim, shape)
        if first > last:
            raise ShapeError(f"Flatten: got axes {first} to {last} of shape {shape}, wanted rising ones")
        return ops.reshape(x, (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
