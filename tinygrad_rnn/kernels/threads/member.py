"""Members of a team that shares each step of a loop: their parts of it, and the barrier between.

A member is given by the address of its :class:`.Member` record; 0 is a thread that does all of it alone. All functions
are in the language of :mod:`..build.translate`.
"""

from __future__ import annotations

import functools
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ..build.c_functions import call_symbol, export_symbol
from ..build.native import Native
from ..simd.types import BOUNDSCHECK
from .atomics import atomic_add, atomic_load, atomic_store, give_way, pause
from .job_codes import BYTES, SLOT, Member

PATIENCE = 2000  # pauses, some 80 us, before one that waits gives way: who is waited for may need this core
MEET = "tinygrad_rnn_meet"
RANK_AT, COUNT_AT, BARRIER_AT = (BYTES * i for i in map(Member._fields.index, ("rank", "members", "barrier")))


@njit(error_model="numpy")
def rank_of(member: int) -> int:
    """The number of a member, from 0 on."""
    return atomic_load(member + RANK_AT)


@njit(error_model="numpy")
def count_of(member: int) -> int:
    """Number of members that share the steps."""
    return atomic_load(member + COUNT_AT)


@njit(error_model="numpy")
def first_part(rows: int, rank: int, count: int, shift: int) -> int:
    """The first of the rows of a member, of so many; rows of a group of ``1 << shift`` stay together."""
    groups = (rows + (1 << shift) - 1) >> shift
    parts = min(count, groups)  # who has rows is among the first
    if rank >= parts:
        return rows
    return (groups * rank // parts) << shift


@njit(error_model="numpy")
def low_row(member: int, begin: int, end: int, shift: int) -> int:
    """The first row of ``begin .. end - 1`` that a member takes; `begin` is the first of a group."""
    if member == 0:
        return begin
    return begin + first_part(end - begin, rank_of(member), count_of(member), shift)


@njit(error_model="numpy")
def high_row(member: int, begin: int, end: int, shift: int) -> int:
    """The row behind the last one that a member takes."""
    if member == 0:
        return end
    return min(end, begin + first_part(end - begin, rank_of(member) + 1, count_of(member), shift))


@njit(error_model="numpy")
def own_row(member: int, begin: int) -> int:
    """A row of what is as long as the batch, that no other member of those with rows has."""
    if member == 0:
        return begin
    return begin + rank_of(member)


@njit(error_model="numpy")
def columns_of_parts(rows: int, panels: int, count: int, tile: int) -> int:
    """Into how many ranges of panels a product is cut, so that so many members take equally long.

    There are as many ranges of rows as members are left for each; `tile` rows are multiplied at a time.
    """
    best, least = 1, 1 << 60
    for columns in range(1, min(panels, count) + 1):
        height = (rows - 1) // min(rows, count // columns) + 1
        time = ((panels - 1) // columns + 1) * (height + (height - 1) // tile + 1)
        if time <= least:  # rather more columns: then each member reads fewer weights
            best = columns
            least = time
    return best


def _meet(member: int) -> None:
    """Wait until all members are here."""
    arrived = atomic_load(member + BARRIER_AT)
    times = arrived + SLOT * BYTES
    before = atomic_load(times)
    if atomic_add(arrived, 1) == count_of(member) - 1:
        atomic_store(arrived, 0)
        atomic_store(times, before + 1)
    else:
        tries = 0
        while atomic_load(times) == before:
            tries += 1
            if tries < PATIENCE:
                pause()
            else:
                give_way()


@functools.cache
def export_barrier() -> Native:
    """Compile the barrier, or load it from the disk, and tell LLVM its symbol; the cache keeps it alive."""
    made = Native(_meet)
    export_symbol(MEET, made.address)
    return made


@intrinsic
def meet(typingctx: Any, member: Any) -> Any:
    """Wait until all members are here; alone, this takes no time."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        if not BOUNDSCHECK:  # checked loops are run by one thread
            with builder.if_then(builder.icmp_signed("!=", args[0], args[0].type(0)), likely=False):
                call_symbol(context, builder, MEET, [args[0]])
        return context.get_dummy_value()

    return types.void(types.intp), codegen
