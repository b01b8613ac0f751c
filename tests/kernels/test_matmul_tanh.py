"""The matmul-tanh step against its NumPy twin, finite differences, and NaN."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tinygrad_rnn.kernels.fused import matmul_tanh as kernels
from tinygrad_rnn.kernels.fused.matmul_tanh import PACK_FROM, WIDE, matmul_tanh, matmul_tanh_vjp
from tinygrad_rnn.kernels.reference import matmul_tanh as reference

from .jit import dtypes, needs_jit

batches = st.sampled_from([0, 1, 2, 5, PACK_FROM - 1, PACK_FROM, 17])
widths = st.integers(0, 20) | st.sampled_from([32, 33, 65, 100])
layouts = st.sampled_from(["C", "F", "strided", "reversed"])


def laid_out(a, layout):
    """The same numbers in another memory layout."""
    if layout == "C":
        return np.ascontiguousarray(a)
    if layout == "F":
        return np.asfortranarray(a) if a.ndim == 1 else np.ascontiguousarray(a.T).T
    if layout == "reversed":
        return np.ascontiguousarray(a[::-1])[::-1]
    wide = np.full((*a.shape[:-1], 2 * a.shape[-1]), np.nan, a.dtype)
    wide[..., ::2] = a
    return wide[..., ::2]


@st.composite
def steps(draw):
    """x, w_x, h, w_h, b and a cotangent, in any layouts."""
    dtype, B, I, H = draw(dtypes), draw(batches), draw(widths), draw(widths)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shapes = ((B, I), (I, H), (B, H), (H, H), (H,), (B, H))
    scales = (1, 1 / np.sqrt(I + 1), 1, 1 / np.sqrt(H + 1), 1, 1)
    return [laid_out((s * rng.normal(size=n)).astype(dtype), draw(layouts)) for n, s in zip(shapes, scales)]


def close(got, wanted, dtype):
    assert got.dtype == dtype
    assert got.shape == wanted.shape
    assert_allclose(got, wanted, rtol=100 * np.finfo(dtype).eps, atol=100 * np.finfo(dtype).eps)


@given(steps(), st.booleans())
def test_forward(step, with_bias):
    *inputs, b, _ = step
    b = b if with_bias else None
    wanted = reference.matmul_tanh(*(a.astype(np.float64) for a in inputs), b)
    close(matmul_tanh(*inputs, b), wanted, inputs[0].dtype)


@given(steps(), st.tuples(*[st.booleans()] * 5))
def test_backward(step, needs):
    *inputs, b, g = step
    y = matmul_tanh(*inputs, b)
    got = matmul_tanh_vjp(g, y, *inputs, needs=needs)
    wanted = reference.matmul_tanh_vjp(*(a.astype(np.float64) for a in (g, y, *inputs)))
    for gradient, twin, needed in zip(got, wanted, needs):
        if needed:
            close(gradient, twin, y.dtype)
        else:
            assert gradient is None


@pytest.mark.parametrize("B", [1, 3, PACK_FROM + 1])
@pytest.mark.parametrize("layout", ["C", "F"])
def test_gradients_against_finite_differences(B, layout, rng):
    I, H, eps = 3, 5, 1e-6
    arrays = [rng.normal(size=s) for s in ((B, I), (I, H), (B, H), (H, H), (H,))]
    arrays = [laid_out(a, layout) for a in arrays]
    g = rng.normal(size=(B, H))
    gradients = matmul_tanh_vjp(g, matmul_tanh(*arrays), *arrays[:4])
    for a, gradient in zip(arrays, gradients):
        for i in np.ndindex(a.shape):
            kept, values = a[i], []
            for step in (-eps, eps):
                a[i] = kept + step
                values.append(np.sum(g * matmul_tanh(*arrays)))
            a[i] = kept
            assert gradient[i] == pytest.approx((values[1] - values[0]) / (2 * eps), rel=1e-6, abs=1e-8)


@pytest.mark.sampled(15)
@pytest.mark.parametrize("B", [1, 4, PACK_FROM + 3])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("layout", ["C", "F"])
def test_nan_and_infinity_as_in_numpy(value, B, layout, rng):
    for dtype in (np.float32, np.float64):
        for which, H in itertools.product(range(5), (11, 100)):
            I = 6
            arrays = [rng.normal(size=s).astype(dtype) for s in ((B, I), (I, H), (B, H), (H, H), (H,))]
            arrays[which].reshape(-1)[-2] = value
            arrays = [laid_out(a, layout) for a in arrays]
            with np.errstate(invalid="ignore"):
                wanted = reference.matmul_tanh(*arrays)
                y = matmul_tanh(*arrays)
                assert_array_equal(np.isnan(y), np.isnan(wanted))
                assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)
                g = np.ones_like(y)
                pairs = zip(matmul_tanh_vjp(g, y, *arrays[:4]), reference.matmul_tanh_vjp(g, y, *arrays[:4]))
                for got, twin in pairs:
                    assert_allclose(got, twin, rtol=1e-4, atol=1e-5)


def test_saturated_steps_are_exact():
    x, w, h = np.full((2, 1), 50.0), np.array([[1.0, -1.0]]), np.zeros((2, 2))
    y = matmul_tanh(x, w, h, np.zeros((2, 2)), None)
    assert_array_equal(y, [[1, -1], [1, -1]])
    assert_array_equal(matmul_tanh_vjp(np.ones((2, 2)), y, x, w, h, np.zeros((2, 2)))[0], [[0], [0]])


@needs_jit
def test_gradients_of_transposed_views_are_transposed_views(rng):
    for B in (2, PACK_FROM):
        x, h = rng.normal(size=(B, 3)), rng.normal(size=(B, 4))
        w_x, w_h = rng.normal(size=(4, 3)).T, rng.normal(size=(4, 4)).T
        y = matmul_tanh(x, w_x, h, w_h, None)
        _, dw_x, _, dw_h, _ = matmul_tanh_vjp(y, y, x, w_x, h, w_h)
        assert dw_x.flags.f_contiguous
        assert dw_h.flags.f_contiguous


def test_inputs_stay_as_they_are(rng):
    for B in (2, PACK_FROM):
        arrays = [rng.normal(size=s) for s in ((B, 3), (3, 4), (B, 4), (4, 4), (4,))]
        copies = [a.copy() for a in arrays]
        for a in arrays:
            a.flags.writeable = False  # as NumPy's broadcast views and arrays of others are
        y = matmul_tanh(*arrays)
        matmul_tanh_vjp(y, y, *arrays[:4])
        for a, copy in zip(arrays, copies):
            assert_array_equal(a, copy)


@needs_jit
def test_one_kernel_of_a_kind_serves_all_layouts(rng):
    for a, b in itertools.product(("C", "F", "strided", "reversed"), repeat=2):
        arrays = [rng.normal(size=s) for s in ((2, 3), (3, 4), (2, 4), (4, 4), (4,))]
        arrays = [laid_out(array, layout) for array, layout in zip(arrays, (a, b, b, a, a))]
        y = matmul_tanh(*arrays)
        assert_allclose(y, reference.matmul_tanh(*arrays), atol=1e-14)
        got = matmul_tanh_vjp(y, y, *arrays[:4])
        for gradient, twin in zip(got, reference.matmul_tanh_vjp(y, y, *arrays[:4])):
            assert_allclose(gradient, twin, atol=1e-13)
    for kernel in kernels._ARGUMENTS:
        assert len(kernel.signatures) <= 2


def test_arrays_at_odd_addresses(rng):
    def odd(a):
        memory = np.zeros(a.nbytes + 1, np.uint8)
        view = memory[1:].view(a.dtype).reshape(a.shape)
        view[...] = a
        return view

    arrays = [odd(rng.normal(size=s)) for s in ((2, 3), (3, 4), (2, 4), (4, 4), (4,))]
    y = matmul_tanh(*arrays)
    assert_allclose(y, reference.matmul_tanh(*arrays), atol=1e-14)
    got = matmul_tanh_vjp(y, odd(y), *arrays[:4])
    for gradient, twin in zip(got, reference.matmul_tanh_vjp(y, y, *arrays[:4])):
        assert_allclose(gradient, twin, atol=1e-13)


def test_weights_beyond_the_caches(rng):
    H = int((WIDE / 8) ** 0.5) + 1
    arrays = [rng.normal(size=s) / H for s in ((2, 3), (H, 3), (2, H), (H, H), (H,))]
    arrays[1], arrays[3] = arrays[1].T, arrays[3].T
    y = matmul_tanh(*arrays)
    assert_allclose(y, reference.matmul_tanh(*arrays), atol=1e-14)
    got = matmul_tanh_vjp(y, y, *arrays[:4])
    for gradient, twin in zip(got, reference.matmul_tanh_vjp(y, y, *arrays[:4])):
        assert_allclose(gradient, twin, atol=1e-13)


BAD = {
    "x": (np.zeros(3), ValueError, r"x \(3,\)"),
    "w_x": (np.zeros((2, 4)), ValueError, r"w_x is \(2, 4\), wanted \(3, 4\)"),
    "h": (np.zeros((1, 4)), ValueError, r"h is \(1, 4\), wanted \(2, 4\)"),
    "w_h": (np.zeros((4, 3)), ValueError, r"w_h is \(4, 3\), wanted \(4, 4\)"),
    "b": (np.zeros(1), ValueError, r"b is \(1,\), wanted \(4,\)"),
    "dtype of x": (np.zeros((2, 3), int), TypeError, "x has dtype int64, wanted float32 or float64"),
    "dtype of w_x": (np.zeros((3, 4), np.float32), TypeError, "w_x has dtype float32, wanted float64"),
    "dtype of b": (np.zeros(4, np.float32), TypeError, "b has dtype float32, wanted float64"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused(case):
    value, error, message = BAD[case]
    good = {"x": np.zeros((2, 3)), "w_x": np.zeros((3, 4)), "h": np.zeros((2, 4)), "w_h": np.zeros((4, 4)), "b": None}
    with pytest.raises(error, match=message):
        matmul_tanh(**(good | {case.split()[-1]: value}))


@pytest.mark.parametrize("name", ["g", "y"])
def test_cotangents_that_do_not_fit_are_refused(name):
    arrays = {"g": np.zeros((2, 4)), "y": np.zeros((2, 4))}
    others = np.zeros((2, 3)), np.zeros((3, 4)), np.zeros((2, 4)), np.zeros((4, 4))
    for bad, error in ((np.zeros((2, 3)), ValueError), (np.zeros((2, 4), np.float32), TypeError)):
        with pytest.raises(error, match=f"{name} "):
            matmul_tanh_vjp(*(arrays | {name: bad}).values(), *others)
