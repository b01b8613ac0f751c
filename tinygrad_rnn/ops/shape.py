"""Operations that move or repeat elements without changing them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from ..core import Lowering, primitive
from ..errors import ShapeError
from .index import scatter_add, take


@primitive(vjps=[lambda g, y, x, shape: g.reshape(x.shape)], saves=(), view=True, lowering=Lowering("reshape"))
def _reshape(x, shape):
    return np.reshape(x, shape)


def reshape(x, *shape):
    """The same elements in another shape; one length may be -1."""
    if len(shape) == 1 and not isinstance(shape[0], (int, np.integer)):
        shape = tuple(shape[0])
    size, wanted = int(np.prod(x.shape, dtype=int)), tuple(int(n) for n in shape)
    if wanted.count(-1) == 1:
        rest = int(np.prod([n for n in wanted if n != -1], dtype=int))
        if rest and size % rest == 0:
            wanted = tuple(size // rest if n == -1 else n for n in wanted)
    if min(wanted, default=0) < 0 or int(np.prod(wanted, dtype=int)) != size:
        raise ShapeError(f"reshape: got shape {tuple(x.shape)}, which has {size} elements, wanted {tuple(shape)}")
    return x if wanted == tuple(x.shape) else _reshape(x, shape=wanted)


def _inverse(axes):
    return tuple(int(i) for i in np.argsort(axes))


def _transpose_vjp(g, y, x, axes):
    return _transpose(g, axes=_inverse(axes))


@primitive(
    vjps=[_transpose_vjp],
    saves=(),
    view=True,
    lowering=Lowering("transpose"),
)
def _transpose(x, axes):
    return np.transpose(x, axes)


def transpose(x, *axes):
    """Permute the axes; without arguments, reverse them."""
    n = len(x.shape)
    if len(axes) == 1 and not isinstance(axes[0], (int, np.integer)):
        axes = () if axes[0] is None else tuple(axes[0])
    order = tuple(range(n))[::-1] if not axes else tuple(int(a) % n if -n <= a < n else -1 for a in axes)
    if sorted(order) != list(range(n)):
        raise ShapeError(f"transpose: got axes {tuple(axes)}, wanted a permutation of the {n} axes of {tuple(x.shape)}")
    return _transpose(x, axes=order)


def swapaxes(x, a, b):
    """Exchange two axes."""
    n = len(x.shape)
    for axis in (a, b):
        _check_axis(axis, n, x.shape)
    order = list(range(n))
    order[a], order[b] = order[b], order[a]
    return _transpose(x, axes=tuple(i % n for i in order))


def moveaxis(x, source, destination):
    """Move one axis to another place; the others keep their order."""
    n = len(x.shape)
    source, destination = _check_axis(source, n, x.shape), _check_axis(destination, n, x.shape)
    order = [i for i in range(n) if i != source]
    order.insert(destination, source)
    return _transpose(x, axes=tuple(order))


def _check_axis(axis: Any, n: int, shape) -> int:
    if not -n <= axis < n:
        raise ShapeError(f"axis: got {axis}, wanted an axis of shape {tuple(shape)}")
    return axis % n


def expand_dims(x, axis):
    """Insert an axis of length 1 at `axis` (an int or a tuple)."""
    axes = (axis,) if isinstance(axis, (int, np.integer)) else tuple(axis)
    n = len(x.shape) + len(axes)
    new = {_check_axis(a, n, (1,) * n) for a in axes}
    rest = iter(x.shape)
    return _reshape(x, shape=tuple(1 if i in new else next(rest) for i in range(n)))


def squeeze(x, axis=None):
    """Remove axes of length 1: all, or those in `axis`."""
    n = len(x.shape)
    if axis is None:
        gone = {i for i, length in enumerate(x.shape) if length == 1}
    else:
        axes = (axis,) if isinstance(axis, (int, np.integer)) else axis
        gone = {_check_axis(a, n, x.shape) for a in axes}
        for a in gone:
            if x.shape[a] != 1:
                raise ShapeError(f"squeeze: got axis {a} of shape {tuple(x.shape)}, wanted an axis of length 1")
    return reshape(x, tuple(length for i, length in enumerate(x.shape) if i not in gone))


@primitive(vjps=[lambda g, y, x, shape: g], saves=(), view=True, lowering=Lowering("broadcast"))
def _broadcast_to(x, shape):
    return np.broadcast_to(x, shape)


def broadcast_to(x, shape):
    """Repeat along axes of length 1 to reach `shape`, as NumPy broadcasts; shares memory."""
    shape, given = tuple(shape), tuple(getattr(x, "shape", ()))
    if given == shape:
        return x
    if len(given) > len(shape) or any(m not in (1, n) for m, n in zip(given[::-1], shape[::-1])):
        raise ShapeError(f"broadcast_to: got shape {given}, which does not broadcast to {shape}")
    return _broadcast_to(x, shape=shape)


def _flip_vjp(g, y, x, axes):
    return _flip(g, axes=axes)


@primitive(vjps=[_flip_vjp], saves=(), view=True)
def _flip(x, axes):
    return np.flip(x, axes)


def flip(x, axis=None):
    """Reverse the order along `axis` (None: all axes)."""
    n = len(x.shape)
    axes = range(n) if axis is None else (axis,) if isinstance(axis, (int, np.integer)) else axis
    return _flip(x, axes=tuple(_check_axis(a, n, x.shape) for a in axes))


def _unpad(g, y, x, widths, value):
    return g[tuple(slice(before, before + n) for (before, _), n in zip(widths, x.shape))]


@primitive(vjps=[_unpad], saves=())
def _pad(x, widths, value):
    return np.pad(x, widths, constant_values=value)


def pad(x, pad_width, mode="constant", constant_values=0):
    """Surround with a constant, or with values taken from the array itself.

    Parameters
    ----------
    pad_width : int, (before, after), or one such pair for each axis
    mode : {"constant", "edge", "reflect", "symmetric", "wrap"}
    constant_values : number

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> tr.pad(tr.tensor([1.0, 2.0]), (1, 0), mode="edge")
    tensor([1., 1., 2.], dtype=float32)
    """
    if mode not in ("constant", "edge", "reflect", "symmetric", "wrap"):
        raise ValueError(f"mode: got {mode!r}, wanted constant, edge, reflect, symmetric or wrap")
    n = len(x.shape)
    try:
        widths = np.broadcast_to(np.asarray(pad_width, dtype=int), (n, 2))
    except ValueError as e:
        raise ShapeError(f"pad_width: got {pad_width}, wanted a pair for each axis of {tuple(x.shape)}") from e
    if (widths < 0).any():
        raise ShapeError(f"pad_width: got {pad_width}, wanted no negative width")
    pairs = tuple((int(a), int(b)) for a, b in widths)
    if mode == "constant":
        return _pad(x, widths=pairs, value=constant_values)
    for axis, pair in enumerate(pairs):
        if any(pair):
            x = take(x, np.pad(np.arange(x.shape[axis]), pair, mode=mode), axis)
    return x


def repeat(x, repeats, axis=None):
    """Repeat each element `repeats` times (a number, or one number for each) along `axis`."""
    if axis is None:
        x, axis = reshape(x, -1), 0
    axis = _check_axis(axis, len(x.shape), x.shape)
    counts = np.asarray(repeats)
    if counts.ndim > 1 or counts.dtype.kind not in "iu" or counts.size not in (1, x.shape[axis]) or (counts < 0).any():
        raise ShapeError(f"repeats: got {repeats}, wanted a count, or {x.shape[axis]} counts")
    return take(x, np.repeat(np.arange(x.shape[axis]), counts), axis)


def tile(x, reps):
    """Lay copies of `x` side by side, ``reps[i]`` along axis i."""
    reps = (reps,) if isinstance(reps, (int, np.integer)) else tuple(reps)
    n = max(len(reps), len(x.shape))
    reps = (1,) * (n - len(reps)) + tuple(int(r) for r in reps)
    shape = (1,) * (n - len(x.shape)) + tuple(x.shape)
    thin = tuple(m for length in shape for m in (1, length))
    wide = tuple(m for r, length in zip(reps, shape) for m in (r, length))
    return reshape(broadcast_to(reshape(x, thin), wide), tuple(r * length for r, length in zip(reps, shape)))


# ---- joining and splitting


def _concat_vjp(g, y, *xs, needs, axis):
    lead, start, out = (slice(None),) * axis, 0, []
    for x, need in zip(xs, needs):
        stop = start + x.shape[axis]
        out.append(g[(*lead, slice(start, stop))] if need else None)
        start = stop
    return out


@primitive(joint_vjp=_concat_vjp, saves=(), lowering=Lowering("concat"))
def _concat(*xs, axis):
    return np.concatenate(xs, axis=axis)


def concat(xs, axis=0):
    """Join tensors along an existing axis."""
    xs = list(xs)
    if not xs:
        raise ShapeError("concat: got no tensors, wanted at least one")
    n = len(xs[0].shape)
    axis = _check_axis(axis, n, xs[0].shape)
    for x in xs:
        if len(x.shape) != n or any(i != axis and a != b for i, (a, b) in enumerate(zip(x.shape, xs[0].shape))):
            shapes = ", ".join(str(tuple(x.shape)) for x in xs)
            raise ShapeError(f"concat: got shapes {shapes}, wanted equal shapes but for axis {axis}")
    return _concat(*xs, axis=axis)


def _pick_along(g, i, axis):
    return g[(*(slice(None),) * axis, i)]


@primitive(
    joint_vjp=lambda g, y, *xs, needs, axis: [
        _pick_along(g, i, axis) if need else None for i, need in enumerate(needs)
    ],
    saves=(),
)
def _stack(*xs, axis):
    return np.stack(xs, axis=axis)


def stack(xs, axis=0):
    """Join tensors of one shape along a new axis."""
    xs = list(xs)
    if not xs:
        raise ShapeError("stack: got no tensors, wanted at least one")
    for x in xs:
        if tuple(x.shape) != tuple(xs[0].shape):
            raise ShapeError(f"stack: got shapes {tuple(xs[0].shape)} and {tuple(x.shape)}, wanted equal shapes")
    return _stack(*xs, axis=_check_axis(axis, len(xs[0].shape) + 1, xs[0].shape))


def _unstack_vjp(gs, y, x, needs, axis):
    shape = tuple(n for i, n in enumerate(x.shape) if i != axis)
    zero = None if len(gs) == x.shape[axis] else np.zeros(shape, x.dtype)  # for slices that nothing used
    return (_stack(*(gs.get(i, zero) for i in range(x.shape[axis])), axis=axis),)


@primitive(joint_vjp=_unstack_vjp, saves=(), view=True)
def _unstack(x, axis):
    return tuple(np.moveaxis(x, axis, 0))


def unstack(x, axis=0):
    """The slices along `axis`, as a tuple; the inverse of :func:`stack`."""
    return _unstack(x, axis=_check_axis(axis, len(x.shape), x.shape))


def _split_vjp(gs, y, x, needs, bounds, axis):
    if len(gs) == len(bounds) - 1 and bounds[-1] == x.shape[axis]:
        return (_concat(*(gs[i] for i in range(len(gs))), axis=axis),)
    lead, total = (slice(None),) * axis, None  # parts that nothing used stay zero
    for i, g in gs.items():
        part = scatter_add(g, index=(*lead, slice(bounds[i], bounds[i + 1])), shape=tuple(x.shape))
        total = part if total is None else total + part
    return (total,)


@primitive(joint_vjp=_split_vjp, saves=(), view=True, lowering=Lowering("split"))
def _split(x, bounds, axis):
    lead = (slice(None),) * axis
    return tuple([x[(*lead, slice(a, b))] for a, b in pairwise(bounds)])


def split(x, indices_or_sections, axis=0):
    """Cut along `axis` into equal parts (a number) or at the given indices, as ``numpy.split``."""
    axis = _check_axis(axis, len(x.shape), x.shape)
    length = x.shape[axis]
    if isinstance(indices_or_sections, (int, np.integer)):
        n = int(indices_or_sections)
        if n < 1 or length % n:
            raise ShapeError(f"split: got {n} sections of axis {axis} with length {length}, wanted equal parts")
        bounds = tuple(range(0, length + 1, length // n)) if length else (0,) * (n + 1)
    else:
        bounds = (0, *(int(i) for i in indices_or_sections), length)
        if any(a > b for a, b in pairwise(bounds)) or bounds[1] < 0:
            raise ShapeError(f"split: got indices {indices_or_sections}, wanted rising indices within {length}")
    return _split(x, bounds=bounds, axis=axis)
