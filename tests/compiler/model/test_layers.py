"""Recurrent layers in native programs, with all options: results and gradients are those of the tape."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.compiler.model.interpret import evaluate
from tinygrad_rnn.compiler.model.native import NativeProgram
from tinygrad_rnn.core import tree
from tinygrad_rnn.recurrent import scan

from ...recurrent.by_hand import some_steps
from ...recurrent.sequences import leaves
from .programs import numbers, program_of

T, B, I, H = 6, 4, 3, 4
STEPS = some_steps(T, B)
NAMES = ("lengths", "mask", "resets")


@pytest.fixture(autouse=True)
def double():
    tr.set_default_dtype("float64")
    yield
    tr.set_default_dtype("float32")


def agree(function, *arrays, host=()):
    """Fail unless native program, its interpreter and the tape give the same, run after run."""
    program, parameters = program_of(function, *arrays)
    captured = {uid: t.data for uid, t in program.captured.items()}
    native = NativeProgram(program, captured, np.dtype(np.float64))
    assert native.stages.host == [*host]
    for seed in range(2):
        tr.seed(seed)
        loss = function(*map(tr.tensor, arrays))
        grads = tr.grad(loss, parameters, allow_unused=True)
        wanted = [loss.data, *[np.zeros(p.shape) if g is None else g.data for p, g in zip(parameters, grads)]]
        for array in native.memory.arrays():
            array.fill(np.nan)
        for run in (native.run, lambda given: evaluate(program, given, captured)):
            tr.seed(seed)
            for a, b in zip(run(arrays), wanted, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    return native


def total(results):
    """A number that depends on all elements, on each in another way."""
    return sum((r * np.cos(np.arange(r.size)).reshape(r.shape)).sum() for r in leaves(*results))


def poisoned(x, steps, batch_first=False):
    """The input with NaN where steps do not count."""
    counts = np.arange(T)[:, None] < np.asarray(steps.get("lengths", np.full(B, T)))
    counts = counts & np.asarray(steps.get("mask", True))
    counts = counts.T if batch_first else counts
    return np.where(counts[..., None], x, np.nan)


def call(layer, x, steps, batch_first=False):
    """The function of a layer, and its arguments: the steps come with the batch."""
    given = {name: a.T.copy() if batch_first and name != "lengths" else a for name, a in steps.items()}
    function = lambda x, *values: total(layer(x, **dict(zip(given, values))))
    return function, poisoned(x, steps, batch_first), *given.values()


@pytest.mark.slow
@pytest.mark.sampled(30)
@pytest.mark.parametrize("name", sorted(STEPS))
@pytest.mark.parametrize("reverse", [False, True])
def test_steps_that_do_not_count(name, reverse):
    agree(*call(nn.LSTM(I, H, reverse=reverse), numbers(T, B, I), STEPS[name]))


@pytest.mark.slow
@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", ["lengths", "mask", "all"])
def test_batch_first_and_integers_of_32_bits(name):
    function, x, *values = call(nn.GRU(I, H, batch_first=True, reverse=True), numbers(B, T, I), STEPS[name], True)
    agree(function, x, *[v.astype(np.int32) if v.dtype.kind == "i" else v for v in values])


@pytest.mark.slow
@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", [None, "lengths", "all"])
def test_layers_of_both_directions_with_noise(name):
    options = {"input_dropout": 0.2, "recurrent_dropout": 0.2, "weight_dropout": 0.3, "zoneout": 0.1, "dropout": 0.3}
    layer = nn.LSTM(I, H, num_layers=2, bidirectional=True, learn_initial_state=True, **options)
    agree(*call(layer, numbers(T, B, I), STEPS[name] if name else {}))


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", ["resets", "all"])
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("other", [False, True])
def test_a_state_after_resets(name, given, other):
    cell, begin = nn.LSTMCell(I, H), nn.Linear(2, H)

    def function(x, u, *values):
        state = (begin(u), tr.tanh(begin(u))) if given else None
        after = (tr.sin(begin(u)), begin(u) * 2.0) if other else None
        return total(scan(cell, x, state, reset_state=after, reverse=given, **dict(zip(STEPS[name], values))))

    agree(function, poisoned(numbers(T, B, I), STEPS[name]), numbers(B, 2), *STEPS[name].values())


class Powers(nn.Cell):
    """A cell whose gradient reads what its step does not: an exponent less one."""

    def __init__(self):
        self.input_size, self.hidden_size = I, H
        self.w, self.p = nn.Parameter(numbers(H, I)), nn.Parameter(np.full(H, 1.5))

    def step(self, x, h):
        h = tr.tanh(x @ self.w.T) + (0.1 + tr.sigmoid(h)) ** self.p
        return h, h


@pytest.mark.slow
@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", [None, "lengths", "all"])
def test_what_only_gradients_read(name):
    agree(*call(nn.Recurrent(Powers()), numbers(T, B, I), STEPS[name] if name else {}))


def test_lengths_that_are_computed():
    layer = nn.GRU(I, H)

    def function(x, n, m):
        n = tr.maximum(-(-n // 2), 1)
        return total(layer(x, lengths=n, mask=(m > 2) & (m != 4)))

    agree(function, numbers(T, B, I), np.array([12, 0, 5, 7]), np.random.default_rng(0).integers(0, 9, (T, B)))


@st.composite
def layer_calls(draw):
    """A layer with options that go together, and what tells which steps count."""
    kind = draw(st.sampled_from([nn.RNN, nn.LSTM, nn.GRU]))
    options = {"batch_first": draw(st.booleans()), "learn_initial_state": draw(st.booleans())}
    options |= {"num_layers": draw(st.integers(1, 2)), "bidirectional": draw(st.booleans())}
    options |= {"merge": draw(st.sampled_from(["concat", "sum", "mean"]))} if options["bidirectional"] else {}
    options |= {} if options["bidirectional"] else {"reverse": draw(st.booleans())}
    options |= {"zoneout": 0.3} if draw(st.integers(0, 2)) == 0 else {}
    options |= {"dropout": 0.3} if options["num_layers"] > 1 and draw(st.booleans()) else {}
    steps = some_steps(T, B, draw(st.integers(0, 3)))
    how = draw(st.sampled_from(["final", "all"]))
    return kind, options, draw(st.sampled_from([{}, *steps.values()])), how, draw(st.booleans())


def check(drawn):
    kind, options, steps, how, with_state = drawn
    tr.seed(0)
    layer, batch_first = kind(I, H, **options), options["batch_first"]
    shape = (B, T, I) if batch_first else (T, B, I)
    given = {name: a.T.copy() if batch_first and name != "lengths" else a for name, a in steps.items()}
    begin = nn.Linear(2, H)

    def function(x, u, *values):
        count = layer.num_layers * (1 + layer.bidirectional)
        state = None
        if with_state:
            template = layer._cells[0].initial_state(1)
            state = tree.map(lambda _: tr.stack([begin(u) * (i + 1.0) for i in range(count)]), template)
        return total(layer(x, state, **dict(zip(given, values)), return_states=how))

    agree(function, poisoned(numbers(*shape), steps, batch_first), numbers(B, 2), *given.values())


@pytest.mark.slow
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(layer_calls())
def test_options(drawn):
    check(drawn)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(layer_calls())
def test_options_in_many_cases(drawn):
    check(drawn)
