"""Integers that several threads read and write, at addresses; all orders are sequentially consistent."""

from __future__ import annotations

import platform
import sys
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..build.c_functions import call_symbol, of_python

INT64 = ir.IntType(64)
BYTES, ORDER = 8, "seq_cst"
# Instructions that tell the processor of a loop that waits: it leaves the core's other thread more of the core.
PAUSES: dict[str, tuple[str, list[int]]] = {"x86_64": ("llvm.x86.sse2.pause", []), "AMD64": ("llvm.x86.sse2.pause", [])}
PAUSES |= {name: ("llvm.aarch64.hint", [1]) for name in ("aarch64", "arm64", "ARM64")}
YIELD = "SwitchToThread" if sys.platform == "win32" else "sched_yield"

acquire = of_python("acquire", "PyThread_acquire_lock", "Take a lock of Python's; with 1, wait for it.", 2)
free = of_python("free", "PyThread_release_lock", "Give a lock of Python's back; any thread may.", 1)


def _pointer(builder: ir.IRBuilder, address: Any) -> Any:
    return builder.inttoptr(address, INT64.as_pointer())


@intrinsic
def atomic_load(typingctx: Any, address: Any) -> Any:
    """The integer at an address."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        return builder.load_atomic(_pointer(builder, args[0]), ORDER, BYTES)

    return types.intp(types.intp), codegen


@intrinsic
def atomic_store(typingctx: Any, address: Any, value: Any) -> Any:
    """Write the integer at an address."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        builder.store_atomic(args[1], _pointer(builder, args[0]), ORDER, BYTES)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), codegen


@intrinsic
def atomic_add(typingctx: Any, address: Any, value: Any) -> Any:
    """Add to the integer at an address; returns what it was before."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", _pointer(builder, args[0]), args[1], ORDER)

    return types.intp(types.intp, types.intp), codegen


@intrinsic
def atomic_swap(typingctx: Any, address: Any, before: Any, after: Any) -> Any:
    """Write `after` if the integer at an address is `before`; returns whether it was."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        pair = builder.cmpxchg(_pointer(builder, args[0]), args[1], args[2], ORDER, ORDER)
        return builder.extract_value(pair, 1)

    return types.boolean(types.intp, types.intp, types.intp), codegen


@intrinsic
def pause(typingctx: Any) -> Any:
    """Wait for some ten nanoseconds."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        name, given = PAUSES.get(platform.machine(), ("", []))
        if name:
            i32 = ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [i32] * len(given))
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [i32(x) for x in given])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def give_way(typingctx: Any) -> Any:
    """Let another thread have this core, if one wants it."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        call_symbol(context, builder, YIELD, [], ir.IntType(32))
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def call_address(typingctx: Any, address: Any, a: Any, b: Any) -> Any:
    """Call the C function of two integers at an address."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [x.type for x in args[1:]])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), codegen
