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
from .compile_times import timed
from .fingerprint import fingerprint
from .translate import Functions, Translation, result_of
from .uninterrupted import uninterrupted

config: Any = numba_config
SYMBOL = "tinygrad_rnn_native"
LIKE = "like"
RECENT = 256  # functions whose object code, some 10 KB, is kept: there may be no disk to find it on again

_recent: dict[str, bytes] = {}
_unused: list[Any] = []  # engines of code that nobody can call any more


class Native:
    """A C function of integers, ``f(intptr_t, ...)``; its code lives as long as this object.

    Parameters
    ----------
    function : callable
        Its body is in the language of :mod:`.translate`.
    *others : callable
        More functions, which are compiled with it.
    dtype : Numba's type
        A parameter called `like` is a pointer of this type for the body, and no parameter of the C function.

    Attributes
    ----------
    address : int
        Where the code is.
    addresses : list of int
        Where that of each function is.
    """

    def __init__(self, function: Callable, *others: Callable, dtype: Any = None):
        self.addresses: list[int] = []
        name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
        uninterrupted(timed, name, lambda: self._make((function, *others), dtype))
        self.address = self.addresses[0]

    def _make(self, functions: tuple[Callable, ...], dtype: Any) -> tuple[bool, None]:
        """Load or compile the code, and set addresses; returns whether it was loaded, as `timed` asks."""
        # Engines are freed here, not by whatever the garbage collector interrupts: LLVM may be at work there.
        while _unused:
            _unused.pop().close()
        name = _file(functions, dtype)
        code = _recent.pop(name, None) or disk_cache.read(name)
        loaded = code is not None
        if code is None:
            code = compiled(functions, dtype)
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
        self.addresses += [engine.get_function_address(f"{SYMBOL}.{i}") for i in range(len(functions))]
        return loaded, None


def _file(functions: tuple[Callable, ...], dtype: Any) -> str:
    """File name of the machine code, with a hash over everything that decides it."""
    first = functions[0]
    source = inspect.getsource(inspect.getmodule(first) or first)
    names = [function.__qualname__ for function in functions]
    what = (fingerprint(), first.__module__, names, str(dtype), source, _codegen().magic_tuple())
    digest = hashlib.sha256(repr(what).encode()).hexdigest()[:20]
    return f"{first.__module__.rpartition('.')[2]}.{first.__name__}-{digest}.code"


class _Library(codegen.AOTCodeLibrary):
    """A module that is optimised once, as a whole: Numba would go over each of its functions before."""

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout


class _Codegen(codegen.JITCPUCodegen):
    """Numba's optimiser for this machine, without an engine that keeps what went through it."""

    _library_class: Any = _Library

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
def compiled(functions: tuple[Callable, ...], dtype: Any = None) -> bytes:
    """Object code of functions, under the names SYMBOL.0, SYMBOL.1, ...; they raise nothing."""
    context = cpu_target.target_context
    # it learns what was declared since, such as operators of vectors
    context.refresh()
    model: Any = callconv.create_error_model("numpy", context)
    context = context.subtarget(error_model=model, _internal_codegen=_codegen())
    library = _codegen().create_library(functions[0].__name__)
    module = library.create_ir_module(functions[0].__name__)
    inside = Functions(context, module)
    with context.push_code_library(library):
        for i, function in enumerate(functions):
            _add(context, inside, function, f"{SYMBOL}.{i}", dtype)
    library.add_ir_module(module)
    return library.emit_native_object()


def _add(context: Any, inside: Functions, function: Callable, symbol: str, dtype: Any) -> None:
    """Add a function to the module of `inside`, and one that C calls it by."""
    names = list(inspect.signature(function).parameters)
    kinds = [types.CPointer(dtype) if name == LIKE else types.intp for name in names]
    # Vector functions of Numba's, which a loop calls, expect that whoever calls them is called as Numba does it.
    convention, result = context.call_conv, result_of(function)
    body = ir.Function(inside.module, convention.get_function_type(result, kinds), f"{symbol}.body")
    convention.decorate_function(body, names, kinds)
    body.linkage = "internal"
    builder = ir.IRBuilder(body.append_basic_block("entry"))

    def leave(value: Any) -> None:
        if value is None:
            convention.return_native_none(builder)
        else:
            convention.return_value(builder, value)

    translation = Translation(context, builder, function, inside, leave)
    translation.run(list(zip(kinds, convention.get_arguments(body))))
    returned = ir.VoidType() if result is types.void else context.get_value_type(result)
    given = [context.get_value_type(kind) for name, kind in zip(names, kinds) if name != LIKE]
    outside = ir.Function(inside.module, ir.FunctionType(returned, given), symbol)
    builder = ir.IRBuilder(outside.append_basic_block("entry"))
    passed = iter(outside.args)
    # of `like` only the type matters: a null pointer will do
    nowhere = lambda kind: ir.Constant(context.get_value_type(kind), None)
    values = [nowhere(kind) if name == LIKE else next(passed) for name, kind in zip(names, kinds)]
    _, value = convention.call_function(builder, body, result, kinds, values)
    if result is types.void:
        builder.ret_void()
    else:
        builder.ret(value)
