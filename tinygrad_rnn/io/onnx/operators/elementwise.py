"""Arithmetic, comparisons and logic, element by element, with broadcasting as NumPy's."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from .... import ops
from ....core import Tensor
from ..graph import Node
from ..reading import CONVERT, DTYPES, type_name
from .support import concrete, kind, operator, plainly

_PLAIN: dict[str, Callable[..., Any]] = {
    "Add": ops.add,
    "Sub": ops.subtract,
    "Mul": ops.multiply,
    "Neg": ops.negative,
    "Abs": ops.abs,
    "Sqrt": ops.sqrt,
    "Exp": ops.exp,
    "Log": ops.log,
    "Reciprocal": ops.reciprocal,
    "Floor": ops.floor,
    "Ceil": ops.ceil,
    "Round": ops.round,
    "Sign": ops.sign,
    "Erf": ops.erf,
    "Sin": ops.sin,
    "Cos": ops.cos,
    "Tan": ops.tan,
    "Asin": ops.arcsin,
    "Acos": ops.arccos,
    "Atan": ops.arctan,
    "Sinh": ops.sinh,
    "Cosh": ops.cosh,
    "Asinh": ops.arcsinh,
    "Acosh": ops.arccosh,
    "Atanh": ops.arctanh,
    "IsNaN": ops.isnan,
    "Equal": ops.equal,
    "Less": ops.less,
    "LessOrEqual": ops.less_equal,
    "Greater": ops.greater,
    "GreaterOrEqual": ops.greater_equal,
    "And": ops.logical_and,
    "Or": ops.logical_or,
    "Xor": ops.logical_xor,
    "Not": ops.logical_not,
    "Where": ops.where,
    "BitwiseAnd": ops.bitwise_and,
    "BitwiseOr": ops.bitwise_or,
    "BitwiseXor": ops.bitwise_xor,
    "BitwiseNot": ops.invert,
    "Max": lambda *values: functools.reduce(ops.maximum, values),
    "Min": lambda *values: functools.reduce(ops.minimum, values),
    "Sum": lambda *values: functools.reduce(ops.add, values),
    "Mean": lambda *values: functools.reduce(ops.add, values) / len(values),
    "Identity": lambda x: x,
}
for _name, _function in _PLAIN.items():
    plainly(_name, _function)


@operator("Div")
def divide(node: Node, a: Any, b: Any) -> Any:
    """A quotient; of integers, that of C, which rounds towards zero."""
    if kind(a) == "f":
        return ops.divide(a, b)
    if not np.all(concrete(b)):
        raise ZeroDivisionError("got an integer divided by zero")
    quotient = ops.floor_divide(a, b)
    rest = a - quotient * b
    return quotient + ops.astype(ops.logical_and(rest != 0, ops.logical_xor(a < 0, b < 0)), a.dtype)


@operator("Mod")
def modulo(node: Node, a: Any, b: Any) -> Any:
    """What is left of a quotient: of the sign of `b` as in Python, or with fmod of that of `a` as in C."""
    if not node.get("fmod", 0):
        return ops.remainder(a, b)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.fmod(a, b)
    return a - ops.trunc(a / b) * b


@operator("Pow")
def power(node: Node, a: Any, b: Any) -> Any:
    if kind(a) == "f" or kind(b) == "f":
        exact = b.astype(a.dtype) if kind(a) == "f" else b
        return ops.astype(ops.power(a, exact), a.dtype)
    return np.power(concrete(a), concrete(b)).astype(a.dtype)


@operator("Clip", fixed=(1, 2))
def clip(node: Node, x: Any, least: Any = None, most: Any = None) -> Any:
    """Values within bounds, which are settings, and attributes in older opsets."""
    least = node.get("min") if least is None else concrete(least).reshape(()).item()
    most = node.get("max") if most is None else concrete(most).reshape(()).item()
    if least is None and most is None:
        return x
    return np.clip(x, least, most).astype(x.dtype) if isinstance(x, np.ndarray) else ops.clip(x, least, most)


@operator("IsInf")
def is_inf(node: Node, x: Any) -> Any:
    found = ops.isinf(x)
    if not node.get("detect_negative", 1):
        found = ops.logical_and(found, x > 0)
    if not node.get("detect_positive", 1):
        found = ops.logical_and(found, x < 0)
    return found


def _uncastable(node: Node) -> str:
    to = node.get("to", 0)
    return "" if to in DTYPES else f"it makes values of {type_name(to)}{CONVERT}"


@operator("Cast", refuse=_uncastable)
def cast(node: Node, x: Any) -> Any:
    return as_dtype(x, np.dtype(DTYPES[node.attributes["to"]]))


@operator("CastLike")
def cast_like(node: Node, x: Any, like: Any) -> Any:
    return as_dtype(x, np.dtype(like.dtype))


def as_dtype(x: Any, dtype: np.dtype) -> Any:
    """A value cast as ONNX has it: to truth values by comparison with zero."""
    if np.dtype(x.dtype) == dtype:
        return x
    if dtype.kind == "b":
        return x != 0
    if isinstance(x, Tensor):
        return ops.astype(x, dtype)
    with np.errstate(invalid="ignore"):
        return x.astype(dtype)
