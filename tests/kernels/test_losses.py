"""The jitted elementwise losses against their NumPy twins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.kernels.fused import losses
from tinygrad_rnn.kernels.reference import losses as reference_losses

from .jit import dtypes, needs_jit

pytestmark = needs_jit


def both(x, target, g, part):
    """All results by the kernels and by their twins; what is outside of the part stays NaN."""
    for module in (losses, reference_losses):
        total, (loss, slope, difference) = np.empty(1), np.full((3, x.size), np.nan, x.dtype)
        with np.errstate(all="ignore"):
            module.squared_error(x, target, total, *part)
            module.squared_error_gradient(x, target, 0.7, difference, *part)
            module.logistic_loss(x, target, loss, *part)
            module.logistic_loss_gradient(x, target, g, slope, *part)
        yield total, difference, loss, slope


def close(found, wanted, dtype):
    tolerance = 2e-6 if dtype == np.float32 else 1e-14
    for a, b in zip(found, wanted):
        np.testing.assert_allclose(a, b, rtol=10 * tolerance, atol=tolerance)


@given(
    size=st.integers(0, 90) | st.just(20_000),
    dtype=dtypes,
    one=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_kernels_are_their_twins(size, dtype, one, seed):
    rng = np.random.default_rng(seed)
    x, target = (5 * rng.normal(size=size)).astype(dtype), rng.uniform(size=size).astype(dtype)
    g, part = rng.normal(size=1 if one else size).astype(dtype), tuple(np.sort(rng.integers(0, size + 1, 2)).tolist())
    close(*both(x, target, g, part), dtype)


SPECIAL = [0.0, -0.0, np.nan, np.inf, -np.inf, 1e4, -1e4, 3e38, -3e38, 1e-40, 88.8, -88.8, -104.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("target", [0.0, 1.0, 0.5, np.nan])
def test_extreme_values_flow_as_in_numpy(dtype, target):
    x = np.array(SPECIAL * 3, dtype)
    found, wanted = both(x, np.full(x.size, target, dtype), np.ones(1, dtype), (0, x.size))
    close(found[1:], wanted[1:], dtype)
