"""Layer normalisation as one operation, on a kernel forward and backward."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import Lowering, Traceable, primitive
from ..core.aliases import Value
from .elementwise import constant, sqrt
from .moments import centre
from .reduce import _sum
from .twins import flat, kernels


def _parts(x: Value, n_axes: int, eps: float) -> tuple[tuple[int, ...], float, Value, Value]:
    """The axes, one through their elements, deviations from the mean, and what those are multiplied by."""
    axes = tuple(range(len(x.shape) - n_axes, len(x.shape)))
    share = 1.0 / math.prod(x.shape[-n_axes:])
    centred = centre(x, axis=axes)
    variance = (centred * centred).sum(axes, keepdims=True) * share
    tell = constant(variance * 0.0)  # NaN where the variance overflows, whose root would make zeros of the row
    return axes, share, centred, 1.0 / sqrt(variance + (tell + eps))  # one division for each row


def _decompose(x: Value, *affine: Value, n_axes: int, eps: float, scaled: bool, saved: dict) -> Value:
    _, _, centred, scale = _parts(x, n_axes, eps)
    y = centred * scale
    if scaled:
        y = y * affine[0]
    return y + affine[-1] if len(affine) > scaled else y


def _gradients(
    g: Value, x: Value, affine: Sequence[Value], n_axes: int, eps: float, scaled: bool
) -> tuple[Value, Value, Value]:
    """Gradients by x, weight and bias in operations, which have rules themselves."""
    axes, share, centred, scale = _parts(x, n_axes, eps)
    y, d = centred * scale, g * affine[0] if scaled else g
    along = _sum(d * y, axis=axes, keepdims=True) * share
    return (centre(d, axis=axes) - y * along) * scale, g * y, g


def _vjp(
    g: Value, y: Value, x: Value, *affine: Value, needs: Sequence[bool], n_axes: int, eps: float, scaled: bool,
    saved: dict,
) -> list[Any]:  # fmt: skip
    if isinstance(g, Traceable) or isinstance(x, Traceable):
        dx, dweight, dbias = _gradients(g, x, affine, n_axes, eps, scaled)
    else:
        shape = x.shape[x.ndim - n_axes :]
        n = math.prod(shape)
        run = saved.get("run")
        if run is None or run[0] is not x:
            run, _ = _forward(x, affine[:scaled], n_axes, eps, scaled)  # the bias is not kept
        weight = flat(affine[0]) if scaled else np.ones(n, x.dtype)
        out, sums = np.empty(x.shape, x.dtype), np.zeros((2, n), x.dtype)
        kernel = kernels("layer_norm", x.size).backward
        kernel(run[1], n, weight, run[2], run[3], flat(g), out.reshape(-1), *sums, 0, run[2].size)
        dx, dweight, dbias = out, sums[0].reshape(shape), sums[1].reshape(shape)
    found = [dx, dweight, dbias] if scaled else [dx, dbias]
    return [d if need else None for d, need in zip(found, needs)]


def _forward(
    x: np.ndarray, affine: Sequence[np.ndarray], n_axes: int, eps: float, scaled: bool
) -> tuple[tuple, np.ndarray]:
    """The rows as given, flat, with means and scales, for the backward pass; and the result."""
    n = math.prod(x.shape[x.ndim - n_axes :])
    weight = flat(affine[0]) if scaled else np.ones(n, x.dtype)
    bias = flat(affine[-1]) if len(affine) > scaled else np.zeros(n, x.dtype)
    means, scales = np.empty((2, math.prod(x.shape[: x.ndim - n_axes])), x.dtype)
    out, rows = np.empty(x.shape, x.dtype), flat(x)
    kernels("layer_norm", x.size).forward(rows, n, weight, bias, eps, means, scales, out.reshape(-1), 0, means.size)
    return (x, rows, means, scales), out


@primitive(joint_vjp=_vjp, saves=(0, 1), lowering=Lowering(decompose=_decompose), floats=True, owns_gradients=True)
def layer_norm(x: Value, *affine: Value, n_axes: int, eps: float, scaled: bool, saved: dict) -> Value:
    """Bring `x` to mean 0 and variance 1 over its last `n_axes` axes, then scale and shift.

    `affine` holds the weight, if `scaled`, and the bias, if there is one. `saved` is an empty dict, which takes up what
    the gradient needs.
    """
    saved["run"], out = _forward(x, affine, n_axes, eps, scaled)
    return out
