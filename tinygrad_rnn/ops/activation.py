"""Activation functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..checks import one_of
from ..core import OUT, primitive
from ..core.aliases import ArrayLike, Value
from ..core.signatures import like_first
from ..errors import ShapeError
from .arguments import is_number, number, one_axis, operand
from .elementwise import exp, expm1, lanes, maximum, where


@primitive(vjps=[lambda g, y, x: g * (1 - y * y)], saves=(OUT,), lowering=lanes("tanh({0})", 8), floats=True)
def tanh(x: Value) -> Value:
    """The hyperbolic tangent."""
    return np.tanh(x)


@primitive(vjps=[lambda g, y, x: g * (y * (1 - y))], saves=(OUT,), lowering=lanes("sigmoid({0})", 8), floats=True)
def sigmoid(x: Value) -> Value:
    """The logistic function ``1 / (1 + exp(-x))``."""
    with np.errstate(over="ignore"):  # exp(-x) = inf gives the right 0
        y = np.exp(-x)
    y += 1
    return np.reciprocal(y)


def _relu_vjp(g: Value, y: Value, x: Value) -> Value:
    return where(y <= 0, 0.0, g)


@primitive(vjps=[_relu_vjp], saves=(OUT,), lowering=lanes("vmax({0}, vsplat(0.0, k))", 1, lambda x: maximum(x, 0)))
def relu(x: Value) -> Value:
    """``maximum(x, 0)``; its derivative at zero is zero, and NaN passes the gradient on."""
    return np.maximum(x, 0)


def _sigmoid_of_vjp(g: Value, y: Value, x: Value) -> Value:
    return g * (sigmoid_of(x) * sigmoid_of(-x))


@primitive(vjps=[_sigmoid_of_vjp], saves=(0,), lowering=lanes("sigmoid({0})", 8), floats=True)
def sigmoid_of(x: Value) -> Value:
    """:func:`sigmoid` whose derivative is accurate where the result is nearly 1 too, at twice the cost."""
    return sigmoid.op.forward(x)


@primitive(vjps=[lambda g, y, x: g * sigmoid_of(x)], saves=(0,), lowering=lanes("softplus({0})", 16), floats=True)
def softplus(x: Value) -> Value:
    """``log(1 + exp(x))``, without overflow."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


@primitive(vjps=[lambda g, y, x: g * sigmoid_of(-x)], saves=(0,), lowering=lanes("-softplus(-{0})", 17), floats=True)
def log_sigmoid(x: Value) -> Value:
    """``log(sigmoid(x)) = -softplus(-x)``, without overflow and with all digits on both sides."""
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


@primitive(
    vjps=[lambda g, y, x: g * (exp(-(x * x)) * 1.1283791670955126)],  # 2 / sqrt(pi)
    saves=(0,),
    lowering=lanes("erf({0})", 14),
    floats=True,
)
def erf(x: Value) -> Value:
    """The error function."""
    from ..kernels.fused import special  # numba is imported at first use

    x = np.asarray(x)
    return special.erf(x if x.dtype.kind == "f" else x.astype(np.float64))


@like_first
def gelu(x: Value, approximate: str = "none") -> Value:
    """Gaussian error linear unit, ``x * Phi(x)`` (Hendrycks and Gimpel 2016).

    Parameters
    ----------
    x : Tensor or array
    approximate : {"none", "tanh"}
        "tanh" takes an approximation by :func:`tanh`, which older models were trained with.
    """
    x = operand(x, "gelu")
    if one_of("gelu: approximate", approximate, ("none", "tanh")) == "tanh":
        return 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))  # sqrt(2 / pi)
    return x * (0.5 * (1 + erf(x * 0.7071067811865476)))  # 1 / sqrt(2)


@like_first
def silu(x: Value) -> Value:
    """Sigmoid linear unit, ``x * sigmoid(x)``."""
    x = operand(x, "silu")
    return x * sigmoid(x)


@like_first
def mish(x: Value) -> Value:
    """``x * tanh(softplus(x))`` (Misra 2019)."""
    x = operand(x, "mish")
    return x * tanh(softplus(x))


@like_first
def glu(x: Value, axis: int = -1) -> Value:
    """Gated linear unit: half of the features times the sigmoid of the others (Dauphin et al. 2017)."""
    x = operand(x, "glu")
    axis = one_axis(axis, x.shape)
    n = x.shape[axis]
    if n % 2:
        raise ShapeError(f"glu: got shape {tuple(x.shape)}, wanted an even length along axis {axis}")
    lead = (slice(None),) * axis
    return x[(*lead, slice(0, n // 2))] * sigmoid(x[(*lead, slice(n // 2, n))])


@like_first
def leaky_relu(x: Value, negative_slope: ArrayLike = 0.01) -> Value:
    """`x` where positive, else ``negative_slope * x``; so is the derivative at zero."""
    x = operand(x, "leaky_relu")
    return where(x > 0, x, _factor(negative_slope, "leaky_relu: negative_slope") * x)


@like_first
def elu(x: Value, alpha: ArrayLike = 1.0) -> Value:
    """Exponential linear unit: `x` where positive, else ``alpha * (exp(x) - 1)`` (Clevert et al. 2015)."""
    x = operand(x, "elu")
    return where(x > 0, x, _factor(alpha, "elu: alpha") * expm1(where(x > 0, 0.0, x)))


@like_first
def selu(x: Value) -> Value:
    """Scaled ELU, which keeps mean 0 and variance 1 through many layers (Klambauer et al. 2017)."""
    return 1.0507009873554805 * elu(operand(x, "selu"), 1.6732632423543772)


def _factor(value: Any, name: str) -> Value:
    return value if is_number(value) else operand(value, name)  # which may be learned


@like_first
def hard_sigmoid(x: Value) -> Value:
    """Piecewise linear sigmoid: ``x / 6 + 1/2`` between 0 and 1; its derivative at -3 and 3 is zero."""
    return hard_tanh(operand(x, "hard_sigmoid") * (1 / 6) + 0.5, 0.0, 1.0)


@like_first
def hard_tanh(x: Value, min: float = -1.0, max: float = 1.0) -> Value:
    """Piecewise linear tanh: `x` limited to ``[min, max]``; its derivative on both bounds is zero.

    Raises
    ------
    ValueError
        If `min` is larger than `max`.
    """
    x, min, max = operand(x, "hard_tanh"), number(min, "hard_tanh: min"), number(max, "hard_tanh: max")
    if not min <= max:
        raise ValueError(f"hard_tanh: got min={min} and max={max}, wanted min <= max")
    return where(x <= min, min, where(x >= max, max, x))


@like_first
def relu6(x: Value) -> Value:
    """`x` limited to [0, 6]; its derivative on both bounds is zero."""
    return hard_tanh(operand(x, "relu6"), 0.0, 6.0)


@like_first
def hard_swish(x: Value) -> Value:
    """``x * hard_sigmoid(x)``, a piecewise form of :func:`silu` (Howard et al. 2019)."""
    x = operand(x, "hard_swish")
    return x * hard_sigmoid(x)
