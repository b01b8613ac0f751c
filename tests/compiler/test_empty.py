"""Empty slices and values with an axis of length 0: what NumPy makes of nothing, in loops as on the tape."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import ShapeError
from tinygrad_rnn.recurrent import scan

from .agreement import agree

# of a cell, an input and a state, both (B, 3)
JOINS = {
    "slices": lambda c, x, h: tr.concat([x[:, 3:], h, x[:, :0]], -1),
    "integers": lambda c, x, h: tr.concat([tr.argmax(x, -1, keepdims=True), tr.argmax(x, -1)[:, None][:, :0]], -1) * x,
    "to floats": lambda c, x, h: tr.concat([(x > 0).astype("int64"), h[:, :0]], -1) * h,
    "masks": lambda c, x, h: tr.concat([(x > 0), h[:, :0] > 0], -1) * x,
    "parameters": lambda c, x, h: tr.concat([c.none[0] + x[:, :1], x], -1),
    "of arrays": lambda c, x, h: tr.concat([tr.zeros((x.shape[0], 0), x.dtype), x], -1),
    "parts": lambda c, x, h: tr.concat(tr.split(x, [0, 2, 2], -1)[::-1], -1),
    "parts of a matrix": lambda c, x, h: tr.concat(tr.split(x[:, :, None] * h[:, None], [0, 2, 2], 1)[::-1], 1).sum(1),
    "borders": lambda c, x, h: tr.pad(h[:, :0], ((0, 0), (1, 2)), constant_values=2.0) * x,
    "rolled": lambda c, x, h: tr.repeat(2, lambda s: tr.concat([s[:, 1:], s[:, :1], s[:, :0]], -1) * x, h),
}
SUMS = {
    "sum": lambda c, x, h: h[:, 2:2].sum(-1)[:, None] + h,
    "product": lambda c, x, h: x * h[:, :0].prod(-1, keepdims=True),
    "matrix": lambda c, x, h: x[:, :0] @ c.rows + (x @ c.none).sum(-1, keepdims=True),
    "einsum": lambda c, x, h: tr.einsum("bi,bj->bi", x, h[:, :0]) + tr.einsum("bi,ij->bj", x, c.none).sum(-1)[:, None],
    "outer": lambda c, x, h: (x[:, :, None] * h[:, None, :0]).sum(-1),
    "batched": lambda c, x, h: (x[:, :, None][:, :, :0] @ h[:, None, :][:, :0])[:, :, 0],
    "softmax": lambda c, x, h: tr.softmax(h[:, :0], -1).sum(-1, keepdims=True),
    "logsumexp": lambda c, x, h: tr.exp(tr.logsumexp(h[:, :0], -1, keepdims=True)),
    "all, any": lambda c, x, h: (h[:, :0] > 0).all(-1, keepdims=True) * x - (h[:, :0] > 0).any(-1, keepdims=True) * h,
    "running": lambda c, x, h: tr.cumsum(h[:, :0], -1).sum(-1, keepdims=True),
    "order": lambda c, x, h: tr.sort(h[:, :0], -1).sum(-1, keepdims=True) + tr.argsort(h[:, :0], -1).sum(-1)[:, None],
    "stack": lambda c, x, h: tr.stack([x[:, :0], h[:, :0]], 1).sum((1, 2))[:, None],
    "where": lambda c, x, h: tr.where(x[:, :0] > 0, h[:, :0], 1.0).sum(-1, keepdims=True),
    "reshaped": lambda c, x, h: h[:, :0].reshape((h.shape[0], 0, 5)).sum((1, 2))[:, None],
    "rows of a table": lambda c, x, h: c.w[tr.argmax(x, -1, keepdims=True)[:, :0]].sum(1),
    "no columns": lambda c, x, h: x[:, []].sum(-1, keepdims=True),
    "integers": lambda c, x, h: ((x > 0).astype("int64")[:, :0] & 3).sum(-1, keepdims=True) * h,
    "hot": lambda c, x, h: tr.one_hot((x > 0).astype("int64")[:, :0], 3, x.dtype).sum(1),
    "draws": lambda c, x, h: tr.random.normal(h[:, :0].shape, dtype=h.dtype).sum(-1, keepdims=True),
}


class Nothing(nn.Cell):
    input_size = hidden_size = 3

    def __init__(self, functions, dtype="float64"):
        self.functions, self.kind, rng = list(functions), dtype, np.random.default_rng(0)
        self.w = nn.Parameter(rng.normal(size=(3, 3)).astype(dtype))
        self.rows, self.none = (nn.Parameter(np.ones(s, dtype)) for s in ((0, 3), (3, 0)))

    dtype = property(lambda self: np.dtype(self.kind))

    def step(self, x, h):
        x = x @ self.w
        total = x + h
        for i, f in enumerate(self.functions):
            total = total + (0.1 + 0.1 * i) * f(self, x, h)
        h = tr.tanh(total)
        return h, h


def leaves(dtype):
    rng = np.random.default_rng(1)
    return [tr.tensor(rng.normal(size=s).astype(dtype), requires_grad=True) for s in ((4, 2, 3), (2, 3))]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("dtype", [pytest.param("float64", marks=pytest.mark.slow), "float32"])
@pytest.mark.filterwarnings("error")
def test_all_that_can_be_made_of_nothing(dtype):
    for functions in (JOINS, SUMS):
        agree(Nothing(functions.values(), dtype), *leaves(dtype))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*JOINS, *SUMS])
def test_one_by_one(name):
    agree(Nothing([(JOINS | SUMS)[name]]), *leaves("float64"), lengths=[3, 0])


class NoFeatures(nn.Cell):
    """Inputs, states and outputs without features."""

    def __init__(self, kind):
        self.kind, self.w = kind, nn.Parameter(np.ones((3, 3)))

    def initial_state(self, batch_size):
        shapes = {"h": ((3,), "float64"), "e": ((0,), self.kind), "m": ((2, 0), "float64")}
        return {name: tr.zeros((batch_size, *shape), kind) for name, (shape, kind) in shapes.items()}

    def step(self, x, s):
        x, e = x
        nothing = e.sum(-1, keepdims=True) + s["m"].sum((1, 2))[:, None] * s["e"].sum(-1)[:, None]
        h = tr.tanh(x @ self.w + s["h"]) + nothing
        m = tr.expand_dims(h[:, :2], 2)[:, :, :0] * 3.0
        return (h, s["e"], s["m"] * 2.0, e[:, None]), {"h": h, "e": s["e"], "m": m}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("kind", ["float64", "int64", "bool"])
def test_inputs_states_and_outputs_without_features(kind):
    rng = np.random.default_rng(1)
    xs = tuple(tr.tensor(rng.normal(size=(4, 2, n)), requires_grad=True) for n in (3, 0))
    agree(NoFeatures(kind), xs, None)
    agree(NoFeatures(kind), xs, None, lengths=[3, 0])


def test_a_stepper_of_what_has_no_features():
    rng, found = np.random.default_rng(1), []
    xs = [rng.normal(size=(4, 2, n)) for n in (3, 0)]
    for mode in ("compiled", "eager"):
        stepper = nn.Recurrent(NoFeatures("float64"), mode=mode).stepper(2, example=tuple(x[0] for x in xs))
        found.append([stepper((x, e)) for x, e in zip(*xs)])
    for one, other in zip(*found):
        for a, b in zip(one, other):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def test_an_extremum_of_nothing_is_an_error_in_every_mode():
    cell = Nothing([lambda c, x, h: h[:, :0].max(-1, keepdims=True)])
    for mode in ("eager", "auto", "compiled"):
        with pytest.raises(ShapeError, match="max: got an empty axis"):
            scan(cell, *leaves("float64"), mode=mode)
