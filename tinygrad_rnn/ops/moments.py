"""Variance, standard deviation and length."""

from __future__ import annotations

import numpy as np

from ..core import OUT, Lowering, primitive
from ..errors import ShapeError
from .arguments import number, operand, several_axes
from .compare import isfinite
from .elementwise import abs, constant, sqrt, where
from .reduce import _count, _expand, _max, _sum, max, sum
from .shape import reshape


def _deviations(x, axis, ddof, name):
    """Deviations from the mean over `axis`, the axes, and the divisor ``n - ddof``."""
    x = operand(x, name)
    axes, ddof = several_axes(axis, x.shape, scalars=True), number(ddof, "ddof")
    count = _count(x, axes)
    if count == 0 or count - ddof <= 0:
        raise ShapeError(f"{name}: got {count} elements and ddof={ddof}, wanted more elements than ddof")
    return centre(x, axis=axes), axes, count - ddof


def var(x, axis=None, keepdims=False, ddof=0):
    """Variance over `axis`, with divisor ``n - ddof``; exactly 0 where all elements are equal."""
    centred, axes, divisor = _deviations(x, axis, ddof, "var")
    return _sum(centred * centred, axis=axes, keepdims=bool(keepdims)) / divisor


def std(x, axis=None, keepdims=False, ddof=0):
    """Standard deviation over `axis`, with divisor ``n - ddof``; its gradient is 0 where all elements are equal.

    It overflows and underflows only where the result does, not its square.
    """
    centred, axes, divisor = _deviations(x, axis, ddof, "std")
    return _norm(centred, axis=axes, keepdims=bool(keepdims)) * (1.0 / divisor**0.5)


def _centre_vjp(g, y, x, axis):
    return centre(g, axis=axis)  # a projection, which is its own transpose


def _decompose_centre(x, axis):
    count = _count(x, axis)
    y = x - _sum(x, axis=axis, keepdims=True) * (1.0 / count)
    rest = _sum(constant(y), axis=axis, keepdims=True) / count  # what rounding left: all there is of equal elements
    return y - constant(rest)


@primitive(vjps=[_centre_vjp], saves=(), lowering=Lowering(decompose=_decompose_centre), floats=True)
def centre(x, axis):
    """`x` without its mean over `axis`; exactly 0 where all elements are equal."""
    first = x[tuple([slice(0, 1) if i in axis else slice(None) for i in range(x.ndim)])]
    y = np.subtract(x, first)
    mean = np.add.reduce(y, axis=axis, keepdims=True) / _count(x, axis)
    mean += first
    return np.subtract(x, mean, out=y) if y.ndim else np.subtract(x, mean)


# ---- lengths


def _decompose_norm(x, axis, keepdims):
    top = constant(_max(abs(x), axis=axis, keepdims=True))
    top = where((top > 0) & isfinite(top), top, 1.0)
    z = x / top
    total = _sum(z * z, axis=axis, keepdims=True)
    none = total == 0
    y = sqrt(where(none, 1.0, total)) * where(none, 0.0, top)
    return y if keepdims else reshape(y, tuple(n for i, n in enumerate(x.shape) if i not in axis))


@primitive(
    vjps=[lambda g, y, x, axis, keepdims: _expand(g, x, axis, keepdims) * _direction(x, _expand(y, x, axis, keepdims))],
    saves=(0, OUT),
    lowering=Lowering(decompose=_decompose_norm),
    floats=True,
)
def _norm(x, axis, keepdims):
    limits = np.finfo(x.dtype)
    with np.errstate(over="ignore", under="ignore"):
        y = np.sqrt(np.add.reduce(x * x, axis=axis, keepdims=keepdims))
        if np.all((y > limits.tiny**0.5 / limits.eps) & (y < np.inf)):
            return y
        top = np.maximum.reduce(np.abs(x), axis=axis, keepdims=True, initial=0)  # squares too large or too small
        top = np.where((top > 0) & (top < np.inf), top, x.dtype.type(1))
        z = x / top
        y = np.sqrt(np.add.reduce(z * z, axis=axis, keepdims=True)) * top
    return y if keepdims else y.reshape(tuple([n for i, n in enumerate(x.shape) if i not in axis]))


def _direction(x, y):
    """``x / y``; 0 where the length `y` is 0."""
    none = y == 0
    return where(none, 0.0, x / where(none, 1.0, y))


def norm(x, ord=None, axis=None, keepdims=False):
    """Length of vectors, as ``numpy.linalg.norm``; its gradient at zero is zero.

    Parameters
    ----------
    x : Tensor or array
    ord : {None, 1, 2, inf}
        None or 2: the square root of the sum of squares; 1: the sum of absolute values; inf: the largest of them.
    axis : int or tuple of int, optional
        Over which to take it; None: over all elements, for `ord` None (or one axis).
    keepdims : bool

    Notes
    -----
    It overflows and underflows only where the result does, not the squares. Norms of matrices other than
    the default, Frobenius's, are not offered.

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> x = tr.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    >>> tr.norm(x, axis=-1).sum().backward()
    >>> x.grad.tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    x = operand(x, "norm")
    axes = several_axes(axis, x.shape, scalars=True)
    if ord is None or (ord == 2 and len(axes) == 1):
        return _norm(x, axis=axes, keepdims=bool(keepdims))
    if ord not in (1, np.inf) or len(axes) != 1:
        raise ValueError(f"norm: got ord={ord!r} over {len(axes)} axes, wanted None, or 1, 2 or inf over one axis")
    return (sum if ord == 1 else max)(abs(x), axis=axes, keepdims=keepdims)
