"""C functions, called by a symbol of LLVM, and arrays of what they are given.

A function that calls another one is compiled together with it; one that calls a symbol is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from .code_cache import c_callable
from .fingerprint import fingerprint


def float_of(dtype: Any) -> types.Float:
    """Numba's float32 or float64."""
    return types.float32 if np.dtype(dtype) == np.float32 else types.float64


def pointer_to(dtype: Any) -> types.CPointer:
    """The type of pointers to elements of float32 or float64."""
    return types.CPointer(float_of(dtype))


def c_function(function: Callable, signature: Any) -> Any:
    """A function compiled by Numba, cached under the fingerprint; its code lives as long as this object."""
    function.__qualname__ = f"{function.__name__}_{fingerprint()}"
    return c_callable(function, signature)


def export_symbol(symbol: str, address: int) -> None:
    """Make a C function known to LLVM as `symbol`."""
    llvm.add_symbol(symbol, address)


def call_symbol(context: Any, builder: ir.IRBuilder, symbol: str, values: list[Any], result: Any = None) -> Any:
    """Call an exported symbol, or a function of C; without `result` it returns nothing."""
    kind = ir.FunctionType(result or ir.VoidType(), [x.type for x in values])
    returned = builder.call(cgutils.get_or_insert_function(builder.module, kind, symbol), values)
    return returned if result else context.get_dummy_value()


# ---- arrays of memory that others hold


def array_from(context: Any, builder: ir.IRBuilder, dtype: Any, address: Any, size: Any) -> Any:
    """The array of `size` elements at an address; whoever holds the memory keeps it alive."""
    item = context.get_abi_sizeof(context.get_data_type(dtype))
    array = context.make_array(types.Array(dtype, 1, "C"))(context, builder)
    pointed = isinstance(address.type, ir.PointerType)
    populate_array(
        array,
        data=builder.bitcast(address, array.data.type) if pointed else builder.inttoptr(address, array.data.type),
        shape=cgutils.pack_array(builder, [size]),
        strides=cgutils.pack_array(builder, [size.type(item)]),
        itemsize=size.type(item),
        meminfo=None,
    )
    return array._getvalue()


@intrinsic
def array_at(typingctx: Any, address: Any, size: Any, like: Any) -> Any:
    """The array of `size` elements at an integer or pointer, of the dtype of `like`."""
    code = lambda context, builder, sig, args: array_from(context, builder, like.dtype, args[0], args[1])
    return types.Array(like.dtype, 1, "C")(address, types.intp, like), code


def of_python(name: str, symbol: str, doc: str, count: int) -> Any:
    """A function of C that comes with Python, of `count` integers, 0 to 2 or 4; it returns another one."""
    integer = types.intp

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        return call_symbol(context, builder, symbol, list(args), context.get_value_type(integer))

    function: Any  # Numba counts its parameters
    if count == 0:
        function = lambda typingctx: (integer(), codegen)
    elif count == 1:
        function = lambda typingctx, a: (integer(integer), codegen)
    elif count == 2:
        function = lambda typingctx, a, b: (integer(integer, integer), codegen)
    elif count == 4:
        function = lambda typingctx, a, b, c, d: (integer(*[integer] * 4), codegen)
    else:
        raise ValueError(f"count: got {count}, wanted 0, 1, 2 or 4")
    function.__name__, function.__doc__ = name, doc
    return intrinsic(function)


allocate = of_python("allocate", "PyMem_RawMalloc", "Address of so many bytes of new memory; 0 if there is none.", 1)
release = of_python(
    "release", "PyMem_RawFree", "Give back memory that `allocate` gave; what it returns has no meaning.", 1
)
