"""Comparison of compiled runs with the tape: outputs, states and every gradient."""

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn.core import tree
from tinygrad_rnn.recurrent import scan

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def leaves_of(*nests):
    return [x for n in nests for x in tree.flatten(n)[0]]


def weights_for(tensors, seed=3):
    """A random weight for every element: a scalar loss that reads them all."""
    rng = np.random.default_rng(seed)
    return [rng.uniform(-1, 1, t.shape).astype(t.dtype if t.dtype.kind == "f" else float) for t in tensors]


def loss_of(tensors, pick=None):
    total = 0.0
    for i, (t, w) in enumerate(zip(tensors, weights_for(tensors))):
        if (pick is None or i in pick) and t.requires_grad:
            total = total + (t * w).sum()
    return total


def run(cell, xs, state, mode, pick=None, seed=0, **how):
    """Outputs and final states as arrays, then gradients of inputs, states, parameters and other constants."""
    tr.seed(seed)
    ys, final = scan(cell, xs, state, mode=mode, **how)
    results = leaves_of(ys, final)
    constants = [v for m in cell.modules() for v in vars(m).values() if isinstance(v, tr.Tensor) and v.requires_grad]
    wanted = [t for t in leaves_of(xs, state) if t.requires_grad] + constants
    loss = loss_of(results, pick)
    grads = [None] * len(wanted)
    if isinstance(loss, tr.Tensor) and wanted:
        grads = tr.grad(loss, wanted, allow_unused=True)
    return [r.numpy() for r in results], [None if g is None else g.numpy() for g in grads]


def close(actual, wanted, tol, what=""):
    if wanted is None or actual is None:  # the tape may know that there is no way; a loop gives zeros
        given = actual if wanted is None else wanted
        assert given is None or not np.any(given), f"{what}: one side has no gradient, the other {given}"
        return
    assert actual.shape == wanted.shape, f"{what}: {actual.shape} and {wanted.shape}"
    assert actual.dtype == wanted.dtype, f"{what}: {actual.dtype} and {wanted.dtype}"
    finite = wanted[np.isfinite(wanted)]
    scale = float(np.abs(finite).max()) if finite.size and wanted.dtype.kind == "f" else 0.0
    np.testing.assert_allclose(actual, wanted, rtol=tol, atol=tol * max(scale, 1e-3), err_msg=what)


def agree(cell, xs, state, tol=None, **how):
    """Run `cell` on both roads and compare everything."""
    tol = TOLERANCE[str(cell.dtype)] if tol is None else tol
    results, grads = run(cell, xs, state, "compiled", **how)
    wanted, wanted_grads = run(cell, xs, state, "eager", **how)
    assert len(results) == len(wanted)
    assert len(grads) == len(wanted_grads)
    for i, (a, b) in enumerate(zip(results, wanted)):
        close(a, b, tol, f"result {i}")
    for i, (a, b) in enumerate(zip(grads, wanted_grads)):
        close(a, b, tol, f"gradient {i}")
    return results, grads
