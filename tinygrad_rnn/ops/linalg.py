"""Matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from ..core import Lowering, primitive
from ..errors import ShapeError


def flat(x):
    """All but the last axis as one: large products instead of many small ones."""
    if len(x.shape) == 2:
        return x
    return x.reshape((int(np.prod(x.shape[:-1], dtype=int)), x.shape[-1]))  # -1 fails where an axis is empty


def _left(g, y, a, b):
    if type(g) is ndarray and a.ndim == b.ndim == 2:  # dot() takes less time to begin than @
        return g.dot(b.T)
    if len(b.shape) == 1:  # (..., k) @ (k,)
        return g.reshape((*g.shape, 1)) * b if len(a.shape) > 1 else g * b
    if len(a.shape) == 1:  # (k,) @ (..., k, n)
        return (g.reshape((*g.shape[:-1], 1, g.shape[-1])) @ b.swapaxes(-1, -2)).reshape((*g.shape[:-1], a.shape[0]))
    return g @ b.swapaxes(-1, -2)


def _right(g, y, a, b):
    if type(g) is ndarray and a.ndim == b.ndim == 2:
        return a.T.dot(g)
    if len(b.shape) == 1:
        return flat(a).swapaxes(0, 1) @ g.reshape(-1) if len(a.shape) > 1 else a * g
    if len(a.shape) == 1:
        return a.reshape((-1, 1)) * g.reshape((*g.shape[:-1], 1, g.shape[-1]))
    if len(b.shape) == 2:
        return flat(a).swapaxes(0, 1) @ flat(g)
    return a.swapaxes(-1, -2) @ g


@primitive(vjps=[_left, _right], saves=(0, 1), lowering=Lowering("matmul"), fresh=True)
def _matmul(a, b):
    if b.ndim == 2 and a.ndim > 1:
        return a.dot(b) if a.ndim == 2 else flat(a).dot(b).reshape(*a.shape[:-1], b.shape[1])
    return a @ b


def matmul(a, b):
    """Matrix product over the last two axes, as ``numpy.matmul``: leading axes broadcast, 1-D allowed.

    Raises
    ------
    ShapeError
        If the inner lengths differ or an operand is a scalar.
    """
    sa, sb = tuple(getattr(a, "shape", ())), tuple(getattr(b, "shape", ()))
    if not sa or not sb or sa[-1] != sb[-2 if len(sb) > 1 else 0]:
        raise ShapeError(f"matmul: got shapes {sa} and {sb}, wanted (..., n, k) @ (..., k, m)")
    return _matmul(a, b)


def outer(a, b):
    """Outer product over the last axis: (..., m), (..., n) -> (..., m, n)."""
    return a.reshape((*a.shape, 1)) * b.reshape((*b.shape[:-1], 1, b.shape[-1]))


# ---- einsum


def _einsum_vjp(g, y, *xs, needs, subscripts):
    terms, out = subscripts.split("->")
    inputs = terms.split(",")
    sizes: dict[str, int] = {}
    for labels, x in zip(inputs, xs):
        for label, n in zip(labels, x.shape):
            sizes[label] = max(n, sizes.get(label, 1))
    result: list[Any] = []
    for i, (labels, need) in enumerate(zip(inputs, needs)):
        if not need:
            result.append(None)
            continue
        others = [(inputs[j], xs[j]) for j in range(len(xs)) if j != i]
        seen = set(out).union(*(set(o) for o, _ in others)) if others else set(out)
        # a label that only this input has was summed alone: every element gets the same cotangent
        missing = [(c, np.ones(sizes[c], g.dtype)) for c in labels if c not in seen]
        operands = [(out, g), *others, *missing]
        result.append(_einsum(*(x for _, x in operands), subscripts=",".join(s for s, _ in operands) + "->" + labels))
    return result


@primitive(joint_vjp=_einsum_vjp)
def _einsum(*xs, subscripts):
    large = len(xs) > 2 or xs[0].size > 4096  # planning the contraction costs as much as a small product
    y = np.asarray(np.einsum(subscripts, *xs, optimize=large))
    return y.copy() if y.base is not None else y  # NumPy may give a view


def _check_labels(subscripts: str, inputs: list[str], out: str, arrays: list) -> None:
    sizes: dict[str, int] = {}
    for labels, x in zip(inputs, arrays):
        for c, n in zip(labels, x.shape):
            if sizes.setdefault(c, n) != n and 1 not in (n, sizes[c]):
                raise ShapeError(f"einsum: got lengths {sizes[c]} and {n} for {c!r} in {subscripts!r}")
            sizes[c] = n if sizes[c] == 1 else sizes[c]
    for c in out:
        if c not in sizes or out.count(c) > 1:
            raise ShapeError(f"einsum: got {c!r} in the output of {subscripts!r}, wanted inputs' labels, once")


def einsum(subscripts, *operands):
    """Sum of products over labelled axes, as ``numpy.einsum`` (string form; ``...`` and repeated labels too).

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tr
    >>> tr.einsum("ij,j->i", tr.tensor(np.eye(2)), tr.tensor(np.array([3.0, 4.0])))
    tensor([3., 4.], dtype=float64)
    """
    text, arrays = subscripts.replace(" ", ""), list(operands)
    terms, arrow, out = text.partition("->")
    inputs = terms.split(",")
    if len(inputs) != len(arrays):
        raise ShapeError(f"einsum: got {len(arrays)} operands for {subscripts!r}, wanted {len(inputs)}")
    spare = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" if c not in text]
    dots = ""
    for i, labels in enumerate(inputs):
        width = len(arrays[i].shape) - len(labels.replace("...", ""))
        if width < 0 or ("..." not in labels and width):
            raise ShapeError(
                f"einsum: got shape {tuple(arrays[i].shape)} for {labels!r}, wanted an axis for each label"
            )
        if "..." in labels:
            while len(dots) < width:
                dots = spare.pop() + dots
            inputs[i] = labels.replace("...", dots[len(dots) - width :])
    if arrow:
        out = out.replace("...", dots)
    else:
        joined = "".join(inputs)
        out = dots + "".join(sorted(c for c in set(joined) if joined.count(c) == 1 and c not in dots))
    _check_labels(subscripts, inputs, out, arrays)
    for i, labels in enumerate(inputs):
        for c in sorted(set(labels)):
            while inputs[i].count(c) > 1:  # a diagonal, as a product with the identity
                fresh = spare.pop()
                n = arrays[i].shape[inputs[i].index(c)]
                inputs[i] = inputs[i].replace(c, fresh, 1)
                inputs.append(c + fresh)
                arrays.append(np.eye(n, dtype=arrays[i].dtype))
    return _einsum(*arrays, subscripts=",".join(inputs) + "->" + out)
