"""Launches: tasks, a loop, and tasks again, in one call by Python.

Every function is compiled for one dtype, together with the tasks. With ``NUMBA_BOUNDSCHECK=1`` their parts are called
from Python one by one, as errors do not pass a C function.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ..build.c_functions import call_symbol, export_symbol, float_of
from ..build.native import Native
from ..build.python_functions import python_function
from ..build.target import TARGET
from ..gemm.extern import export_product
from ..simd.lanes import vlanes
from ..simd.types import BOUNDSCHECK
from ..threads.member import export_barrier
from .arguments import address_of, integers_on_stack, lock, no_memory, python_integer, read_arrays, unlock
from .entry import array_like, call_loop
from .jobs import part_of_job, share
from .records import integers_at, record_at
from .task_codes import DIRECT_ARRAYS, LAUNCH_AT, LAUNCH_SIZE, Launch, Vector
from .tasks import execute_tasks

Array = np.ndarray

VECTOR_BYTES = TARGET.vector_bytes
SPAN = 16  # bytes


@njit(error_model="numpy")
def resolve(launch_at: int, own: int, given: int, table: int, like: Any) -> None:
    """Write the table of addresses: a :class:`Span` for each array, then for each array of the loop.

    Parameters
    ----------
    launch_at : int
        Address of a :class:`Launch` and, for each array of the loop after its integers, a :class:`Vector`.
    own : int
        How many of these there are.
    given, table : int
        Addresses: of the spans of the first DIRECT_ARRAYS arrays, the others being those of the launch; of the table.
    like : pointer or array
        To elements of the dtype of the arrays.
    """
    launch = record_at(launch_at, 0, Launch)
    n, itemsize = launch.arrays, VECTOR_BYTES // vlanes(array_like(given, 0, like))
    direct, others = integers_at(given, 2 * DIRECT_ARRAYS), integers_at(launch.addresses.address, 2 * n)
    new = integers_at(table, 2 * (n + 1 + own))
    for i in range(2 * DIRECT_ARRAYS):
        new[i] = direct[i]
    for i in range(2 * DIRECT_ARRAYS, 2 * n):
        new[i] = others[i]
    new[2 * n] = launch.dims.address
    new[2 * n + 1] = launch.dims.size
    for i in range(own):
        part, at = record_at(launch_at, LAUNCH_SIZE + 2 * i, Vector), 2 * (n + 1 + i)
        new[at] = new[2 * part.array] + part.at * itemsize
        new[at + 1] = new[2 * part.array + 1] - part.at


@njit(error_model="numpy")
def _execute(launch_at: int, table: int, like: Any) -> int:
    """Execute tasks, a loop, and tasks again; returns 0, or more if there was no memory."""
    launch, missing = record_at(launch_at, 0, Launch), -1
    if launch.choices.size > 0:
        missing = share(launch_at, table, like)
    if missing >= 0:
        return missing
    missing = execute_tasks(launch_at, table, launch.first, launch.middle, like)
    if launch.end > launch.begin:
        call_loop(launch.loop, launch.begin, launch.end, table + SPAN * launch.arrays, 0)
    return missing + execute_tasks(launch_at, table, launch.middle, launch.last, like)


def _launch(launch_at: int, table: int, like: Any) -> int:
    """:func:`_execute`, as C calls it."""
    return _execute(launch_at, table, like)


# ---- as Python calls it: the type of arrays, where the arguments are, how many; 0 in place of an object is an error


def _run(kind: int, arguments: int, count: int, like: Any) -> int:
    """The launch table and DIRECT_ARRAYS arrays."""
    given = integers_on_stack(2 * (1 + DIRECT_ARRAYS))
    if not read_arrays(kind, arguments, count, 1 + DIRECT_ARRAYS, given):
        return 0
    launch_at, own = given[0], (given[1] - LAUNCH_SIZE) // 2
    launch = record_at(launch_at, 0, Launch)
    table = address_of(integers_on_stack(2 * (launch.arrays + 1 + own)))
    state = unlock()
    resolve(launch_at, own, address_of(given) + SPAN, table, like)
    missing = _execute(launch_at, table, like)
    lock(state)
    if missing > 0:
        return no_memory()
    return python_integer(0)


def _execute_resolved(kind: int, arguments: int, count: int, like: Any) -> int:
    """The launch table, the table of addresses, an array of the dtype."""
    given = integers_on_stack(6)
    if not read_arrays(kind, arguments, count, 3, given):
        return 0
    state = unlock()
    missing = _execute(given[0], given[2], like)
    lock(state)
    if missing > 0:
        return no_memory()
    return python_integer(0)


def _resolve(kind: int, arguments: int, count: int, like: Any) -> int:
    """The launch table, the table of addresses, DIRECT_ARRAYS arrays."""
    given = integers_on_stack(2 * (2 + DIRECT_ARRAYS))
    if not read_arrays(kind, arguments, count, 2 + DIRECT_ARRAYS, given):
        return 0
    resolve(given[0], (given[1] - LAUNCH_SIZE) // 2, address_of(given) + 2 * SPAN, given[2], like)
    return python_integer(0)


def _write_span(kind: int, arguments: int, count: int, like: Any) -> int:
    """Two integers, and the array whose span they become."""
    given = integers_on_stack(4)
    if not read_arrays(kind, arguments, count, 2, given):
        return 0
    span = integers_at(given[0], 2)
    span[0] = given[2]
    span[1] = given[3]
    return python_integer(0)


# ---- functions of Python


class Calls(NamedTuple):
    """Functions for arrays of one dtype.

    Attributes
    ----------
    run : callable
        ``run(launch_table, e0, ...)`` is :func:`execute` with the 1-D arrays e0, ... as the first DIRECT_ARRAYS ones.
        The launch table is a :class:`Launch` and, for each array of the loop after its integers, a :class:`Vector`.
    execute : callable
        ``execute(launch_table, addresses, like)``: tasks, a loop, and tasks again; `like` is an array of the dtype.
    resolve : callable
        ``resolve(launch_table, addresses, e0, ...)`` writes the addresses that `execute` takes.
    write_span : callable
        ``write_span(span, array)`` writes where an array is; Python finds addresses slowly.
    part : int
        Address of :func:`.jobs.part_of_job`.
    """

    run: Callable[..., Any]
    execute: Callable[..., Any]
    resolve: Callable[..., Any]
    write_span: Callable[..., Any]
    part: int

    def resolve_addresses(self, launch_table: Array, *arrays: Array) -> Array:
        """A new table of addresses for these arrays, the first DIRECT_ARRAYS ones."""
        own = (launch_table.size - LAUNCH_SIZE) // 2
        addresses = np.empty(2 * (int(launch_table[LAUNCH_AT.arrays]) + 1 + own), np.int64)
        self.resolve(launch_table, addresses, *arrays)
        return addresses

    def set_span(self, table: Array, at: int, array: Array) -> None:
        """Write the :class:`Span` of `array` to ``table[at : at + 2]``."""
        self.write_span(table[at : at + 2], array)


@functools.cache
def calls(dtype: Any) -> Calls:
    """The functions for `dtype`, compiled or loaded; then LLVM knows the symbols of what loops call."""
    if BOUNDSCHECK:
        return Calls(_checked_run, _checked_execute, _checked_resolve, _checked_write, 0)
    export_barrier()
    export_product(dtype)
    functions = (_launch, part_of_job, _run, _execute_resolved, _resolve, _write_span)
    made = Native(*functions, dtype=float_of(dtype))
    launch, part, *addresses = made.addresses
    export_symbol(symbol_of(np.dtype(dtype)), launch)
    names = (f.__name__.removeprefix("_") for f in functions[2:])
    run, execute, resolve_all, write = (python_function(__name__, n, at, made) for n, at in zip(names, addresses))
    return Calls(run, execute, resolve_all, write, part)


def symbol_of(dtype: Any) -> str:
    """Symbol of a launch for `dtype`, once :func:`calls` was asked for it."""
    return f"tinygrad_rnn_launch_{dtype}"


@intrinsic
def call_launch(typingctx: Any, launch_at: Any, addresses: Any, like: Any) -> Any:
    """A launch, by its symbol; `like` is an array."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        return call_symbol(context, builder, symbol_of(like.dtype), list(args[:2]), args[0].type)

    return types.intp(types.intp, types.intp, like), codegen


def _checked_write(span: Array, array: Array) -> None:
    span[:] = array.ctypes.data, array.size


def _checked_resolve(launch_table: Array, addresses: Array, *arrays: Array) -> None:
    given = np.array([(array.ctypes.data, array.size) for array in arrays], np.int64)
    own = (launch_table.size - LAUNCH_SIZE) // 2
    resolve(launch_table.ctypes.data, own, given.ctypes.data, addresses.ctypes.data, arrays[0])


def _checked_execute(launch_table: Array, addresses: Array, like: Array) -> None:
    launch_at, table = launch_table.ctypes.data, addresses.ctypes.data
    launch = Launch(*launch_table[: LAUNCH_AT.dims.address].tolist(), *[None] * 4)
    missing = execute_tasks(launch_at, table, launch.first, launch.middle, like)
    if launch.end > launch.begin:
        call_loop(launch.loop, launch.begin, launch.end, table + SPAN * launch.arrays, 0)
    missing += execute_tasks(launch_at, table, launch.middle, launch.last, like)
    if missing:
        raise MemoryError("no memory for blocks of a product")


def _checked_run(launch_table: Array, *arrays: Array) -> None:
    _checked_execute(launch_table, calls(arrays[0].dtype).resolve_addresses(launch_table, *arrays), arrays[0])
