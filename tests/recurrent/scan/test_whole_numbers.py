"""Sequences of integers: numbers where a step takes them as numbers, indices where it looks up; both modes agree."""

import contextlib
import warnings

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import CompileError, DTypeError
from tinygrad_rnn.recurrent import scan

from ...compiler.agreement import agree, close, run
from ...compiler.twin import run_twin

T, B, F = 4, 3, 2
X = np.random.default_rng(0).integers(-3, 9, (T, B, F))


class C(nn.Cell):
    def __init__(self, step, dtype="float32"):
        self.input_size, self.hidden_size = None, F
        self.w = nn.Parameter(tr.tensor(np.array([[0.3, -0.2], [0.1, 0.4]]), dtype=dtype))
        self.v = nn.Parameter(tr.tensor(np.array([0.5, -0.25]), dtype=dtype))
        self.e = nn.Parameter(tr.tensor(np.random.default_rng(1).normal(size=(9, 3)), dtype=dtype))
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
    "quotients": lambda c, x, h: (x // 3 * c.v - (x % -3), h * 3 // c.v + h % c.v),
    "by nothing": lambda c, x, h: (h + x // (x - x) + x % 0, h),
    "index": lambda c, x, h: (h + c.w[abs(x[:, 0]) % 2], h),
    "from the end": lambda c, x, h: (h + c.w[-1 - x[:, 0] % 2], h),
    "both": lambda c, x, h: (tr.concat([x, x], -1) * c.v[0] + tr.concat([h * c.v, h], -1), h),
    "truth": lambda c, x, h: (tr.where(x.astype(bool), h, c.v), h + 1.0),
    "out": lambda c, x, h: (x, h + c.v),
    "cut": lambda c, x, h: (h + (h * 10).astype(int) % 3 * c.v, h + c.v),
    "sums": lambda c, x, h: (x.sum(axis=-1, keepdims=True) * c.v, h + x.max(axis=-1, keepdims=True) * c.v),
    "rows": lambda c, x, h: (tr.embedding(c.e, x % 9)[:, 1] @ c.e[:3, :2], h + tr.embedding(c.e, x[:, 0] % 9)[:, :2]),
    "parts": lambda c, x, h: (tr.embedding(c.e[:3, :2], x[:, 0] % 3), h + tr.take(c.e.T[1:], x[:, 1] % 2, 0)[:, :2]),
    "padding": lambda c, x, h: (tr.embedding(c.e, x % 9, padding_idx=2).sum(axis=1)[:, 1:], h),
    "take": lambda c, x, h: (h, h + tr.take(c.e, abs(x[:, 1]) % 3, 0)[:, 1:]),
    "along": lambda c, x, h: (tr.take_along_axis(h * c.v, x[:, :1] % 2, -1), h + c.v),
    "one hot": lambda c, x, h: (tr.one_hot(x % 3, 3, c.w.dtype) @ c.e[:3], h * c.v),
    "fed back": lambda c, x, h: (h, h * tr.one_hot(tr.argmax(h @ c.e[:2], -1), 3, c.w.dtype)[:, :2] + x * c.v),
    "least": lambda c, x, h: (tr.argmax(h, -1), h + c.v * tr.argmin(x * c.v + h, -1, keepdims=True)),
}
# in steps alone: exported models have no such operations of integers
IN_STEPS = {
    "powers": lambda c, x, h: (x**0 + x**3 - (x > 2) ** 2, h + x**2 * c.v),
    "bits": lambda c, x, h: ((x & 5) + (x | -7) - (6 ^ x) + ~x + (x << 2) + (x >> 1), h + (x & 1) * c.v),
    "bits of two": lambda c, x, h: ((x & (x + 1)) - (x | (h * 9).astype(int)), h + (2 ** abs(x) >> (x & 1)) * c.v),
    "made inside": lambda c, x, h: (
        (tr.zeros_like(x) + x, tr.ones((x.shape[0], 2, 1), "int32"), tr.full((x.shape[0],), 5, "int64")),
        h + tr.concat([tr.ones_like(x[:, :1]), x[:, 1:]], -1) * c.v,
    ),
    "rounded": lambda c, x, h: (tr.relu(x) + tr.floor(x) - tr.round(x) + tr.trunc(x) * tr.ceil(x), h + c.v),
    "counts": lambda c, x, h: (
        (
            (x > 2).sum(axis=1, keepdims=True) + (1 - (x > 1)) * 3,
            tr.where(x > h, 2, -1) % (1 + (x > 0)),
            (h > 0) // True,
        ),
        h * (h > 0).sum(axis=-1, keepdims=True) + (x > h).astype(h.dtype).mean(axis=1, keepdims=True) * c.v,
    ),
    "extrema of truth": lambda c, x, h: (
        ((x > 2).max(axis=1), (h[:, None] > x[:, :, None]).min(axis=2), tr.argmax(x > 2, -1)),
        h + tr.pad(x > 1, ((0, 0), (1, 1)), constant_values=True)[:, :2] * c.v,
    ),
    "running": lambda c, x, h: (
        (tr.cumsum(x > 2, 1), tr.cumprod(x, 1), tr.prod(x > 0, 1)),
        h + tr.cumprod(h > 0, 1) * c.v,
    ),
    "contractions": lambda c, x, h: (
        (tr.einsum("bi,bj->bji", x, x > 1), x[:, None] @ x[:, :, None]),
        h + tr.einsum("bi,bi->b", x, x)[:, None] * c.v,
    ),
    "in order": lambda c, x, h: (
        (tr.sort(x, descending=True), tr.argsort(x), tr.sort(x > 2)),
        h + tr.take_along_axis(h, np.array([[1, 0]]), -1) * c.v,
    ),
    "of several axes": lambda c, x, h: (
        (
            (c.w * x[:, None]).astype(int) * 3 - 1,
            -(h[:, None] * c.w > 0).astype("int64"),
            (h[..., None] * 9).astype(int),
        ),
        h + (h[:, :, None] * c.v * 9).astype("int64").sum(axis=1) * ((h[:, None] * 9).astype(int) > 2)[:, 0] * c.v,
    ),
    "parts of rows": lambda c, x, h: (
        (c.e[x % 9, 1], c.e[1, x % 3], c.e[x % 9, None, 1:], c.e[x % 9, x % 3, ...]),
        h + c.e.reshape((3, 3, 3))[x[:, 0] % 3, :, 1 - x[:, 1] % 2][:, 1:],
    ),
}
ON_THE_TAPE = {
    "tens": lambda c, x, h: (h + tr.round(x, -1) * c.v, h),
    "much": lambda c, x, h: (h + tr.full_like(x, 2**60) // 2**58 * c.v, h),
    "remainder of much": lambda c, x, h: (h + (x % (2**60 + 1) // 2**59) * c.v, h),
    "bit of much": lambda c, x, h: (h + ((x & 2**62) > 0) * c.v, h),
    "middle": lambda c, x, h: (h + c.e[:, x[:, 0] % 3].sum(axis=0)[:, None] * c.v, h),
    "rows of the batch": lambda c, x, h: (h + h[x[:, 0] % 3] * c.v, h),
}


def _run(step, mode, x, dtype):
    cell = C(step, dtype)
    y, h = nn.Recurrent(cell, mode=mode)(x)
    ((y * y).sum() + (h * h).sum()).backward()
    grads = [p.grad.numpy() for p in cell.parameters() if p.grad is not None]
    return [y.numpy(), h.numpy(), *grads]


@pytest.mark.sampled(48)
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


STEPS = AS_INTEGERS | IN_STEPS
QUICK = ["quotients", "rows", "parts", "along", "fed back", *IN_STEPS]


@pytest.mark.parametrize("name", IN_STEPS)
def test_programs_and_their_adjoints(name):
    cell, x = C(IN_STEPS[name], "float64"), tr.tensor(X)
    h = tr.tensor(np.random.default_rng(2).normal(size=(B, F)), requires_grad=True)
    (results, grads), (wanted, wanted_grads) = run_twin(cell, x, h), run(cell, x, h, "eager")
    for a, b in zip([*results, *grads[1:]], [*wanted, *wanted_grads], strict=True):
        close(a.astype(b.dtype), b, 1e-12) if b is not None else close(a, b, 1e-12)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in STEPS])
def test_as_integers_they_compile(name):
    rng = np.random.default_rng(2)
    cell, h = C(STEPS[name], "float64"), tr.tensor(rng.normal(size=(B, F)), requires_grad=True)
    with np.errstate(divide="ignore"):
        agree(cell, tr.tensor(X), h)
        agree(cell, tr.tensor(X), h, lengths=[4, 0, 2], reverse=True)


@pytest.mark.parametrize("name", ON_THE_TAPE)
def test_some_run_on_the_tape(name):
    with pytest.raises(CompileError):
        _run(ON_THE_TAPE[name], "compiled", X, "float32")
    with pytest.warns(RuntimeWarning, match="runs eagerly"):
        found = _run(ON_THE_TAPE[name], "auto", X, "float32")
    for a, b in zip(found, _run(ON_THE_TAPE[name], "eager", X, "float32")):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.filterwarnings("error")
def test_a_trial_with_numbers_too_large_for_a_loop_says_nothing():
    """The rows that a trace is held against are random: theirs may leave the dtype where the caller's do not."""
    step = lambda c, x, h: (h + ((x - 9) * 100).astype("int8") * c.v, h)
    x = np.random.default_rng(0).integers(8, 11, (4, 2, F))
    for mode in ("compiled", "auto"):
        found, wanted = (_run(step, m, x, "float64") for m in (mode, "eager"))
        for a, b in zip(found, wanted):
            np.testing.assert_allclose(a, b, rtol=1e-12)
    with pytest.warns(RuntimeWarning, match="got the integer 300 .* in step 0 of row 0"):
        _run(step, "auto", x * 0 + 12, "float64")


def test_large_integers_are_compared_exactly():
    x = np.full((1, 1, 2), 2**24 + 1)

    def later(c, x, h):
        return tr.where(x > 2**24, h + 1.0, h) + 0 * c.v, h

    for mode in ("eager", "auto"):
        with contextlib.ExitStack() as stack:
            if mode == "auto":
                stack.enter_context(pytest.warns(RuntimeWarning, match="runs eagerly this once"))
            assert nn.Recurrent(C(later), mode=mode)(x)[0].numpy().tolist() == [[[1, 1]]]
    with pytest.raises(CompileError, match=r"got the integer 16777216 .* in step 0 of row 0"):
        nn.Recurrent(C(later), mode="compiled")(x)


@pytest.mark.parametrize("total", [lambda x: x.sum(axis=-1), lambda x: tr.einsum("bi,bi->b", x, x * 0 + 1)])
def test_sums_are_exact_though_they_are_small(total):
    """Numbers that a loop holds, whose partial sums it does not."""
    rng, most = np.random.default_rng(0), 2**24 - 1
    x = rng.integers(-most, most, (3, 20, 4))
    x = rng.permuted(np.concatenate([x, 1 - x], axis=-1), axis=-1)
    with pytest.raises(CompileError, match="got the integer"):
        nn.Recurrent(C(lambda c, x, h: (total(x), h + c.v)), mode="compiled")(x)


class Counter(nn.Cell):
    """An integer, truth values and floats in one state."""

    input_size = hidden_size = F

    def __init__(self, times=1):
        self.e, self.times = nn.Parameter(np.random.default_rng(0).normal(size=(7, F))), times

    def initial_state(self, batch_size):
        n, odd = tr.zeros((batch_size,), "int64"), tr.zeros((batch_size, F), "bool")
        return {"n": n, "odd": odd, "h": tr.zeros((batch_size, F), "float64")}

    def step(self, x, s):
        h = tr.tanh(x + s["h"] + self.e[s["n"] % 7])
        n = s["n"] * self.times + 1
        return (h, n, s["odd"]), {"n": n, "odd": tr.logical_xor(s["odd"], h > 0), "h": h}


Y = np.random.default_rng(1).normal(size=(5, B, F))


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "how",
    [{}, {"lengths": [5, 0, 2]}, {"resets": Y[..., 0] > 0.5}, {"reverse": True, "checkpoint_every": 2}],
    ids=lambda how: "-".join(how),
)
def test_integer_and_bool_states(how):
    results, _ = agree(Counter(), tr.tensor(Y, requires_grad=True), None, **how)
    assert [r.dtype.kind for r in results] == list("fibfib")


def test_a_stepper_of_integer_states():
    cell = Counter(1000)
    fast, slow = (nn.Recurrent(cell, mode=mode).stepper(B, example=Y[0]) for mode in ("auto", "eager"))
    for t, y in enumerate(Y):
        if t == 3:
            assert fast.state["n"].tolist() == [1001001] * B
        found, wanted = fast(y), slow(y)
        for a, b in zip(found, wanted):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, atol=1e-13)


def test_a_stepper_goes_on_on_the_tape():
    class Grows(nn.Cell):
        input_size = hidden_size = F

        def __init__(self):
            self.w = nn.Parameter(np.ones(F, np.float32))

        def initial_state(self, batch_size):
            return tr.zeros((batch_size, F), "int64")

        def step(self, x, n):
            return x * self.w + n, n * 1000 + 1

    step, x = nn.Recurrent(Grows()).stepper(1), np.zeros((1, F), np.float32)
    for _ in range(3):
        step(x)
    with pytest.warns(RuntimeWarning, match="got the integer 1001001"):
        step(x)
    assert step.state.tolist() == [[1001001001] * F]


def test_the_tape_that_takes_over_draws_the_same():
    class Drops(nn.Cell):
        input_size = hidden_size = F

        def __init__(self):
            self.w, self.drop = nn.Parameter(np.ones(F, np.float32)), nn.Dropout(0.5)

        def initial_state(self, batch_size):
            return tr.zeros((batch_size, F), "int64")

        def step(self, x, n):
            return self.drop(x * self.w) + n % 2, n * 1000 + 1

    cell, found = Drops(), []
    for mode in ("eager", "auto"):
        tr.seed(1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.append(nn.Recurrent(cell, mode=mode)(np.ones((5, B, F), np.float32))[0].numpy())
    np.testing.assert_array_equal(*found)


class Ids(nn.Cell):
    hidden_size = F
    input_size = None

    def __init__(self):
        self.e = nn.Parameter(np.random.default_rng(0).normal(size=(7, F)))

    def step(self, x, h):
        h = h + tr.embedding(self.e, x[:, 0])
        return h, h


def test_an_index_out_of_range_is_named():
    ids = np.array([[[1], [2]], [[3], [7]], [[0], [-1]]])
    message = r"Ids: index: got 7, wanted ids from 0 to 6, at .*py:\d+, in step 1 of row 1"
    for how in ({}, {"lengths": [3, 2]}, {"reverse": True}):
        for mode in ("auto", "compiled"):
            with pytest.raises(IndexError, match=message if "reverse" not in how else "got"):
                scan(Ids(), ids, mode=mode, **how)
        at = "got 7, wanted ids from 0 to 6, in step 1" if "reverse" not in how else "got -1, .*, in step 2"
        with pytest.raises(IndexError, match=f"Ids: indices: {at} of row 1"):
            scan(Ids(), ids, mode="eager", **how)
    with pytest.raises(IndexError, match=message):
        scan(Ids(), ids.swapaxes(0, 1), batch_first=True)
    with pytest.raises(IndexError, match="got 7"):
        nn.Recurrent(Ids()).stepper(2, example=ids[0])(ids[1])
    for mode in ("eager", "compiled"):
        step = nn.Recurrent(Ids(), mode=mode).stepper(2, example=ids[0])
        step(ids[0])
        with pytest.raises(IndexError, match=r"got 7, .* in step 1 of row 1"):
            step(ids[1])
    table, one = tr.ones((7, 2)), C(lambda c, x, h: (tr.one_hot(x[:, 0], F), h))
    look_up = C(lambda c, x, h: (table[x[:, 0]], h))
    for cell, got in ((one, "one_hot: got the id -9, wanted"), (look_up, "index: got .* out of bounds .*")):
        with pytest.raises(IndexError, match=rf"C: {got}.*, in step 0 of row 1"):
            nn.Recurrent(cell, mode="eager")(ids[2:] * 9)
    ids[1, 1] = 6
    agree(Ids(), tr.tensor(ids), None, lengths=[3, 2])  # what is behind the end is not read


def test_an_integer_state_that_should_be_a_float():
    class Whole(Ids):
        def initial_state(self, batch_size):
            return tr.zeros((batch_size, F), "int64")

    for mode in ("eager", "compiled", "auto"):
        with pytest.raises((DTypeError, CompileError, ValueError), match="int64"):
            scan(Whole(), np.ones((2, 1, 1), int), mode=mode)


@pytest.mark.sampled(9)
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


def test_whole_functions_look_up():
    """Ids of arguments are compared before a run; a program is native, and can be differentiated twice."""
    layer, ids = nn.Recurrent(Ids()), np.random.default_rng(0).integers(0, 7, (4, 3, 1))
    function = tr.compile(lambda ids: tr.tanh(layer(ids)[0]).sum())
    second = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for f in (function, lambda ids: tr.tanh(layer(ids)[0]).sum()):
            (g,) = tr.grad(f(ids), [layer.cell.e], create_graph=True)
            second.append((float(f(ids)), tr.grad((g * g).sum(), [layer.cell.e])[0].numpy()))
    np.testing.assert_allclose(second[0][0], second[1][0], rtol=1e-12)
    np.testing.assert_allclose(second[0][1], second[1][1], rtol=1e-10)
    ids[2, 1] = 7
    with pytest.raises(IndexError, match=r"Ids: index: got 7, wanted ids from 0 to 6, .*in step 2 of row 1"):
        function(ids)


def test_whole_functions_feed_back():
    """What the frontend knows to be within an axis needs no look."""

    class Feeds(nn.Cell):
        input_size = hidden_size = F

        def __init__(self):
            self.e = nn.Parameter(np.random.default_rng(0).normal(size=(F, F)))

        def step(self, x, h):
            k = tr.argmax(h + x, axis=-1)
            h = tr.tanh(self.e[k] + 0.5 * h)
            return (h, k), h

    layer = nn.Recurrent(Feeds())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        h, k = tr.compile(lambda y: layer(y)[0])(tr.tensor(Y))
    wanted = nn.Recurrent(layer.cell, mode="eager")(Y)[0]
    np.testing.assert_allclose(h.numpy(), wanted[0].numpy(), rtol=1e-12)
    assert k.dtype == np.int64
    np.testing.assert_array_equal(k.numpy(), wanted[1].numpy())
