"""A loop over arrays that were packed before: run only while these are what they were, to the last bit.

Who writes into an array leaves no trace, so the arrays are compared with copies of them. Large ones are compared a part
at a time: one line of so many, another one at each call.
"""

from __future__ import annotations

from numba import types

from .fingerprint import kernel
from .jobs import outer, work
from .loops import words

LINE = 16  # words of four bytes: a cache line


@kernel
def differs(table, first, every):
    """Whether any two arrays differ in the lines ``first, first + every, ...`` of LINE words.

    Parameters
    ----------
    table : 1-D int64
        Address and words of an array, those of the one it is compared with, those of the next array, and so on.
    first, every : int
    """
    here = table.ctypes.data
    for i in range(0, table.size // 2, 2):
        a, b = words(here, i), words(here, i + 1)
        different = types.int32(0)
        if every == 1:
            for j in range(a.size):
                different |= a[j] ^ b[j]
        else:
            whole = a.size // LINE
            for line in range(first, whole, every):
                for j in range(line * LINE, line * LINE + LINE):
                    different |= a[j] ^ b[j]
            for j in range(whole * LINE, a.size):
                different |= a[j] ^ b[j]
        if different != 0:
            return True
    return False


@outer
def work_unless(todo, places, like, table, first, every):
    """:func:`~tinygrad_rnn.kernels.jobs.work`, unless :func:`differs`; whether it was done."""
    if differs(table, first, every):
        return False
    work(todo, places, like)
    return True
