"""Gradient checks of modules: many outputs, through one random projection, against central differences."""

import numpy as np

from tinygrad_rnn.testing import gradcheck


def project(outputs, seed=0):
    """A scalar that reads every element of every output with its own random weight."""
    rng = np.random.default_rng(seed)
    total = 0.0
    for y in outputs:
        total = total + (y * rng.standard_normal(y.shape)).sum()
    return total


def check_gradients(f, leaves, atol=1e-7, rtol=1e-6):
    """Check the gradients of ``f() -> outputs`` by `leaves`, every entry, in float64."""
    gradcheck(lambda *_: project(f()), leaves, atol=atol, rtol=rtol)
