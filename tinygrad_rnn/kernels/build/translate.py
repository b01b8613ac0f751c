"""Compiler of a small part of Python to LLVM's instructions in one pass, for long generated functions.

Numba infers the types of a whole function, rewrites it several times and looks up anew what each operation means. For
a generated loop of hundreds of statements that is most of the time that compiling takes, and to no end: the types
follow from those of the arguments, line by line. So :func:`translated` makes an intrinsic of such a function, whose
statements become instructions in one pass. What an operation means is still asked of Numba, once for its types.

The language: parameters, and numbers and functions of the module; ``name = expression``; ``for name in range(...)``
with a positive step; ``if`` without ``else``; ``continue``; ``pass``; calls. Expressions are operators, a comparison,
calls by position, ``min`` of two integers and ``a[i]``. A name has one type. One that is assigned in one place only is
known until its block ends. A function of the same module is in this language too, and is put in place of its call.
"""

from __future__ import annotations

import ast
import inspect
import operator
import textwrap
from collections import Counter
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

from llvmlite import ir
from numba import typeof, types
from numba.core import cgutils
from numba.extending import intrinsic

OPERATORS: dict[type, Callable] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.BitXor: operator.xor, ast.RShift: operator.rshift,
    ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Invert: operator.invert,
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
}  # fmt: skip

Value = tuple[types.Type, Any]  # Numba's type, LLVM's value


def translated(function: Callable) -> Any:
    """Make an intrinsic of a function without a result, whose source is in a file.

    Parameters
    ----------
    function : callable
        In the language above; parameters by position.

    Returns
    -------
    intrinsic
        For jitted functions, which compile it as a part of themselves; then an operation that is not of the
        language raises NotImplementedError, and one that does not take such types Numba's TypingError.
    """

    def define(typingctx: Any, *args: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, sig: Any, values: Any) -> Any:
            Translation(context, builder, function).run(list(zip(sig.args, values)))
            return context.get_dummy_value()

        return types.void(*args), codegen

    given = inspect.signature(function)
    first = inspect.Parameter("typingctx", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    define.__signature__ = given.replace(parameters=[first, *given.parameters.values()])  # type: ignore[attr-defined]
    define.__name__, define.__doc__ = function.__name__, function.__doc__
    return intrinsic(define)


class Translation:
    """Translation of one function into instructions at the place where the builder stands."""

    def __init__(self, context: Any, builder: ir.IRBuilder, function: Callable) -> None:
        self.context, self.builder = context, builder
        self.module = function.__globals__
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
        assert isinstance(tree, ast.FunctionDef)
        self.tree = tree
        assigned = (n.targets[0] for n in ast.walk(self.tree) if isinstance(n, ast.Assign))
        self.times = Counter(n.id for n in assigned if isinstance(n, ast.Name))
        self.times.update(parameter.arg for parameter in self.tree.args.args)
        self.values: dict[str, Value] = {}  # of names that are assigned once
        self.slots: dict[str, Value] = {}  # where the values of the others are
        self.known: dict[tuple, tuple] = {}  # (function, types) -> signature, implementation
        self.next: ir.Block | None = None  # what `continue` goes to

    def run(self, arguments: list[Value]) -> None:
        for parameter, value in zip(self.tree.args.args, arguments, strict=True):
            self.assign(parameter, parameter.arg, value)
        self.block(self.tree.body)

    def fail(self, node: ast.AST, what: str) -> Any:
        raise NotImplementedError(f"got {ast.unparse(node)!r}, wanted {what}")

    # ---- statements

    def block(self, statements: list[ast.stmt], inside: Mapping[str, Value] = {}) -> None:
        """Statements whose names, and those of `inside`, are known until their end."""
        outside = self.values
        self.values = {**outside, **inside}
        for statement in statements:
            self.statement(statement)
        self.values = outside

    def statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            self.assign(node, node.targets[0].id, self.value(node.value))
        elif isinstance(node, ast.Expr):
            self.value(node.value)
        elif isinstance(node, ast.For) and isinstance(node.target, ast.Name) and not node.orelse:
            self.loop(node, node.target.id)
        elif isinstance(node, ast.If) and not node.orelse:
            self.condition(node)
        elif isinstance(node, ast.Continue) and self.next is not None:
            self.builder.branch(self.next)
        elif not isinstance(node, ast.Pass):
            self.fail(node, "an assignment to a name, for, if or continue")

    def assign(self, node: ast.AST, name: str, value: Value) -> None:
        if self.times[name] <= 1:
            self.values[name] = value
            return
        kind, new = value
        if name not in self.slots:
            self.slots[name] = kind, cgutils.alloca_once(self.builder, new.type)
        before, slot = self.slots[name]
        if kind != before:
            self.fail(node, f"{before} again, not {kind}")
        self.builder.store(new, slot)

    def loop(self, node: ast.For, name: str) -> Any:
        builder, call = self.builder, node.iter
        if not isinstance(call, ast.Call) or ast.unparse(call.func) != "range":
            return self.fail(call, "range(...)")
        bounds = [self.integer(arg) for arg in call.args]
        if len(bounds) == 1:
            bounds.insert(0, bounds[0].type(0))
        first, stop = bounds[:2]
        step = bounds[2] if len(bounds) > 2 else stop.type(1)
        head, body, latch, end = (
            builder.append_basic_block(f"{name}.{part}") for part in ("head", "do", "next", "end")
        )
        before, outer = builder.block, self.next
        builder.branch(head)
        builder.position_at_end(head)
        index = builder.phi(stop.type, name)
        index.add_incoming(first, before)
        builder.cbranch(builder.icmp_signed("<", index, stop), body, end)
        builder.position_at_end(body)
        self.next = latch
        self.block(node.body, {name: (types.intp, index)})
        self.next = outer
        if not builder.block.is_terminated:
            builder.branch(latch)
        builder.position_at_end(latch)
        index.add_incoming(builder.add(index, step, flags=["nsw"]), latch)
        builder.branch(head)
        return builder.position_at_end(end)

    def condition(self, node: ast.If) -> None:
        builder, (kind, test) = self.builder, self.value(node.test)
        then, end = builder.append_basic_block("then"), builder.append_basic_block("endif")
        builder.cbranch(self.context.cast(builder, test, kind, types.boolean), then, end)
        builder.position_at_end(then)
        self.block(node.body)
        if not builder.block.is_terminated:
            builder.branch(end)
        builder.position_at_end(end)

    # ---- expressions

    def value(self, node: ast.expr) -> Value:
        if isinstance(node, ast.Name):
            return self.name(node)
        if isinstance(node, ast.Constant):
            return self.constant(node, node.value)
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            return self.call(OPERATORS[type(node.op)], node.left, node.right)
        if isinstance(node, ast.UnaryOp) and type(node.op) in OPERATORS:
            return self.call(OPERATORS[type(node.op)], node.operand)
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in OPERATORS:
            return self.call(OPERATORS[type(node.ops[0])], node.left, node.comparators[0])
        if isinstance(node, ast.Subscript):
            return self.call(operator.getitem, node.value, node.slice)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            if node.func.id == "min" and len(node.args) == 2:
                a, b = (self.integer(arg) for arg in node.args)
                return types.intp, self.builder.select(self.builder.icmp_signed("<", b, a), b, a)
            if node.func.id in self.module:
                return self.call(self.module[node.func.id], *node.args)
        return self.fail(node, "operators, one comparison, a call by position or a[i]")

    def name(self, node: ast.Name) -> Value:
        if node.id in self.slots:
            kind, slot = self.slots[node.id]
            return kind, self.builder.load(slot)
        if node.id in self.values:
            return self.values[node.id]
        if node.id not in self.module:
            self.fail(node, "a name that is known here")
        return self.constant(node, self.module[node.id])

    def constant(self, node: ast.expr, value: Any) -> Value:
        kind = types.intp if type(value) is int else typeof(value)
        if not isinstance(kind, types.Number | types.Boolean):
            self.fail(node, "a number")
        return kind, self.context.get_constant(kind, value)

    def integer(self, node: ast.expr) -> Any:
        kind, value = self.value(node)
        return self.context.cast(self.builder, value, kind, types.intp)

    def call(self, function: Any, *nodes: ast.expr) -> Value:
        arguments = [self.value(node) for node in nodes]
        if isinstance(function, FunctionType) and function.__globals__ is self.module:
            Translation(self.context, self.builder, function).run(arguments)
            return types.void, self.context.get_dummy_value()
        kinds = tuple(kind for kind, _ in arguments)
        if (function, kinds) not in self.known:
            self.known[function, kinds] = self.look_up(function, kinds)
        signature, implementation = self.known[function, kinds]
        values = [self.context.cast(self.builder, x, kind, to) for (kind, x), to in zip(arguments, signature.args)]
        return signature.return_type, implementation(self.builder, values)

    def look_up(self, function: Any, kinds: tuple) -> tuple:
        """Numba's signature of a call, and the function that emits its code."""
        typing = self.context.typing_context
        kind = typing.resolve_value_type(function)
        signature = typing.resolve_function_type(kind, kinds, {})
        return signature, self.context.get_function(kind, signature)
