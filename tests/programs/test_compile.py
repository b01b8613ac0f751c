"""Compiled functions: results, gradients, higher derivatives and errors are those of the tape."""

import copy
import threading
import warnings

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import CompileError, ShapeError
from tinygrad_rnn.programs import operation

from .agreement import agree, same


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.fixture(autouse=True)
def double():
    tr.seed(0)
    tr.set_default_dtype("float64")
    yield
    tr.set_default_dtype("float32")


@pytest.mark.sampled(4)
@pytest.mark.parametrize("layer", [nn.RNN, nn.LSTM, nn.GRU])
def test_a_layer_and_its_head(layer):
    rnn, head = layer(3, 4, num_layers=2, bidirectional=True, dropout=0.4), nn.Linear(8, 2)

    def model(x):
        y, state = rnn(x)
        return {"y": head(y), "state": state, "words": ("two", 2, None)}

    agree(model, [*rnn.parameters(), *head.parameters()], numbers(5, 4, 3))
    agree(model, [*rnn.parameters(), *head.parameters()], tr.tensor(numbers(5, 4, 3), requires_grad=True))


def test_noise_is_drawn_as_on_the_tape():
    cell = nn.Zoneout(nn.VariationalDropout(nn.WeightDrop(nn.LSTMCell(3, 4), 0.4), 0.3, 0.2), 0.2)
    layer, drop = nn.Recurrent(cell), nn.Dropout(0.5)
    agree(lambda x: drop(layer(drop(x))[0]), list(layer.parameters()), tr.tensor(numbers(5, 4, 3)))


@pytest.mark.sampled(4)
@pytest.mark.parametrize("noise", ["input_dropout", "recurrent_dropout", "weight_dropout", "zoneout"])
def test_noise_of_a_layer_that_has_not_run_before(noise):
    layer = nn.GRU(3, 4, **{noise: 0.3})
    found = tr.compile(lambda x: layer(x)[0], fallback="error")
    x = tr.tensor(numbers(5, 2, 3))
    for _ in range(2):  # masks that the tape has drawn stay with a cell
        tr.seed(1)
        got = [found(x).data for _ in range(3)]
        tr.seed(1)
        np.testing.assert_allclose(got, [layer(x)[0].data for _ in range(3)])


class Noisy(nn.Cell):
    """A step that draws numbers, of which one decides."""

    input_size = hidden_size = 3

    def __init__(self):
        self.w = nn.Parameter(np.random.default_rng(0).normal(size=(3, 3)))

    def step(self, x, h):
        chance = tr.sigmoid(h)
        fires = tr.random.straight_through(tr.random.bernoulli(chance), chance)
        h = tr.tanh(x @ self.w + fires + 0.3 * tr.random.normal(x.shape, dtype="float64"))
        return h, h


DRAWS = {
    "uniform": lambda x: x * tr.random.uniform(x.shape, -1.0, 2.0, dtype=x.dtype),
    "normal": lambda x: tr.random.normal((4, 1), x[:, :1], tr.exp(x[:, 1:2]), dtype=x.dtype) + x,
    "gumbel": lambda x: tr.softmax(x + tr.random.gumbel(x.shape, dtype=x.dtype)),
    "bernoulli": lambda x: tr.random.straight_through(tr.random.bernoulli(tr.sigmoid(x)), tr.sigmoid(x)) * x,
    "categorical": lambda x: (tr.random.categorical(x)[:, None] == np.arange(3)).astype(x.dtype) * x,
    "several": lambda x: nn.Dropout(0.3)(x) * tr.random.uniform((3,), dtype=x.dtype) + nn.GaussianNoise(0.1)(x),
}


@pytest.mark.sampled(8)
@pytest.mark.parametrize("kind", DRAWS)
def test_draws_are_those_of_the_tape(kind):
    agree(DRAWS[kind], [], tr.tensor(numbers(4, 3), requires_grad=True))
    agree(DRAWS[kind], [], tr.tensor(numbers(4, 3).astype(np.float32), requires_grad=True), rtol=1e-5)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("batch_first", [False, True])
def test_draws_of_steps_are_those_of_the_tape(batch_first):
    layer, x = nn.Recurrent(Noisy(), batch_first=batch_first), tr.tensor(numbers(4, 4, 3))
    agree(lambda x: layer(tr.random.normal(x.shape, x, dtype="float64"))[0], [layer.cell.w], x)
    agree(lambda x, n: layer(x, lengths=n)[0], [layer.cell.w], x, np.array([4, 1, 0, 2]))


def test_views_that_the_gradient_reads():
    def function(x):
        rows = x.T.reshape((3, 2, 2)).transpose((2, 0, 1))[::-1].reshape((2, 6))
        return rows * x.reshape((2, 6))

    agree(function, [], tr.tensor(numbers(4, 3), requires_grad=True))
    found, x = tr.compile(function, fallback="error"), tr.tensor(numbers(4, 3), requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # "a program runs without machine code"
        for _ in range(3):
            found(x).sum().backward()


@pytest.mark.slow
def test_a_module_is_compiled_as_it_is():
    class Net(nn.Module):
        def __init__(self):
            self.first, self.norm, self.last = nn.Linear(3, 6), nn.LayerNorm(6), nn.Linear(6, 2)

        def forward(self, x, scale=1.0):
            return self.last(tr.tanh(self.norm(self.first(x)))) * scale

    net = Net()
    agree(net, list(net.parameters()), numbers(7, 3))
    agree(lambda x: net(x, scale=2.5), list(net.parameters()), numbers(7, 3))


def test_arrays_stay_arrays():
    agree(lambda x: (x * 2, x.sum(axis=0), x > 0, x.astype("float32")), [], numbers(4, 3))
    agree(lambda x, w: (x @ w, x + 1), [], numbers(4, 3).astype("float32"), tr.tensor(numbers(3, 2)))


def test_what_arrays_are_reduced_to_are_numbers_of_numpy():
    agree(lambda x: (x.sum(), tr.mean(x), x.max() > 0, x[0, 1], x.reshape(-1).argmax()), [], numbers(4, 3))
    agree(lambda x: tr.unstack(tr.tanh(x)), [], numbers(4))


def test_dropout_of_arrays_gives_arrays():
    drop = nn.Dropout(0.4)
    agree(lambda x: tr.tanh(drop(x)), [], numbers(4, 3))


def test_arrays_adopt_the_dtype_of_what_they_meet():
    tr.set_default_dtype("float32")
    layer = nn.GRU(3, 4)
    agree(lambda x: layer(x)[0], list(layer.parameters()), numbers(5, 2, 3), rtol=1e-5)


def test_arrays_of_another_dtype_are_cast_before_native_calls():
    x = numbers(4, 3)
    tr.set_default_dtype("float32")
    head, layer = nn.Linear(3, 2), nn.Bidirectional(nn.GRUCell(3, 2), nn.GRUCell(3, 2))
    scale = np.linspace(0, 1, 2)

    compiled = agree(
        lambda x: head(np.pad(x.reshape(2, 2, 3), ((0, 1), (0, 0), (0, 0)))) * scale, [*head.parameters()], x, rtol=1e-5
    )
    assert compiled.explain(x).native
    agree(lambda x: layer(x[None])[0], [*layer.parameters()], x, rtol=1e-5)
    compiled = agree(lambda x: (head(x), x * 0.1), [*head.parameters()], x, rtol=1e-5)
    assert not compiled.explain(x).native  # a product in float64


def test_results_that_are_not_computed():
    w = nn.Parameter(numbers(3))

    def function(x, y):
        return x, w, (y, w * 2), tr.zeros((2,)), np.arange(3), True

    compiled = agree(function, [w], tr.tensor(numbers(3)), numbers(2))
    x, y = tr.tensor(numbers(3)), numbers(2)
    result = compiled(x, y)
    assert result[0] is x
    assert result[1] is w
    assert result[2][0] is y
    result[3].data[:] = 7
    assert (compiled(x, y)[3].data == 0).all()


def test_only_some_results_are_differentiated():
    a, b = nn.Parameter(numbers(3)), nn.Parameter(numbers(3, seed=1))
    compiled = tr.compile(lambda x: (a * x, tr.tanh(b * x)), fallback="error")
    compiled(numbers(3))[0].sum().backward()
    assert b.grad is None
    _, second = compiled(numbers(3))
    second.sum().backward(retain_graph=True)
    once = b.grad.data.copy()
    second.sum().backward()
    np.testing.assert_allclose(b.grad.data, 2 * once)


def test_second_derivatives():
    layer, x = nn.LSTM(2, 3), tr.tensor(numbers(4, 2, 2), requires_grad=True)
    drop = nn.Dropout(0.3)

    def function(x):
        return (drop(layer(x)[0]) ** 2).sum()

    def penalty(f):
        tr.seed(3)
        layer.zero_grad()
        (dx,) = tr.grad(f(x), x, create_graph=True)
        (dx * dx).sum().backward()
        return [p.grad.data.copy() for p in layer.parameters()]

    for g, w in zip(penalty(tr.compile(function, fallback="error")), penalty(function)):
        np.testing.assert_allclose(g, w, rtol=1e-9, atol=1e-12)


def test_a_write_to_a_result_spoils_no_gradient():
    w = nn.Parameter(numbers(3))
    compiled = tr.compile(lambda x: (tr.tanh(w * x), tr.exp(w).reshape((3, 1))), fallback="error")
    y, z = compiled(numbers(3))
    total = y.sum() + z.sum()
    with tr.no_grad():
        y.fill_(0.0)
        z.fill_(0.0)
    total.backward()
    expected = (1 - np.tanh(w.data * numbers(3)) ** 2) * numbers(3) + np.exp(w.data)
    np.testing.assert_allclose(w.grad.data, expected)


def test_as_a_decorator_of_functions_and_methods():
    class Net(nn.Module):
        def __init__(self, n):
            self.layer = nn.Linear(3, n)

        @tr.compile
        def forward(self, x):
            return self.layer(x)

    one, other = Net(2), Net(4)
    x = numbers(5, 3)
    same(one(x), one.layer(x))
    same(other(x), other.layer(x))
    one.layer.weight = nn.Parameter(np.zeros((2, 3)))
    same(one(x), one.layer(x))
    assert one.forward.explain(x).compiled

    @tr.compile(fallback="error")
    def double(x):
        """Twice."""
        return x * 2

    assert double.__name__ == "double"
    same(double(tr.tensor(x)), tr.tensor(x * 2))


def test_inside_of_another():
    layer = nn.Linear(3, 2)
    inner = tr.compile(lambda x: layer(x) ** 2)
    agree(lambda x: inner(x).sum(), list(layer.parameters()), numbers(4, 3))


def test_what_looks_at_a_value_runs_on_the_tape_with_one_warning():
    def function(x):
        return x * 2 if float(x.sum()) > 0 else -x

    compiled = tr.compile(function)
    with pytest.warns(RuntimeWarning, match=r"function runs on the tape: .*float\(\) of a tensor at .*test_compile.py"):
        assert compiled(tr.tensor(3.0)).item() == 6.0
    assert compiled(tr.tensor(-3.0)).item() == 3.0
    report = compiled.explain(tr.tensor(1.0))
    assert not report.compiled
    assert "float()" in report.reason
    with pytest.raises(CompileError, match="float"):
        tr.compile(function, fallback="error")(tr.tensor(3.0))


@pytest.mark.parametrize("fallback", ["warn", "error"])
def test_bad_arguments_raise_the_error_of_the_tape(fallback):
    layer = nn.LSTM(3, 4)
    compiled = tr.compile(lambda x: layer(x)[0], fallback=fallback)
    with pytest.raises(ShapeError, match="LSTM: input: got shape"):
        compiled(numbers(5, 4, 2))
    assert compiled(numbers(5, 4, 3)).shape == (5, 4, 4)


def test_what_cannot_be_compiled_at_all():
    with pytest.raises(TypeError, match="function: got int"):
        tr.compile(3)
    with pytest.raises(TypeError, match="function: got the class Linear"):
        tr.compile(nn.Linear)
    with pytest.raises(ValueError, match="fallback: got 'never'"):
        tr.compile(abs, fallback="never")


def test_the_report_shows_the_program():
    layer = nn.LSTM(3, 4)
    text = str(tr.compile(lambda x: layer(x)[0] * 2).explain(numbers(5, 2, 3)))
    assert "LSTMCell over T=5, B=2" in text
    assert "multiply" in text


def test_threads_may_call_it_at_once():
    layer = nn.GRU(3, 4)
    compiled = tr.compile(lambda x: layer(x)[0], fallback="error")
    inputs = [numbers(5, 2, 3, seed=k) for k in range(8)]
    wanted = [layer(x)[0].data for x in inputs]
    found = [None] * len(inputs)

    def work(k):
        for _ in range(3):
            found[k] = compiled(inputs[k]).data

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(inputs))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for got, w in zip(found, wanted):
        np.testing.assert_allclose(got, w, rtol=1e-12)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "batch_first": True}, {"reverse": True}])
def test_lengths_masks_and_resets(options):
    layer = nn.LSTM(3, 4, num_layers=2, **options)
    rng = np.random.default_rng(0)
    lead = (2, 5) if options.get("batch_first") else (5, 2)
    mask, resets, lengths = rng.random(lead) < 0.7, rng.random(lead) < 0.3, np.array([5, 0])
    ps, x = list(layer.parameters()), numbers(*lead, 3)
    agree(lambda x, n: layer(x, lengths=n), ps, tr.tensor(x, requires_grad=True), lengths)
    agree(lambda x, m, r: layer(x, mask=m, resets=r)[0], ps, x, mask, resets)
    agree(lambda x: layer(x, lengths=[3, 4])[0], ps, x)
    compiled = agree(lambda x, n: layer(x, lengths=n)[0], ps, x, tr.tensor(np.array([5, 5])))
    same(compiled(x, tr.tensor(np.array([1, 2]))), layer(x, lengths=[1, 2])[0])
    for bad, error in ((np.array([6, 0]), ValueError), (np.array([1.0, 2.0]), TypeError), (np.array([1]), ShapeError)):
        with pytest.raises(error, match="LSTM: lengths: got"):
            compiled(x, bad)


def test_lengths_in_a_scan_and_second_derivatives():
    cell = nn.GRUCell(2, 3)
    x = tr.tensor(numbers(4, 2, 2), requires_grad=True)

    def function(x, n):
        return (scan(x, n) ** 2).sum()

    def scan(x, n):
        return tr.recurrent.scan(cell, x, lengths=n)[0]

    def penalty(f):
        cell.zero_grad()
        (dx,) = tr.grad(f(x, np.array([4, 2])), x, create_graph=True)
        (dx * dx).sum().backward()
        return [p.grad.data.copy() for p in cell.parameters()]

    for g, w in zip(penalty(tr.compile(function, fallback="error")), penalty(function)):
        np.testing.assert_allclose(g, w, rtol=1e-9, atol=1e-12)


def test_modules_among_the_arguments():
    layer = nn.Linear(3, 2)
    compiled = agree(lambda model, x: model(x), list(layer.parameters()), layer, numbers(4, 3))
    layer.weight.data = np.zeros((2, 3))
    same(compiled(layer, numbers(4, 3)), layer(numbers(4, 3)))

    def counts(model, x):
        model.calls += 1
        return model(x) * model.calls

    layer.calls = 0
    with pytest.raises(CompileError, match="writes to the attributes of a module"):
        tr.compile(counts, fallback="error")(layer, numbers(4, 3))
    assert layer.calls == 0


def test_copies_find_out_for_themselves():
    class Net(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(3, 2)
            self.fast = tr.compile(self.body, fallback="error")

        def body(self, x):
            return tr.tanh(self.layer(x))

        def forward(self, x):
            return self.fast(x) * 2

    net, x = Net(), numbers(4, 3)
    same(net(x), net.body(x) * 2)
    other = copy.deepcopy(net)
    other.layer.weight.data = np.zeros((2, 3))
    same(other(x), other.body(x) * 2)
    same(net(x), net.body(x) * 2)


@pytest.mark.slow
@pytest.mark.sampled(2)
@pytest.mark.parametrize("weight", [np.array([1.0, 2.0, 0.5]), tr.tensor(np.array([1.0, 2.0, 0.5]))])
def test_weights_of_classes(weight):
    head, loss = nn.Linear(3, 3), nn.CrossEntropyLoss(weight=weight)
    agree(lambda x, t: loss(head(x), t), list(head.parameters()), numbers(4, 3), np.array([0, 2, 1, 1]))
    shares = np.random.default_rng(1).random((4, 3))
    agree(lambda x, t: loss(head(x), t), list(head.parameters()), numbers(4, 3), shares)
    logistic = nn.BCEWithLogitsLoss(pos_weight=weight)
    agree(lambda x, t: logistic(head(x), t), list(head.parameters()), numbers(4, 3), shares)


def test_indices_that_are_computed_of_arguments():
    table = nn.Embedding(5, 3, padding_idx=0)
    compiled = agree(
        lambda ids: table(tr.where(ids < 0, 0, ids)[::-1] + 1), list(table.parameters()), np.array([3, -2])
    )
    with pytest.raises(IndexError, match="got 5, wanted ids from 0 to 4"):
        compiled(np.array([4, 0]))
    agree(lambda x: table(x.argmax(-1)), list(table.parameters()), tr.tensor(numbers(4, 3)))


LOOK_UPS = {
    "one_hot": lambda x, i: tr.one_hot(i % 3, 3, "float64") * x + tr.one_hot(tr.argmax(x, axis=-1), 3, "float64"),
    "along": lambda x, i: (
        tr.take_along_axis(x, i[:, None] % 3, axis=1) * tr.take_along_axis(x, i[:, None] - 2, axis=-1)
    ),
    "along computed": lambda x, i: tr.take_along_axis(x**2, tr.argmax(x, axis=1)[:, None] * np.arange(2) - 1, axis=1),
    "along columns": lambda x, i: tr.take_along_axis(x, tr.argsort(x, axis=0)[:2] // 2, axis=0),
    "flat": lambda x, i: tr.take_along_axis(x, i, axis=None),
}


@pytest.mark.parametrize("kind", LOOK_UPS)
def test_look_ups_by_arguments_and_by_what_is_computed(kind):
    agree(LOOK_UPS[kind], [], tr.tensor(numbers(4, 3), requires_grad=True), tr.tensor(np.array([0, 3, 1, 2])))


@pytest.mark.parametrize("shift", [0, 5])
def test_computed_indices_out_of_range(shift):
    functions = [
        lambda x: nn.Embedding(2, 3)(x.argmax(-1) - 1 + shift),
        lambda x: tr.one_hot(x.argmax(-1) - 1 + shift, 2),
        lambda x: tr.take_along_axis(x, x.argmax(-1)[:, None] + 3 + shift, axis=1),
    ]
    for function in functions:
        compiled, x = tr.compile(function), tr.tensor(np.eye(3))
        for _ in range(3):
            with pytest.raises(IndexError) as error:
                compiled(x)
            with pytest.raises(IndexError) as wanted:
                function(x)
            assert str(shift + 3 if "axis" in str(wanted.value) else -1 if not shift else shift + 1) in str(error.value)


def test_results_lie_apart_from_what_is_kept():
    kept = np.zeros((4, 3))
    strided = np.lib.stride_tricks.as_strided(kept, (4, 3), kept.strides)
    views = [kept, kept.T[1:], strided, np.ndarray((2,), np.float64, kept, 8), np.asarray(memoryview(kept))]
    owners = {operation._owner(kept)}
    for view in views:
        assert not np.may_share_memory(operation._apart(view, [kept], owners), kept)
        assert not np.may_share_memory(operation._apart(view, [views[-1]], {operation._owner(views[-1])}), kept)
    own = np.zeros(3)
    assert operation._apart(own, [kept], owners) is own


@pytest.mark.parametrize("order", [(0, 0), (1, 0), (2, 2)])
def test_gradients_of_other_results_than_before(order):
    """Their rules make constants anew, which are no part of programs that were made before."""
    w = nn.Parameter(numbers(3, 2, 4))

    def function(x, target):
        first, second = tr.split(x * w[0, 0], 2, axis=1)
        row, *_ = tr.unstack(x @ w[0].T, axis=0)
        return nn.functional.cross_entropy(tr.concat([second, tr.tanh(first)], axis=1), target), first, row

    compiled, target = tr.compile(function, fallback="error"), np.array([0, 3, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for k in (*order, 1, 2, 0, 2):
            x = tr.tensor(numbers(3, 4, seed=k), requires_grad=True)
            got, wanted = compiled(x, target), function(x, target)
            same(got, wanted)
            same(*[tr.grad((r[k] * r[k]).sum(), [x, w]) for r in (got, wanted)])


def test_gradients_of_other_results_than_before_of_a_layer():
    layer = nn.GRU(3, 4)

    def function(x):
        y, _ = layer(x)
        return tr.unstack(y, axis=1)[0], y.sum()

    compiled = tr.compile(function, fallback="error")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for k in (1, 1, 0, 1):
            x = tr.tensor(numbers(3, 2, 3, seed=k), requires_grad=True)
            got, wanted = compiled(x), function(x)
            same(got, wanted)
            same(*[tr.grad((r[k] * r[k]).sum(), [x, *layer.parameters()]) for r in (got, wanted)])


def test_constants_of_rules_beside_numbers_of_another_dtype():
    """What is cast before a program takes no name that a constant has."""
    w = nn.Parameter(numbers(4).astype("float32"))
    scales = numbers(4, seed=1), numbers(4, seed=2)

    def function(x, *arrays):
        y = x * w
        for a in arrays:
            y = tr.tanh(y * a + x)
        return tr.unstack(y)[1]

    agree(function, [w], tr.tensor(numbers(3, 4).astype("float32"), requires_grad=True), *scales, rtol=1e-5)
