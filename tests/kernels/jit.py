"""Helpers of the kernel tests: what needs compiled code, and arrays to feed it."""

import numpy as np
import pytest
from hypothesis import strategies as st
from numba import njit
from numba.core import config

from tinygrad_rnn.kernels.simd.lanes import vlanes, vload, vstore

needs_jit = pytest.mark.skipif(bool(config.DISABLE_JIT), reason="vectors exist in compiled code only")

dtypes = st.sampled_from([np.float32, np.float64])


def compiled(function):
    """Compile a function for one test."""
    return njit(error_model="numpy")(function)


def on_lanes(function):
    """An array function that applies a function of one vector, registers at a time."""

    @njit(error_model="numpy")
    def loop(x, out):
        for i in range(0, x.size, vlanes(x)):
            vstore(out, i, function(vload(x, i)))

    def apply(x):
        padded = np.zeros(-(-x.size // 64) * 64, x.dtype)
        padded[: x.size] = x
        out = np.empty_like(padded)
        loop(padded, out)
        return out[: x.size]

    return apply


def poisoned(a, ld, offset=0, dtype=None):
    """A flat array that holds the rows of `a` at leading dimension `ld` from `offset` on, and NaN elsewhere."""
    flat = np.full(offset + a.shape[0] * ld + 3, np.nan, dtype or a.dtype)
    for r, row in enumerate(a):
        flat[offset + r * ld : offset + r * ld + a.shape[1]] = row
    return flat
