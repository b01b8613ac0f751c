"""Reads records of :mod:`.task_codes` in jitted code: ``record_at(address, position, Pack).rows``."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..build.c_functions import array_from
from .task_codes import Span, fields_of

INT64 = ir.IntType(64)


def _type_of(kind: type) -> types.BaseTuple:
    """The type of a record in jitted code: a named tuple of 64-bit integers."""
    return types.BaseTuple.from_types([types.int64 if t is None else _type_of(t) for t in fields_of(kind)], kind)


def _load(context: Any, builder: ir.IRBuilder, kind: type, first: Any, position: int) -> tuple[Any, int]:
    """A record whose integers begin at `position` behind the pointer `first`, and the position behind it."""
    values = []
    for inner in fields_of(kind):
        if inner is None:
            value = builder.load(builder.gep(first, [INT64(position)]))
            position += 1
        else:
            value, position = _load(context, builder, inner, first, position)
        values.append(value)
    # Numba holds tuples of one type as arrays and others as structures: it knows how to make either
    return context.make_tuple(builder, _type_of(kind), values), position


@intrinsic
def record_at(typingctx: Any, table: Any, position: Any, kind: Any) -> Any:
    """The record of this kind that begins at number `position` of the int64 table at the address `table`.

    Every field is loaded here, and LLVM drops those that nobody reads.
    """
    if not isinstance(kind, types.NamedTupleClass):
        return None
    record = kind.instance_class

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        first = builder.gep(builder.inttoptr(args[0], INT64.as_pointer()), [args[1]])
        return _load(context, builder, record, first, 0)[0]

    return _type_of(record)(types.intp, types.intp, kind), codegen


@intrinsic
def integers_at(typingctx: Any, address: Any, size: Any) -> Any:
    """The `size` integers at an address."""
    code = lambda context, builder, sig, args: array_from(context, builder, types.int64, *args)
    return types.Array(types.int64, 1, "C")(types.intp, types.intp), code


def _reader(dtype: Any) -> Any:
    @intrinsic
    def array_in(typingctx: Any, span: Any) -> Any:
        """The array that a :class:`Span` describes."""

        def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
            return array_from(context, builder, dtype, *(builder.extract_value(args[0], i) for i in (0, 1)))

        return types.Array(dtype, 1, "C")(_type_of(Span)), codegen

    return array_in


integers_in, words_in = _reader(types.int64), _reader(types.int32)
float32_in, float64_in = _reader(types.float32), _reader(types.float64)
