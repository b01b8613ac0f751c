"""Variance, standard deviation and length."""

from __future__ import annotations

import numpy as np

from ..checks import is_number, shown
from ..config import grad_mode
from ..core import OUT, Lowering, primitive
from ..core.aliases import Axes, Value
from ..core.signatures import like_first
from ..errors import ShapeError
from .arguments import keeps, number, operand, several_axes
from .compare import isfinite, isinf
from .elementwise import abs, constant, sqrt, where
from .reduce import _count, _expand, _max, _sum, max, sum
from .shape import reshape


def _deviations(x: Value, axis: Axes, ddof: float, name: str) -> tuple[Value, tuple[int, ...], float]:
    """Deviations from the mean over `axis`, the axes, and the divisor ``n - ddof``."""
    x = operand(x, name)
    axes, ddof = several_axes(axis, x.shape, scalars=True), number(ddof, "ddof")
    count = _count(x, axes)
    if count == 0 or count - ddof <= 0:
        raise ShapeError(f"{name}: got {count} elements and ddof={ddof}, wanted more elements than ddof")
    return centre(x, axis=axes), axes, count - ddof


@like_first
def var(x: Value, axis: Axes = None, keepdims: bool = False, ddof: float = 0) -> Value:
    """Variance over `axis`, with divisor ``n - ddof``; exactly 0 where all elements are equal."""
    centred, axes, divisor = _deviations(x, axis, ddof, "var")
    return _sum(centred * centred, axis=axes, keepdims=keeps(keepdims)) / divisor


@like_first
def std(x: Value, axis: Axes = None, keepdims: bool = False, ddof: float = 0) -> Value:
    """Standard deviation over `axis`, with divisor ``n - ddof``.

    Its gradient is 0 where all elements are equal. It overflows and underflows only where the result does, not where
    its square does.
    """
    centred, axes, divisor = _deviations(x, axis, ddof, "std")
    return _norm(centred * (1.0 / divisor**0.5), axis=axes, keepdims=keeps(keepdims))  # their length may overflow


def _centre_vjp(g: Value, y: Value, x: Value, axis: tuple[int, ...]) -> Value:
    return centre(g, axis=axis)  # a projection, which is its own transpose


def _decompose_centre(x: Value, axis: tuple[int, ...]) -> Value:
    count = _count(x, axis)
    y = x - _sum(x, axis=axis, keepdims=True) * (1.0 / count)
    rest = _sum(constant(y), axis=axis, keepdims=True) / count  # what rounding left: all there is of equal elements
    return y - constant(rest)


@primitive(vjps=[_centre_vjp], saves=(), lowering=Lowering(decompose=_decompose_centre), floats=True)
def centre(x: Value, axis: tuple[int, ...]) -> Value:
    """`x` without its mean over `axis`; exactly 0 where all elements are equal."""
    first = x[tuple([slice(0, 1) if i in axis else slice(None) for i in range(x.ndim)])]
    count = _count(x, axis)
    count = _count(x, axis)
    with np.errstate(over="ignore", invalid="ignore"):
        y = np.subtract(x, first)
        total = np.add.reduce(y, axis=axis, keepdims=True)
        if not np.isfinite(total).all():  # of elements so large that differences, or sums of them, overflow
            half = np.add.reduce(x * (0.5 / count), axis=axis, keepdims=True)
            return np.where(np.isfinite(total), x - (total / count + first), x - half - half)
    mean = total / count
    mean += first
    return np.subtract(x, mean, out=y) if y.ndim else np.subtract(x, mean)


# ---- lengths


def _decompose_norm(x: Value, axis: tuple[int, ...], keepdims: bool) -> Value:
    top = constant(_max(abs(x), axis=axis, keepdims=True))
    top = where((top > 0) & isfinite(top), top, 1.0)
    z = x / top
    total = _sum(z * z, axis=axis, keepdims=True)
    none = total == 0
    y = sqrt(where(none, 1.0, total)) * where(none, 0.0, top)
    return y if keepdims else reshape(y, tuple(n for i, n in enumerate(x.shape) if i not in axis))


def _norm_vjp(g: Value, y: Value, x: Value, axis: tuple[int, ...], keepdims: bool) -> Value:
    g, y = _expand(g, x, axis, keepdims), _expand(y, x, axis, keepdims)
    far = isinf(y)
    if grad_mode.tracer is not None or far.any():  # of finite elements too: their direction is that of smaller ones
        x = where(far, x * 2.0**-32, x)
        y = where(far, _norm(x, axis=axis, keepdims=True), y)
    return g * _direction(x, y)


@primitive(
    vjps=[_norm_vjp],
    saves=(0, OUT),
    lowering=Lowering(decompose=_decompose_norm),
    floats=True,
)
def _norm(x: Value, axis: tuple[int, ...], keepdims: bool) -> Value:
    limits = np.finfo(x.dtype)
    with np.errstate(over="ignore", under="ignore"):
        y = np.sqrt(np.add.reduce(x * x, axis=axis, keepdims=keepdims))  # type: ignore[call-overload]
        if np.all((y > limits.tiny**0.5 / limits.eps) & (y < np.inf)):
            return y
        top = np.maximum.reduce(np.abs(x), axis=axis, keepdims=True, initial=0)  # squares too large or too small
        top = np.where((top > 0) & (top < np.inf), top, x.dtype.type(1))
        z = x / top
        y = np.sqrt(np.add.reduce(z * z, axis=axis, keepdims=True)) * top
    return y if keepdims else y.reshape(tuple([n for i, n in enumerate(x.shape) if i not in axis]))


def _direction(x: Value, y: Value) -> Value:
    """``x / y``; 0 where the length `y` is 0."""
    none = y == 0
    return where(none, 0.0, x / where(none, 1.0, y))


@like_first
def norm(x: Value, ord: float | None = None, axis: Axes = None, keepdims: bool = False) -> Value:
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
    known = ord if ord is None or is_number(ord) else "another"  # what is no number may not even compare with one
    if known is None or (known == 2 and len(axes) == 1):
        return _norm(x, axis=axes, keepdims=keeps(keepdims))
    if known not in (1, np.inf) or len(axes) != 1:
        raise ValueError(f"norm: got ord={shown(ord)} over {len(axes)} axes, wanted None, or 1, 2 or inf over one axis")
    return (sum if ord == 1 else max)(abs(x), axis=axes, keepdims=keepdims)


NORM = _norm.op  # the record, for programs
