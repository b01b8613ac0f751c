"""C functions, compiled once or loaded from the disk, and called by address or by a symbol of LLVM.

A jitted function that calls another one is compiled together with it; one that calls a symbol is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from .code_cache import c_callable
from .fingerprint import fingerprint


def pointer_to(dtype: Any) -> types.CPointer:
    """The type of pointers to elements of float32 or float64."""
    return types.CPointer(types.float32 if np.dtype(dtype) == np.float32 else types.float64)


def c_function(function: Callable, signature: Any) -> Any:
    """A compiled function, cached on disk under the fingerprint; its code lives as long as this object."""
    function.__qualname__ = f"{function.__name__}_{fingerprint()}"
    return c_callable(function, signature)


def export_symbol(symbol: str, function: Callable, signature: Any) -> Any:
    """Compile `function`, and make it known to LLVM as `symbol`."""
    compiled = c_function(function, signature)
    llvm.add_symbol(symbol, compiled.address)
    return compiled


def call_symbol(context: Any, builder: ir.IRBuilder, symbol: str, values: list[Any]) -> Any:
    """Call an exported symbol, which returns nothing."""
    kind = ir.FunctionType(ir.VoidType(), [x.type for x in values])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, symbol), values)
    return context.get_dummy_value()
