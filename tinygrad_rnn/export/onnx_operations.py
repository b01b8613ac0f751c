"""Operations of several nodes in ONNX: elementwise maths, comparisons and reductions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import ExportError
from .graph import Node, Value
from .onnx_builder import Builder

Emitter = Callable[[Builder, Node], Any]  # the name of the result, or those of the results


# ---- operands


def dtype_of(node: Node) -> np.dtype:
    """The dtype of the result."""
    return node.results[0].dtype


def common(node: Node) -> np.dtype:
    """The dtype in which NumPy computes with the arguments."""
    kinds = [a.dtype if isinstance(a, Value) else kind_of(a) for a in node.args]
    return np.result_type(*kinds)


def kind_of(number: Any) -> Any:
    return number if isinstance(number, bool | int | float) else 1.0 if hasattr(number, "value") else 1


def operand(b: Builder, value: Any, dtype: Any) -> str:
    """An argument in a dtype."""
    if not isinstance(value, Value):
        return b.number(value, dtype)
    name = b.name(value)
    return name if value.dtype == dtype else b.cast(name, dtype)


def operands(b: Builder, node: Node, dtype: Any) -> list[str]:
    return [operand(b, a, dtype) for a in node.args]


# ---- kinds of operations


def plain(kind: str, **attributes: Any) -> Emitter:
    """One node, in the dtype of the result."""
    return lambda b, node: b.node(kind, operands(b, node, dtype_of(node)), **attributes)


def compared(kind: str, negated: bool = False) -> Emitter:
    """A comparison, in the dtype of both; truth values as numbers."""

    def emit(b: Builder, node: Node) -> str:
        dtype = common(node)
        dtype = np.dtype(np.int32) if dtype.kind == "b" and kind != "Equal" else dtype
        found = b.node(kind, operands(b, node, dtype))
        return b.node("Not", [found]) if negated else found

    return emit


def logical(kind: str) -> Emitter:
    return lambda b, node: b.node(kind, operands(b, node, bool))


def bits(kind: str, of_truth: str) -> Emitter:
    """An operation on bits, or on truth values."""

    def emit(b: Builder, node: Node) -> str:
        if dtype_of(node).kind == "b":
            return b.node(of_truth, operands(b, node, bool))
        if b.opset < 18:
            raise ExportError(f"{node.op.name} of integers, which needs opset 18")
        return b.node(kind, operands(b, node, dtype_of(node)))

    return emit


def number(b: Builder, node: Node, value: float) -> str:
    """A number in the dtype of the result."""
    return b.constant(value, dtype_of(node))


def made_of(write: Callable[[Builder, Node, Any], str]) -> Emitter:
    """Several nodes, by a function that is given the operands in the dtype of the result."""
    return lambda b, node: write(b, node, operands(b, node, dtype_of(node)))


def reduced(kind: str, b: Builder, x: str, axes: Sequence[int], keepdims: bool) -> str:
    """A reduction along axes, which are an attribute of most before opset 18."""
    if not axes:
        return b.node("Identity", [x])
    if kind == "ReduceSum" or b.opset >= 18:
        return b.node(kind, [x, b.integers(axes)], keepdims=int(keepdims))
    return b.node(kind, [x], axes=list(axes), keepdims=int(keepdims))


def reduction(kind: str) -> Emitter:
    def emit(b: Builder, node: Node) -> str:
        x = operand(b, node.args[0], dtype_of(node))
        return reduced(kind, b, x, node.static["axis"], node.static["keepdims"])

    return emit


def of_truth(kind: str) -> Emitter:
    """Whether all or any hold: the least or the largest of ones and zeros."""

    def emit(b: Builder, node: Node) -> str:
        x = b.cast(operand(b, node.args[0], bool), np.int32)
        found = reduced(kind, b, x, node.static["axis"], node.static["keepdims"])
        return b.node("Greater", [found, b.constant(0, np.int32)])  # the least number of none is large

    return emit


def place_of(kind: str) -> Emitter:
    """The index of an extremum."""

    def emit(b: Builder, node: Node) -> str:
        x, axis = b.name(node.args[0]), node.static["axis"]
        if node.args[0].dtype.kind == "b":
            x = b.cast(x, np.int32)
        if axis is not None:
            return b.node(kind, [x], axis=axis, keepdims=int(node.static["keepdims"]))
        flat = b.node(kind, [b.node("Reshape", [x, b.integers([-1])])], axis=0, keepdims=0)
        return b.node("Reshape", [flat, b.shape(node.results[0].shape)])

    return emit


# ---- maths


def expm1_of(b: Builder, node: Node, a: Any) -> str:
    half = b.node("Tanh", [b.node("Mul", [a[0], number(b, node, 0.5)])])
    return b.node("Mul", [half, b.node("Add", [b.node("Exp", [a[0]]), number(b, node, 1.0)])])


def log1p_of(b: Builder, node: Node, a: Any) -> str:
    """``log(u) * x / (u - 1)`` with u = 1 + x as it is rounded; x where that is 1."""
    one = number(b, node, 1.0)
    u = b.node("Add", [a[0], one])
    none = b.node("Equal", [u, one])
    below = b.node("Where", [none, one, b.node("Sub", [u, one])])
    infinite = b.node("Equal", [u, number(b, node, math.inf)])
    share = b.node("Where", [infinite, one, b.node("Div", [a[0], below])])
    return b.node("Where", [none, a[0], b.node("Mul", [b.node("Log", [u]), share])])


def softplus_of(b: Builder, node: Node, x: str) -> str:
    small = b.node("Exp", [b.node("Neg", [b.node("Abs", [x])])])
    return b.node("Add", [b.node("Max", [x, number(b, node, 0.0)]), log1p_of(b, node, [small])])


def log_sigmoid(b: Builder, node: Node, a: Any) -> str:
    return b.node("Neg", [softplus_of(b, node, b.node("Neg", [a[0]]))])


def scaled_log(base: float) -> Emitter:
    return made_of(lambda b, node, a: b.node("Div", [b.node("Log", [a[0]]), number(b, node, math.log(base))]))


def logaddexp_of(b: Builder, node: Node, a: Any) -> str:
    gap = b.node("Neg", [b.node("Abs", [b.node("Sub", a)])])
    more = b.node(
        "Where", [b.node("Equal", a), number(b, node, math.log(2)), log1p_of(b, node, [b.node("Exp", [gap])])]
    )
    return b.node("Add", [b.node("Max", a), more])


def arctan2_of(b: Builder, node: Node, a: Any) -> str:
    y, x = a
    zero, half, pi = (number(b, node, v) for v in (0.0, math.pi / 2, math.pi))
    angle = b.node("Atan", [b.node("Div", [y, x])])
    up = b.node("GreaterOrEqual", [y, zero])
    left = b.node("Add", [angle, b.node("Where", [up, pi, b.node("Neg", [pi])])])
    axis = b.node("Where", [b.node("Greater", [y, zero]), half, b.node("Neg", [half])])
    axis = b.node("Where", [b.node("Equal", [y, zero]), zero, axis])
    other = b.node("Where", [b.node("Less", [x, zero]), left, axis])
    return b.node("Where", [b.node("Greater", [x, zero]), angle, other])


def hypot_of(b: Builder, node: Node, a: Any) -> str:
    sizes = [b.node("Abs", [x]) for x in a]
    top, low, one = b.node("Max", sizes), b.node("Min", sizes), number(b, node, 1.0)
    none = b.node("Equal", [top, number(b, node, 0.0)])
    share = b.node("Div", [low, b.node("Where", [none, one, top])])
    return b.node("Mul", [top, b.node("Sqrt", [b.node("Add", [b.node("Mul", [share, share]), one])])])


def trunc_of(b: Builder, node: Node, a: Any) -> str:
    return b.node("Mul", [b.node("Sign", [a[0]]), b.node("Floor", [b.node("Abs", [a[0]])])])


def rounding(kind: str) -> Emitter:
    """Integers stay what they are."""
    return lambda b, node: plain(kind if dtype_of(node).kind == "f" else "Identity")(b, node)


def round_to(b: Builder, node: Node, a: Any) -> str:
    scale = number(b, node, 10.0 ** node.static["decimals"])
    return b.node("Div", [b.node("Round", [b.node("Mul", [a[0], scale])]), scale])


def floor_divide(b: Builder, node: Node, a: Any) -> str:
    quotient = b.node("Div", a)
    if dtype_of(node).kind == "f":
        return b.node("Floor", [quotient])
    rest = b.node("Sub", [a[0], b.node("Mul", [quotient, a[1]])])  # ONNX rounds towards zero
    zero = number(b, node, 0)
    signs = [b.node("Less", [v, zero]) for v in (rest, a[1])]
    off = b.node("And", [b.node("Not", [b.node("Equal", [rest, zero])]), b.node("Xor", signs)])
    return b.node("Sub", [quotient, b.cast(off, dtype_of(node))])


def remainder(b: Builder, node: Node, a: Any) -> str:
    if dtype_of(node).kind != "f":
        return b.node("Mod", a)
    rest, zero = b.node("Mod", a, fmod=1), number(b, node, 0.0)
    signs = [b.node("Less", [v, zero]) for v in (rest, a[1])]
    off = b.node("And", [b.node("Not", [b.node("Equal", [rest, zero])]), b.node("Xor", signs)])
    return b.node("Where", [off, b.node("Add", [rest, a[1]]), rest])


def power_of_two(b: Builder, node: Node, a: Any) -> str:
    power = b.node("Pow", [b.constant(2.0, np.float64), b.cast(a[1], np.float64)])
    return b.cast(power, dtype_of(node))


def left_shift(b: Builder, node: Node, a: Any) -> str:
    return b.node("Mul", [a[0], power_of_two(b, node, a)])


def right_shift(b: Builder, node: Node, a: Any) -> str:
    return floor_divide(b, node, [a[0], power_of_two(b, node, a)])


def masked_of(kind: str) -> Emitter:
    def write(b: Builder, node: Node, a: Any) -> str:
        zero = number(b, node, 0.0)
        return b.node("Where", [b.node("Equal", [a[0], zero]), zero, b.node(kind, a)])

    return made_of(write)


def where_of(b: Builder, node: Node) -> str:
    values = [operand(b, a, dtype_of(node)) for a in node.args[1:]]
    return b.node("Where", [operand(b, node.args[0], bool), *values])


def power_by(exponent: float) -> Emitter:
    return made_of(lambda b, node, a: b.node("Pow", [a[0], number(b, node, exponent)]))


def isfinite(b: Builder, node: Node) -> str:
    x = b.name(node.args[0])
    if node.args[0].dtype.kind != "f":
        return b.node("Equal", [x, x])
    return b.node("Not", [b.node("Or", [b.node("IsNaN", [x]), b.node("IsInf", [x])])])


def is_of(kind: str) -> Emitter:
    def emit(b: Builder, node: Node) -> str:
        x = b.name(node.args[0])
        if node.args[0].dtype.kind == "f":
            return b.node(kind, [x])
        return b.node("Not", [b.node("Equal", [x, x])])

    return emit


def squared_error(b: Builder, node: Node, a: Any) -> str:
    gap = b.node("Sub", a)
    axes = range(len(node.args[0].shape))
    total = reduced("ReduceSum", b, b.node("Mul", [gap, gap]), list(axes), False)
    return b.node("Mul", [total, b.number(node.static["scale"], dtype_of(node))])
