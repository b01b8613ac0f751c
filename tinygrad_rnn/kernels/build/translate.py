"""Compiler of a small part of Python to LLVM's instructions in one pass, for loops and kernels.

Numba infers the types of a whole function, rewrites it several times and looks up anew what each operation means. For
a generated loop of hundreds of statements that is most of the time that compiling takes, and to no end: the types
follow from those of the arguments, line by line. So a function is translated statement by statement, in one pass.
What an operation means is still asked of Numba, once for its types.

The language: parameters, and numbers, records and functions of the module; assignments to names, of tuples and to
``a[i]``, also ``+=`` and its kin; ``for name in range(...)`` with a positive step; ``while``; ``if``; ``continue``;
``return``, in functions that are no part of others; ``pass``; calls by position. Expressions are operators, one
comparison, ``and``, ``or``, ``x if c else y``, ``min`` and ``max`` of two integers, fields of records and ``a[i]``,
where i counts from the beginning. A name has one type, and is known until the block ends in which it is first assigned.

A function of the module is in this language too, and put in place of its call. One that Numba's ``njit`` marks becomes
a function of LLVM's, once for its types; it may return what its annotation says, a number or a truth value.
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
from numba.core.dispatcher import Dispatcher
from numba.extending import intrinsic

OPERATORS: dict[type, Callable] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
    ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.BitXor: operator.xor, ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Invert: operator.invert, ast.Not: operator.not_,
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
}  # fmt: skip
CHOICES = {"min": "<", "max": ">"}
RESULTS: dict[Any, types.Type] = {None: types.void, int: types.intp, bool: types.boolean}
RESULTS |= {"None": types.void, "int": types.intp, "bool": types.boolean}  # annotations may be kept as text

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


class Functions:
    """The functions of an LLVM module, each translated once for the types of its arguments."""

    def __init__(self, context: Any, module: ir.Module) -> None:
        self.context, self.module = context, module
        self.known: dict[tuple, tuple[types.Type, ir.Function]] = {}

    def get(self, function: Any, kinds: tuple) -> tuple[types.Type, ir.Function]:
        """The result's type, and LLVM's function."""
        key = function, kinds
        if key not in self.known:
            result = result_of(function)
            value_type = self.context.get_value_type
            returned = ir.VoidType() if result is types.void else value_type(result)
            kind = ir.FunctionType(returned, [value_type(k) for k in kinds])
            made = ir.Function(self.module, kind, f"{function.__name__}.{len(self.known)}")
            made.linkage = "internal"
            self.known[key] = result, made
            builder = ir.IRBuilder(made.append_basic_block("entry"))
            leave = lambda value: builder.ret_void() if value is None else builder.ret(value)
            Translation(self.context, builder, function, self, leave).run(list(zip(kinds, made.args)))
        return self.known[key]


def result_of(function: Callable) -> types.Type:
    """The type of what a function returns, by its annotation."""
    return RESULTS[function.__annotations__.get("return")]


class Translation:
    """Translation of one function into instructions at the place where the builder stands."""

    def __init__(
        self,
        context: Any,
        builder: ir.IRBuilder,
        function: Callable,
        functions: Functions | None = None,
        leave: Callable[[Any], Any] | None = None,
    ) -> None:
        self.context, self.builder, self.functions, self.leave = context, builder, functions, leave
        self.result = result_of(function)
        self.globals = function.__globals__
        self.module = {**self.globals, **inspect.getclosurevars(function).nonlocals}
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
        assert isinstance(tree, ast.FunctionDef)
        self.tree = tree
        # A name that is assigned to once is a value; others get memory, of which LLVM makes registers again.
        self.times = Counter(parameter.arg for parameter in tree.args.args)
        # the number of a loop is a value of its own in each pass
        counters = [n.target for n in ast.walk(tree) if isinstance(n, ast.For)]
        names = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
        self.times.update(n.id for n in names if n not in counters)
        self.values: dict[str, Value] = {}  # of names that are assigned once
        self.slots: dict[str, Value] = {}  # where the values of the others are
        self.known: dict[tuple, tuple] = {}  # (function, types) -> signature, implementation
        self.counters: list[str] = []  # of the loops around this place
        self.next: ir.Block | None = None  # what `continue` goes to

    def run(self, arguments: list[Value]) -> None:
        for parameter, value in zip(self.tree.args.args, arguments, strict=True):
            self.assign(parameter, parameter.arg, value)
        self.block(self.tree.body)
        if self.leave is not None and not self.builder.block.is_terminated:
            if self.result is not types.void:
                self.fail(self.tree.body[-1], "a result in the end")
            self.leave(None)

    def fail(self, node: ast.AST, what: str) -> Any:
        raise NotImplementedError(f"got {ast.unparse(node)!r}, wanted {what}")

    # ---- statements

    def block(self, statements: list[ast.stmt], inside: Mapping[str, Value] = {}) -> None:
        """Statements whose names, and those of `inside`, are known until their end."""
        outside = self.values, self.slots
        self.values, self.slots = {**self.values, **inside}, {**self.slots}
        for statement in statements:
            self.statement(statement)
        self.values, self.slots = outside

    def statement(self, node: ast.stmt) -> None:
        """Translate one statement."""
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            self.store(node, node.targets[0], node.value)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name | ast.Subscript):
            # the target once more, as something to be read
            before = ast.copy_location(ast.parse(ast.unparse(node.target), mode="eval").body, node)
            self.store(node, node.target, ast.copy_location(ast.BinOp(before, node.op, node.value), node))
        elif isinstance(node, ast.Expr):
            if not isinstance(node.value, ast.Constant):  # a docstring
                self.value(node.value)
        elif isinstance(node, ast.For) and isinstance(node.target, ast.Name) and not node.orelse:
            self.loop(node, node.target.id)
        elif isinstance(node, ast.While) and not node.orelse:
            self.while_loop(node)
        elif isinstance(node, ast.If):
            self.condition(node)
        elif isinstance(node, ast.Continue) and self.next is not None:
            self.builder.branch(self.next)
        elif isinstance(node, ast.Return) and self.leave is not None:
            self.leave(self.returned(node))
        elif not isinstance(node, ast.Pass):
            self.fail(node, "an assignment to a name, for, while, if, continue or return")

    def store(self, node: ast.stmt, target: ast.expr, value: ast.expr) -> None:
        """Assign to a name, to several, or to an element of an array."""
        if isinstance(target, ast.Name):
            self.assign(node, target.id, self.value(value))
        # as a part of jitted code, arrays are indexed as Numba does it, which may check bounds
        elif isinstance(target, ast.Subscript) and self.functions is None:
            self.call(operator.setitem, target.value, target.slice, value)
        elif isinstance(target, ast.Subscript):
            new = self.value(value)
            kind, pointer = self.element(target)
            self.builder.store(self.context.cast(self.builder, new[1], new[0], kind), pointer)
        elif isinstance(target, ast.Tuple) and all(isinstance(t, ast.Name) for t in target.elts):
            for name, one in zip(target.elts, self.several(value), strict=True):
                assert isinstance(name, ast.Name)
                self.assign(node, name.id, one)
        else:
            self.fail(node, "an assignment to a name, to names or to a[i]")

    def several(self, node: ast.expr) -> list[Value]:
        """The values of a tuple."""
        if isinstance(node, ast.Tuple):
            return [self.value(one) for one in node.elts]
        kind, value = self.value(node)
        if not isinstance(kind, types.BaseTuple):
            return self.fail(node, "a tuple")
        return [(one, self.builder.extract_value(value, i)) for i, one in enumerate(kind.types)]

    def assign(self, node: ast.AST, name: str, value: Value) -> None:
        """Bind a name to a value, in memory if it is assigned to more than once."""
        if name in self.counters:
            self.fail(node, "another name than that of a loop")
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
        """A loop over ``range(...)``, whose counter is a value of LLVM's."""
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
        self.counters.append(name)
        self.block(node.body, {name: (types.intp, index)})
        self.counters.pop()
        self.next = outer
        self.go_on(latch)
        builder.position_at_end(latch)
        # no overflow, so LLVM can tell how often the loop runs
        index.add_incoming(builder.add(index, step, flags=["nsw"]), latch)
        builder.branch(head)
        return builder.position_at_end(end)

    def while_loop(self, node: ast.While) -> None:
        builder, outer = self.builder, self.next
        head, body, end = (builder.append_basic_block(f"while.{part}") for part in ("head", "do", "end"))
        builder.branch(head)
        builder.position_at_end(head)
        builder.cbranch(self.truth(node.test), body, end)
        builder.position_at_end(body)
        self.next = head
        self.block(node.body)
        self.next = outer
        self.go_on(head)
        builder.position_at_end(end)

    def condition(self, node: ast.If) -> None:
        builder, test = self.builder, self.truth(node.test)
        then, end = builder.append_basic_block("then"), builder.append_basic_block("endif")
        otherwise = builder.append_basic_block("else") if node.orelse else end
        builder.cbranch(test, then, otherwise)
        for block, statements in ((then, node.body), (otherwise, node.orelse)):
            if statements:
                builder.position_at_end(block)
                self.block(statements)
                self.go_on(end)
        builder.position_at_end(end)

    def go_on(self, block: ir.Block) -> None:
        """Go to this block, if this place of the code can be reached."""
        if not self.builder.block.is_terminated:
            self.builder.branch(block)

    def returned(self, node: ast.Return) -> Any:
        if (self.result is types.void) != (node.value is None):
            self.fail(node, f"a result that is {self.result}")
        if node.value is None:
            return None
        kind, value = self.value(node.value)
        return self.context.cast(self.builder, value, kind, self.result)

    # ---- expressions

    def value(self, node: ast.expr) -> Value:
        """Type and value of an expression; its instructions are emitted."""
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
        if isinstance(node, ast.BoolOp):
            return self.connection(node)
        if isinstance(node, ast.IfExp):
            return self.choice(self.truth(node.test), node.body, node.orelse)
        if isinstance(node, ast.Subscript) and self.functions is None:
            return self.call(operator.getitem, node.value, node.slice)
        if isinstance(node, ast.Subscript):
            kind, pointer = self.element(node)
            return kind, self.builder.load(pointer)
        if isinstance(node, ast.Attribute):
            return self.field(node)
        if isinstance(node, ast.Call) and not node.keywords:
            if isinstance(node.func, ast.Name) and node.func.id in CHOICES and len(node.args) == 2:
                a, b = (self.integer(arg) for arg in node.args)
                first = self.builder.icmp_signed(CHOICES[node.func.id], b, a)
                return types.intp, self.builder.select(first, b, a)
            function = self.static(node.func)
            if function is not None:
                return self.call(function, *node.args)
        return self.fail(node, "operators, one comparison, a call by position or a[i]")

    def name(self, node: ast.Name) -> Value:
        if node.id in self.values:
            return self.values[node.id]
        if node.id in self.slots:
            kind, slot = self.slots[node.id]
            return kind, self.builder.load(slot)
        if node.id not in self.module:
            self.fail(node, "a name that is known here")
        return self.constant(node, self.module[node.id])

    def static(self, node: ast.expr) -> Any:
        """The object behind a name of the module, or an attribute of it; None if it is no such thing."""
        if isinstance(node, ast.Name) and node.id not in self.times:
            return self.module.get(node.id)
        if isinstance(node, ast.Attribute):
            return getattr(self.static(node.value), node.attr, None)
        return None

    def constant(self, node: ast.expr, value: Any) -> Value:
        if isinstance(value, type) and hasattr(value, "_fields"):
            return types.NamedTupleClass(value), self.context.get_dummy_value()
        # the member of an enum of integers is a number here
        kind = types.intp if isinstance(value, int) and not isinstance(value, bool) else typeof(value)
        if not isinstance(kind, types.Number | types.Boolean):
            self.fail(node, "a number")
        return kind, self.context.get_constant(kind, int(value) if kind is types.intp else value)

    def field(self, node: ast.Attribute) -> Value:
        """A field of a record, or a number that an attribute of the module stands for."""
        # first: a name of the module may hold another module, or an enum
        known = self.static(node)
        if known is not None:
            return self.constant(node, known)
        kind, value = self.value(node.value)
        if node.attr not in getattr(kind, "fields", ()):
            return self.fail(node, "a field of a record")
        index = kind.fields.index(node.attr)
        return kind.types[index], self.builder.extract_value(value, index)

    def element(self, node: ast.Subscript) -> Value:
        """The type of an element of an array, and where it is."""
        kind, array = self.value(node.value)
        if not isinstance(kind, types.Array) or kind.ndim != 1 or kind.layout != "C":
            return self.fail(node, "an element of an array of one axis")
        index = self.integer(node.slice)
        data = self.context.make_array(kind)(self.context, self.builder, array).data
        return kind.dtype, self.builder.gep(data, [index])

    def integer(self, node: ast.expr) -> Any:
        kind, value = self.value(node)
        return self.context.cast(self.builder, value, kind, types.intp)

    def truth(self, node: ast.expr) -> Any:
        kind, value = self.value(node)
        return self.context.cast(self.builder, value, kind, types.boolean)

    def connection(self, node: ast.BoolOp) -> Value:
        """``a and b``, ``a or b``: truth values; what follows is looked at only if it decides."""
        first, *others = node.values
        rest = others[0] if len(others) == 1 else ast.BoolOp(node.op, others)
        decided = ast.Constant(isinstance(node.op, ast.Or))
        test = self.truth(first)
        return self.choice(test, decided, rest) if decided.value else self.choice(test, rest, decided)

    def choice(self, test: Any, body: ast.expr, orelse: ast.expr) -> Value:
        """One of two values; the other one is not computed."""
        builder = self.builder
        found: list[tuple[types.Type, Any, ir.Block]] = []
        blocks = [builder.append_basic_block(part) for part in ("then", "else")]
        end = builder.append_basic_block("chosen")
        builder.cbranch(test, *blocks)
        for block, node in zip(blocks, (body, orelse)):
            builder.position_at_end(block)
            kind, value = self.value(node)
            if found and kind != found[0][0]:
                self.fail(node, f"{found[0][0]}, as the other choice, not {kind}")
            found.append((kind, value, builder.block))
            builder.branch(end)
        builder.position_at_end(end)
        result = builder.phi(found[0][1].type)
        for _, value, block in found:
            result.add_incoming(value, block)
        return found[0][0], result

    # ---- calls

    def call(self, function: Any, *nodes: ast.expr) -> Value:
        """Call a function: inline, as a function of LLVM's, or by Numba's implementation for these types."""
        arguments = [self.value(node) for node in nodes]
        # put in place of the call; it has names of its own, and no result
        if isinstance(function, FunctionType) and function.__globals__ is self.globals:
            Translation(self.context, self.builder, function, self.functions).run(arguments)
            return types.void, self.context.get_dummy_value()
        kinds = tuple(kind for kind, _ in arguments)
        if isinstance(function, Dispatcher) and self.functions is not None:
            result, made = self.functions.get(function.py_func, kinds)
            return result, self.builder.call(made, [x for _, x in arguments])
        if self.prefers_literals(function):
            constants = (node.value if isinstance(node, ast.Constant) else self.static(node) for node in nodes)
            kinds = tuple(types.literal(c) if type(c) is int else kind for c, kind in zip(constants, kinds))
        if (function, kinds) not in self.known:
            self.known[function, kinds] = self.look_up(function, kinds)
        signature, implementation = self.known[function, kinds]
        values = [
            x if isinstance(to, types.Literal) else self.context.cast(self.builder, x, kind, to)
            for (kind, x), to in zip(arguments, signature.args)
        ]
        return signature.return_type, implementation(self.builder, values)

    def prefers_literals(self, function: Any) -> bool:
        """Whether the values of constants decide what a function is."""
        kind = self.context.typing_context.resolve_value_type(function)
        return any(template.prefer_literal for template in getattr(kind, "templates", ()))

    def look_up(self, function: Any, kinds: tuple) -> tuple:
        """Numba's signature of a call, and the function that emits its code."""
        typing = self.context.typing_context
        kind = typing.resolve_value_type(function)
        signature = typing.resolve_function_type(kind, kinds, {})
        return signature, self.context.get_function(kind, signature)
