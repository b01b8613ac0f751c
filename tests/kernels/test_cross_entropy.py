"""The jitted cross-entropy against its NumPy twin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.kernels.fused import cross_entropy
from tinygrad_rnn.kernels.reference import cross_entropy as reference_cross_entropy

from .jit import dtypes, needs_jit

pytestmark = needs_jit

SIZES = st.tuples(st.integers(0, 6), st.sampled_from([1, 3, 8, 16, 31, 64, 2500]))


def both(kind, rows, classes, dtype, smoothing, seed, special=None, part=None):
    """Losses and gradients by the kernel and by its twin; what is outside of the part stays NaN."""
    rng = np.random.default_rng(seed)
    x = (3 * rng.normal(size=rows * classes)).astype(dtype)
    if special is not None and x.size:
        x[rng.integers(x.size)] = special
    g = rng.normal(size=rows).astype(dtype)
    weight = rng.uniform(0.2, 2, classes).astype(dtype)
    first, last = part or (0, rows)
    if kind == "class":
        index = rng.integers(-1, classes, rows)
        rest = index, weight[index], weight * dtype(smoothing / classes) if smoothing else weight[:0], 1 - smoothing
    else:
        rest = rng.uniform(size=rows * classes).astype(dtype), weight, 1 - smoothing, smoothing / classes
    for module in (cross_entropy, reference_cross_entropy):
        tops, logs, losses = np.full((3, rows), np.nan, dtype)
        out = np.full(x.size, np.nan, dtype)
        with np.errstate(all="ignore"):
            getattr(module, f"{kind}_forward")(x, classes, *rest, tops, logs, losses, first, last)
            getattr(module, f"{kind}_backward")(x, classes, *rest, tops, logs, g, out, first, last)
        yield losses, out


def close(a, b):
    tolerance = 2e-5 if a.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", ["class", "share"])
@given(sizes=SIZES, dtype=dtypes, smoothing=st.sampled_from([0.0, 0.1]), seed=st.integers(0, 2**32 - 1))
def test_kernel_is_its_twin(kind, sizes, dtype, smoothing, seed):
    (losses, out), (wanted, gradient) = both(kind, *sizes, dtype, smoothing, seed)
    close(losses, wanted)
    close(out, gradient)
    assert np.isfinite(out).all()


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", ["class", "share"])
def test_only_some_rows(kind):
    whole, _ = both(kind, 7, 21, np.float64, 0.1, 0)
    part, twin = both(kind, 7, 21, np.float64, 0.1, 0, part=(2, 5))
    for a, b, all_of_it in zip(part, twin, whole):
        rows, twins, wanted = (v.reshape(7, -1) for v in (a, b, all_of_it))
        assert np.isnan(rows[[0, 1, 5, 6]]).all()
        np.testing.assert_array_equal(rows[2:5], wanted[2:5])
        np.testing.assert_allclose(twins, rows, rtol=1e-12)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", ["class", "share"])
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf, 1e4, -1e4, 3e38])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_values_flow_as_in_numpy(kind, special, dtype):
    for seed in range(20):
        for classes in (1, 5, 40):
            (losses, out), (wanted, gradient) = both(kind, 3, classes, dtype, 0.1 * (seed % 2), seed, special)
            close(losses, wanted)
            close(out, gradient)


def test_many_classes_keep_their_digits():
    """As many as a float32 sum by itself would lose digits with."""
    n = 1_000_001
    x = np.zeros(n, np.float32)
    tops, logs, losses = np.empty((3, 1), np.float32)
    rest = np.zeros(1, int), np.ones(1, np.float32), x[:0], 1.0
    cross_entropy.class_forward(x, n, *rest, tops, logs, losses, 0, 1)
    np.testing.assert_allclose(losses, np.log(n), rtol=2e-7)
