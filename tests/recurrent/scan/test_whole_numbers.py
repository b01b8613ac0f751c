"""Sequences of integers: numbers where a step takes them as numbers, indices where it looks up; both modes agree."""

import warnings

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import CompileError, DTypeError

T, B, F = 4, 3, 2
X = np.random.default_rng(0).integers(-3, 9, (T, B, F))


class C(nn.Cell):
    def __init__(self, step, dtype="float32"):
        self.input_size, self.hidden_size = None, F
        self.w = nn.Parameter(tr.tensor(np.array([[0.3, -0.2], [0.1, 0.4]]), dtype=dtype))
        self.v = nn.Parameter(tr.tensor(np.array([0.5, -0.25]), dtype=dtype))
        self._step = step

    def step(self, x, h):
        return self._step(self, x, h)


AS_NUMBERS = {
    "product": lambda c, x, h: (tr.tanh(x @ c.w + h), h + 1.0),
    "vector": lambda c, x, h: (h, tr.tanh((x @ c.v)[:, None] + h)),
    "features": lambda c, x, h: (h, h * 0.5 + x * c.v),
    "columns": lambda c, x, h: (h * x[:, :1], h * 0.5 + x[:, 1:] * c.v),
    "number": lambda c, x, h: (h * x[:, 0][:, None], h + c.v),
    "concat": lambda c, x, h: (tr.concat([x, h * c.v], axis=-1), h + 1.0),
    "cast": lambda c, x, h: (tr.where(x.astype(c.w.dtype) > 2, h, c.v), h + c.v),
    "where": lambda c, x, h: (tr.where(h > 1, x, h * c.v), h + 1.0),
    "other": lambda c, x, h: (h, h + x.astype(h.dtype) ** 2 * c.v),
}
AS_INTEGERS = {
    "sum": lambda c, x, h: (h + (x + 1) * c.v, h),
    "compare": lambda c, x, h: (tr.where(x > 2, h, c.v), h + 1.0),
    "parity": lambda c, x, h: (h + (x % 2) * c.v, h),
    "power": lambda c, x, h: (h + x**0 * c.v, h),
    "index": lambda c, x, h: (h + c.w[abs(x[:, 0]) % 2], h),
    "bits": lambda c, x, h: (h + (x & 1) * c.v, h),
    "both": lambda c, x, h: (tr.concat([x, x], -1) * 0.5 + tr.concat([h * c.v, h], -1), h),
    "truth": lambda c, x, h: (tr.where(x.astype(bool), h, c.v), h + 1.0),
    "out": lambda c, x, h: (x, h + c.v),
}


def _run(step, mode, x, dtype):
    cell = C(step, dtype)
    y, h = nn.Recurrent(cell, mode=mode)(x)
    ((y * y).sum() + (h * h).sum()).backward()
    grads = [p.grad.numpy() for p in cell.parameters() if p.grad is not None]
    return [y.numpy(), h.numpy(), *grads]


@pytest.mark.sampled(4)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", [np.int64, np.int8, np.uint8, np.int32])
@pytest.mark.parametrize("name", AS_NUMBERS)
def test_as_numbers_they_compile(name, kind, dtype):
    x = abs(X).astype(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [_run(AS_NUMBERS[name], mode, x, dtype) for mode in ("eager", "auto", "compiled")]
    for a, *others in zip(*found):
        for b in others:
            assert a.dtype == b.dtype
            np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", AS_INTEGERS)
def test_as_integers_they_run_on_the_tape(name):
    with pytest.raises(CompileError):
        _run(AS_INTEGERS[name], "compiled", X, "float32")
    with pytest.warns(RuntimeWarning, match="runs eagerly"):
        found = _run(AS_INTEGERS[name], "auto", X, "float32")
    for a, b in zip(found, _run(AS_INTEGERS[name], "eager", X, "float32")):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_large_integers_are_compared_exactly():
    x = np.full((1, 1, 2), 2**24 + 1)

    def later(c, x, h):
        return tr.where(x > 2**24, h + 1.0, h) + 0 * c.v, h

    assert nn.Recurrent(C(later), mode="eager")(x)[0].numpy().tolist() == [[[1, 1]]]
    with pytest.warns(RuntimeWarning, match="runs eagerly"):
        assert nn.Recurrent(C(later))(x)[0].numpy().tolist() == [[[1, 1]]]


@pytest.mark.parametrize("make", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"batch_first": True}])
def test_layers_take_them_as_features(make, options):
    layer = make(F, 5, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for steps in ({}, {"lengths": [3, 0, 2]}):
            x = X[:3] if "batch_first" in options else X
            found, wanted = layer(x, **steps), layer(x.astype(np.float32), **steps)
            np.testing.assert_array_equal(found[0].numpy(), wanted[0].numpy())
            np.testing.assert_array_equal(layer(x.tolist(), **steps)[0].numpy(), wanted[0].numpy())


def test_second_derivatives():
    layer = nn.GRU(F, 2)
    found = []
    for x in (X, X.astype(np.float32)):
        y = layer(x)[0]
        (g,) = tr.grad((y * y).sum(), [layer.weight_ih_l0], create_graph=True)
        (gg,) = tr.grad((g * g).sum(), [layer.weight_hh_l0])
        found.append(gg.numpy())
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-6)


def test_a_stepper():
    layer = nn.LSTM(F, 3)
    step = layer.stepper(B)
    found = [np.array(step(x)) for x in X]
    np.testing.assert_allclose(found, layer(X)[0].numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["eager", "auto", "compiled"])
@pytest.mark.parametrize("kind", ["bool", "int"])
def test_an_array_decides_the_precision_beside_them(mode, kind):
    table = np.array([1.0, 2.0])  # float64, which float32 does not go with

    def step(c, x, h):
        return h + x * table + c.v, h

    with pytest.raises(DTypeError, match="float32 and float64"):
        nn.Recurrent(C(step), mode=mode)(X.astype(kind))


@pytest.mark.parametrize("mode", ["eager", "auto", "compiled"])
@pytest.mark.parametrize("at", ["matrix", "vector", "features", "bias"])
def test_parameters_of_two_precisions(mode, at):
    class Mixed(nn.Cell):
        def __init__(self):
            self.input_size = self.hidden_size = F
            self.first = nn.Parameter(np.ones(F, np.float32))
            shape = (F, F) if at == "matrix" else (F,)
            self.wide = nn.Parameter(tr.tensor(np.ones(shape), dtype="float64"))

        def step(self, x, h):
            h = x * self.first + h
            if at == "features":
                h = h * self.wide
            elif at == "bias":
                h = nn.functional.linear(h, tr.ones((F, F), "float32"), self.wide)
            else:
                h = h + (h @ self.wide if at == "matrix" else (h @ self.wide)[:, None])
            return h, h

    with pytest.raises(DTypeError, match="float32 and float64"):
        nn.Recurrent(Mixed(), mode=mode)(np.ones((T, B, F), np.float32))


@pytest.mark.parametrize("mode", ["eager", "auto", "compiled"])
def test_zeros_of_another_precision_made_inside_a_step(mode):
    def step(c, x, h):
        return tr.tanh(x @ c.w + h + tr.zeros((x.shape[0], F), "float32")), h

    with pytest.raises(DTypeError, match="float32 and float64"):
        nn.Recurrent(C(step, "float64"), mode=mode)(X.astype(np.float64))
