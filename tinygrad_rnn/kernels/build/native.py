"""Translated functions as machine code, each with an LLVM engine of its own, which is freed with it.

Numba compiles everything into one engine that never gives up a function: whoever makes a thousand different cells keeps
the code of all of them until the process ends. So loops that are made for one cell, and the kernels around them, are
translated, and only optimised with Numba's tools. What remains of them is object code, on the disk and in an engine.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import weakref
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import callconv, codegen
from numba.core import config as numba_config
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from . import disk_cache
from .fingerprint import fingerprint
from .translate import Functions, Translation, result_of
from .uninterrupted import uninterrupted

config: Any = numba_config
SYMBOL = "tinygrad_rnn_native"
RECENT = 256  # functions whose object code, some 10 KB, is kept: there may be no disk to find it on again

_recent: dict[str, bytes] = {}
_unused: list[Any] = []  # engines of code that nobody can call any more


class Native:
    """A C function of integers, ``f(intptr_t, ...)``; its code lives as long as this object.

    Parameters
    ----------
    function : callable
        Its body is in the language of :mod:`.translate`.
    *kinds : Numba's types
        Of its parameters, if they are not all integers.

    Attributes
    ----------
    address : int
        Where the code is.
    """

    def __init__(self, function: Callable, *kinds: Any):
        uninterrupted(self._make, function, kinds)

    def _make(self, function: Callable, kinds: tuple) -> None:
        # Engines are freed here, not by whatever the garbage collector interrupts: LLVM may be at work there.
        while _unused:
            _unused.pop().close()
        name = _file(function, kinds)
        code = _recent.pop(name, None) or disk_cache.read(name)
        if code is None:
            code = compiled(function, kinds)
            disk_cache.write(name, code)
        _recent[name] = code
        if len(_recent) > RECENT:
            del _recent[next(iter(_recent))]
        engine = llvm.create_mcjit_compiler(
            llvm.parse_assembly(""), _codegen().machine(), use_lmm=config.USE_LLVMLITE_MEMORY_MANAGER
        )
        weakref.finalize(self, _unused.append, engine).atexit = False  # threads may still be running it
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
        self.address: int = engine.get_function_address(SYMBOL)


def _file(function: Callable, kinds: tuple) -> str:
    """File name of the machine code, with a hash over everything that decides it."""
    source = inspect.getsource(inspect.getmodule(function) or function)
    what = (fingerprint(), function.__module__, function.__qualname__, source, str(kinds), _codegen().magic_tuple())
    digest = hashlib.sha256(repr(what).encode()).hexdigest()[:20]
    return f"{function.__module__.rpartition('.')[2]}.{function.__name__}-{digest}.code"


class _Codegen(codegen.JITCPUCodegen):
    """Numba's optimiser for this machine, without an engine that keeps what went through it."""

    _library_class: Any = codegen.AOTCodeLibrary

    def _add_module(self, module: Any) -> None:
        pass

    @functools.cached_property
    def _of_functions(self) -> Any:
        return super()._function_pass_manager()

    def _function_pass_manager(self, **options: Any) -> Any:
        return self._of_functions  # llvmlite keeps some of the memory of each that is made

    def machine(self) -> Any:
        """LLVM's target machine; each engine takes one."""
        options: dict[str, Any] = {"opt": config.OPT}
        self._customize_tm_options(options)
        return llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(**options)


@functools.cache
def _codegen() -> _Codegen:
    return _Codegen("tinygrad_rnn")


@global_compiler_lock
def compiled(function: Callable, kinds: tuple = ()) -> bytes:
    """Object code of a function, of integers or of such parameters, as SYMBOL; it raises nothing."""
    context = cpu_target.target_context
    context.refresh()
    model: Any = callconv.create_error_model("numpy", context)
    context = context.subtarget(error_model=model, _internal_codegen=_codegen())
    names = list(inspect.signature(function).parameters)
    kinds = kinds or (types.intp,) * len(names)
    library = _codegen().create_library(function.__name__)
    module = library.create_ir_module(function.__name__)
    # Vector functions of Numba's, which a loop calls, expect that whoever calls them is called as Numba does it.
    convention, result = context.call_conv, result_of(function)
    body = ir.Function(module, convention.get_function_type(result, kinds), f"{SYMBOL}.body")
    convention.decorate_function(body, names, kinds)
    body.linkage = "internal"
    builder = ir.IRBuilder(body.append_basic_block("entry"))

    def leave(value: Any) -> None:
        if value is None:
            convention.return_native_none(builder)
        else:
            convention.return_value(builder, value)

    with context.push_code_library(library):
        translation = Translation(context, builder, function, Functions(context, module), leave)
        translation.run(list(zip(kinds, convention.get_arguments(body))))
    returned = ir.VoidType() if result is types.void else context.get_value_type(result)
    outside = ir.Function(module, ir.FunctionType(returned, [context.get_value_type(k) for k in kinds]), SYMBOL)
    builder = ir.IRBuilder(outside.append_basic_block("entry"))
    _, value = convention.call_function(builder, body, result, kinds, outside.args)
    if result is types.void:
        builder.ret_void()
    else:
        builder.ret(value)
    library.add_ir_module(module)
    return library.emit_native_object()
