"""Activation functions."""

from __future__ import annotations

import numpy as np

from ..core import OUT, primitive
from .elementwise import clip, exp, expm1, lanes, where


@primitive(vjps=[lambda g, y, x: g * (1 - y * y)], saves=(OUT,), lowering=lanes("tanh({0})", 8), floats=True)
def tanh(x):
    """The hyperbolic tangent."""
    return np.tanh(x)


@primitive(vjps=[lambda g, y, x: g * (y * (1 - y))], saves=(OUT,), lowering=lanes("sigmoid({0})", 8), floats=True)
def sigmoid(x):
    """The logistic function ``1 / (1 + exp(-x))``."""
    with np.errstate(over="ignore"):  # exp(-x) = inf gives the right 0
        y = np.exp(-x)
    y += 1
    return np.reciprocal(y)


def _relu_vjp(g, y, x):
    return where(y > 0, g, 0.0)


@primitive(vjps=[_relu_vjp], saves=(OUT,), lowering=lanes("vmax({0}, vsplat(0.0, k))"))
def relu(x):
    """``maximum(x, 0)``; its derivative at zero is zero."""
    return np.maximum(x, 0)


@primitive(vjps=[lambda g, y, x: g * sigmoid(x)], saves=(0,), lowering=lanes("softplus({0})", 16), floats=True)
def softplus(x):
    """``log(1 + exp(x))``, without overflow."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


@primitive(
    vjps=[lambda g, y, x: g * (exp(-(x * x)) * 1.1283791670955126)],
    saves=(0,),
    lowering=lanes("erf({0})", 14),
    floats=True,
)
def erf(x):
    """The error function."""
    from ..kernels import special  # numba is imported at first use

    return special.erf(np.asarray(x))


def gelu(x):
    """Gaussian error linear unit, ``x * Phi(x)`` (Hendrycks and Gimpel 2016), exact form."""
    return x * (0.5 * (1 + erf(x * 0.7071067811865476)))


def silu(x):
    """Sigmoid linear unit, ``x * sigmoid(x)``."""
    return x * sigmoid(x)


def leaky_relu(x, negative_slope=0.01):
    """`x` where positive, else ``negative_slope * x``."""
    return where(x > 0, x, negative_slope * x)


def elu(x, alpha=1.0):
    """Exponential linear unit: `x` where positive, else ``alpha * (exp(x) - 1)`` (Clevert et al. 2015)."""
    return where(x > 0, x, alpha * expm1(where(x > 0, 0.0, x)))


def hard_sigmoid(x):
    """Piecewise linear sigmoid ``clip(x / 6 + 1/2, 0, 1)``, as PyTorch's."""
    return clip(x * (1 / 6) + 0.5, 0.0, 1.0)


def hard_tanh(x, min=-1.0, max=1.0):
    """Piecewise linear tanh, ``clip(x, min, max)``."""
    return clip(x, min, max)
