"""Central differences: the plain oracle for gradients."""

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import Tensor


def project(outputs, seed=0):
    """A scalar that reads every element of every output with its own random weight."""
    rng = np.random.default_rng(seed)
    total = 0.0
    for y in outputs:
        total = total + (y * rng.standard_normal(y.shape)).sum()
    return total


def check_gradients(f, leaves, eps=1e-6, tol=2e-8):
    """Hold the gradients of ``f() -> outputs`` by float64 `leaves` against central differences."""
    analytic = tr.grad(project(f()), leaves)
    for k, (leaf, g) in enumerate(zip(leaves, analytic)):
        assert leaf.dtype == np.float64
        numeric = np.empty(leaf.shape)
        for i in np.ndindex(leaf.shape):
            numeric[i] = (value_at(f, leaf, i, eps) - value_at(f, leaf, i, -eps)) / (2 * eps)
        scale = max(1.0, np.abs(numeric).max(initial=0))
        np.testing.assert_allclose(g.numpy() / scale, numeric / scale, atol=tol, err_msg=f"leaf {k}")


def value_at(f, leaf: Tensor, index, shift: float) -> float:
    before = leaf.data[index]
    leaf.data[index] = before + shift
    with tr.no_grad():
        value = float(project(f()))
    leaf.data[index] = before
    return value
