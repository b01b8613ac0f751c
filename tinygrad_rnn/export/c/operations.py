"""Which operation of the tape becomes which lines of C: by its record, or by the kind of its lowering."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ...compiler.ir.lane_language import ReductionCode, parse, reduction_code
from ...core import Op
from ...errors import CompileError, ExportError
from ...ops.cumulative import CUMSUM
from ...ops.elementwise import CONSTANT, floor_divide, remainder
from ...ops.index import EMBEDDING
from ...ops.join import STACK, UNSTACK
from ...ops.layer_norm import layer_norm
from ...ops.linalg import EINSUM
from ...ops.linear import LINEAR
from ...ops.moments import NORM, centre
from ...ops.reduce import ARGMAX, ARGMIN, MAX, PROD, SUM
from ...ops.shape import FLIP
from ...ops.softmax import LOG_SOFTMAX, LOGSUMEXP, SOFTMAX
from ..graph import Node, Value
from .arrays import Array, Length, broadcast, nested, plus, product, row_strides, times
from .graph_writer import GraphWriter

Rule = Callable[[GraphWriter, Node], Array | tuple[Array, ...]]


def write(out: GraphWriter, node: Node) -> None:
    """Write an operation, and note the arrays of its results.

    Raises
    ------
    ExportError
        If C has no rule for it.
    """
    rule = rule_of(node.op)
    if rule is None:
        raise ExportError(f"{node.op.name} at {node.where}: C has no such operation")
    try:
        found = rule(out, node)
    except (NotImplementedError, CompileError) as error:
        raise ExportError(f"{node.op.name} at {node.where}: {error}") from None
    arrays = (found,) if isinstance(found, Array) else found
    for result, array in zip(node.results, arrays):
        out.arrays[id(result)] = array


def rule_of(op: Op) -> Rule | None:
    """The rule of an operation; None if there is none."""
    if op in RULES:
        return RULES[op]
    return KINDS.get(op.lowering.kind) if op.lowering is not None else None


def _linear(out: GraphWriter, node: Node) -> Array:
    x, weight, *bias = node.args
    matrix = out.known(weight)
    if matrix is None:
        y = out.contract("ik,jk->ij", [_rows(out, x), out.of(weight)])
        y = out.reshape(y, (*out.of(x).shape[:-1], y.shape[-1]))
        return out.map("{0} + {1}", y, out.of(bias[0])) if bias else y
    name = getattr(weight, "name", "weight")
    return out.times_matrix(out.of(x), matrix.T, name, out.of(bias[0]) if bias else None)


def _rows(out: GraphWriter, x: Value) -> Array:
    array = out.of(x)
    return out.reshape(array, (product(array.shape[:-1]), array.shape[-1]))


def _matmul(out: GraphWriter, node: Node) -> Array:
    a, b = node.args
    x, y, matrix = out.of(a), out.of(b), out.known(b)
    if matrix is not None and matrix.ndim == 2 and len(x.shape) > 0:
        return out.times_matrix(x, matrix, getattr(b, "name", "weight"))
    letters = "abcdefgh"
    lead = max(len(x.shape), len(y.shape), 2) - 2
    left = letters[lead - max(len(x.shape) - 2, 0) : lead] + ("ik" if len(x.shape) > 1 else "k")
    right = letters[lead - max(len(y.shape) - 2, 0) : lead] + ("kj" if len(y.shape) > 1 else "k")
    result = letters[:lead] + "i" * (len(x.shape) > 1) + "j" * (len(y.shape) > 1)
    return out.contract(f"{left},{right}->{result}", [x, y])


def _reduce(out: GraphWriter, node: Node) -> Array:
    x, axes = out.of(node.args[0]), node.static.get("axis")
    rank = len(x.shape)
    axes = range(rank) if axes is None else (axes,) if isinstance(axes, int) else axes
    code = PRODUCT if node.op is PROD else reduction_code(node.op, node.static)
    return out.reduce(code, node.static, x, [i % rank for i in axes], bool(node.static.get("keepdims")))


def _over(out: GraphWriter, node: Node) -> tuple[Array, Any, Any]:
    """The operand of a softmax, and what takes the maximum and the sum over its axes."""
    x, axes = out.of(node.args[0]), node.static["axis"]
    return x, lambda a: out.reduce(MOST, {}, a, axes, True), lambda a: out.reduce(TOTAL, {}, a, axes, True)


def _softmax(out: GraphWriter, node: Node) -> Array:
    x, largest, total = _over(out, node)
    e = out.map("exp({0} - {1})", x, largest(x))
    return out.map("{0} / {1}", e, total(e))


def _log_softmax(out: GraphWriter, node: Node) -> Array:
    x, largest, total = _over(out, node)
    z = out.map("{0} - {1}", x, largest(x))
    return out.map("{0} - log({1})", z, total(out.map("exp({0})", z)))


def _logsumexp(out: GraphWriter, node: Node) -> Array:
    x, largest, total = _over(out, node)
    top = out.map("vselect(vabs({0}) < INF, {0}, 0.0)", largest(x))
    return out.map("log({0}) + {1}", total(out.map("exp({0} - {1})", x, top)), top)


def _layer_norm(out: GraphWriter, node: Node) -> Array:
    (x, *affine), static = [out.of(a) for a in node.args], node.static
    axes = range(len(x.shape) - static["n_axes"], len(x.shape))
    count = product(x.shape[axes.start :])
    if not isinstance(count, int):
        raise NotImplementedError("axes whose lengths differ from call to call")
    total = lambda a: out.reduce(TOTAL, {}, a, axes, True)
    centred = out.map(f"{{0}} - {{1}} * {1.0 / count!r}", x, total(x))
    scale = out.map(f"1.0 / sqrt({{0}} * {1.0 / count!r} + {static['eps']!r})", total(out.map("{0} * {0}", centred)))
    y = out.map("{0} * {1}", centred, scale)
    y = out.map("{0} * {1}", y, affine[0]) if static["scaled"] else y
    return out.map("{0} + {1}", y, affine[-1]) if len(affine) > static["scaled"] else y


def _getitem(out: GraphWriter, node: Node) -> Array:
    x, parts = out.of(node.args[0]), node.static["index"]
    parts = parts if isinstance(parts, tuple) else (parts,)
    arrays = [i for i, part in enumerate(parts) if isinstance(part, np.ndarray | Value)]
    if not arrays:
        return out.getitem(x, parts)
    return _rows_by_number(out, x, parts, arrays)


def _rows_by_number(out: GraphWriter, x: Array, parts: Sequence[Any], arrays: Sequence[int]) -> Array:
    """Parts along one axis, by constant numbers."""
    numbers = parts[arrays[0]]
    before = [*parts[: arrays[0]]]
    rest = [p for i, p in enumerate(parts) if i != arrays[0]]
    if any(p is Ellipsis for p in before) and not any(p is None for p in rest):
        lead = len(x.shape) - len(parts[arrays[0] + 1 :]) - 1
    else:
        lead = arrays[0]
    whole = all(p is Ellipsis or p == slice(None) for p in rest)
    n = x.shape[lead] if lead < len(x.shape) else ""
    if len(arrays) > 1 or not whole or type(numbers) is not np.ndarray or numbers.dtype.kind not in "iu" or n == "":
        raise NotImplementedError("an index of arrays, but for constant whole numbers along one axis")
    if not isinstance(n, int):
        raise NotImplementedError("an index that is an array, along an axis of no fixed length")
    table = out.weights.table(np.where(numbers < 0, numbers + n, numbers), "index")
    places = row_strides(numbers.shape)

    def element(index: list[Length]) -> str:
        at: Length = 0
        for i, stride in zip(index[lead : lead + numbers.ndim], places):
            at = plus(at, times(i, stride))
        return x.at([*index[:lead], f"{table}[{at}]", *index[lead + numbers.ndim :]])

    return out.filled((*x.shape[:lead], *numbers.shape, *x.shape[lead + 1 :]), element)


def _centre(out: GraphWriter, node: Node) -> Array:
    x, axes = out.of(node.args[0]), node.static["axis"]
    count = product([x.shape[i] for i in axes])
    if not isinstance(count, int):
        raise NotImplementedError("axes whose lengths differ from call to call")
    total = out.reduce(TOTAL, {}, x, axes, True)
    y = out.map(f"{{0}} - {{1}} * {1.0 / count!r}", x, total)
    return out.map(f"{{0}} - {{1}} * {1.0 / count!r}", y, out.reduce(TOTAL, {}, y, axes, True))


def _norm(out: GraphWriter, node: Node) -> Array:
    x = out.of(node.args[0])
    squares = out.reduce(TOTAL, {}, out.map("{0} * {0}", x), node.static["axis"], node.static["keepdims"])
    return out.map("sqrt({0})", squares)


def _argmax(out: GraphWriter, node: Node) -> Array:
    """The first place of the largest (or least) element."""
    x, axis = out.of(node.args[0]), node.static["axis"]
    if axis is None:
        x, axis = out.reshape(x, (product(x.shape),)), 0
    axis %= len(x.shape)
    kept = [1 if i == axis else n for i, n in enumerate(x.shape)]
    found, best = out.filled(kept, lambda index: out.literal(0)), out.filled(kept, x.at)

    def compared(index: list[Length]) -> list[str]:
        at = [0 if i == axis else j for i, j in enumerate(index)]
        sign = ">" if node.op is ARGMAX else "<"
        put = f"{best.at(at)} = {x.at(index)}; {found.at(at)} = ({out.dialect.real})({index[axis]});"
        return [f"if ({x.at(index)} {sign} {best.at(at)}) {{ {put} }}"]

    out.lines += nested(x.shape, compared)
    return found if node.static["keepdims"] else out.reshape(found, [n for i, n in enumerate(kept) if i != axis])


def _cumsum(out: GraphWriter, node: Node) -> Array:
    x, axis = out.of(node.args[0]), node.static["axis"]
    y = out.new(x.shape)

    def summed(index: list[Length]) -> list[str]:
        if index[axis] == 0:
            return [f"{y.at(index)} = {x.at(index)};"]
        before = [f"({j} - 1)" if i == axis else j for i, j in enumerate(index)]
        return [f"{y.at(index)} = {x.at(index)} + ({index[axis]} > 0 ? {y.at(before)} : {out.literal(0)});"]

    out.lines += nested(x.shape, summed)
    return y


def _embedding(out: GraphWriter, node: Node) -> Array:
    weight, indices = (out.of(a) for a in node.args)
    rows, width = weight.shape[0], weight.shape[1:]
    axes = len(indices.shape)

    def element(at: list[Length]) -> str:
        number = out.dialect.call("whole", indices.at(at[:axes]))
        row = f"({number} < 0 ? 0 : {number} >= {rows} ? {rows} - 1 : {number})"
        return weight.at([row, *at[axes:]])

    return out.filled((*indices.shape, *width), element)


def _split(out: GraphWriter, node: Node) -> tuple[Array, ...]:
    x, axis = out.of(node.args[0]), node.static["axis"]
    lead = (slice(None),) * axis
    return tuple([out.getitem(x, (*lead, slice(a, b))) for a, b in pairwise(node.static["bounds"])])


def _unstack(out: GraphWriter, node: Node) -> tuple[Array, ...]:
    x, lead = out.of(node.args[0]), (slice(None),) * node.static["axis"]
    return tuple([out.getitem(x, (*lead, i)) for i in range(len(node.results))])


def _stack(out: GraphWriter, node: Node) -> Array:
    axis, arrays = node.static["axis"], [out.of(a) for a in node.args]
    return out.concat([out.getitem(a, (*(slice(None),) * axis, None)) for a in arrays], axis)


def _pad(out: GraphWriter, node: Node) -> Array:
    x, value = out.of(node.args[0]), out.literal(node.static["value"])
    shape = [*map(out.length, node.results[0].shape)]
    before = [out.length(b) for b, _ in node.static["widths"]]

    def element(index: list[Length]) -> str:
        tests, at = [], []
        for i, b, n, m in zip(index, before, x.shape, shape):
            at.append(i if b == 0 else f"({i} - {b})")
            if n != m:
                tests += [f"{i} >= {b}"] * (b != 0) + [f"{i} < {b} + {n}" if b != 0 else f"{i} < {n}"]
        return f"{' && '.join(tests)} ? {x.at(at)} : {value}" if tests else x.at(at)

    return out.filled(shape, element)


def _cast(out: GraphWriter, node: Node) -> Array:
    x, kind = out.of(node.args[0]), node.results[0].dtype.kind
    if kind == "b":
        return out.map("vselect({0} != 0.0, 1.0, 0.0)", x)
    if kind in "iu" and node.args[0].dtype.kind == "f":
        return out.map("vselect({0} < 0.0, -vfloor(-{0}), vfloor({0}))", x)
    return x


def _transpose(out: GraphWriter, node: Node) -> Array:
    x, axes = out.of(node.args[0]), node.static["axes"]
    return x._replace(shape=tuple(x.shape[i] for i in axes), strides=tuple(x.strides[i] for i in axes))


def _flip(out: GraphWriter, node: Node) -> Array:
    x = out.of(node.args[0])
    back = slice(None, None, -1)
    return out.getitem(x, tuple(back if i in node.static["axes"] else slice(None) for i in range(len(x.shape))))


def _shape_of(out: GraphWriter, node: Node) -> tuple[Length, ...]:
    return tuple(map(out.length, node.results[0].shape))


TOTAL, MOST = reduction_code(SUM, {}), reduction_code(MAX, {})
PRODUCT = ReductionCode(1.0, parse("{0} * {1}"), parse("{0}"), parse("{0}"))
RULES: dict[Op, Rule] = {
    centre.op: _centre,
    NORM: _norm,
    PROD: _reduce,
    ARGMAX: _argmax,
    ARGMIN: _argmax,
    CUMSUM: _cumsum,
    remainder.op: lambda out, node: out.map("{0} - vfloor({0} / {1}) * {1}", *map(out.of, node.args)),
    LINEAR: _linear,
    SOFTMAX: _softmax,
    LOG_SOFTMAX: _log_softmax,
    LOGSUMEXP: _logsumexp,
    layer_norm.op: _layer_norm,
    EMBEDDING: _embedding,
    STACK: _stack,
    UNSTACK: _unstack,
    FLIP: _flip,
    EINSUM: lambda out, node: out.contract(node.static["subscripts"], [out.of(a) for a in node.args]),
    floor_divide.op: lambda out, node: out.map("vfloor({0} / {1})", *map(out.of, node.args)),
    CONSTANT: lambda out, node: out.of(node.args[0]),
}
KINDS: dict[str, Rule] = {
    "elementwise": lambda out, node: out.elementwise(node),
    "reduce": _reduce,
    "matmul": _matmul,
    "slice": _getitem,
    "cast": _cast,
    "transpose": _transpose,
    "reshape": lambda out, node: out.reshape(out.of(node.args[0]), _shape_of(out, node)),
    "broadcast": lambda out, node: broadcast(out.of(node.args[0]), _shape_of(out, node)),
    "concat": lambda out, node: out.concat([out.of(a) for a in node.args], node.static["axis"]),
    "split": _split,
    "pad": _pad,
}
