"""The small language that elementwise lowerings are written in, and the check that code is in it."""

from __future__ import annotations

import ast
import functools

from ...core import Op
from ...errors import CompileError

CALLABLE = ("vabs", "vfloor", "vmax", "vmin", "vround", "vselect", "vsplat") + (
    "cos", "erf", "exp", "expm1", "log", "log1p", "power", "sigmoid", "sin", "softplus", "sqrt", "tanh",
)  # fmt: skip
NUMBERS = ("INF", "k")  # k: what vsplat() takes the type of
EXPRESSIONS = (  # that generated code is translated from
    ast.Expression, ast.Name, ast.Load, ast.Constant, ast.Call, ast.BinOp, ast.UnaryOp, ast.Compare,
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.BitAnd, ast.BitOr, ast.BitXor, ast.USub, ast.UAdd, ast.Invert, ast.cmpop,
)  # fmt: skip


@functools.cache
def check_code(op: Op, arity: int, static: tuple[str, ...]) -> None:
    """Say before anything is generated if the code of an elementwise lowering cannot be emitted.

    Raises
    ------
    CompileError
        If it is no expression, or has operators or calls that generated code does not know.
    """
    assert op.lowering is not None
    code = op.lowering.code
    try:
        tree = ast.parse(code.format(*["x"] * arity, **dict.fromkeys(static, "x")), mode="eval")
    except (SyntaxError, IndexError, KeyError) as e:
        raise CompileError(
            f"{op.name}: lowering: got {code!r}, wanted an expression in its {arity} inputs: {e}"
        ) from None
    for node in ast.walk(tree):
        if not isinstance(node, EXPRESSIONS):
            part = ast.unparse(node) if isinstance(node, ast.expr) else type(node).__name__
            raise CompileError(
                f"{op.name}: lowering: got {part!r} in {code!r}, "
                "wanted calls, comparisons and the operators + - * / & | ^ ~"
            )
        if isinstance(node, ast.Name) and node.id not in ("x", *CALLABLE, *NUMBERS):
            raise CompileError(
                f"{op.name}: lowering: got {node.id!r} in {code!r}, "
                f"wanted inputs as {{0}} and any of {', '.join(CALLABLE)}"
            )
