"""Functions that are translated straight to LLVM, against the same text as Python runs it and as Numba compiles it."""

import ctypes
import functools
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import types
from numba.core.errors import NumbaError
from numpy.testing import assert_array_equal

from tinygrad_rnn.kernels.build.c_functions import allocate, array_at, release
from tinygrad_rnn.kernels.build.native import Native
from tinygrad_rnn.kernels.build.translate import translated
from tinygrad_rnn.kernels.loops.records import record_at
from tinygrad_rnn.kernels.simd.lanes import (
    LANES_F32,
    lane_mask,
    vload,
    vload_n,
    vselect,
    vsplat,
    vstore,
    vstore_n,
    vsum,
)
from tinygrad_rnn.kernels.simd.mathfn import sigmoid, tanh

from .jit import compiled, needs_jit

pytestmark = needs_jit

THREE = 3
HALF = np.float32(0.5)
TEXT = "no number"


def jitted(function):
    """`function` by way of its translation."""
    names = ", ".join(function.__code__.co_varnames[: function.__code__.co_argcount])
    space = {"translation": translated(function)}
    exec(f"def call({names}):\n    translation({names})", space)
    return compiled(space["call"])


@compiled
def put(out, i, x):
    out[i] = x


def integers(n, m, out):
    total = 0
    for i in range(n):
        if i == 5:
            continue
        last = min(i, m)
        for j in range(i, m, THREE):
            total = total + i * j - (j & last)
            if total > 1000:
                total = total - 999
                continue
            put(out, j, out[j] + total)
        put(out, 0, out[0] ^ ~last)
    for i in range(2, n):
        put(out, 1, out[1] | -i)
    if total != 7:
        put(out, 2, total)


translation_of_integers = jitted(integers)


@given(st.integers(-2, 9), st.integers(-2, 40))
def test_loops_and_integers(n, m):
    expected, found = np.zeros(40, np.int64), np.zeros(40, np.int64)
    integers(n, m, expected)
    translation_of_integers(n, m, found)
    assert_array_equal(found, expected)


def branches(n, m, out):
    total, least = 0, min(n, m)
    while total < 20 and least < 12:
        total += 2
        if total == 6 or total == m:
            least += 1
            continue
        if n < 0:
            least += 3
        else:
            out[total] = out[total - 1] if total > n else max(n, m)
            out[total] += total // 3 - m % 5
    out[0] = total
    out[1] = 1 if n != 3 and not (m > 4 or n == 2) else least


translation_of_branches = jitted(branches)


@given(st.integers(-2, 9), st.integers(0, 40))
def test_branches_and_elements(n, m):
    expected, found = np.zeros(40, np.int64), np.zeros(40, np.int64)
    branches(n, m, expected)
    translation_of_branches(n, m, found)
    assert_array_equal(found, expected)


# ---- functions of C


class Pair(NamedTuple):
    first: int
    second: int


@compiled
def larger(pair: Pair, least: int) -> int:
    if pair.first > pair.second:
        return pair.first
    return max(pair.second, least)


@compiled
def double(x, n: int) -> None:
    for i in range(n):
        if x[i] == 0:
            return
        x[i] += x[i]


def measured(table: int, numbers: int, n: int, like) -> int:
    memory = allocate(8 * n)
    pair, x = record_at(table, 1, Pair), array_at(numbers, n, like)
    copy = array_at(memory, n, like)
    for i in range(n):
        copy[i] = x[i]
    double(copy, n)
    for i in range(n):
        x[i] = copy[i] * THREE
    release(memory)
    least = larger(pair, LEAST)
    return least + larger(record_at(table, 0, Pair), least)


LEAST = 4


@given(st.lists(st.integers(-9, 9), min_size=3, max_size=3), st.lists(st.sampled_from([-1.5, 0.0, 2.0]), max_size=9))
def test_functions_return_numbers(table, numbers):
    native = _native()
    table, x = np.array(table), np.array(numbers)
    result = ctypes.CFUNCTYPE(*[ctypes.c_ssize_t] * 4)(native.address)(table.ctypes.data, x.ctypes.data, x.size)
    least = max(table[1:].max(), 4) if table[1] <= table[2] else table[1]
    assert result == least + (table[0] if table[0] > table[1] else max(table[1], least))
    zero = numbers.index(0.0) if 0.0 in numbers else len(numbers)
    assert_array_equal(x, [6 * v for v in numbers[:zero]] + [3 * v for v in numbers[zero:]])


@functools.cache
def _native():
    return Native(measured, dtype=types.float64)


def no_result(n: int) -> int:  # noqa: RET503
    if n > 3:
        return 1


def another_result(n: int) -> None:
    return n


def another_choice(n: int) -> int:
    return n if n > 3 else 0.5


def counts(n: int) -> None:
    for i in range(n):
        i += 1


def unknown_field(n: int) -> int:
    return record_at(n, 0, Pair).third


NO_FUNCTIONS = {
    no_result: "wanted a result in the end",
    another_result: "got 'return n', wanted a result that is none",
    another_choice: "got '0.5', wanted int64, as the other choice, not float64",
    counts: "got 'i .= 1', wanted another name than that of a loop",
    unknown_field: r"got 'record_at\(n, 0, Pair\).third', wanted a field of a record",
}


@pytest.mark.parametrize("function", NO_FUNCTIONS, ids=lambda f: f.__name__)
def test_says_what_no_function_may_have(function):
    with pytest.raises(NotImplementedError, match=NO_FUNCTIONS[function]):
        Native(function)


# ---- vectors


def vectors(x, y, k, out):
    one = vsplat(1.0, k)
    a = vload(x, 0)
    b = vload(y, 0)
    vstore(out, 0, a + b * a - 2.0 / b)
    vstore(out, LANES_F32, vselect((a < b) & (b != 0.5) | ~(a >= one) ^ (a == b), -a, +b))
    vstore(out, 2 * LANES_F32, tanh(sigmoid(a) + vsplat(-HALF, k)) + vsplat(k[THREE - 1], k))


def test_operations_are_those_of_numba():
    rng = np.random.default_rng(0)
    x, y = rng.choice([-1.5, 0.0, 0.5, 1.0, 2.0, np.inf, np.nan], (2, LANES_F32)).astype(np.float32)
    k, expected = np.arange(4, dtype=np.float32), np.empty(3 * LANES_F32, np.float32)
    found = np.empty_like(expected)
    compiled(vectors)(x, y, k, expected)
    jitted(vectors)(x, y, k, found)
    assert_array_equal(found, expected)


def sums(x, n, width, k, out):
    for b in range(n):
        total = vsplat(0.0, k)
        for j in range(0, width, LANES_F32):
            live = lane_mask(width - j, k)
            v = vload_n(x, b * width + j, min(LANES_F32, width - j))
            total = total + vselect(live, v, 0.0)
        vstore_n(out, b, vsplat(vsum(total), k), 1)


def test_a_name_assigned_twice_is_one_variable():
    x = np.arange(3 * 21, dtype=np.float32)
    found = np.empty(3, np.float32)
    jitted(sums)(x, 3, 21, x[:1], found)
    assert_array_equal(found, x.reshape(3, 21).sum(1))


def changes_type(a):
    b = a[0]
    b = b < 1
    put(a, b, 0.0)


def leaves_its_block(a):
    for i in range(3):
        last = i
    put(a, last, 0.0)


def unknown_operator(a):
    put(a, 0, a[0] ** 2)


def chained(a):
    if 0 < a[0] < 1:
        put(a, 0, 0.0)


def stops(a):
    while a[0] < 1:
        break


def gives(a):
    return a


def by_name(a):
    put(a, 0, x=0.0)


def over_an_array(a):
    for x in a:
        put(a, 0, x)


def two_targets(a):
    x = y = a[0]
    put(a, x, y)


def no_tuple(a):
    x, y = a[0]
    put(a, x, y)


def continues_nothing(a):
    continue_ = 0
    put(a, continue_, TEXT)


REFUSED = {
    changes_type: "got 'b = b < 1', wanted float64 again, not bool",
    leaves_its_block: "got 'last', wanted a name that is known here",
    no_tuple: "got 'a.0.', wanted a tuple",
    unknown_operator: r"got 'a\[0\] \*\* 2', wanted operators",
    chained: "got '0 < a",
    stops: "got 'break'",
    gives: "got 'return a'",
    by_name: "got 'put",
    over_an_array: "got 'a', wanted range",
    two_targets: "wanted an assignment to a name",
    continues_nothing: "got 'TEXT', wanted a number",
}


@pytest.mark.parametrize("function", REFUSED, ids=lambda f: f.__name__)
def test_says_what_it_does_not_understand(function):
    with pytest.raises((NotImplementedError, NumbaError), match=REFUSED[function]):
        jitted(function)(np.ones(4))
