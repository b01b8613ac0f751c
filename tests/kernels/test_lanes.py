"""Vectors and masks against NumPy, lane by lane."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal

from tinygrad_rnn.kernels.simd.lanes import (
    BOUNDSCHECK,
    LANES_F32,
    LANES_F64,
    lane_mask,
    lanes_of,
    vabs,
    vall,
    vany,
    vbits,
    vbroadcast,
    vclamp,
    vcopysign,
    veven,
    vfloor,
    vfma,
    vgather,
    vget,
    vhmax,
    vhmin,
    vlanes,
    vload,
    vload_n,
    vlookup,
    vmax,
    vmin,
    vodd,
    vpick,
    vpoly,
    vpow2,
    vput,
    vround,
    vselect,
    vsplat,
    vsplit,
    vsqrt,
    vstore,
    vstore_n,
    vsum,
)
from tinygrad_rnn.ops.compare import BITS_OF_FLOATS

from .jit import compiled, dtypes, needs_jit

pytestmark = needs_jit

SPECIAL = [0.0, -0.0, 1.0, -1.5, 2.5, 3.5, -0.5, np.inf, -np.inf, np.nan, 1e-40, 1e30, 12345.0, -77.0]


@st.composite
def vectors(draw, n, elements=None):
    """n arrays of one dtype, each as long as a vector."""
    dtype = draw(dtypes)
    if elements is None:
        elements = st.sampled_from(SPECIAL) | st.floats(width=dtype(0).itemsize * 8)
    elements = elements.map(lambda v: float(dtype(v)))
    return [draw(arrays(dtype, lanes_of(dtype), elements=elements)) for _ in range(n)]


def test_lanes_of_dtypes():
    assert lanes_of(np.float32) == LANES_F32 == 2 * LANES_F64 == 2 * lanes_of("f8")


# Operations: each test runs a function that stores one row of `out` per operation


@compiled
def binary(x, y, out):
    n, a, b = vlanes(x), vload(x, 0), vload(y, 0)
    vstore(out, 0 * n, a + b)
    vstore(out, 1 * n, a - b)
    vstore(out, 2 * n, a * b)
    vstore(out, 3 * n, a / b)
    vstore(out, 4 * n, vmin(a, b))
    vstore(out, 5 * n, vmax(a, b))
    vstore(out, 6 * n, vcopysign(a, b))
    vstore(out, 7 * n, vselect(a < b, 1.0, 0.0))
    vstore(out, 8 * n, vselect(a <= b, 1.0, 0.0))
    vstore(out, 9 * n, vselect(a > b, 1, 0))
    vstore(out, 10 * n, vselect(a >= b, 1, 0))
    vstore(out, 11 * n, vselect(a == b, 1, 0))
    vstore(out, 12 * n, vselect(a != b, 1, 0))
    vstore(out, 13 * n, vselect((a > 0.0) & (b > 0.0), 1, 0))
    vstore(out, 14 * n, vselect((a > 0.0) | ~(b > 0.0), 1, 0))
    vstore(out, 15 * n, vselect((a > 0.0) ^ (b > 0.0), 1, 0))
    vstore(out, 16 * n, vselect(a > b, a, b))
    vstore(out, 17 * n, vbits(a, b))
    vstore(out, 18 * n, vbits(a, 6))


@given(vectors(2))
def test_binary_operations(pair):
    a, b = pair
    out = np.full((19, a.size), np.nan, a.dtype)
    binary(a, b, out.reshape(-1))
    with np.errstate(all="ignore"):
        wanted = [
            a + b, a - b, a * b, a / b, np.minimum(a, b), np.maximum(a, b), np.copysign(a, b), a < b, a <= b,
            a > b, a >= b, a == b, a != b, (a > 0) & (b > 0), (a > 0) | ~(b > 0), (a > 0) ^ (b > 0),
            np.where(a > b, a, b), BITS_OF_FLOATS.forward(a, b), BITS_OF_FLOATS.forward(a, np.full_like(a, 6)),
        ]  # fmt: skip
    assert_same(out, np.array(wanted, a.dtype), but=(4, 5))


def assert_same(got, wanted, but=()):
    """Same numbers, and but for some rows same signs: NumPy leaves open which zero is the smaller one."""
    assert_array_equal(got, wanted)
    signs = ~np.isnan(wanted)
    signs[list(but)] = False
    assert_array_equal(np.signbit(got)[signs], np.signbit(wanted)[signs])


@compiled
def unary(x, out):
    n, a = vlanes(x), vload(x, 0)
    vstore(out, 0 * n, -a)
    vstore(out, 1 * n, +a)
    vstore(out, 2 * n, vabs(a))
    vstore(out, 3 * n, vsqrt(a))
    vstore(out, 4 * n, vfloor(a))
    vstore(out, 5 * n, vround(a))
    vstore(out, 6 * n, vclamp(a, -1.0, 2.5))
    vstore(out, 7 * n, 1 - 0.1 * a)
    vstore(out, 8 * n, a / 3 + 1)
    a += 2
    a *= 0.3
    a -= 1.0
    a /= 7
    vstore(out, 9 * n, a)


@given(vectors(1))
def test_unary_operations_and_numbers(one):
    (a,) = one
    out = np.full((10, a.size), np.nan, a.dtype)
    unary(a, out.reshape(-1))
    with np.errstate(all="ignore"):
        # NumPy rounds Python numbers to the dtype of the array, too
        wanted = [
            -a, a, np.abs(a), np.sqrt(a), np.floor(a), np.rint(a), np.clip(a, -1.0, 2.5), 1 - 0.1 * a,
            a / 3 + 1, ((a + 2) * 0.3 - 1.0) / 7,
        ]  # fmt: skip
    assert_same(out, np.array(wanted))


@given(vectors(3, st.floats(-1e3, 1e3, width=32)))
def test_fused_multiply_add(three):
    a, b, c = three
    out = np.empty(2 * a.size, a.dtype)
    vfma_rows(a, b, c, out)
    exact = a.astype(np.longdouble) * b + c
    rounded = np.maximum(np.spacing(np.abs(a * b)), np.spacing(np.abs(c)))  # without the instruction: twice
    assert np.all(np.abs(out[: a.size] - exact) <= rounded)
    assert_array_equal(out[a.size :], 0.5 * a + 2)


@compiled
def vfma_rows(a, b, c, out):
    vstore(out, 0, vfma(vload(a, 0), vload(b, 0), vload(c, 0)))
    vstore(out, vlanes(a), vfma(0.5, vload(a, 0), 2))


@compiled
def reductions(x, out):
    v = vload(x, 0)
    out[0], out[1], out[2] = vsum(v), vhmax(v), vhmin(v)
    return vany(v > 0.0), vall(v > 0.0)


@given(vectors(1))
def test_reductions(one):
    (a,) = one
    out = np.empty(3, a.dtype)
    some, every = reductions(a, out)
    assert (some, every) == ((a > 0).any(), (a > 0).all())
    folded = a
    with np.errstate(all="ignore"):
        while folded.size > 1:  # the order is fixed: upper half upon lower half
            folded = folded[: folded.size // 2] + folded[folded.size // 2 :]
    assert_array_equal(out, [folded[0], a.max(), a.min()])


@compiled
def every_second(x, out):
    vstore(out, 0, veven(vload(x, 0)))
    vstore(out, vlanes(x), vodd(vload(x, 0)))


@given(vectors(1))
def test_lanes_for_reductions(one):
    (a,) = one
    out = np.empty((2, a.size), a.dtype)
    every_second(a, out.reshape(-1))
    assert_array_equal(out, [np.tile(a[0::2], 2), np.tile(a[1::2], 2)])


@compiled
def reductions_of_which_one_lane_is_used(x, y, out):
    v, w, n = vload(x, 0), vload(y, 0), vlanes(x)
    total, largest, smallest = vsplat(vsum(v), v), vsplat(vhmax(v), v), vsplat(vhmin(v), v)
    vstore_n(out, 0, total * w, 1)
    vstore_n(out, n, total + w, 1)
    vstore_n(out, 2 * n, largest * w, 1)
    vstore_n(out, 3 * n, largest + w, 1)
    vstore_n(out, 4 * n, smallest * w, 1)
    vstore_n(out, 5 * n, smallest + w, 1)


@given(vectors(2, elements=st.integers(-9, 9)))
def test_reductions_of_which_one_lane_is_used(two):
    """There LLVM 22 adds the first lane to itself, in float64 for AVX-512, if it may look through the reduction."""
    a, b = two
    out = np.zeros(6 * a.size, a.dtype)
    reductions_of_which_one_lane_is_used(a, b, out)
    assert_array_equal(out[:: a.size], [f(c, b[0]) for c in (a.sum(), a.max(), a.min()) for f in (np.multiply, np.add)])


# Memory


@compiled
def copy_part(x, i, n, out, j):
    vstore_n(out, j, vload_n(x, i, n), n)


@compiled
def load_part(x, i, n, out):
    vstore(out, 0, vload_n(x, i, n))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_partial_loads_and_stores_touch_only_their_lanes(dtype):
    lanes = lanes_of(dtype)
    for n in range(lanes + 1):
        x = np.arange(1, n + 4, dtype=dtype)  # ends where the n lanes from 3 on end
        out = np.full(lanes + 3, np.nan, dtype)
        copy_part(x, 3, n, out, 2)
        assert_array_equal(out[2 : 2 + n], x[3:])
        assert np.isnan(out[:2]).all()
        assert np.isnan(out[2 + n :]).all()
        load_part(x, 3, n, out)
        assert_array_equal(out[:lanes], [*x[3:], *[0] * (lanes - n)])


@compiled
def store_part(x, n, out, j):
    vstore_n(out, j, vload(x, 0), n)


@pytest.mark.skipif(BOUNDSCHECK, reason="numbers of lanes that are larger than a vector are outside")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_number_of_lanes_is_stored_bit_by_bit(dtype):
    lanes = lanes_of(dtype)
    x = np.resize(np.array([np.nan, -0.0, np.inf, np.finfo(dtype).smallest_subnormal, 1.5], dtype), lanes)
    for n in range(-2 * lanes - 1, 2 * lanes + 2):
        out, kept = np.full(3 * lanes, 7, dtype), min(max(n, 0), lanes)
        store_part(x, n, out, 1)
        assert out[1 : 1 + kept].tobytes() == x[:kept].tobytes()
        assert (out[:1] == 7).all()
        assert (out[1 + kept :] == 7).all()


@compiled
def pick(x, i, table, out):
    vstore(out, 0, vgather(x, i, table, 1))


@compiled
def look_up(x, i, places, count, out):
    vstore(out, 0, vlookup(x, i, vload(places, 0), count))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_places_outside_read_the_first(dtype):
    lanes = lanes_of(dtype)
    x, out = np.arange(3, 20, dtype=dtype), np.full(lanes, np.nan, dtype)
    for places in ([0, 3, 4, -1], [np.nan, np.inf, -np.inf, 1e30], [1, 2, 1e18, -1e18]):
        numbers = np.resize(np.array(places, dtype), lanes)
        look_up(x, 2, numbers, 4, out)
        inside = (numbers >= 0) & (numbers < 4)
        assert_array_equal(out, x[2 + np.where(inside, numbers, 0).astype(int)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gathers_by_a_table(dtype):
    lanes = lanes_of(dtype)
    x, out = np.arange(1, 2 * lanes + 4, dtype=dtype), np.full(lanes, np.nan, dtype)
    table = np.random.default_rng(0).integers(-1, 2 * lanes, lanes + 1)
    pick(x, 3, table.ctypes.data, out)
    assert_array_equal(out, np.where(table[1:] < 0, 0, x[3 + table[1:]]))


@compiled
def lane_access(x, i, out):
    n, v = vlanes(x), vload(x, i)
    vstore(out, 0 * n, vbroadcast(x, i))
    vstore(out, 1 * n, vsplat(0.1, x))
    vstore(out, 2 * n, vput(v, 1, vget(v, 0)))
    vstore(out, 3 * n, vselect(lane_mask(2, v), v, -1.0))
    vstore(out, 4 * n, vpick(v, 32, 64.0))
    vstore(out, 5 * n, 7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_access_to_lanes(dtype):
    n = lanes_of(dtype)
    x, out = np.arange(3, n + 4, dtype=dtype), np.empty((6, n), dtype)
    lane_access(x, 1, out.reshape(-1))
    v = x[1:]
    bits = 32 if dtype == np.float32 else 64
    wanted = [[4] * n, [0.1] * n, [4, 4, *v[2:]], [4, 5, *[-1] * (n - 2)], [bits] * n, [7] * n]
    assert_array_equal(out, np.array(wanted, dtype))


@pytest.mark.skipif(not BOUNDSCHECK, reason="needs NUMBA_BOUNDSCHECK=1")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_access_outside_of_the_array_is_an_error(dtype):
    n = lanes_of(dtype)
    x, out = np.zeros(2 * n, dtype), np.empty((6, n), dtype)
    lane_access(x, n, out.reshape(-1))
    for i in (-1, n + 1, 2 * n):
        with pytest.raises(IndexError):
            lane_access(x, i, out.reshape(-1))
    with pytest.raises(IndexError):
        lane_access(x, 0, out.reshape(-1)[:-1])
    copy_part(x, 2 * n - 1, 1, x, 0)
    for i, j in ((2 * n - 1, 0), (0, 2 * n - 1), (-1, 0)):
        with pytest.raises(IndexError):
            copy_part(x, i, 2, x, j)


# Bits


@compiled
def split(x, m, e):
    a, b = vsplit(vload(x, 0))
    vstore(m, 0, a)
    vstore(e, 0, b)


@given(vectors(1, st.floats(2.0**-126, 2.0**127, width=32)))
def test_split_into_mantissa_and_exponent(one):
    (a,) = one
    m, e = np.empty_like(a), np.empty_like(a)
    split(a, m, e)
    assert np.all((m >= np.sqrt(0.5).astype(a.dtype)) & (m <= np.sqrt(2).astype(a.dtype)))
    assert_array_equal(np.ldexp(m, e.astype(int)), a)


@compiled
def power(x, n, p):
    a, b = vpow2(vload(x, 0), 0.5, -1)
    vstore(n, 0, a)
    vstore(p, 0, b)


@given(vectors(1, st.integers(-250, 250)))
def test_powers_of_two(one):
    (a,) = one
    n, p = np.empty_like(a), np.empty_like(a)
    power(a, n, p)
    assert_array_equal(n, np.rint(0.5 * a))
    assert_array_equal(p, np.ldexp(a.dtype.type(1), n.astype(int) - 1))


@compiled
def polynomial(x, out):
    vstore(out, 0, vpoly(vload(x, 0), (1.0, 2.0), (1.0, -2.0, 3.0)))


@given(vectors(1, st.integers(-50, 50)))
def test_polynomials_by_dtype(one):
    (a,) = one
    out = np.empty_like(a)
    polynomial(a, out)
    assert_array_equal(out, np.polyval([1, 2] if a.dtype == np.float32 else [1, -2, 3], a))
