"""Language of lowerings: expressions on SIMD lanes, parsed once into trees that generators print.

A tree is a :class:`Number`, an :class:`Input`, a :class:`Static`, or an :class:`Apply` of a function or an operator to
other trees. Each is either of numbers or of truth values; :func:`parse` refuses what mixes them up.
"""

from __future__ import annotations

import ast
import functools
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from string import Formatter
from typing import Any, NamedTuple

from ...core import Op
from ...errors import CompileError

NUMBER, TRUTH = "a number", "a truth value"
FUNCTIONS: dict[str, int] = dict.fromkeys(
    ("vabs", "vfloor", "vround", "arctan", "cos", "erf", "exp", "expm1", "log", "log1p", "sigmoid", "sin", "softplus",
     "sqrt", "tanh"), 1,
) | dict.fromkeys(("vmax", "vmin", "vbits", "power", "arctan2"), 2) | {"vselect": 3, "vsplat": 2}  # fmt: skip
ARITHMETIC: dict[type, str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
LOGIC: dict[type, str] = {ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^"}
COMPARISONS: dict[type, str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
COMPUTE: dict[str, Callable] = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
ALLOWED = (
    "calls, comparisons of two values, the operators + - * / & | ^ ~, inputs as {0}, numbers and INF; "
    f"functions are {', '.join(FUNCTIONS)}"
)


class Number(NamedTuple):
    """A number that is written down; it may be infinite."""

    value: float


class Input(NamedTuple):
    """``{0}``, ``{1}``, ...: an input of the operation."""

    position: int


class Static(NamedTuple):
    """``{name}``: a static parameter of the operation."""

    name: str


class Apply(NamedTuple):
    """A function by its name, or an operator by its sign, of one or more arguments."""

    function: str
    args: tuple[Tree, ...]


Tree = Number | Input | Static | Apply


class Code(NamedTuple):
    """An expression, parsed.

    Attributes
    ----------
    tree : Tree
    inputs : mapping of int to str
        What each input that it reads has to be: NUMBER or TRUTH; "" if it may be either.
    statics : frozenset of str
        The static parameters that it reads.
    gives : str
        NUMBER or TRUTH; "": what its only input is.
    """

    tree: Tree
    inputs: Mapping[int, str]
    statics: frozenset[str]
    gives: str

    def wants(self, index: int) -> str:
        return self.inputs.get(index, NUMBER)


class ReductionCode(NamedTuple):
    """The expressions of a reduction, parsed, and the number that its totals begin as."""

    init: float
    combine: Code
    finish: Code
    each: Code


# ---- the expressions of operations


def elementwise_code(op: Op, arity: int, static: Mapping[str, Any]) -> Code:
    """The expression of an elementwise operation.

    Raises
    ------
    CompileError
        If there is none, or it is not in the language or does not fit the inputs.
    """
    return _checked(op, "", op.lowering and op.lowering.code, arity, static)


def reduction_code(op: Op, static: Mapping[str, Any]) -> ReductionCode:
    """The expressions of a reduction.

    Raises
    ------
    CompileError
        If there are none, or they are not in the language or do not fit together.
    """
    reduction = op.lowering and op.lowering.reduction
    if not reduction:
        raise CompileError(f"{op.name}: lowering: got a reduction without its expressions, wanted tr.Reduction(...)")
    init, combine, finish, each = reduction
    if isinstance(init, bool) or not isinstance(init, int | float) or init != init:
        raise CompileError(f"{op.name}: lowering: init: got {init!r}, wanted a number that `combine` leaves others as")
    codes = ReductionCode(
        float(init),
        _checked(op, "combine: ", combine, 2, static),
        _checked(op, "finish: ", finish, 1, static),
        _checked(op, "each: ", each, 1, static),
    )
    both = len(codes.combine.inputs) == 2
    numbers = [codes.combine.gives, *codes.combine.inputs.values(), codes.finish.wants(0), codes.each.gives]
    if not both or TRUTH in numbers:
        raise CompileError(
            f"{op.name}: lowering: got {reduction}, wanted totals that are numbers and a `combine` of {{0}} and {{1}}"
        )
    return codes


def _checked(op: Op, part: str, text: Any, arity: int, static: Mapping[str, Any]) -> Code:
    """The parsed `text`, which may read `arity` inputs, and static parameters that are numbers."""
    try:
        if not isinstance(text, str):
            raise CodeError(f"a {type(text).__name__}", "an expression")
        code = parse(text)
    except CodeError as e:
        want = f"{e.want} in its {arity} inputs" if e.want == "an expression" else e.want
        raise CompileError(f"{op.name}: lowering: {part}got {e.got} in {text!r}, wanted {want}") from None
    beyond = [i for i in code.inputs if i >= arity]
    if beyond:
        raise CompileError(
            f"{op.name}: lowering: {part}got {{{beyond[0]}}} in {text!r}, wanted an expression in its {arity} inputs, "
            "which are {0} and so on"
        )
    for name in sorted(code.statics):
        value = static.get(name)
        if not isinstance(value, int | float):
            got = f"{name}={value!r}" if name in static else f"no {name!r} among the static parameters"
            raise CompileError(f"{op.name}: lowering: {part}{text!r}: got {got}, wanted a number")
    return code


# ---- parsing


class CodeError(ValueError):
    """Error: a text is not in the language; `got` was found where `want` was wanted."""

    def __init__(self, got: str, want: str = ALLOWED):
        super().__init__(f"got {got}, wanted {want}")
        self.got, self.want = got, want


@functools.lru_cache(maxsize=1024)
def parse(text: str) -> Code:
    """The tree of an expression.

    Raises
    ------
    CodeError
        If it is not in the language.
    """
    try:
        parts = list(Formatter().parse(text))
        source = "".join(
            literal + ("" if field is None else _placeholder(field, *how)) for literal, field, *how in parts
        )
        body = ast.parse(source.strip(), mode="eval").body
        parser = _Parser()
        tree = parser.tree(body)
        gives = parser.kind(tree)
    except CodeError:
        raise
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as e:
        raise CodeError(f"what Python cannot read ({e})", "an expression") from None
    statics = frozenset(node.name for node in walk(tree) if isinstance(node, Static))
    return Code(tree, parser.inputs, statics, gives)


def walk(tree: Tree) -> Iterator[Tree]:
    """All nodes of a tree, the root first."""
    stack = [tree]
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, Apply):
            stack += node.args


def _placeholder(field: str, form: str | None, conversion: str | None) -> str:
    if form or conversion or not (field.isdecimal() or field.isidentifier()):
        raise CodeError(f"{{{field}}}", "inputs as {0}, {1} and static parameters by their names")
    # between spaces, so that it does not become a part of a name beside it
    return f" input_{field} " if field.isdecimal() else f" static_{field} "


class _Parser:
    """Parser from Python's syntax trees to ours."""

    def __init__(self) -> None:
        self.inputs: dict[int, str] = {}

    def tree(self, node: ast.expr) -> Tree:
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
            return Number(float(node.value))
        if isinstance(node, ast.Name):
            return self._name(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd | ast.Invert):
            inner = self.tree(node.operand)
            if isinstance(node.op, ast.UAdd):
                return inner
            if isinstance(node.op, ast.USub) and isinstance(inner, Number):
                return Number(-inner.value)
            return Apply("~" if isinstance(node.op, ast.Invert) else "-", (inner,))
        if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC | LOGIC:
            sign = (ARITHMETIC | LOGIC)[type(node.op)]
            a, b = self.tree(node.left), self.tree(node.right)
            if isinstance(a, Number) and isinstance(b, Number):
                return self._number(node, sign, a, b)
            return Apply(sign, (a, b))
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in COMPARISONS:
            a, b = self.tree(node.left), self.tree(node.comparators[0])
            if not (isinstance(a, Number) and isinstance(b, Number)):
                return Apply(COMPARISONS[type(node.ops[0])], (a, b))
        raise CodeError(_spelled(node))

    def _name(self, node: ast.Name) -> Tree:
        kind, _, rest = node.id.partition("_")
        if kind == "input" and rest.isdecimal():
            self.inputs.setdefault(int(rest), "")
            return Input(int(rest))
        if kind == "static":
            return Static(rest)
        if node.id == "INF":
            return Number(math.inf)
        raise CodeError(_spelled(node))

    def _call(self, node: ast.Call) -> Tree:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in FUNCTIONS:
            raise CodeError(_spelled(node.func))
        if len(node.args) != FUNCTIONS[name] or node.keywords or any(isinstance(a, ast.Starred) for a in node.args):
            raise CodeError(_spelled(node), f"{FUNCTIONS[name]} arguments of {name}, by position")
        if name != "vsplat":
            return Apply(name, tuple(map(self.tree, node.args)))
        number, like = node.args
        inner = self.tree(number)
        if not isinstance(inner, Number) or not isinstance(like, ast.Name) or like.id != "k":
            raise CodeError(_spelled(node), "vsplat(number, k)")
        return Apply(name, (inner,))

    def _number(self, node: ast.expr, sign: str, a: Number, b: Number) -> Number:
        """Constant folding of an operator on two numbers."""
        try:
            value = COMPUTE[sign](a.value, b.value)
        except (KeyError, ArithmeticError):
            value = math.nan
        if value != value:
            raise CodeError(_spelled(node), "a number")
        return Number(value)

    def kind(self, tree: Tree, wanted: str = "") -> str:
        """NUMBER or TRUTH, as the tree gives; notes what its inputs have to be."""
        if isinstance(tree, Input):
            before = self.inputs[tree.position]
            self._fit(f"{{{tree.position}}}", before, wanted)
            self.inputs[tree.position] = before or wanted
            return before or wanted
        if not isinstance(tree, Apply):
            self._fit("a number", NUMBER, wanted)
            return NUMBER
        gives, takes = _signature(tree)
        self._fit(f"{tree.function!r}, which gives {gives},", gives, wanted)
        for a, take in zip(tree.args, takes):
            self.kind(a, take)
        return gives

    @staticmethod
    def _fit(what: str, kind: str, wanted: str) -> None:
        if kind and wanted and kind != wanted:
            raise CodeError(f"{what} for {wanted}", "truth values (comparisons and & | ^ ~ of them) apart from numbers")


def _signature(tree: Apply) -> tuple[str, tuple[str, ...]]:
    """Kinds of the result and of the arguments of a function or an operator."""
    if tree.function in LOGIC.values() or tree.function == "~":
        return TRUTH, (TRUTH,) * len(tree.args)
    if tree.function in COMPARISONS.values():
        return TRUTH, (NUMBER, NUMBER)
    return NUMBER, (TRUTH, NUMBER, NUMBER) if tree.function == "vselect" else (NUMBER,) * len(tree.args)


def _spelled(node: ast.AST) -> str:
    """A part of an expression, in quotes; inputs are called x, y, z."""
    text = ast.unparse(node)
    text = re.sub(r"\binput_(\d+)\b", lambda m: "xyz"[int(m[1])] if int(m[1]) < 3 else f"x{m[1]}", text)
    return repr(re.sub(r"\bstatic_(\w+)\b", r"\1", text))
