"""Operations that move or repeat elements without changing them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..checks import is_whole, whole_number
from ..config import grad_mode
from ..core import Lowering, Tensor, primitive, tree
from ..core.aliases import ArrayLike, Axes, Shape, Value
from ..core.node import as_operand
from ..core.signatures import like_first
from ..errors import ShapeError
from .arguments import MOST, integers, number, one_axis, operand, several_axes
from .elementwise import copy
from .index import getitem, take


@primitive(vjps=[lambda g, y, x, shape: g.reshape(x.shape)], saves=(), view=True, lowering=Lowering("reshape"))
def _reshape(x: Value, shape: tuple[int, ...]) -> Value:
    return np.reshape(x, shape)


@like_first
def reshape(x: Value, *shape: Shape) -> Value:
    """The same elements in another shape; one length may be -1."""
    x = operand(x, "reshape")
    shape = integers(shape[0] if len(shape) == 1 else shape, "shape")
    size, wanted = int(np.prod(x.shape, dtype=int)), shape
    if wanted.count(-1) == 1:  # rules and lowerings see whole shapes
        rest = int(np.prod([n for n in wanted if n != -1], dtype=int))
        if rest and size % rest == 0:
            wanted = tuple(size // rest if n == -1 else n for n in wanted)
    if min(wanted, default=0) < 0 or int(np.prod(wanted, dtype=int)) != size:
        raise ShapeError(f"reshape: got shape {tuple(x.shape)}, which has {size} elements, wanted {tuple(shape)}")
    return x if wanted == tuple(x.shape) and not _needs_view(x) else _reshape(x, shape=wanted)


def _needs_view(x: Value) -> bool:
    """Whether a view must be a new tensor even if it changes nothing: in no_grad it requires no gradients."""
    return isinstance(x, Tensor) and grad_mode.tracer is None


def _inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argsort(axes))


def _transpose_vjp(g: Value, y: Value, x: Value, axes: tuple[int, ...]) -> Value:
    return _transpose(g, axes=_inverse(axes))


@primitive(
    vjps=[_transpose_vjp],
    saves=(),
    view=True,
    lowering=Lowering("transpose"),
)
def _transpose(x: Value, axes: tuple[int, ...]) -> Value:
    return np.transpose(x, axes)


@like_first
def transpose(x: Value, *axes: Shape | None) -> Value:
    """Permute the axes; without arguments, reverse them."""
    x = operand(x, "transpose")
    n = len(x.shape)
    if not axes or (len(axes) == 1 and axes[0] is None):
        return _transpose(x, axes=tuple(range(n))[::-1])
    axes = integers(axes[0] if len(axes) == 1 else axes, "axes")
    order = tuple(a % n if -n <= a < n else -1 for a in axes)
    if sorted(order) != list(range(n)):
        raise ShapeError(f"transpose: got axes {tuple(axes)}, wanted a permutation of the {n} axes of {tuple(x.shape)}")
    return _transpose(x, axes=order)


@like_first
def swapaxes(x: Value, a: int, b: int) -> Value:
    """Exchange two axes."""
    x = operand(x, "swapaxes")
    a, b = one_axis(a, x.shape), one_axis(b, x.shape)
    order = list(range(len(x.shape)))
    order[a], order[b] = order[b], order[a]
    return _transpose(x, axes=tuple(order))


@like_first
def moveaxis(x: Value, source: Shape, destination: Shape) -> Value:
    """Move axes (an int, or several) to other places; the others keep their order."""
    x = operand(x, "moveaxis")
    n = len(x.shape)
    moved, places = (
        [one_axis(a, x.shape) for a in integers(axes, name)]
        for axes, name in ((source, "source"), (destination, "destination"))
    )
    if len(moved) != len(places) or len(set(moved)) != len(moved) or len(set(places)) != len(places):
        raise ShapeError(f"moveaxis: got {source} and {destination}, wanted as many places as axes, each once")
    order = [i for i in range(n) if i not in moved]
    for place, axis in sorted(zip(places, moved)):
        order.insert(place, axis)
    return _transpose(x, axes=tuple(order))


@like_first
def expand_dims(x: Value, axis: Shape) -> Value:
    """Insert an axis of length 1 at `axis` (an int or a tuple)."""
    x, axes = operand(x, "expand_dims"), integers(axis, "axis")
    n = len(x.shape) + len(axes)
    new = {one_axis(a, (1,) * n) for a in axes}
    if len(new) != len(axes):
        raise ShapeError(f"axis: got {axis}, wanted each axis once")
    rest = iter(x.shape)
    return _reshape(x, shape=tuple(1 if i in new else next(rest) for i in range(n)))


@like_first
def squeeze(x: Value, axis: Axes = None) -> Value:
    """Remove axes of length 1: all, or those in `axis`."""
    x = operand(x, "squeeze")
    if axis is None:
        gone = [i for i, length in enumerate(x.shape) if length == 1]
    else:
        gone = list(several_axes(axis, x.shape, scalars=True))
        for a in gone:
            if x.shape[a] != 1:
                raise ShapeError(f"squeeze: got axis {a} of shape {tuple(x.shape)}, wanted an axis of length 1")
    return reshape(x, tuple(length for i, length in enumerate(x.shape) if i not in gone))


@primitive(vjps=[lambda g, y, x, shape: g], saves=(), view=True, lowering=Lowering("broadcast"))
def _broadcast_to(x: Value, shape: tuple[int, ...]) -> Value:
    return np.broadcast_to(x, shape)


@like_first
def broadcast_to(x: Value, shape: Shape) -> Value:
    """Repeat along axes of length 1 to reach `shape`, as NumPy broadcasts; shares memory."""
    x, shape = operand(x, "broadcast_to"), integers(shape, "shape")
    given = tuple(x.shape)
    if given == shape and not _needs_view(x):
        return x
    if len(given) > len(shape) or any(m not in (1, n) for m, n in zip(given[::-1], shape[::-1])):
        raise ShapeError(f"broadcast_to: got shape {given}, which does not broadcast to {shape}")
    return _broadcast_to(x, shape=shape)


def _flip_vjp(g: Value, y: Value, x: Value, axes: tuple[int, ...]) -> Value:
    return _flip(g, axes=axes)


def _decompose_flip(x: Value, axes: tuple[int, ...]) -> Value:
    return getitem(x, tuple(slice(None, None, -1) if i in axes else slice(None) for i in range(len(x.shape))))


@primitive(vjps=[_flip_vjp], saves=(), view=True, lowering=Lowering(decompose=_decompose_flip))
def _flip(x: Value, axes: tuple[int, ...]) -> Value:
    return np.flip(x, axes)


@like_first
def flip(x: Value, axis: Axes = None) -> Value:
    """Reverse the order along `axis` (None: all axes)."""
    x = operand(x, "flip")
    return _flip(x, axes=several_axes(axis, x.shape))


def _unpad(g: Value, y: Value, x: Value, widths: tuple, value: float) -> Value:
    return g[tuple(slice(before, before + n) for (before, _), n in zip(widths, x.shape))]


@primitive(vjps=[_unpad], saves=(), lowering=Lowering("pad"))
def _pad(x: Value, widths: tuple, value: float) -> Value:
    return np.pad(x, widths, constant_values=value)


@like_first
def pad(x: Value, pad_width: int | Sequence, mode: str = "constant", constant_values: float = 0) -> Value:
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
    x = operand(x, "pad")
    n = len(x.shape)
    try:
        given = np.asarray(pad_width)
        widths = np.broadcast_to(given, (n, 2))
    except ValueError as e:
        raise ShapeError(f"pad_width: got {pad_width}, wanted a pair for each axis of {tuple(x.shape)}") from e
    if given.dtype.kind not in "iu":
        raise TypeError(f"pad_width: got {pad_width!r}, wanted ints")
    if (given < 0).any():
        raise ShapeError(f"pad_width: got {pad_width}, wanted no negative width")
    if not n:
        return copy(x)
    pairs = tuple((int(a), int(b)) for a, b in widths)
    if mode == "constant":
        return _pad(x, widths=pairs, value=number(constant_values, "constant_values"))
    if not any(map(any, pairs)):
        return copy(x)
    for axis, pair in enumerate(pairs):  # by indices: the gradient adds up what is read twice
        if any(pair):
            if not x.shape[axis]:
                raise ShapeError(f"pad: got mode {mode!r} for shape {tuple(x.shape)}, wanted an axis with elements")
            places: Any = np.pad(np.arange(x.shape[axis]), pair, mode)  # type: ignore[call-overload]
            x = take(x, places, axis)
    return x


def repeat(x: Any, repeats: Any, axis: Any = None) -> Any:
    """Repeat each element `repeats` times along `axis`; or, with a function, a computation.

    Parameters
    ----------
    x : Tensor or array; or int
    repeats : int or ints
        For all elements, or for each.
    axis : int, optional
        None: of the flattened tensor.

    Notes
    -----
    ``repeat(n, f, state)`` is ``f(f(...f(state)))``, n times: substeps of an equation, recurrent depth, iterative
    attention. The state is any nest of tensors, of which `f` returns one of the same shapes and dtypes. In a step that
    is compiled, the code of a repetition is compiled once, where all of them do the same.

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> tr.repeat(tr.tensor([1.0, 2.0]), 2).tolist()
    [1.0, 1.0, 2.0, 2.0]
    >>> tr.repeat(3, lambda h: 2 * h, tr.tensor([1.0])).tolist()
    [8.0]
    """
    if is_whole(x) and callable(repeats):
        return _repeated_function(x, repeats, axis)
    return _repeated(x, repeats, axis)


def _repeated_function(n: Any, f: Callable[[Any], Any], state: Any) -> Any:
    """The state after `n` calls of `f`."""
    leaves, structure = tree.flatten(state)
    wanted = [(v.shape, v.dtype) for v in leaves]
    for i in range(whole_number("repeat: n", n, 0)):
        state = f(state)
        found, got = tree.flatten(state)
        if got != structure:
            raise ShapeError(f"repeat: f: returned {tree.in_words(got)}, wanted {tree.in_words(structure)}")
        for v, (shape, dtype) in zip(found, wanted):
            if getattr(v, "shape", None) != shape or v.dtype != dtype:
                kind = f"{v.dtype}{list(v.shape)}" if hasattr(v, "shape") else type(v).__name__
                raise ShapeError(f"repeat: f: returned {kind} in repetition {i}, wanted {dtype}{list(shape)}")
    return state


@like_first
def _repeated(x: Value, repeats: ArrayLike, axis: int | None) -> Value:
    """Elements of `x`, each so many times."""
    x = operand(x, "repeat")
    if axis is None or not x.shape:
        axis = 0 if axis is None else one_axis(axis, x.shape, scalars=True)
        x = reshape(x, -1)
    axis = one_axis(axis, x.shape)
    counts = as_operand(repeats, "repeats")
    if counts.ndim > 1 or counts.dtype.kind not in "iu" or counts.size not in (1, x.shape[axis]) or (counts < 0).any():
        raise ShapeError(f"repeats: got {repeats!s}, wanted a count, or {x.shape[axis]} counts")
    return take(x, np.repeat(np.arange(x.shape[axis]), counts), axis)


@like_first
def tile(x: Value, reps: Shape) -> Value:
    """Copies of `x` side by side, ``reps[i]`` along axis i."""
    x, reps = operand(x, "tile"), integers(reps, "reps")
    if min(reps, default=0) < 0 or math.prod(reps) * x.size > MOST:
        raise ShapeError(f"reps: got {reps}, wanted numbers from 0 on, and no more than {MOST} elements")
    n = max(len(reps), len(x.shape))
    reps = (1,) * (n - len(reps)) + reps
    shape = (1,) * (n - len(x.shape)) + tuple(x.shape)
    if set(reps) <= {1}:
        return copy(reshape(x, shape))
    # an axis before each of which there are copies, to broadcast along
    thin = tuple(m for r, length in zip(reps, shape) for m in ((length,) if r == 1 else (1, length)))
    wide = tuple(m for r, length in zip(reps, shape) for m in ((length,) if r == 1 else (r, length)))
    whole = tuple(length if r == 1 else r * length for r, length in zip(reps, shape))
    return reshape(broadcast_to(reshape(x, thin), wide), whole)


# records of operations, for programs, which tell them apart by these
RESHAPE, TRANSPOSE, BROADCAST_TO = _reshape.op, _transpose.op, _broadcast_to.op
PAD, FLIP = _pad.op, _flip.op
