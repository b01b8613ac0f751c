"""The jitted dropout against its NumPy twin."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.kernels.fused import dropout
from tinygrad_rnn.kernels.reference import dropout as reference_dropout

from .jit import dtypes


@given(size=st.integers(0, 90), dtype=dtypes, p=st.sampled_from([0.0, 0.3, 1.0]), seed=st.integers(0, 2**32 - 1))
def test_kernel_is_its_twin(size, dtype, p, seed):
    """NaN and infinities times nothing are NaN, in both."""
    rng = np.random.default_rng(seed)
    x, keep = rng.normal(size=size).astype(dtype), rng.random(size) >= p
    x[rng.random(size) < 0.1] = rng.choice([np.nan, np.inf, -np.inf])
    first, last = np.sort(rng.integers(0, size + 1, 2)).tolist()
    found, wanted = np.full((2, size), 7, dtype)
    with np.errstate(invalid="ignore"):
        dropout.dropout(x, keep, 1.7, found, first, last)
        reference_dropout.dropout(x, keep, 1.7, wanted, first, last)
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(wanted))
