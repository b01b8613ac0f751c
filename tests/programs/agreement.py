"""Compiled functions against the tape: results, gradients and random draws."""

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn.core import Tensor
from tinygrad_rnn.programs.nests import flatten


def leaves_of(nest):
    leaves = []
    return leaves, flatten(nest, leaves)


def same(got, wanted, rtol=None):
    """Fail unless two nests are alike: types, dtypes, shapes and numbers."""
    (a, one), (b, other) = leaves_of(got), leaves_of(wanted)
    assert one == other
    for x, y in zip(a, b):
        assert isinstance(x, Tensor) == isinstance(y, Tensor)
        x, y = (v.data if isinstance(v, Tensor) else v for v in (x, y))
        assert type(x) is type(y)
        if isinstance(x, np.ndarray | np.generic):
            assert x.dtype == y.dtype
            near = rtol or (1e-12 if x.dtype == np.float64 else 1e-5)
            np.testing.assert_allclose(x, y, rtol=near, atol=near)
        else:
            assert x == y


def gradients(function, parameters, args):
    """The results, and the gradients by parameters and arguments of what depends on them."""
    for p in parameters:
        p.grad = None
    args = [tr.tensor(a.data, requires_grad=a.requires_grad) if isinstance(a, Tensor) else a for a in args]
    tr.seed(5)
    result = function(*args)
    outputs = [t for t in leaves_of(result)[0] if isinstance(t, Tensor) and t.requires_grad]
    terms = [(t * np.linspace(0.5, 1.5, t.size).reshape(t.shape)).sum().astype("float64") for t in outputs]
    if terms:
        sum(terms[1:], start=terms[0]).backward()
    leaves = [*parameters, *[a for a in args if isinstance(a, Tensor)]]
    return result, [None if p.grad is None else p.grad.data.copy() for p in leaves]


def agree(function, parameters, *args, rtol=1e-10):
    """Fail unless the compiled function, at its first and at a later call, gives what the tape gives."""
    compiled = tr.compile(function, fallback="error")
    wanted, by = gradients(function, parameters, args)
    for _ in range(2):
        got, found = gradients(compiled, parameters, args)
        same(got, wanted, rtol)
        for g, w in zip(found, by):
            assert (g is None) == (w is None)
            if g is not None:
                np.testing.assert_allclose(g, w, rtol=rtol, atol=rtol)
    with tr.no_grad():
        tr.seed(5)
        wanted = function(*args)
        tr.seed(5)
        same(compiled(*args), wanted, rtol)
    return compiled
