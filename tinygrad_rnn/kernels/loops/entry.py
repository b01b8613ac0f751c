"""Compilation and calls of generated loops, and the arrays that they find by address.

Every loop is a function of integers alone: a range of rows, the address of a table that holds address and length of
each of its arrays, and that of the member who shares its steps with others (0: there are none). So one call of a jitted
function executes the tasks before a loop, the loop, and the tasks after it, whatever the cell is, and nothing has to be
compiled that takes arrays out of Python objects.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..build.c_functions import array_from
from ..build.fingerprint import kernel
from ..build.native import Native
from ..build.translate import translated as translated_now
from ..simd.types import BOUNDSCHECK

_n = types.intp
_checked: weakref.WeakValueDictionary[int, _Checked] = weakref.WeakValueDictionary()
_numbers = itertools.count()


class _Checked:
    """A loop that raises IndexError: Python calls it by its number, as errors do not pass a C function."""

    def __init__(self, function: Callable) -> None:
        self.function = kernel(function)
        self.function.compile((_n, _n, _n, _n))
        self.address = next(_numbers)
        _checked[self.address] = self


def loop(function: Callable) -> Native | _Checked:
    """Compile a generated loop, or load it from the disk; its ``address`` is what :func:`call_loop` takes."""
    return _Checked(function) if BOUNDSCHECK else Native(function)


def translated(function: Callable) -> Any:
    """Mark what :func:`loop` translates; Numba, which checks bounds, needs to know of it."""
    return translated_now(function) if BOUNDSCHECK else function


@intrinsic
def _call(typingctx: Any, address: Any, b0: Any, b1: Any, table: Any, member: Any) -> Any:
    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [x.type for x in args[1:]])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(_n, _n, _n, _n, _n), codegen


def _call_checked(address: int, b0: int, b1: int, table: int, member: int) -> None:
    _checked[address].function(b0, b1, table, member)


call_loop = _call_checked if BOUNDSCHECK else _call


def _entry(context: Any, builder: ir.IRBuilder, dtype: Any, table: Any, index: Any) -> Any:
    """Array number `index` of the table of spans at the address `table`."""
    span = builder.gep(builder.inttoptr(table, table.type.as_pointer()), [builder.shl(index, index.type(1))])
    address, size = (builder.load(builder.gep(span, [index.type(i)])) for i in (0, 1))
    return array_from(context, builder, dtype, address, size)


def _reader(dtype: Any) -> Any:
    @intrinsic
    def array_at(typingctx: Any, table: Any, index: Any) -> Any:
        """Array number `index` of the table of spans at the address `table`."""
        code = lambda context, builder, sig, args: _entry(context, builder, dtype, *args)
        return types.Array(dtype, 1, "C")(_n, _n), code

    return array_at


integers, float32, float64 = _reader(types.int64), _reader(types.float32), _reader(types.float64)


@intrinsic
def array_like(typingctx: Any, table: Any, index: Any, like: Any) -> Any:
    """Array number `index` of the table of spans at the address `table`, of the dtype of the array `like`."""
    code = lambda context, builder, sig, args: _entry(context, builder, like.dtype, *args[:2])
    return types.Array(like.dtype, 1, "C")(_n, _n, like), code


@intrinsic
def arrays_of(typingctx: Any, table: Any, task: Any, like: Any) -> Any:
    """The arrays of a task's source and of its target, of the dtype of the array `like`."""
    array = types.Array(like.dtype, 1, "C")

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        operands = [builder.extract_value(args[1], task.fields.index(name)) for name in ("source", "target")]
        numbers = [builder.extract_value(operand, 0) for operand in operands]  # both kinds of them begin with it
        return context.make_tuple(
            builder, sig.return_type, [_entry(context, builder, like.dtype, args[0], number) for number in numbers]
        )

    return types.UniTuple(array, 2)(_n, task, like), codegen
