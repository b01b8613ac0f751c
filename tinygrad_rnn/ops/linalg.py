"""Matrix products."""

from __future__ import annotations

import math
from collections.abc import Sequence
from string import ascii_letters
from typing import Any, overload

import numpy as np
from numpy import ndarray

from ..checks import shown
from ..core import Lowering, Tensor, primitive
from ..core.aliases import ArrayLike, Value
from ..core.signatures import like_first
from ..errors import ShapeError
from .arguments import integers, one_axis, operand
from .elementwise import multiply
from .shape import broadcast_to, reshape, transpose


def flat(x: Value) -> Value:
    """`x` as a matrix, all axes but the last as one: one large product instead of many small ones."""
    if len(x.shape) == 2:
        return x
    return x.reshape((int(np.prod(x.shape[:-1], dtype=int)), x.shape[-1]))  # -1 fails where an axis is empty


def _left(g: Value, y: Value, a: Value, b: Value) -> Value:
    if type(g) is ndarray and a.ndim == b.ndim == 2:  # dot() takes less time to begin than @
        return g.dot(b.T)
    if len(b.shape) == 1:  # (..., k) @ (k,)
        return g.reshape((*g.shape, 1)) * b if len(a.shape) > 1 else g * b
    if len(a.shape) == 1:  # (k,) @ (..., k, n)
        return (g.reshape((*g.shape[:-1], 1, g.shape[-1])) @ b.swapaxes(-1, -2)).reshape((*g.shape[:-1], a.shape[0]))
    return g @ b.swapaxes(-1, -2)


def _right(g: Value, y: Value, a: Value, b: Value) -> Value:
    if type(g) is ndarray and a.ndim == b.ndim == 2:
        return a.T.dot(g)
    if len(b.shape) == 1:
        return flat(a).swapaxes(0, 1) @ g.reshape(-1) if len(a.shape) > 1 else a * g
    if len(a.shape) == 1:
        return a.reshape((-1, 1)) * g.reshape((*g.shape[:-1], 1, g.shape[-1]))
    if len(b.shape) == 2:  # one large product, which sums over the leading axes too
        return flat(a).swapaxes(0, 1) @ flat(g)
    return a.swapaxes(-1, -2) @ g


@primitive(vjps=[_left, _right], saves=(0, 1), lowering=Lowering("matmul"), owns_gradients=True)
def _matmul(a: Value, b: Value) -> Value:
    if b.ndim == 2 and a.ndim > 1:
        return a.dot(b) if a.ndim == 2 else flat(a).dot(b).reshape(*a.shape[:-1], b.shape[1])
    return a @ b


@like_first
def matmul(a: Value, b: Value) -> Value:
    """Matrix product over the last two axes, as ``numpy.matmul``: leading axes broadcast, 1-D allowed.

    Raises
    ------
    ShapeError
        If the inner lengths differ or an operand is a scalar.
    """
    a, b = operand(a, "matmul"), operand(b, "matmul")
    sa, sb = tuple(a.shape), tuple(b.shape)
    if not sa or not sb or sa[-1] != sb[-2 if len(sb) > 1 else 0]:
        raise ShapeError(f"matmul: got shapes {sa} and {sb}, wanted (..., n, k) @ (..., k, m)")
    return _matmul(a, b)


@like_first
def outer(a: Value, b: Value) -> Value:
    """Outer product over the last axis: (..., m), (..., n) -> (..., m, n)."""
    a, b = operand(a, "outer"), operand(b, "outer")
    if not len(a.shape) or not len(b.shape):
        raise ShapeError(f"outer: got shapes {tuple(a.shape)} and {tuple(b.shape)}, wanted (..., m) and (..., n)")
    return multiply(a.reshape((*a.shape, 1)), b.reshape((*b.shape[:-1], 1, b.shape[-1])))


@like_first
def dot(a: Value, b: Value) -> Value:
    """``numpy.dot``: the last axis of `a` times the last but one of `b`; scalars multiply."""
    a, b = operand(a, "dot"), operand(b, "dot")
    if not a.shape or not b.shape:
        return multiply(a, b)
    return matmul(a, b) if len(b.shape) <= 2 else tensordot(a, b, (-1, -2))


@like_first
def tensordot(a: Value, b: Value, axes: Any = 2) -> Value:
    """Sums of products over several axes, as ``numpy.tensordot``, by one matrix product.

    Parameters
    ----------
    a, b : Tensor or array
    axes : int, or a pair of axes or of sequences of axes
        So many of the last axes of `a` with the first ones of `b`; or which of `a` with which of `b`.
    """
    a, b = operand(a, "tensordot"), operand(b, "tensordot")
    n, m = len(a.shape), len(b.shape)
    if isinstance(axes, (int, np.integer)):
        if not 0 <= axes <= min(n, m):
            raise ShapeError(f"axes: got {axes} for shapes {tuple(a.shape)} and {tuple(b.shape)}, wanted axes of both")
        left, right = list(range(n - axes, n)), list(range(axes))
    else:
        if not isinstance(axes, (list, tuple)) or len(axes) != 2:
            raise TypeError(f"axes: got {shown(axes)}, wanted a number, or a pair of axes")
        left, right = ([one_axis(i, x.shape) for i in integers(side, "axes")] for x, side in zip((a, b), axes))
    if (
        len(left) != len(right)
        or len({*left}) < len(left)
        or any(a.shape[i] != b.shape[j] for i, j in zip(left, right))
    ):
        raise ShapeError(f"tensordot: got shapes {tuple(a.shape)} and {tuple(b.shape)}, which do not fit at {axes}")
    if any(
        type(size) is not int for x in (a, b) for size in x.shape
    ):  # while a step is traced: einsum keeps rows apart
        first, second = list(ascii_letters[:n]), list(ascii_letters[n : n + m])
        for i, j in zip(left, right):
            second[j] = first[i]
        out = [c for i, c in enumerate(first) if i not in left] + [c for j, c in enumerate(second) if j not in right]
        return _einsum(a, b, subscripts=f"{''.join(first)},{''.join(second)}->{''.join(out)}")
    # one matrix product: axes that are summed go last on the left and first on the right
    rows, columns = [i for i in range(n) if i not in left], [j for j in range(m) if j not in right]
    count = math.prod(a.shape[i] for i in left)
    flat_a = reshape(transpose(a, [*rows, *left]) if n else a, (math.prod(a.shape[i] for i in rows), count))
    flat_b = reshape(transpose(b, [*right, *columns]) if m else b, (count, math.prod(b.shape[j] for j in columns)))
    return reshape(matmul(flat_a, flat_b), tuple([a.shape[i] for i in rows] + [b.shape[j] for j in columns]))


# ---- einsum


def _einsum_vjp(g: Value, y: Value, *xs: Value, needs: Sequence[bool], subscripts: str) -> list[Value]:
    """For each operand an einsum over the others; labels that it alone has are broadcast."""
    terms, out = subscripts.split("->")
    inputs = terms.split(",")
    result: list[Any] = []
    for i, (labels, need) in enumerate(zip(inputs, needs)):
        if not need:
            result.append(None)
            continue
        others = [(inputs[j], xs[j]) for j in range(len(xs)) if j != i]
        seen = set(out).union(*(o for o, _ in others))
        kept = "".join(c for c in labels if c in seen)
        part = _einsum(g, *(x for _, x in others), subscripts=",".join([out, *(o for o, _ in others)]) + "->" + kept)
        if kept != labels:
            shape = xs[i].shape
            thin = tuple(n if c in seen else 1 for c, n in zip(labels, shape))
            part = broadcast_to(part.reshape(thin), tuple(shape))
        result.append(part)
    return result


@primitive(joint_vjp=_einsum_vjp, lowering=Lowering("einsum"))
def _einsum(*xs: Value, subscripts: str) -> Value:
    large = len(xs) > 2 or xs[0].size > 4096  # planning the contraction costs as much as a small product
    y = np.asarray(np.einsum(subscripts, *xs, optimize=large))
    return y.copy() if y.base is not None else y  # NumPy may give a view


LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _parse(subscripts: str, shapes: list[tuple]) -> tuple[list[str], str]:
    """Labels of each operand and of the result, with letters in place of the dots."""
    if not isinstance(subscripts, str):
        raise TypeError(f"subscripts: got {type(subscripts).__name__}, wanted a string such as 'ij,jk->ik'")
    text = subscripts.replace(" ", "")
    terms, arrow, out = text.partition("->")
    inputs = terms.split(",")
    if len(inputs) != len(shapes):
        raise ShapeError(f"einsum: got {len(shapes)} operands for {subscripts!r}, wanted {len(inputs)}")
    spare, dots = [c for c in LABELS if c not in text], ""
    for part in (*inputs, out):
        if part.count("...") > 1 or not set(part.replace("...", "")) <= set(LABELS):
            raise ShapeError(f"einsum: got {part!r} in {subscripts!r}, wanted letters and at most one '...'")
    for i, labels in enumerate(inputs):
        width = len(shapes[i]) - len(labels.replace("...", ""))
        if width < 0 or ("..." not in labels and width):
            raise ShapeError(f"einsum: got shape {tuple(shapes[i])} for {labels!r}, wanted an axis for each label")
        if "..." in labels:
            while len(dots) < width:
                dots = spare.pop() + dots
            inputs[i] = labels.replace("...", dots[len(dots) - width :])
    if arrow:
        return inputs, out.replace("...", dots)
    joined = "".join(inputs)
    return inputs, dots + "".join(sorted(c for c in set(joined) if joined.count(c) == 1 and c not in dots))


def _lengths(subscripts: str, inputs: list[str], out: str, shapes: list[tuple]) -> dict[str, int]:
    """The length of each label; a length of 1 gives way to another operand's."""
    sizes: dict[str, int] = {}
    for labels, shape in zip(inputs, shapes):
        own: dict[str, int] = {}
        for c, n in zip(labels, shape):
            if own.setdefault(c, n) != n:
                raise ShapeError(f"einsum: got lengths {own[c]} and {n} for {c!r} of one operand in {subscripts!r}")
            if sizes.setdefault(c, n) != n and 1 not in (n, sizes[c]):
                raise ShapeError(f"einsum: got lengths {sizes[c]} and {n} for {c!r} in {subscripts!r}")
            sizes[c] = n if sizes[c] == 1 else sizes[c]
    for c in out:
        if c not in sizes or out.count(c) > 1:
            raise ShapeError(f"einsum: got {c!r} in the output of {subscripts!r}, wanted inputs' labels, once")
    return sizes


def _diagonal(x: Value, labels: str) -> tuple[Any, str]:
    """The operand with each label once: the diagonal along axes of equal labels."""
    for c in sorted(set(labels)):
        while labels.count(c) > 1:
            i = labels.index(c)
            j = labels.index(c, i + 1)
            rest = [k for k in range(len(labels)) if k not in (i, j)]
            n, lead = x.shape[i], tuple(x.shape[k] for k in rest)
            x = reshape(transpose(x, (*rest, i, j)), (*lead, n * n))[..., :: n + 1]
            labels = "".join(labels[k] for k in rest) + c
    return x, labels


@overload
def einsum(subscripts: str, *operands: Tensor) -> Tensor: ...
@overload
def einsum(subscripts: str, *operands: ArrayLike) -> Value: ...
def einsum(subscripts: str, *operands: Value) -> Value:
    """Sum of products over labelled axes, as ``numpy.einsum``, with ``...`` and repeated labels.

    An axis of length 1 is broadcast against an axis of the same label in another operand.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tr
    >>> tr.einsum("ij,j->i", tr.tensor(np.eye(2)), tr.tensor(np.array([3.0, 4.0])))
    tensor([3., 4.], dtype=float64)
    """
    arrays = [operand(x, "einsum") for x in operands]
    inputs, out = _parse(subscripts, [x.shape for x in arrays])
    sizes = _lengths(subscripts, inputs, out, [x.shape for x in arrays])
    for i, labels in enumerate(inputs):
        arrays[i], labels = _diagonal(arrays[i], labels)
        wide = [k for k, c in enumerate(labels) if arrays[i].shape[k] == sizes[c]]
        if len(wide) < len(labels):  # what is broadcast needs no axis
            arrays[i] = reshape(arrays[i], tuple(arrays[i].shape[k] for k in wide))
        inputs[i] = "".join(labels[k] for k in wide)
    return _einsum(*arrays, subscripts=",".join(inputs) + "->" + out)


MATMUL, EINSUM = _matmul.op, _einsum.op  # the records, for programs
