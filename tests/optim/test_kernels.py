"""The jitted updates against their NumPy twins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.kernels.fused import optimizers
from tinygrad_rnn.kernels.reference import optimizers as reference_optimizers

EMPTY = 0  # a state that is not in use

# kernel, sizes of its states (1: in use), coefficients
TABLE = [
    ("sgd", (EMPTY,), (0.1, 0.0, 0.0, 0.01, False)),
    ("sgd", (1,), (0.1, 0.9, 0.3, 0.01, False)),
    ("sgd", (1,), (0.1, 0.9, 0.0, 0.0, True)),
    ("adam", (1, 1, EMPTY), (0.01, 0.9, 0.999, 1e-8, 0.0, 1, False)),
    ("adam", (1, 1, EMPTY), (0.01, 0.8, 0.99, 1e-8, 0.1, 7, True)),
    ("adam", (1, 1, 1), (0.01, 0.8, 0.99, 1e-8, 0.1, 7, False)),
    ("rmsprop", (1, EMPTY, EMPTY), (0.01, 0.99, 1e-8, 0.0, 0.0, False)),
    ("rmsprop", (1, EMPTY, 1), (0.01, 0.9, 1e-8, 0.1, 0.9, False)),
    ("adagrad", (1,), (0.1, 0.01, 1e-10, 0.1, 3)),
]


def arrays(states, size, dtype, seed):
    rng = np.random.default_rng(seed)
    values, grads = rng.normal(size=(2, size)).astype(dtype)
    return values, grads, *(rng.uniform(0.1, 1, size * used).astype(dtype) for used in states)


@pytest.mark.parametrize(("name", "states", "coefficients"), TABLE)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(size=st.integers(0, 70), seed=st.integers(0, 2**32 - 1))
def test_kernel_is_its_twin(name, states, coefficients, dtype, size, seed):
    ours, theirs = arrays(states, size, dtype, seed), arrays(states, size, dtype, seed)
    getattr(optimizers, name)(*ours, *coefficients)
    getattr(reference_optimizers, name)(*theirs, *coefficients)
    tolerance = 2e-6 if dtype == np.float32 else 1e-14
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_centered_rmsprop_is_its_twin(dtype):
    # the variance is a difference: from zero states on, it stays positive
    size = 37
    ours, theirs = ([np.ones(size, dtype), None, *np.zeros((3, size), dtype)] for _ in range(2))
    rng = np.random.default_rng(0)
    for _ in range(20):
        ours[1] = theirs[1] = rng.normal(size=size).astype(dtype)
        optimizers.rmsprop(*ours, 0.01, 0.9, 1e-8, 0.01, 0.5, True)
        reference_optimizers.rmsprop(*theirs, 0.01, 0.9, 1e-8, 0.01, 0.5, True)
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a, b, rtol=2e-4 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize(("name", "states", "coefficients"), TABLE)
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_nan_and_inf_flow_as_in_numpy(name, states, coefficients, special, dtype):
    ours, theirs = arrays(states, 33, dtype, 1), arrays(states, 33, dtype, 1)
    for place in (0, 13, 32):  # inside whole vectors and in the rest
        ours[1][place] = theirs[1][place] = special
    getattr(optimizers, name)(*ours, *coefficients)
    getattr(reference_optimizers, name)(*theirs, *coefficients)
    for a, b in zip(ours, theirs):
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        np.testing.assert_array_equal(np.isinf(a), np.isinf(b))
    assert np.isfinite(ours[0]).sum() == 30


def test_a_nan_stays_in_the_largest_second_moment():
    values, grads, m, v, top = arrays((1, 1, 1), 5, np.float64, 0)
    grads[2] = np.nan
    for step in (1, 2):
        optimizers.adam(values, grads, m, v, top, 0.1, 0.9, 0.99, 1e-8, 0.0, step, False)
        grads[2] = 0.0
    assert np.isnan(top).tolist() == [False, False, True, False, False]


@pytest.mark.parametrize(("name", "states", "coefficients"), TABLE)
def test_plain_python_runs_the_same_source(name, states, coefficients):
    kernel = getattr(optimizers, name)
    jitted, plain = (arrays(states, 5, np.float64, 2) for _ in range(2))
    kernel(*jitted, *coefficients)
    getattr(kernel, "py_func", kernel)(*plain, *coefficients)
    for a, b in zip(jitted, plain):
        np.testing.assert_allclose(a, b, rtol=1e-14)
