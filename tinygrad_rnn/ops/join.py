"""Operations that join several tensors, or cut one into several, or both."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, overload

import numpy as np

from ..core import Lowering, Tensor, primitive
from ..core.aliases import ArrayLike, Axes, Shape, Value
from ..core.signatures import like_first
from ..errors import ShapeError
from .arguments import integers, one_axis, operand
from .elementwise import copy
from .index import scatter_add
from .shape import reshape

PARTS = 2**20  # into which an axis may be cut: each is a tensor of its own


def _concat_vjp(g: Value, y: Value, *xs: Value, needs: Sequence[bool], axis: int) -> list[Value]:
    lead, start, out = (slice(None),) * axis, 0, []
    for x, need in zip(xs, needs):
        stop = start + x.shape[axis]
        out.append(g[(*lead, slice(start, stop))] if need else None)
        start = stop
    return out


@primitive(joint_vjp=_concat_vjp, saves=(), lowering=Lowering("concat"))
def _concat(*xs: Value, axis: int) -> Value:
    return np.concatenate(xs, axis=axis)


def _sequence(xs: Any, name: str) -> list[Value]:
    """The operands of a function that joins several, checked to be at least one."""
    if isinstance(xs, (str, bytes)) or not hasattr(xs, "__iter__") or getattr(xs, "shape", None) == ():
        raise TypeError(f"{name}: got {type(xs).__name__}, wanted a sequence of tensors")
    xs = [operand(x, name) for x in xs]
    if not xs:
        raise ShapeError(f"{name}: got no tensors, wanted at least one")
    return xs


@overload
def concat(xs: Tensor | Sequence[Tensor], axis: int | None = 0) -> Tensor: ...
@overload
def concat(xs: np.ndarray | Sequence[Value], axis: int | None = 0) -> Value: ...
def concat(xs: Tensor | np.ndarray | Sequence[Value], axis: int | None = 0) -> Value:
    """Join tensors along an existing axis (None: flatten them first)."""
    xs = _sequence(xs, "concat")
    if axis is None:
        xs, axis = [reshape(x, -1) for x in xs], 0
    n = len(xs[0].shape)
    axis = one_axis(axis, xs[0].shape)
    for x in xs:
        if len(x.shape) != n or any(i != axis and a != b for i, (a, b) in enumerate(zip(x.shape, xs[0].shape))):
            shapes = ", ".join(str(tuple(x.shape)) for x in xs)
            raise ShapeError(f"concat: got shapes {shapes}, wanted equal shapes but for axis {axis}")
    return _concat(*xs, axis=axis)


def _pick_along(g: Value, i: int, axis: int) -> Value:
    return g[(*(slice(None),) * axis, i)]


def _decompose_stack(*xs: Value, axis: int) -> Value:
    return concat([reshape(x, (*x.shape[:axis], 1, *x.shape[axis:])) for x in xs], axis)


@primitive(
    joint_vjp=lambda g, y, *xs, needs, axis: [
        _pick_along(g, i, axis) if need else None for i, need in enumerate(needs)
    ],
    saves=(),
    lowering=Lowering(decompose=_decompose_stack),
)
def _stack(*xs: Value, axis: int) -> Value:
    return np.stack(xs, axis=axis)


@overload
def stack(xs: Tensor | Sequence[Tensor], axis: int = 0) -> Tensor: ...
@overload
def stack(xs: np.ndarray | Sequence[Value], axis: int = 0) -> Value: ...
def stack(xs: Tensor | np.ndarray | Sequence[Value], axis: int = 0) -> Value:
    """Join tensors of one shape along a new axis."""
    xs = _sequence(xs, "stack")
    for x in xs:
        if tuple(x.shape) != tuple(xs[0].shape):
            raise ShapeError(f"stack: got shapes {tuple(xs[0].shape)} and {tuple(x.shape)}, wanted equal shapes")
    return _stack(*xs, axis=one_axis(axis, (1, *xs[0].shape)))


def _unstack_vjp(gs: Value, y: Value, x: Value, needs: Sequence[bool], axis: int) -> tuple[Value]:
    shape = tuple(n for i, n in enumerate(x.shape) if i != axis)
    zero = None if len(gs) == x.shape[axis] else np.zeros(shape, x.dtype)  # for slices that nothing used
    return (_stack(*(gs.get(i, zero) for i in range(x.shape[axis])), axis=axis),)


def _decompose_unstack(x: Value, axis: int) -> tuple[Value, ...]:
    return tuple(_pick_along(x, i, axis) for i in range(x.shape[axis]))


@primitive(joint_vjp=_unstack_vjp, saves=(), view=True, lowering=Lowering(decompose=_decompose_unstack))
def _unstack(x: Value, axis: int) -> tuple[Value, ...]:
    return tuple(np.moveaxis(x, axis, 0))


@overload
def unstack(x: Tensor, axis: int = 0) -> tuple[Tensor, ...]: ...
@overload
def unstack(x: ArrayLike, axis: int = 0) -> tuple[Value, ...]: ...
def unstack(x: Value, axis: int = 0) -> tuple[Value, ...]:
    """The slices along `axis`, as a tuple; the inverse of :func:`stack`."""
    x = operand(x, "unstack")
    return _unstack(x, axis=one_axis(axis, x.shape))  # type: ignore[return-value]


def _split_vjp(
    gs: Value, y: Value, x: Value, needs: Sequence[bool], bounds: tuple[int, ...], axis: int
) -> tuple[Value]:
    if len(gs) == len(bounds) - 1 and bounds[-1] == x.shape[axis]:
        return (_concat(*(gs[i] for i in range(len(gs))), axis=axis),)
    lead, total = (slice(None),) * axis, None  # parts that nothing used stay zero
    for i, g in gs.items():
        part = scatter_add(g, index=(*lead, slice(bounds[i], bounds[i + 1])), shape=tuple(x.shape))
        total = part if total is None else total + part
    return (total,)


@primitive(joint_vjp=_split_vjp, saves=(), view=True, lowering=Lowering("split"))
def _split(x: Value, bounds: tuple[int, ...], axis: int) -> tuple[Value, ...]:
    lead = (slice(None),) * axis
    return tuple([x[(*lead, slice(a, b))] for a, b in pairwise(bounds)])


@overload
def split(x: Tensor, indices_or_sections: Shape, axis: int = 0) -> tuple[Tensor, ...]: ...
@overload
def split(x: ArrayLike, indices_or_sections: Shape, axis: int = 0) -> tuple[Value, ...]: ...
def split(x: Value, indices_or_sections: Shape, axis: int = 0) -> tuple[Value, ...]:
    """Cut along `axis` into equal parts (a number) or at the given indices, as ``numpy.split``.

    Indices are those of slices ``x[i:j]``: negative ones count from the end, and what lies outside gives empty parts.
    """
    x = operand(x, "split")
    axis = one_axis(axis, x.shape)
    length = x.shape[axis]
    if isinstance(indices_or_sections, (int, np.integer)):
        n = int(indices_or_sections)
        if n < 1 or length % n:
            raise ShapeError(f"split: got {n} sections of axis {axis} with length {length}, wanted equal parts")
        bounds = tuple(range(0, length + 1, length // n)) if length else (0,) * (n + 1)
        return _split(x, bounds=bounds, axis=axis)  # type: ignore[return-value]
    points = integers(indices_or_sections, "indices_or_sections")
    bounds = (0, *(slice(i, None).indices(length)[0] for i in points), length)
    if all(a <= b for a, b in pairwise(bounds)):
        return _split(x, bounds=bounds, axis=axis)  # type: ignore[return-value]
    lead = (slice(None),) * axis  # indices that go back give parts that are empty or overlap, as NumPy's do
    return tuple([x[(*lead, slice(a, b))] for a, b in zip([0, *points], [*points, length])])


@overload
def array_split(x: Tensor, indices_or_sections: Shape, axis: int = 0) -> tuple[Tensor, ...]: ...
@overload
def array_split(x: ArrayLike, indices_or_sections: Shape, axis: int = 0) -> tuple[Value, ...]: ...
def array_split(x: Value, indices_or_sections: Shape, axis: int = 0) -> tuple[Value, ...]:
    """As :func:`split`, but sections need not divide the length: the first are longer by one."""
    if not isinstance(indices_or_sections, (int, np.integer)):
        return split(x, indices_or_sections, axis)
    x, sections = operand(x, "array_split"), int(indices_or_sections)
    if not 1 <= sections <= PARTS:
        raise ShapeError(f"array_split: got {sections} sections, wanted from 1 to {PARTS}")
    length = x.shape[one_axis(axis, x.shape)]
    least, more = divmod(length, sections)
    return split(x, [i * least + min(i, more) for i in range(1, sections)], axis)


def _with_axes(n: int, x: Value) -> Value:
    """`x` with at least `n` axes: those of length 1 come first."""
    return reshape(x, (1,) * (n - len(x.shape)) + tuple(x.shape)) if len(x.shape) < n else x


@overload
def vstack(xs: Tensor | Sequence[Tensor]) -> Tensor: ...
@overload
def vstack(xs: np.ndarray | Sequence[Value]) -> Value: ...
def vstack(xs: Tensor | np.ndarray | Sequence[Value]) -> Value:
    """Join along the first axis; vectors are rows."""
    return concat([_with_axes(2, x) for x in _sequence(xs, "vstack")])


@overload
def hstack(xs: Tensor | Sequence[Tensor]) -> Tensor: ...
@overload
def hstack(xs: np.ndarray | Sequence[Value]) -> Value: ...
def hstack(xs: Tensor | np.ndarray | Sequence[Value]) -> Value:
    """Join along the second axis, vectors along their only one."""
    arrays = [_with_axes(1, x) for x in _sequence(xs, "hstack")]
    return concat(arrays, 0 if len(arrays[0].shape) == 1 else 1)


@like_first
def roll(x: Value, shift: Shape, axis: Axes = None) -> Value:
    """Elements moved by `shift` places along `axis`; what leaves at one end comes in at the other.

    Several axes take one shift each, or one for all; None moves the flattened tensor.
    """
    x, shifts = operand(x, "roll"), integers(shift, "shift")
    if axis is None:
        if len(shifts) != 1:
            raise ShapeError(f"shift: got {shift}, wanted one number where axis is None")
        return reshape(roll(reshape(x, -1), shifts, 0), x.shape)
    axes = integers(axis, "axis")
    if len(shifts) != len(axes) and 1 not in (len(shifts), len(axes)):
        raise ShapeError(f"shift: got {shift} for axis={axis}, wanted one for each axis")
    moved = False
    for s, a in np.broadcast(shifts, axes):
        a = one_axis(int(a), x.shape)
        n = x.shape[a]
        if n and int(s) % n:
            x, moved = concat(split(x, [n - int(s) % n], a)[::-1], a), True
    return x if moved else copy(x)


# records of operations, for programs, which tell them apart by these
CONCAT, STACK, SPLIT, UNSTACK = _concat.op, _stack.op, _split.op, _unstack.op
