"""The table of operations in ONNX: for each, what adds its nodes to a graph."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from .graph import Node
from .onnx_builder import Builder
from .onnx_indexing import getitem, slices
from .onnx_operations import (
    Emitter,
    arctan2_of,
    bits,
    compared,
    dtype_of,
    expm1_of,
    floor_divide,
    hypot_of,
    is_of,
    isfinite,
    left_shift,
    log1p_of,
    log_sigmoid,
    logaddexp_of,
    logical,
    made_of,
    masked_of,
    number,
    of_truth,
    operand,
    operands,
    place_of,
    plain,
    power_by,
    reduced,
    reduction,
    remainder,
    right_shift,
    round_to,
    rounding,
    scaled_log,
    softplus_of,
    squared_error,
    trunc_of,
    where_of,
)

# ---- along axes


def _softmax(kind: str) -> Emitter:
    def write(b: Builder, node: Node, a: Any) -> str:
        axes = node.static["axis"]
        if len(axes) == 1:
            return b.node(kind, [a[0]], axis=axes[0])
        z = b.node("Sub", [a[0], reduced("ReduceMax", b, a[0], axes, True)])
        e = b.node("Exp", [z])
        total = reduced("ReduceSum", b, e, axes, True)
        return b.node("Div", [e, total]) if kind == "Softmax" else b.node("Sub", [z, b.node("Log", [total])])

    return made_of(write)


def _logsumexp(b: Builder, node: Node, a: Any) -> str:
    top = reduced("ReduceMax", b, a[0], node.static["axis"], True)
    top = b.node("Where", [b.node("IsInf", [top]), number(b, node, 0.0), top])
    total = reduced("ReduceSum", b, b.node("Exp", [b.node("Sub", [a[0], top])]), node.static["axis"], True)
    return b.node("Add", [b.node("Log", [total]), top])


def _centre(b: Builder, node: Node, a: Any) -> str:
    return b.node("Sub", [a[0], reduced("ReduceMean", b, a[0], node.static["axis"], True)])


def _norm(b: Builder, node: Node, a: Any) -> str:
    axes = node.static["axis"]
    top = reduced("ReduceMax", b, b.node("Abs", [a[0]]), axes, True)
    usable = b.node("Greater", [top, number(b, node, 0.0)])
    top = b.node("Where", [usable, top, number(b, node, 1.0)])
    z = b.node("Div", [a[0], top])
    y = b.node("Mul", [b.node("Sqrt", [reduced("ReduceSum", b, b.node("Mul", [z, z]), axes, True)]), top])
    return y if node.static["keepdims"] or not axes else b.node("Squeeze", [y, b.integers(axes)])


def _layer_norm(b: Builder, node: Node, a: Any) -> str:
    n, scaled = node.static["n_axes"], node.static["scaled"]
    axes = list(range(-n, 0))
    z = b.node("Sub", [a[0], reduced("ReduceMean", b, a[0], axes, True)])
    variance = reduced("ReduceMean", b, b.node("Mul", [z, z]), axes, True)
    scale = b.node("Sqrt", [b.node("Add", [variance, number(b, node, node.static["eps"])])])
    y = b.node("Div", [z, scale])
    y = b.node("Mul", [y, a[1]]) if scaled else y
    return b.node("Add", [y, a[-1]]) if len(a) > 1 + scaled else y


def _argsort(b: Builder, node: Node) -> str:
    x, axis = b.name(node.args[0]), node.static["axis"]
    count = b.node("Unsqueeze", [b.size(node.args[0].shape[axis]), b.integers([0])])
    return b.node("TopK", [x, count], outputs=2, axis=axis, largest=int(node.static["descending"]))[1]


def _picked(b: Builder, node: Node) -> str:
    return b.node(
        "GatherElements", [b.name(node.args[0]), operand(b, node.args[1], np.int64)], axis=node.static["axis"]
    )


# ---- products


def _linear(b: Builder, node: Node, a: Any) -> str:
    if len(node.args[0].shape) == 2:
        return b.node("Gemm", a, transB=1)
    y = b.node("MatMul", [a[0], b.node("Transpose", [a[1]], perm=[1, 0])])
    return b.node("Add", [y, a[2]]) if len(a) > 2 else y


def _matmul_tanh(b: Builder, node: Node, a: Any) -> str:
    turned = int(node.static["transposed"])
    y = b.node("Gemm", [a[0], a[1], *a[4:5]], transB=turned)
    y = b.node("Add", [y, b.node("Gemm", [a[2], a[3], *a[5:6]], transB=turned)])
    return b.node("Tanh", [y])


def _einsum(b: Builder, node: Node, a: Any) -> str:
    return b.node("Einsum", a, equation=node.static["subscripts"])


# ---- shapes


def _reshape(b: Builder, node: Node) -> str:
    shape = node.static["shape"]
    options: dict[str, Any] = {"allowzero": 1} if 0 in shape else {}  # else a zero is a length that stays
    return b.node("Reshape", [b.name(node.args[0]), b.shape(shape, infer=True)], **options)


def _transpose(b: Builder, node: Node) -> str:
    axes, x = node.static["axes"], b.name(node.args[0])
    return b.node("Transpose", [x], perm=list(axes)) if axes else b.node("Identity", [x])


def _broadcast_to(b: Builder, node: Node) -> str:
    return b.node("Expand", [b.name(node.args[0]), b.shape(node.static["shape"])])


def _flip(b: Builder, node: Node) -> str:
    x = b.name(node.args[0])
    return slices(b, x, {axis: slice(None, None, -1) for axis in node.static["axes"]})


def _pad(b: Builder, node: Node, a: Any) -> str:
    before, after = zip(*node.static["widths"])
    return b.node("Pad", [a[0], b.shape([*before, *after]), number(b, node, node.static["value"])])


def _stack(b: Builder, node: Node, a: Any) -> str:
    axis = b.integers([node.static["axis"]])
    return b.node("Concat", [b.node("Unsqueeze", [x, axis]) for x in a], axis=node.static["axis"])


def _unstack(b: Builder, node: Node) -> list[str]:
    x = b.name(node.args[0])
    return [b.node("Gather", [x, b.size(i)], axis=node.static["axis"]) for i in range(len(node.results))]


def _split(b: Builder, node: Node) -> list[str]:
    bounds, axis, x = node.static["bounds"], node.static["axis"], b.name(node.args[0])
    whole = bounds[0] == 0 and bounds[-1] == node.args[0].shape[axis]
    if whole and all(isinstance(n, int) for n in bounds) and len(node.results) == len(bounds) - 1:
        sizes = [stop - start for start, stop in pairwise(bounds)]
        found = b.node("Split", [x, b.integers(sizes)], outputs=len(sizes), axis=axis)
        return [found] if len(sizes) == 1 else found
    return [slices(b, x, {axis: slice(*ends)}) for ends, _ in zip(pairwise(bounds), node.results)]


def _embedding(b: Builder, node: Node) -> str:
    indices = node.static.get("indices")  # of constants
    name = b.name(node.args[1]) if indices is None else b.constant(indices, indices.dtype, "indices")
    return b.node("Gather", [b.name(node.args[0]), name], axis=0)


def _astype(b: Builder, node: Node) -> str:
    return b.cast(b.name(node.args[0]), node.static["dtype"])


def _cumsum(b: Builder, node: Node, a: Any) -> str:
    return b.node("CumSum", [a[0], b.size(node.static["axis"])])


_unary = {"exp": "Exp", "log": "Log", "sqrt": "Sqrt", "abs": "Abs", "negative": "Neg", "sign": "Sign", "tanh": "Tanh"}
_unary |= {"sigmoid": "Sigmoid", "sigmoid_of": "Sigmoid", "relu": "Relu", "erf": "Erf", "copy": "Identity"}
_unary |= {"sin": "Sin", "cos": "Cos", "tan": "Tan", "sinh": "Sinh", "cosh": "Cosh", "square_root": "Sqrt"}
_unary |= {f"arc{k}": f"A{k}" for k in ("sin", "cos", "tan", "sinh", "cosh", "tanh")}
_binary = {"add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div", "maximum": "Max", "minimum": "Min"}
_binary |= {"matmul": "MatMul", "power": "Pow", "constant": "Identity"}

TABLE: dict[str, Emitter] = {
    **{name: plain(kind) for name, kind in (_unary | _binary).items()},
    "expm1": made_of(expm1_of),
    "log1p": made_of(log1p_of),
    "exp2": made_of(lambda b, node, a: b.node("Pow", [number(b, node, 2.0), a[0]])),
    "log2": scaled_log(2.0),
    "log10": scaled_log(10.0),
    "softplus": made_of(lambda b, node, a: softplus_of(b, node, a[0])),
    "log_sigmoid": made_of(log_sigmoid),
    "logaddexp": made_of(logaddexp_of),
    "arctan2": made_of(arctan2_of),
    "hypot": made_of(hypot_of),
    **{name: rounding(kind) for name, kind in (("floor", "Floor"), ("ceil", "Ceil"), ("round", "Round"))},
    "trunc": lambda b, node: made_of(trunc_of)(b, node) if dtype_of(node).kind == "f" else plain("Identity")(b, node),
    "round_to": made_of(round_to),
    "floor_divide": made_of(floor_divide),
    "remainder": made_of(remainder),
    "masked_product": masked_of("Mul"),
    "masked_quotient": masked_of("Div"),
    "where": where_of,
    **{f"power_{n}": power_by(float(n)) for n in range(9)},
    **{f"power_minus_{n}": power_by(-float(n)) for n in range(1, 5)},
    "less": compared("Less"),
    "less_equal": compared("LessOrEqual"),
    "greater": compared("Greater"),
    "greater_equal": compared("GreaterOrEqual"),
    "equal": compared("Equal"),
    "not_equal": compared("Equal", negated=True),
    **{f"logical_{kind.lower()}": logical(kind) for kind in ("And", "Or", "Xor", "Not")},
    "isnan": is_of("IsNaN"),
    "isinf": is_of("IsInf"),
    "isfinite": isfinite,
    **{f"bitwise_{kind.lower()}": bits(f"Bitwise{kind}", kind) for kind in ("And", "Or", "Xor")},
    "invert": bits("BitwiseNot", "Not"),
    "left_shift": made_of(left_shift),
    "right_shift": made_of(right_shift),
    **{name: reduction(f"Reduce{name.title()}") for name in ("sum", "max", "min", "prod")},
    "argmax": place_of("ArgMax"),
    "argmin": place_of("ArgMin"),
    "all": of_truth("ReduceMin"),
    "any": of_truth("ReduceMax"),
    "softmax": _softmax("Softmax"),
    "log_softmax": _softmax("LogSoftmax"),
    "logsumexp": made_of(_logsumexp),
    "centre": made_of(_centre),
    "norm": made_of(_norm),
    "layer_norm": made_of(_layer_norm),
    "argsort": _argsort,
    "picked": _picked,
    "gathered": _picked,
    "linear": made_of(_linear),
    "matmul_tanh": made_of(_matmul_tanh),
    "einsum": made_of(_einsum),
    "embedding": _embedding,
    "getitem": getitem,
    "reshape": _reshape,
    "transpose": _transpose,
    "broadcast_to": _broadcast_to,
    "flip": _flip,
    "pad": made_of(_pad),
    "concat": lambda b, node: b.node("Concat", operands(b, node, dtype_of(node)), axis=node.static["axis"]),
    "stack": made_of(_stack),
    "unstack": _unstack,
    "split": _split,
    "astype": _astype,
    "cumsum": made_of(_cumsum),
    "spike": made_of(lambda b, node, a: b.cast(b.node("Greater", [a[0], number(b, node, 0.0)]), dtype_of(node))),
    "squared_error": made_of(squared_error),
}

# of training, random, the transposes of others, or unknown to ONNX
REFUSED = frozenset(
    {
        "added_back", "bernoulli_loss", "between", "class_cross_entropy", "class_cross_entropy_gradient", "class_nll",
        "class_nll_gradient",
        "ctc", "cumprod", "dropout", "logistic_loss", "put_back", "scatter_add", "scatter_rows", "share_cross_entropy",
        "share_cross_entropy_gradient", "within",
    }
)  # fmt: skip
