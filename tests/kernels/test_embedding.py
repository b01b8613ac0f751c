"""The jitted gradient of a table against its NumPy twin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.kernels.fused import embedding
from tinygrad_rnn.kernels.reference import embedding as reference_embedding

from .jit import dtypes, needs_jit

pytestmark = needs_jit


@given(
    sizes=st.tuples(st.integers(0, 40), st.integers(1, 6), st.sampled_from([1, 3, 8, 21, 64])),
    padding=st.integers(-1, 3),
    dtype=dtypes,
    seed=st.integers(0, 2**32 - 1),
)
def test_kernel_is_its_twin(sizes, padding, dtype, seed):
    """Whatever lies outside of the table is left out."""
    rows, table, width = sizes
    rng = np.random.default_rng(seed)
    x, index = rng.normal(size=rows * width).astype(dtype), rng.integers(-2, table + 2, rows)
    first, last = np.sort(rng.integers(0, rows + 1, 2))
    start = rng.normal(size=table * width).astype(dtype)
    found, wanted = start.copy(), start.copy()
    embedding.scatter_add(x, width, index, padding, found, first, last)
    reference_embedding.scatter_add(x, width, index, padding, wanted, first, last)
    np.testing.assert_array_equal(found, wanted)  # in the same order


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_stay_in_their_rows(special):
    x = np.ones(4 * 21)
    x[21 : 2 * 21] = special
    out = np.zeros(3 * 21)
    embedding.scatter_add(x, 21, np.array([0, 1, 2, 2]), -1, out, 0, 4)
    np.testing.assert_array_equal(out.reshape(3, 21), np.repeat([1.0, special, 2.0], 21).reshape(3, 21))
