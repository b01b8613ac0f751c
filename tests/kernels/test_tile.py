"""The matrix tile, packing and products against NumPy: any sizes, poisoned padding, any split of the work."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tinygrad_rnn.kernels.gemm.gemm import (
    K_BLOCK,
    M_BLOCK,
    PANEL_VECTORS,
    aligned_empty,
    gemm,
    gemm2,
    gemm_tn,
    pack,
    packed_size,
    padded,
    panel_width,
)
from tinygrad_rnn.kernels.gemm.tile import tile_bias, tile_fma, tile_load, tile_store, tile_zero
from tinygrad_rnn.kernels.reference import gemm as reference
from tinygrad_rnn.kernels.simd.lanes import BOUNDSCHECK, lanes_of, vlanes, vload, vstore

from .jit import compiled, dtypes, needs_jit, poisoned

pytestmark = needs_jit

sizes = st.integers(0, 40) | st.sampled_from([63, 64, 65, 130])
seeds = st.integers(0, 2**32 - 1)


def close(got, wanted, terms, dtype):
    """Equal but for rounding `terms` products of numbers around 1."""
    assert_allclose(got, wanted, rtol=0, atol=4 * np.finfo(dtype).eps * (terms + 4))


def packed_copy(w, offset=0):
    """Pack any strided matrix; what is around the panels is NaN."""
    K, N = w.shape
    item = w.itemsize
    base = w if w.base is None else w.base
    start = (w.__array_interface__["data"][0] - base.__array_interface__["data"][0]) // item if w.size else 0
    out = np.full(offset + packed_size(K, N, w.dtype) + 5, np.nan, w.dtype)
    flat = base.reshape(-1, order="A")
    pack(flat, start, w.strides[0] // item, w.strides[1] // item, K, N, out, offset)
    assert np.isnan(out[:offset]).all()
    assert np.isnan(out[-5:]).all()
    return out


@given(dtypes, sizes, sizes, seeds, st.sampled_from(["rows", "columns", "neither"]))
def test_pack(dtype, K, N, seed, layout):
    rng = np.random.default_rng(seed)
    if layout == "rows":
        w = rng.normal(size=(K + 1, N + 2)).astype(dtype)[1:, 2:]
    elif layout == "columns":
        w = rng.normal(size=(N + 1, K + 2)).astype(dtype)[1:, 2:].T
    else:
        w = rng.normal(size=(2 * K + 1, 3 * N + 1)).astype(dtype)[1::2, 1::3]
    out = packed_copy(w, 7)
    width = panel_width(dtype)
    wanted = np.zeros((K, padded(N, dtype)), dtype)
    wanted[:, :N] = w
    wanted = wanted.reshape(K, padded(N, dtype) // width, width).swapaxes(0, 1)
    assert_array_equal(out[7 : 7 + packed_size(K, N, dtype)], wanted.reshape(-1))


@given(dtypes, st.integers(0, 20), sizes, sizes, seeds, st.booleans(), st.booleans())
def test_gemm(dtype, rows, K, N, seed, accumulate, whole):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(rows, K)).astype(dtype), rng.normal(size=(K, N)).astype(dtype)
    columns = padded(N, dtype) if whole else N
    before = rng.normal(size=(rows, columns)).astype(dtype)
    ldc = columns + 3
    c = poisoned(before, ldc, 2)
    gemm(poisoned(a, K + 2, 4), 4, K + 2, rows, K, packed_copy(b, 3), 3, columns, c, 2, ldc, accumulate)
    got = c[2 : 2 + rows * ldc].reshape(rows, ldc)
    start = before[:, :N].astype(np.float64) if accumulate else None
    close(got[:, :N], reference.gemm(a.astype(np.float64), b.astype(np.float64), start), K, dtype)
    assert_array_equal(got[:, N:columns], before[:, N:] if accumulate else 0)
    assert np.isnan(got[:, columns:]).all()
    assert np.isnan(c[2 + rows * ldc :]).all()


@given(dtypes, st.integers(0, 14), sizes, sizes, sizes, seeds)
def test_gemm_of_two_sources(dtype, rows, K1, K2, N, seed):
    rng = np.random.default_rng(seed)
    x, h = rng.normal(size=(rows, K1)).astype(dtype), rng.normal(size=(rows, K2)).astype(dtype)
    w, u = rng.normal(size=(K1, N)).astype(dtype), rng.normal(size=(K2, N)).astype(dtype)
    ldc = padded(N, dtype)
    bias = np.zeros(ldc, dtype)
    bias[:N] = rng.normal(size=N)
    for columns in (N, ldc):
        c = poisoned(np.full((rows, columns), np.nan, dtype), ldc, 1)
        gemm2(
            poisoned(x, K1 + 1), 0, K1 + 1, K1, packed_copy(w), 0, poisoned(h, K2, 5), 5, K2, K2,
            packed_copy(u, 2), 2, poisoned(bias[None], ldc, 1), 1, rows, columns, c, 1, ldc,
        )  # fmt: skip
        got = c[1 : 1 + rows * ldc].reshape(rows, ldc)
        wanted = x.astype("f8") @ w.astype("f8") + h.astype("f8") @ u.astype("f8") + bias[:N]
        close(got[:, :N], wanted, K1 + K2, dtype)


def test_rows_do_not_depend_on_each_other(rng):
    for dtype in (np.float32, np.float64):
        K, N = 37, 5 * panel_width(dtype)
        a, b = rng.normal(size=(23, K)).astype(dtype), rng.normal(size=(K, N)).astype(dtype)
        p, bias = packed_copy(b), rng.normal(size=N).astype(dtype)

        def product(first, last, a=a, p=p, bias=bias, K=K, N=N):
            c, rows = np.empty((last - first, N), a.dtype), last - first
            x = a.reshape(-1)
            gemm2(x, first * K, K, K, p, 0, x, first * K, K, K, p, 0, bias, 0, rows, N, c.reshape(-1), 0, N)
            return c

        together = product(0, 23)
        for cuts in ([0, 1, 3, 6, 10, 15, 21, 23], [0, 12, 23], range(24)):
            apart = [product(i, j) for i, j in zip(cuts, list(cuts)[1:])]
            assert_array_equal(np.concatenate(apart), together)


@given(dtypes, sizes, sizes, sizes, seeds, st.booleans())
def test_gemm_tn(dtype, K, M, N, seed, accumulate):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(K, M)).astype(dtype), rng.normal(size=(K, N)).astype(dtype)
    before = rng.normal(size=(M, N)).astype(dtype)
    c = poisoned(before, N + 1, 3)
    gemm_tn(poisoned(a, M + 2, 1), 1, M + 2, poisoned(b, N + 3), 0, N + 3, K, M, N, c, 3, N + 1, accumulate)
    got = c[3 : 3 + M * (N + 1)].reshape(M, N + 1)
    start = before.astype(np.float64) if accumulate else None
    close(got[:, :N], reference.gemm_tn(a.astype(np.float64), b.astype(np.float64), start), K, dtype)
    assert np.isnan(got[:, N:]).all()
    assert np.isnan(c[:3]).all()


def test_long_gemm_tn_split_by_rows_and_columns(rng):
    for dtype in (np.float32, np.float64):
        K, M, N = 2 * K_BLOCK + 7, M_BLOCK + 11, 75
        a, b = rng.normal(size=(K, M)).astype(dtype), rng.normal(size=(K, N)).astype(dtype)
        x, y, whole, parts = a.reshape(-1), b.reshape(-1), np.empty((M, N), dtype), np.empty((M, N), dtype)
        gemm_tn(x, 0, M, y, 0, N, K, M, N, whole.reshape(-1), 0, N, False)
        close(whole, a.astype(np.float64).T @ b.astype(np.float64), K, dtype)
        for m0, m1 in ((0, 5), (5, 6), (6, M)):
            for n0, n1 in ((0, 1), (1, 40), (40, N)):
                gemm_tn(x, m0, M, y, n0, N, K, m1 - m0, n1 - n0, parts.reshape(-1), m0 * N + n0, N, False)
        assert_array_equal(parts, whole)


@given(dtypes, st.integers(1, 12) | st.just(K_BLOCK + 1), st.integers(1, 6), st.integers(1, 40), seeds, st.booleans())
def test_gemm_tn_of_a_few_products_gives_the_bits_of_a_larger_one(dtype, K, M, N, seed, accumulate):
    rng = np.random.default_rng(seed)
    most, width = 64, 256  # of which no part is small
    a, b = rng.normal(size=(K, most)).astype(dtype), rng.normal(size=(K, width)).astype(dtype)
    whole = rng.normal(size=(most, width)).astype(dtype)
    part = whole[:M, :N].copy()
    gemm_tn(a.reshape(-1), 0, most, b.reshape(-1), 0, width, K, most, width, whole.reshape(-1), 0, width, accumulate)
    gemm_tn(a.reshape(-1), 0, most, b.reshape(-1), 0, width, K, M, N, part.reshape(-1), 0, N, accumulate)
    assert_array_equal(part, whole[:M, :N])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_pass_as_in_numpy(value):
    for dtype in (np.float32, np.float64):
        a, b = np.ones((8, 5), dtype), np.ones((5, 40), dtype)
        a[3, 2], b[1, 7] = value, value
        c = np.empty((8, 40), dtype)
        gemm(a.reshape(-1), 0, 5, 8, 5, packed_copy(b), 0, 40, c.reshape(-1), 0, 40, False)
        with np.errstate(invalid="ignore"):
            assert_array_equal(c, a @ b)


# The tile itself


@compiled
def one_tile(x, ldx, w, K, bias, c, ldc):
    width = 2 * vlanes(c)
    acc = tile_bias(bias, 0, 3, 2)
    acc = tile_fma(acc, 3, 2, x, 0, ldx, 1, K, w, 0, width, 0)
    tile_store(acc, c, 0, ldc, 3)
    again = tile_fma(tile_load(c, 0, ldc, 3, 2), 3, 2, x, 0, ldx, 1, K, w, 0, width, 0)
    negative = tile_zero(c, 3, 2)
    vstore(c, 3 * ldc, again[1])  # lanes of row 0, vector 1
    vstore(c, 3 * ldc + vlanes(c), negative[5] - vload(bias, 0))


@given(dtypes, st.integers(0, 9), seeds)
def test_tile_of_three_rows(dtype, K, seed):
    rng = np.random.default_rng(seed)
    n = lanes_of(dtype)
    x, w, bias = (rng.normal(size=s).astype(dtype) for s in ((3, K), (K, 2 * n), 2 * n))
    c = np.full(4 * (2 * n + 1), np.nan, dtype)
    one_tile(x.reshape(-1), K, w.reshape(-1), K, bias, c, 2 * n + 1)
    rows = c.reshape(4, -1)
    product = x.astype(np.float64) @ w.astype(np.float64)
    close(rows[:3, :-1], product + bias, K, dtype)
    assert np.isnan(rows[:3, -1]).all()
    close(c[3 * (2 * n + 1) :][:n], 2 * product[0, n:] + bias[n:], K, dtype)
    assert_array_equal(c[3 * (2 * n + 1) + n :][:n], -bias[:n])


def test_aligned_empty():
    for dtype in (np.float32, np.float64):
        a = aligned_empty(100, dtype)
        assert (a.shape, a.dtype, a.ctypes.data % 64) == ((100,), dtype, 0)
    assert aligned_empty(0, np.float32).shape == (0,)


def test_sizes_of_panels():
    for dtype in (np.float32, np.float64):
        width = panel_width(dtype)
        assert width == PANEL_VECTORS * lanes_of(dtype)
        assert [padded(n, dtype) for n in (0, 1, width, width + 1)] == [0, width, width, 2 * width]
        assert packed_size(3, 1, dtype) == 3 * width


@pytest.mark.skipif(not BOUNDSCHECK, reason="needs NUMBA_BOUNDSCHECK=1")
def test_sizes_beyond_the_arrays_are_errors():
    for dtype in (np.float32, np.float64):
        w = panel_width(dtype)
        a, p, c = np.ones(2 * 3, dtype), np.ones(3 * w, dtype), np.empty(2 * w, dtype)
        good = (a, 0, 3, 2, 3, p, 0, w, c, 0, w, False)
        gemm(*good)
        for i, bad in (
            (1, 1),
            (1, -1),
            (2, 4),
            (3, 3),
            (4, 4),
            (6, 1),
            (7, w + 1),
            (9, 1),
            (9, -1),
            (10, w + 1),
        ):
            with pytest.raises(IndexError):
                gemm(*good[:i], bad, *good[i + 1 :])
        with pytest.raises(IndexError):
            pack(a, 0, 3, 1, 3, 3, p, 0)
        with pytest.raises(IndexError):
            gemm_tn(a, 0, 3, a, 0, 3, 3, 3, 3, c, 0, 3, False)
