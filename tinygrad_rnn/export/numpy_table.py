"""The table of operations in NumPy: for each, the expression that computes it, as text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from .graph import Node, Value
from .sizes import Ratio, Size

# how tightly parts of an expression hold together, as in Python: what is less needs no brackets in what is more
ATOM, POWER, SIGN, TIMES, PLUS, SHIFT, AND, XOR, OR, COMPARE = range(10)


class Text(NamedTuple):
    """An expression, how tightly it holds together, and the helper functions that it calls."""

    code: str
    level: int = ATOM
    calls: tuple[str, ...] = ()

    def within(self, level: int) -> str:
        """As a part of another expression, in brackets if need be."""
        return self.code if self.level <= level else f"({self.code})"


Args = Sequence[Text]
Writer = Callable[[Node, Args], Text]


def setting(value: Any) -> str:
    """A static parameter as Python writes it."""
    if isinstance(value, Size | Ratio):
        return str(value)
    if isinstance(value, float):
        return {math.inf: "np.inf", -math.inf: "-np.inf"}.get(value, "np.nan" if value != value else repr(value))
    if isinstance(value, tuple):
        return f"({', '.join(map(setting, value))}{',' * (len(value) == 1)})"
    if isinstance(value, np.dtype):
        return f"np.{value.name}" if value.kind != "b" else "bool"
    if isinstance(value, np.ndarray):
        if not value.size:
            return f"np.zeros({setting(value.shape)}, {setting(value.dtype)})"
        return f"np.array({value.tolist()!r}, {setting(value.dtype)})"
    return repr(value)


def number(value: Any) -> Text:
    """A number among the arguments of an operation."""
    code = setting(value)
    if isinstance(value, Ratio):
        return Text(code, TIMES)
    if isinstance(value, Size) and not value.is_name:
        return Text(code, PLUS)
    return Text(code, SIGN if code.startswith("-") else ATOM)


def index(value: Any) -> str:
    """An index as it stands between square brackets."""
    parts = value if isinstance(value, tuple) else (value,)
    return ", ".join(map(_one_index, parts)) or "()"


def _one_index(part: Any) -> str:
    if not isinstance(part, slice):
        return "..." if part is Ellipsis else setting(part)
    ends = ["" if v is None else setting(v) for v in (part.start, part.stop)]
    return ":".join(ends) if part.step is None else f"{ends[0]}:{ends[1]}:{setting(part.step)}"


def infix(sign: str, level: int) -> Writer:
    """An operator between two operands, which holds together from the left."""
    inner = level - 1 if level == COMPARE else level
    return lambda node, a: Text(f"{a[0].within(inner)} {sign} {a[1].within(level - 1)}", level)


def call(name: str, *statics: str, helper: bool = False) -> Writer:
    """A call with the arguments, and then some settings of the node by keyword."""
    own = (name,) if helper else ()

    def write(node: Node, a: Args) -> Text:
        given = [t.code for t in a] + [f"{key}={setting(_plain(node.static[key]))}" for key in statics]
        return Text(f"{name}({', '.join(given)})", ATOM, own)

    return write


def method(name: str, *statics: str) -> Writer:
    """A method of the first argument; ``x.sum(axis=0)``."""

    def write(node: Node, a: Args) -> Text:
        given = [f"{key}={setting(_plain(node.static[key]))}" for key in statics if node.static[key] is not False]
        return Text(f"{a[0].within(ATOM)}.{name}({', '.join(given)})")

    return write


def _plain(value: Any) -> Any:
    """An axis instead of a tuple of one."""
    return value[0] if isinstance(value, tuple) and len(value) == 1 else value


def _sign(node: Node, a: Args) -> Text:
    return a[0] if _dtype(node.args[0]) == "b" else Text(f"np.sign({a[0].code})")


def _dtype(value: Any) -> str:
    return value.dtype.kind if isinstance(value, Value) else "f"


def _linear(node: Node, a: Args) -> Text:
    product = f"{a[0].within(TIMES)} @ {a[1].within(ATOM)}.T"
    return Text(f"{product} + {a[2].within(TIMES)}", PLUS) if len(a) > 2 else Text(product, TIMES)


def _matmul_tanh(node: Node, a: Args) -> Text:
    turn = ".T" if node.static["transposed"] else ""
    parts = [f"{a[i].within(TIMES)} @ {a[i + 1].within(ATOM)}{turn}" for i in (0, 2)]
    return Text(f"np.tanh({' + '.join([*parts, *(b.within(TIMES) for b in a[4:])])})")


def _split(node: Node, a: Args) -> Text:
    bounds, axis = node.static["bounds"], node.static["axis"]
    widths = {b - c for b, c in pairwise(bounds)} if all(isinstance(b, int) for b in bounds) else set()
    where = len(bounds) - 1 if len(widths) == 1 else [*bounds[1:-1]]
    last = axis == len(getattr(node.args[0], "shape", ())) - 1 and axis > 0
    cut = where if isinstance(where, int) else f"[{', '.join(map(setting, where))}]"
    whole = bounds[0] == 0 and bounds[-1] == node.args[0].shape[axis]
    x = a[0].code if whole else f"{a[0].within(ATOM)}[{', '.join([':'] * axis)}, {bounds[0]}:{bounds[-1]}]"
    return Text(f"np.split({x}, {cut}, axis={-1 if last else axis})")


def _layer_norm(node: Node, a: Args) -> Text:
    n, scaled = node.static["n_axes"], node.static["scaled"]
    affine = [t.code for t in a[1:]] if scaled else [f"bias={t.code}" for t in a[1:]]
    axis = -1 if n == 1 else tuple(range(-n, 0))
    return Text(
        f"layer_norm({', '.join([a[0].code, setting(axis), repr(node.static['eps']), *affine])})", ATOM, ("layer_norm",)
    )


def _transpose(node: Node, a: Args) -> Text:
    axes = node.static["axes"]
    if axes == tuple(range(len(axes)))[::-1]:
        return Text(f"{a[0].within(ATOM)}.T")
    moved = [i for i, axis in enumerate(axes) if i != axis]
    if len(moved) == 2:
        return Text(f"{a[0].within(ATOM)}.swapaxes({moved[0]}, {moved[1]})")
    return Text(f"{a[0].within(ATOM)}.transpose{setting(axes)}")


def _embedding(node: Node, a: Args) -> Text:
    indices = a[1].code if len(a) > 1 else setting(node.static["indices"])
    return Text(f"{a[0].within(ATOM)}[{indices}]")


def _reshape(node: Node, a: Args) -> Text:
    return Text(f"{a[0].within(ATOM)}.reshape({', '.join(map(setting, node.static['shape'])) or '()'})")


def _getitem(node: Node, a: Args) -> Text:
    return Text(f"{a[0].within(ATOM)}[{index(node.static['index'])}]")


def _pad(node: Node, a: Args) -> Text:
    value = node.static["value"]
    more = "" if value == 0 else f", constant_values={setting(value)}"
    return Text(f"np.pad({a[0].code}, {setting(node.static['widths'])}{more})")


def _several(name: str) -> Writer:
    return lambda node, a: Text(f"np.{name}([{', '.join(t.code for t in a)}], axis={node.static['axis']})")


def _power(node: Node, a: Args) -> Text:
    return Text(f"{a[0].within(ATOM)} ** {a[1].within(SIGN)}", POWER)


def _power_by(exponent: float) -> Writer:
    return lambda node, a: Text(f"{a[0].within(ATOM)} ** {exponent!r}", POWER)


def _einsum(node: Node, a: Args) -> Text:
    return Text(f"np.einsum({node.static['subscripts']!r}, {', '.join(t.code for t in a)})")


_elementwise = [
    *("exp", "expm1", "log", "log1p", "sqrt", "abs", "exp2", "log2", "log10", "floor", "ceil", "trunc"),
    *("sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh"),
    *("isnan", "isfinite", "isinf", "logical_not"),
]
_two = ["maximum", "minimum", "logaddexp", "arctan2", "hypot", "logical_and", "logical_or", "logical_xor", "where"]
_axes = ("axis", "keepdims")

TABLE: dict[str, Writer] = {
    **{name: call(f"np.{name}") for name in (*_elementwise, *_two)},
    **{name: call(name, helper=True) for name in ("sigmoid", "softplus", "log_sigmoid", "erf")},
    **{name: call(name, "axis", helper=True) for name in ("softmax", "log_softmax", "logsumexp", "centre")},
    **{name: call(name, helper=True) for name in ("masked_product", "masked_quotient")},
    "sigmoid_of": call("sigmoid", helper=True),
    "relu": lambda node, a: Text(f"np.maximum({a[0].code}, 0)"),
    "add": infix("+", PLUS),
    "subtract": infix("-", PLUS),
    "multiply": infix("*", TIMES),
    "divide": infix("/", TIMES),
    "floor_divide": infix("//", TIMES),
    "remainder": infix("%", TIMES),
    "matmul": infix("@", TIMES),
    "left_shift": infix("<<", SHIFT),
    "right_shift": infix(">>", SHIFT),
    "bitwise_and": infix("&", AND),
    "bitwise_xor": infix("^", XOR),
    "bitwise_or": infix("|", OR),
    "less": infix("<", COMPARE),
    "less_equal": infix("<=", COMPARE),
    "greater": infix(">", COMPARE),
    "greater_equal": infix(">=", COMPARE),
    "equal": infix("==", COMPARE),
    "not_equal": infix("!=", COMPARE),
    "negative": lambda node, a: Text(f"-{a[0].within(SIGN)}", SIGN),
    "invert": lambda node, a: Text(f"~{a[0].within(SIGN)}", SIGN),
    "sign": _sign,
    "round": call("np.round"),
    "round_to": call("np.round", "decimals"),
    "astype": lambda node, a: Text(f"{a[0].within(ATOM)}.astype({setting(node.static['dtype'])})"),
    "copy": lambda node, a: a[0],
    "constant": lambda node, a: a[0],
    "power": _power,
    "square_root": call("np.sqrt"),
    **{f"power_{n}": _power_by(n) for n in range(9)},
    **{f"power_minus_{n}": _power_by(-float(n)) for n in range(1, 5)},
    "linear": _linear,
    "matmul_tanh": _matmul_tanh,
    "einsum": _einsum,
    "layer_norm": _layer_norm,
    "norm": call("length", *_axes, helper=True),
    "argsort": call("argsort", "axis", "descending", helper=True),
    "picked": call("np.take_along_axis", "axis"),
    "gathered": call("np.take_along_axis", "axis"),
    "embedding": _embedding,
    "getitem": _getitem,
    "reshape": _reshape,
    "transpose": _transpose,
    "broadcast_to": call("np.broadcast_to", "shape"),
    "flip": lambda node, a: Text(f"np.flip({a[0].code}, {setting(node.static['axes'])})"),
    "pad": _pad,
    "concat": _several("concatenate"),
    "stack": _several("stack"),
    "unstack": lambda node, a: Text(f"np.moveaxis({a[0].code}, {node.static['axis']}, 0)"),
    "split": _split,
    "cumsum": call("np.cumsum", "axis"),
    "cumprod": call("np.cumprod", "axis"),
    **{name: method(name, *_axes) for name in ("sum", "max", "min", "prod", "argmax", "argmin", "all", "any")},
    "spike": lambda node, a: Text(f"({a[0].within(COMPARE - 1)} > 0).astype({setting(node.results[0].dtype)})"),
    "squared_error": lambda node, a: Text(
        f"(({a[0].within(PLUS)} - {a[1].within(TIMES)}) ** 2).sum() * {setting(node.static['scale'])}", TIMES
    ),
}

# of training, random, or the transposes of others: no model that is used computes them
REFUSED = frozenset(
    {
        "added_back", "bernoulli_loss", "between", "class_cross_entropy", "class_cross_entropy_gradient", "class_nll",
        "class_nll_gradient",
        "ctc", "dropout", "logistic_loss", "put_back", "scatter_add", "scatter_rows", "share_cross_entropy",
        "share_cross_entropy_gradient", "within",
    }
)  # fmt: skip
