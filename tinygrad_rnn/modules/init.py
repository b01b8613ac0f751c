"""Initialisers: they fill a tensor in place, from the package's generator, and return it.

Weights are laid out (fan_out, fan_in, ...), as in PyTorch. The same seed gives the same values in float32 and
float64, up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import config
from ..checks import number, one_of, whole_number
from ..core import Tensor
from ..core.dtype import as_array
from ..errors import ShapeError

Initialiser = Callable[[Tensor], Tensor]


def set_to(tensor: Tensor, values: Any) -> Tensor:
    """Fill with `values`, an array that broadcasts to the tensor's shape."""
    with config.no_grad():
        try:
            checked(tensor).data[...] = as_array(values, "values", narrow=True, dtype=tensor.dtype)
        except ValueError:
            raise ShapeError(f"values: got shape {np.shape(values)}, wanted {tensor.shape} as the tensor") from None
        tensor.touch()
    return tensor


def checked(tensor: Tensor) -> Tensor:
    """`tensor`, if it is one."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"tensor: got {type(tensor).__name__}, wanted a Tensor")
    return tensor


def constant(tensor: Tensor, value: float) -> Tensor:
    """Fill with `value`."""
    return set_to(tensor, number("value", value))


def uniform(tensor: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Draw from the uniform distribution on [low, high)."""
    low, high = number("low", low), number("high", high)
    if not 0 <= high - low < math.inf:
        raise ValueError(f"low, high: got {low} and {high}, wanted low <= high, and both finite")
    return set_to(tensor, config.generator().uniform(low, high, checked(tensor).shape))


def normal(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Draw from the normal distribution."""
    mean, std = number("mean", mean), number("std", std, "at least 0", lambda std: std >= 0)
    return set_to(tensor, config.generator().normal(mean, std, checked(tensor).shape))


def fans(tensor: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight of shape (fan_out, fan_in, ...)."""
    if checked(tensor).ndim < 2:
        raise ShapeError(f"tensor: got shape {tensor.shape}, wanted a weight of at least two axes")
    rest = math.prod(tensor.shape[2:])
    return tensor.shape[1] * rest, tensor.shape[0] * rest


def gain(nonlinearity: str, slope: float = 0.01) -> float:
    """The factor on weights that keeps the variance behind `nonlinearity`; `slope` is leaky_relu's."""
    slope = number("slope", slope, "a finite number", math.isfinite)
    gains = {
        "linear": 1.0,
        "sigmoid": 1.0,
        "tanh": 5.0 / 3.0,
        "relu": math.sqrt(2.0),
        "leaky_relu": math.sqrt(2.0 / (1.0 + slope * slope)),
    }
    return gains[one_of("nonlinearity", nonlinearity, gains, f"one of {', '.join(gains)}")]


def xavier_uniform(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Uniform with variance ``2 gain**2 / (fan_in + fan_out)`` (Glorot and Bengio 2010)."""
    bound = number("gain", gain, "a finite number", math.isfinite) * math.sqrt(6.0 / max(1, sum(fans(tensor))))
    return uniform(tensor, -bound, bound)


def xavier_normal(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Normal with variance ``2 gain**2 / (fan_in + fan_out)`` (Glorot and Bengio 2010)."""
    gain = number("gain", gain, "a finite number", math.isfinite)
    return normal(tensor, 0.0, gain * math.sqrt(2.0 / max(1, sum(fans(tensor)))))


def _kaiming_std(tensor: Tensor, slope: float, mode: str, nonlinearity: str) -> float:
    one_of("mode", mode, ("fan_in", "fan_out"))
    fan = fans(tensor)[mode == "fan_out"]
    return gain(nonlinearity, slope) / math.sqrt(max(1, fan))


def kaiming_uniform(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Uniform with variance ``gain**2 / fan`` (He et al. 2015); `a` is the negative slope of leaky_relu."""
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform(tensor, -bound, bound)


def kaiming_normal(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Normal with variance ``gain**2 / fan`` (He et al. 2015); `a` is the negative slope of leaky_relu."""
    return normal(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity))


def orthogonal(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Orthonormal rows or columns, whichever are fewer, times `gain` (Saxe et al. 2014).

    The matrix is distributed uniformly (Haar): the signs of the QR factors are fixed (Mezzadri 2007).
    """
    fans(tensor)
    gain = number("gain", gain, "a finite number", math.isfinite)
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    flat = config.generator().standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(flat)
    q *= np.sign(np.diagonal(r))
    return set_to(tensor, gain * (q if rows >= columns else q.T).reshape(tensor.shape))


def per_gate(init: Callable[..., Tensor], n_gates: int) -> Callable[..., Tensor]:
    """An initialiser that applies `init` to each of `n_gates` equal blocks of rows.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tr
    >>> from tinygrad_rnn.nn import init
    >>> w = init.per_gate(init.orthogonal, 4)(tr.zeros((8, 2), dtype="float64")).numpy()
    >>> bool(np.allclose(w[2:4] @ w[2:4].T, np.eye(2)))
    True
    """

    whole_number("n_gates", n_gates)

    def initialise(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not tensor.ndim or tensor.shape[0] % n_gates:
            raise ShapeError(f"tensor: got shape {tensor.shape}, wanted {n_gates} equal blocks of rows")
        for block in np.split(tensor.data, n_gates):
            init(Tensor(block), *args, **kwargs)
        tensor.touch()
        return tensor

    return initialise
