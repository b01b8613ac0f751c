"""What Python passes to a C function: arrays, of which code needs to know no more than where they are.

All functions here are in the language of :mod:`..build.translate`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ..build.c_functions import array_from, of_python
from .records import record_at

INT = 0xFFFFFFFF  # the bits of an int of C


class ArrayObject(NamedTuple):
    """The head of one of NumPy's arrays, as its C interface has it, in words of 64 bits."""

    references: int
    kind: int
    data: int
    axes: int  # a 32-bit number, and padding
    shape: int


class Word(NamedTuple):
    """One number of a table."""

    value: int


is_subtype = of_python("is_subtype", "PyType_IsSubtype", "Whether a type is another one, or derived from it.", 2)
bad_argument = of_python("bad_argument", "PyErr_BadArgument", "Raise TypeError.", 0)
no_memory = of_python("no_memory", "PyErr_NoMemory", "Raise MemoryError; returns 0, in place of an object.", 0)
python_integer = of_python("python_integer", "PyLong_FromLong", "The address of an integer of Python's.", 1)
unlock = of_python("unlock", "PyEval_SaveThread", "Let other threads run Python; returns what `lock` takes.", 0)
lock = of_python("lock", "PyEval_RestoreThread", "Wait until this thread may run Python.", 1)


@intrinsic
def integers_on_stack(typingctx: Any, size: Any) -> Any:
    """Room for so many integers, until the function returns; not for loops."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        room = builder.alloca(ir.IntType(64), size=args[0])
        return array_from(context, builder, types.int64, room, args[0])

    return types.Array(types.int64, 1, "C")(types.intp), codegen


@intrinsic
def address_of(typingctx: Any, array: Any) -> Any:
    """Where an array begins."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        data = context.make_array(array)(context, builder, args[0]).data
        return builder.ptrtoint(data, context.get_value_type(types.intp))

    return types.intp(array), codegen


@njit(error_model="numpy")
def read_arrays(kind: int, arguments: int, count: int, wanted: int, spans: Any) -> bool:
    """Write a :class:`Span` for each argument; if they are not so many arrays, TypeError is raised."""
    if count != wanted:
        bad_argument()
        return False
    for i in range(count):
        array = record_at(record_at(arguments, i, Word).value, 0, ArrayObject)
        if array.kind != kind and (is_subtype(array.kind, kind) & INT) == 0:
            bad_argument()
            return False
        size = 1
        for axis in range(array.axes & INT):
            size *= record_at(array.shape, axis, Word).value
        spans[2 * i] = array.data
        spans[2 * i + 1] = size
    return True
