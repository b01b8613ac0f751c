"""The jitted CTC loss against its NumPy twin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.kernels.fused import ctc
from tinygrad_rnn.kernels.reference import ctc as reference_ctc


def case(time, batch, classes, most, dtype, seed):
    """Random log-probabilities, labels and lengths, some of which do not fit."""
    rng = np.random.default_rng(seed)
    log_probs = np.log(rng.dirichlet(np.ones(classes), (time, batch))).astype(dtype)
    counts = rng.integers(0, most + 1, batch)
    labels = rng.integers(1, classes, counts.sum())
    return log_probs, labels, np.concatenate([[0], np.cumsum(counts)]), rng.integers(0, time + 1, batch), 0


def both(arguments, g):
    """Losses and gradients by the kernel, and by its twin."""
    for module in (ctc, reference_ctc):
        losses, alphas = module.ctc_forward(*arguments)
        yield losses, module.ctc_backward(g, losses, alphas, *arguments)


@given(
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 4), st.integers(2, 5), st.integers(0, 9)),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 2**32 - 1),
)
def test_kernel_is_its_twin(sizes, dtype, seed):
    arguments = case(*sizes, dtype, seed)
    g = np.random.default_rng(seed).standard_normal(sizes[1])
    (losses, dx), (expected, dx_expected) = both(arguments, g)
    np.testing.assert_allclose(losses, expected, rtol=1e-13, atol=1e-13)
    assert dx.dtype == dtype
    np.testing.assert_allclose(dx, dx_expected, rtol=1e-6 if dtype == np.float32 else 1e-11, atol=1e-7)


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_flow_as_in_numpy(special):
    rng = np.random.default_rng(0)
    for _ in range(40):
        arguments = case(5, 3, 3, 3, np.float64, rng.integers(2**32))
        arguments[0][rng.integers(5), rng.integers(3), rng.integers(3)] = special
        (losses, dx), (expected, dx_expected) = both(arguments, np.ones(3))
        np.testing.assert_allclose(losses, expected, rtol=1e-12)
        np.testing.assert_allclose(dx, dx_expected, rtol=1e-10, atol=1e-12)


def test_arrays_need_not_be_contiguous_or_writeable():
    log_probs, *rest = case(6, 3, 4, 2, np.float32, 0)
    expected = ctc.ctc_forward(log_probs, *rest)[0]
    strange = np.repeat(log_probs.transpose(1, 2, 0), 2, axis=0)[::2].transpose(2, 0, 1)
    strange.flags.writeable = False
    assert not strange.flags.c_contiguous
    np.testing.assert_array_equal(ctc.ctc_forward(strange, *rest)[0], expected)


@pytest.mark.parametrize(
    ("position", "value"),
    [(0, np.zeros((5, 2))), (1, np.array([1, 3, 1])), (2, np.array([0, 2, 4])), (2, np.array([0, 2, 1])),
     (2, np.array([0, 3])), (3, np.array([6, 1])), (3, np.array([-1, 1])), (3, np.array([1])), (4, 3), (4, -1)],
)  # fmt: skip
def test_nothing_leaves_its_arrays(position, value):
    arguments = [np.zeros((5, 2, 3)), np.array([1, 2, 1]), np.array([0, 2, 3]), np.array([5, 1]), 0]
    ctc.ctc_forward(*arguments)
    arguments[position] = value
    with pytest.raises((TypeError, ValueError), match="ctc: "):
        ctc.ctc_forward(*arguments)
