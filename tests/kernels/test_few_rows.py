"""Products of a few rows, and packed ones by their C symbol, against NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from tinygrad_rnn.kernels.build.uninterrupted import uninterrupted
from tinygrad_rnn.kernels.gemm import extern
from tinygrad_rnn.kernels.gemm.few_rows import DOTS, ColumnMajor, RowMajor, few_rows_nn, few_rows_nt
from tinygrad_rnn.kernels.gemm.gemm import pack, packed_size, padded, panel_width
from tinygrad_rnn.kernels.reference import gemm as reference

from .jit import compiled, dtypes, needs_jit

pytestmark = needs_jit

few = st.integers(0, 11)
widths = st.integers(0, 40) | st.sampled_from([64, 65, 130])
seeds = st.integers(0, 2**32 - 1)


@compiled
def row_major(a1, K1, w1, a2, K2, w2, bias, c, rows, N):
    one = np.intp(1)
    few_rows_nn(RowMajor(a1, K1, one, K1, w1, N), RowMajor(a2, K2, one, K2, w2, N), bias, c, rows, N)


@compiled
def column_major(a1, K1, w1, a2, K2, w2, bias, c, rows, N):
    few_rows_nt(ColumnMajor(a1, K1, w1, K1), ColumnMajor(a2, K2, w2, K2), bias, c, rows, N)


@compiled
def transposed(a, rows, K, b, N, bias, c):
    """``bias + A.T @ B``: a few rows of A.T, read by columns."""
    one, zero = np.intp(1), np.intp(0)
    few_rows_nn(RowMajor(a, one, rows, K, b, N), RowMajor(a, one, rows, zero, b, N), bias, c, rows, N)


@compiled
def by_symbol(a1, K1, p1, a2, K2, p2, bias, c, rows, N, ldc):
    extern.gemm2(a1, 0, K1, K1, p1, 0, a2, 0, K2, K2, p2, 0, bias, 0, rows, N, c, 0, ldc)
    extern.gemm(a1, 0, K1, rows, K1, p1, 0, N, c, 0, ldc, True)


@compiled
def transposed_by_symbol(a, M, b, N, K, c, accumulate):
    extern.product_tn(a, np.intp(0), M, b, np.intp(0), N, K, M, N, c, np.intp(0), N, accumulate)


def close(got, wanted, terms):
    eps = np.finfo(got.dtype).eps
    assert_allclose(got, wanted, rtol=0, atol=8 * eps * (terms + 4))


def normal(rng, dtype, *shape):
    return rng.normal(size=shape).astype(dtype)


def operands(dtype, seed, rows, K1, K2, N):
    """A1, W1, A2, W2, and a bias with space for reading it in whole panels."""
    rng = np.random.default_rng(seed)
    shapes = (rows, K1), (K1, N), (rows, K2), (K2, N)
    bias = np.concatenate([normal(rng, dtype, N), np.full(max(panel_width(dtype), DOTS), np.nan, dtype)])
    return [*(normal(rng, dtype, *shape) for shape in shapes), bias]


def wanted(a1, w1, a2, w2, bias):
    return reference.gemm2(*(a.astype(np.float64) for a in (a1, w1, a2, w2)), bias[: w1.shape[1]])


@given(dtypes, seeds, few, widths, widths, widths)
def test_few_rows(dtype, seed, rows, K1, K2, N):
    a1, w1, a2, w2, bias = arrays = operands(dtype, seed, rows, K1, K2, N)
    expected = wanted(*arrays)
    for function, matrices in ((row_major, (w1, w2)), (column_major, (w1.T, w2.T))):
        c = np.full(rows * N + 3, np.nan, dtype)
        first, second = (np.ascontiguousarray(w).ravel() for w in matrices)
        function(a1.ravel(), K1, first, a2.ravel(), K2, second, bias, c, rows, N)
        close(c[: rows * N].reshape(rows, N), expected, K1 + K2)
        assert np.isnan(c[rows * N :]).all(), "nothing is written behind the end"


@pytest.mark.slow
@given(dtypes, seeds, few, few, widths)
def test_few_rows_of_a_transposed_view(dtype, seed, rows, K, N):
    _, b, _, _, bias = operands(dtype, seed, 0, K, 0, N)
    a, c = normal(np.random.default_rng(seed), dtype, K, rows), np.empty(rows * N, dtype)
    transposed(a.ravel(), rows, K, b.ravel(), N, bias, c)
    close(c.reshape(rows, N), bias[:N] + reference.gemm_tn(a.astype(np.float64), b), K)


def packed(w):
    K, N = w.shape
    out = np.empty(packed_size(K, N, w.dtype), w.dtype)
    pack(w.ravel(), 0, N, 1, K, N, out, 0)
    return out


@pytest.mark.slow
@given(dtypes, seeds, few, widths, widths, widths, st.booleans())
def test_products_by_symbol(dtype, seed, rows, K1, K2, N, whole):
    extern.export_product(np.dtype(dtype))
    a1, w1, a2, w2, bias = arrays = operands(dtype, seed, rows, K1, K2, N)
    ldc = padded(N, dtype)
    bias = np.concatenate([bias[:N], np.zeros(ldc, dtype)])
    c = np.full(rows * ldc, np.nan, dtype)
    by_symbol(a1.ravel(), K1, packed(w1), a2.ravel(), K2, packed(w2), bias, c, rows, ldc if whole else N, ldc)
    expected = reference.gemm(a1.astype(np.float64), w1.astype(np.float64), wanted(*arrays))
    close(c.reshape(rows, ldc)[:, :N], expected, 2 * K1 + K2)
    assert np.isnan(c.reshape(rows, ldc)[:, N:]).all() or whole


@pytest.mark.slow
@given(dtypes, seeds, widths, widths, widths, st.booleans())
def test_transposed_products_by_symbol(dtype, seed, K, M, N, accumulate):
    extern.export_product(np.dtype(dtype))
    rng = np.random.default_rng(seed)
    a, b, before = normal(rng, dtype, K, M), normal(rng, dtype, K, N), normal(rng, dtype, M, N)
    c = before.copy()
    # in one thread with the kernels that are compiled on the way, which would wait for Numba's lock in another
    uninterrupted(transposed_by_symbol, a.ravel(), M, b.ravel(), N, K, c.reshape(-1), accumulate)
    start = before.astype(np.float64) if accumulate else None
    close(c, reference.gemm_tn(a.astype(np.float64), b.astype(np.float64), start), K)
