"""The affine map of a layer as one node, as eager steps spend their time on nodes, not on arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

from numpy import ndarray

from ..core import Lowering, primitive, sum_rows
from ..core.aliases import Value
from ..core.signatures import like_first
from ..errors import ShapeError
from .arguments import operand
from .linalg import flat


def _vjp(g: Value, y: Value, x: Value, weight: Value, *bias: Value, needs: Sequence[bool]) -> list[Value]:
    if type(g) is ndarray and g.ndim == x.ndim == 2:  # the tape's small steps: the same without detours
        return [
            g.dot(weight) if needs[0] else None,
            g.T.dot(x) if needs[1] else None,
            *[sum_rows(g) if need else None for need in needs[2:]],
        ]
    rows = flat(g)
    return [  # all rows at once: as a stack, each matrix would be a product of its own
        (rows @ weight).reshape(x.shape) if needs[0] else None,
        rows.swapaxes(0, 1) @ flat(x) if needs[1] else None,
        *[sum_rows(rows) if need else None for need in needs[2:]],
    ]


def _decompose(x: Value, weight: Value, *bias: Value) -> Value:
    y = x @ weight.T
    return y + bias[0] if bias else y


@primitive(joint_vjp=_vjp, saves=(0, 1), lowering=Lowering(decompose=_decompose), floats=True, owns_gradients=True)
def _linear(x: Value, weight: Value, *bias: Value) -> Value:
    if x.ndim > 2:
        y = flat(x).dot(weight.T).reshape(*x.shape[:-1], weight.shape[0])
    else:
        y = x.dot(weight.T)
    for b in bias:
        y += b
    return y


@like_first
def linear(x: Value, weight: Value, bias: Value = None) -> Value:
    """``x @ weight.T + bias``: (..., in) with weight (out, in) and bias (out,) to (..., out).

    Raises
    ------
    ShapeError
        If the shapes do not fit.
    """
    x, weight = operand(x, "linear: x"), operand(weight, "linear: weight")
    wanted = weight.shape
    if len(wanted) != 2 or x.shape[-1:] != wanted[1:]:
        raise ShapeError(f"linear: got x {tuple(x.shape)}, weight {tuple(wanted)}, wanted (..., in), (out, in)")
    if bias is None:
        return _linear(x, weight)
    bias = operand(bias, "linear: bias")
    if bias.shape != wanted[:1]:
        raise ShapeError(f"linear: bias: got shape {tuple(bias.shape)}, wanted {tuple(wanted[:1])}")
    return _linear(x, weight, bias)


LINEAR = _linear.op  # the record, for programs
