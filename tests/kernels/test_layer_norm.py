"""The jitted layer normalisation against its NumPy twin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.kernels.fused import layer_norm
from tinygrad_rnn.kernels.reference import layer_norm as reference_layer_norm

from .jit import dtypes, needs_jit

pytestmark = needs_jit


def both(rows, n, dtype, seed, part=None, row=None):
    """Results and gradients by the kernel and by its twin; what is outside of the part stays NaN."""
    rng = np.random.default_rng(seed)
    x, g = rng.normal(size=(2, rows * n)).astype(dtype)
    if row is not None:
        x[n : 2 * n] = row
    weight, bias = rng.normal(size=(2, n)).astype(dtype)
    first, last = part or (0, rows)
    for module in (layer_norm, reference_layer_norm):
        means, scales = np.full((2, rows), np.nan, dtype)
        (out, dx), sums = np.full((2, rows * n), np.nan, dtype), np.ones((2, n), dtype)
        module.forward(x, n, weight, bias, 1e-5, means, scales, out, first, last)
        module.backward(x, n, weight, means, scales, g, dx, *sums, first, last)
        yield out, dx, *sums


def close(found, wanted):
    for a, b in zip(found, wanted):
        tolerance = 2e-5 if a.dtype == np.float32 else 1e-12
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


SIZES = st.tuples(st.integers(0, 6), st.sampled_from([2, 3, 8, 16, 31, 64, 2500]))


@given(sizes=SIZES, dtype=dtypes, seed=st.integers(0, 2**32 - 1))
def test_kernel_is_its_twin(sizes, dtype, seed):
    found, wanted = both(*sizes, dtype, seed)
    close(found, wanted)


def test_only_some_rows():
    found, wanted = both(7, 21, np.float64, 0, part=(2, 5))
    close(found, wanted)
    for a in found[:2]:
        rows = a.reshape(7, 21)
        assert np.isnan(rows[[0, 1, 5, 6]]).all()
        assert np.isfinite(rows[2:5]).all()


@pytest.mark.parametrize("row", [0.0, 0.1, 3e38, 1e4, 1e-42, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_equal_and_extreme_elements(row, dtype):
    for n in (1, 7, 40):
        found, wanted = both(3, n, dtype, 0, row=row)
        close(found, wanted)
        assert np.isnan(found[0].reshape(3, n)[1]).all() == (not np.isfinite(row))
        assert np.isfinite(found[0].reshape(3, n)[[0, 2]]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_variance_that_overflows_is_nan(dtype):
    large = np.finfo(dtype).max ** 0.6
    for n in (2, 8, 33):
        row = np.where(np.arange(n) % 2, large, -large)
        for out, dx, *_ in both(3, n, dtype, 0, row=row):
            assert np.isnan(out.reshape(3, n)).all(1).tolist() == [False, True, False]
            assert np.isnan(dx.reshape(3, n)).all(1).tolist() == [False, True, False]
