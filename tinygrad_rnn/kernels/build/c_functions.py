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
from .native import Native


def pointer_to(dtype: Any) -> types.CPointer:
    """The type of pointers to elements of float32 or float64."""
    return types.CPointer(types.float32 if np.dtype(dtype) == np.float32 else types.float64)


def c_function(function: Callable, signature: Any) -> Any:
    """A function compiled by Numba, cached under the fingerprint; its code lives as long as this object."""
    function.__qualname__ = f"{function.__name__}_{fingerprint()}"
    return c_callable(function, signature)


def export_symbol(symbol: str, function: Callable, *kinds: Any) -> Native:
    """Compile `function` for such parameters, and make it known to LLVM as `symbol`."""
    compiled = Native(function, *kinds)
    llvm.add_symbol(symbol, compiled.address)
    return compiled


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


def _of_python(name: str, symbol: str, doc: str, result: Any = types.void) -> Any:
    """One of Python's own functions of one integer, by its symbol; it needs no lock."""

    def function(typingctx: Any, x: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
            returned = None if result is types.void else context.get_value_type(result)
            return call_symbol(context, builder, symbol, list(args), returned)

        return result(types.intp), codegen

    function.__name__, function.__doc__ = name, doc
    return intrinsic(function)


allocate = _of_python(
    "allocate", "PyMem_RawMalloc", "Address of so many bytes of new memory; 0 if there is none.", types.intp
)
release = _of_python("release", "PyMem_RawFree", "Give back memory that `allocate` gave.")
