"""Elementary functions against NumPy with more precision: at most 4 units in the last place everywhere."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numba import njit
from numpy.testing import assert_array_equal

from tinygrad_rnn.kernels.reference import mathfn as reference
from tinygrad_rnn.kernels.simd import mathfn
from tinygrad_rnn.kernels.simd.lanes import vlanes, vload, vstore

from .jit import needs_jit, on_lanes

pytestmark = needs_jit

EXACT = {
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "tanh": np.tanh, "sin": np.sin,
    "cos": np.cos, "sqrt": np.sqrt, "sigmoid": reference.sigmoid, "softplus": reference.softplus,
    "erf": reference.erf, "arctan": np.arctan,
}  # fmt: skip
ON_LANES = {name: on_lanes(getattr(mathfn, name)) for name in EXACT}
WIDER = {np.float32: np.float64, np.float64: np.longdouble}
ULPS = 4.0


def exact(name, x):
    """The function in more precision than x has; NumPy's erf does not exist, the C library's has 1 ulp."""
    wider = np.float64 if name == "erf" else WIDER[x.dtype.type]
    with np.errstate(all="ignore"):
        return EXACT[name](x.astype(wider))


def errors(name, x):
    """Errors in units in the last place; infinite where NaN, an infinity or the sign of a zero is wrong."""
    got, wanted = ON_LANES[name](x), exact(name, x)
    with np.errstate(all="ignore"):
        rounded = wanted.astype(x.dtype)
        ulps = np.abs(got.astype(wanted.dtype) - wanted) / np.spacing(np.abs(rounded)).astype(wanted.dtype)
    finite = np.isfinite(rounded)
    same = (np.isnan(got) == np.isnan(rounded)) & (finite | np.isnan(got) | (got == rounded))
    same &= (rounded != 0) | (got != 0) | (np.signbit(got) == np.signbit(rounded))
    return np.where(same, np.where(finite, ulps, 0), np.inf)


def check(name, x):
    ulps = errors(name, x)
    worst = int(np.argmax(ulps))
    assert ulps[worst] <= ULPS, f"{name}({x[worst]!r}): {ON_LANES[name](x)[worst]!r}, {exact(name, x)[worst]!r}"


SPECIAL = [
    0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0, 0.5, -0.5, 1e-45, -1e-45, 1e-40, 5e-324,
    2.2250738585072014e-308, 1.1754943508222875e-38, 3.4028234663852886e38, -3.4028234663852886e38,
    88.72283, 88.722839, 88.8, -87.4, -103.97, -104.1, 709.78, 709.79, -745.1, -745.2, 9.01, -9.02, 19.0,
    -37.5, 3216.0, 3217.0, -1e5, 1647099.0, 1e22, -1e300, math.pi, math.pi / 2, -math.pi / 4, 1e-8, -1e-8,
    3.95, 5.95, math.tan(math.pi / 8), -math.tan(math.pi / 8), 0.9999999, -0.9999999, math.sqrt(0.5), math.sqrt(2),
]  # fmt: skip


@pytest.mark.sampled(8)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", EXACT)
def test_special_values_and_thresholds(name, dtype):
    with np.errstate(all="ignore"):
        x = np.array(SPECIAL).astype(dtype)
        x = np.concatenate([x, np.nextafter(x, dtype(-np.inf)), np.nextafter(x, dtype(np.inf))])
    check(name, x)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", EXACT)
def test_all_of_float32(name):
    bits = np.arange(0, 2**32, 6007, dtype=np.uint32)  # a prime: all kinds of low bits
    check(name, bits.view(np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(EXACT) - {"erf"}))  # whose twin is a Python loop
def test_all_of_float32_densely(name):
    for first in range(0, 2**32, 2**28):
        check(name, np.arange(first, first + 2**28, 97, dtype=np.uint32).view(np.float32))


@pytest.mark.sampled(6)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", EXACT)
def test_where_the_functions_bend(name, dtype, rng):
    n = 2000 if name == "erf" else 20000
    x = [rng.normal(size=n), 30 * rng.normal(size=n), 10.0 ** rng.uniform(-20, 4, n) * rng.choice([-1, 1], n)]
    x += [rng.uniform(-110, 95, n), rng.uniform(-750, 715, n), 1 + 1e-3 * rng.normal(size=n)]
    check(name, np.concatenate(x).astype(dtype))


@pytest.mark.sampled(6)
@settings(max_examples=50)
@given(st.data())
@pytest.mark.parametrize("name", EXACT)
def test_any_floats(name, data):
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    floats = st.floats(width=dtype(0).itemsize * 8)
    check(name, data.draw(arrays(dtype, st.integers(1, 20), elements=floats)))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", EXACT)
def test_a_lane_does_not_depend_on_its_neighbours(name, rng):
    for dtype in (np.float32, np.float64):
        x = np.concatenate([rng.normal(size=8), [np.nan, np.inf, 1e30, -1e30, 0, -2, 5000, 2e6]]).astype(dtype)
        together = ON_LANES[name](x)
        alone = [ON_LANES[name](x[i : i + 1])[0] for i in range(x.size)]
        assert_array_equal(together, np.array(alone, dtype))


def test_tanh_and_sigmoid_stay_within_their_range():
    x = np.arange(0x3F000000, 0x42200000, 61, dtype=np.uint32).view(np.float32)  # 0.5 .. 40
    for signed in (x, -x):
        assert np.all(np.abs(ON_LANES["tanh"](signed)) <= 1)
        assert np.all((ON_LANES["sigmoid"](signed) >= 0) & (ON_LANES["sigmoid"](signed) <= 1))


# ---- powers, of two arrays


@njit(error_model="numpy")
def _powers(x, w, out):
    for i in range(0, x.size, vlanes(x)):
        vstore(out, i, mathfn.power(vload(x, i), vload(w, i)))


def check_power(x, w):
    """Within the same limit of NumPy's power in more precision; NaN, infinities and the signs of zeros as NumPy's."""
    n = -(-x.size // 64) * 64
    padded = [np.concatenate([a, np.ones(n - x.size, a.dtype)]) for a in (x, w)]
    got = np.empty(n, x.dtype)
    _powers(*padded, got)
    wider = WIDER[x.dtype.type]
    with np.errstate(all="ignore"):
        same, wanted = np.power(x, w), np.power(x.astype(wider), w.astype(wider))
        rounded = wanted.astype(x.dtype)
        ulps = np.abs(got[: x.size].astype(wider) - wanted) / np.spacing(np.abs(rounded)).astype(wider)
    finite = np.isfinite(rounded)
    worst = int(np.argmax(np.where(finite, ulps, 0)))
    assert ulps[worst] <= ULPS or not finite[worst], f"{x[worst]!r} ** {w[worst]!r}: {got[worst]!r}, {wanted[worst]!r}"
    assert_array_equal(got[: x.size][~finite], rounded[~finite])
    zero = rounded == 0
    assert_array_equal(np.signbit(got[: x.size][zero]), np.signbit(same[zero]))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_powers_up_to_the_edges(dtype, rng):
    n, largest, exponents = 20000, *((89, 126) if dtype == np.float32 else (710, 1021))
    x = 2.0 ** rng.uniform(-exponents, exponents, n)
    check_power(x.astype(dtype), (rng.uniform(-1.1, 1.1, n) * largest / np.log(x)).astype(dtype))
    check_power(np.exp(rng.uniform(-5, 5, n)).astype(dtype), rng.uniform(-10, 10, n).astype(dtype))
    for width, far in ((1e-3, 1e5), (1e-6, 1e8)):
        check_power((1 + width * rng.normal(size=n)).astype(dtype), rng.uniform(-far, far, n).astype(dtype))
    whole = rng.integers(-40, 40, n)
    check_power(rng.normal(size=n).astype(dtype), whole.astype(dtype))
    check_power(np.full(n, 2, dtype), rng.uniform(-140, 140, n).astype(dtype))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_powers_of_special_values(dtype):
    with np.errstate(over="ignore"):
        x = np.array([*SPECIAL, -3.0, 1e-300, 1.7976931348623157e308, 88.0, 0.01270884]).astype(dtype)
        w = np.array([*SPECIAL, 3.0, -2.0, 2.5, 1e10, 1e300, 89.0, -1e30, 16777217.0, 8.914791]).astype(dtype)
    a, b = np.meshgrid(x, w)
    check_power(a.ravel(), b.ravel())


@settings(max_examples=50)
@given(st.data())
def test_powers_of_any_floats(data):
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    floats = arrays(dtype, 16, elements=st.floats(width=dtype(0).itemsize * 8))
    check_power(data.draw(floats), data.draw(floats))


# ---- angles of points


@njit(error_model="numpy")
def _angles(v, w, out):
    for i in range(0, v.size, vlanes(v)):
        vstore(out, i, mathfn.arctan2(vload(v, i), vload(w, i)))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_angles_of_points(dtype, rng):
    with np.errstate(all="ignore"):
        a, b = (m.ravel() for m in np.meshgrid(np.array(SPECIAL).astype(dtype), np.array(SPECIAL).astype(dtype)))
        spread = [2.0 ** rng.uniform(-60, 60, 20000) * rng.choice([-1, 1], 20000) for _ in "ab"]
        v, w = np.concatenate([a, spread[0]]).astype(dtype), np.concatenate([b, spread[1]]).astype(dtype)
        n = v.size // 64 * 64
        v, w, got = v[-n:], w[-n:], np.empty(n, dtype)
        _angles(v, w, got)
        wanted = np.arctan2(v.astype(WIDER[dtype]), w.astype(WIDER[dtype]))
        rounded = wanted.astype(dtype)
        ulps = np.abs(got.astype(wanted.dtype) - wanted) / np.spacing(np.abs(rounded)).astype(wanted.dtype)
    nan = np.isnan(rounded)
    assert_array_equal(np.isnan(got), nan)
    assert_array_equal(np.signbit(got[~nan]), np.signbit(rounded[~nan]))
    assert np.max(ulps[~nan]) <= ULPS
