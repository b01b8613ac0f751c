"""Gradient checkpointing in programs: chunks of time run once more for their gradient, in less memory."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.recurrent import scan
from tinygrad_rnn.train import TrainStep

from .agreement import agree

T, B, I, H = 11, 3, 2, 4


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.fixture(autouse=True)
def double():
    tr.seed(0)
    tr.set_default_dtype("float64")
    yield
    tr.set_default_dtype("float32")


@pytest.mark.slow
@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "options",
    [
        {"reverse": True},
        {"bidirectional": True, "num_layers": 2, "dropout": 0.3, "batch_first": True},
        {"recurrent_dropout": 0.3, "zoneout": 0.2},
    ],
)
def test_results_and_gradients(options):
    layer, head = nn.LSTM(I, H, checkpoint_every=4, **options), nn.Linear(H * (1 + ("bidirectional" in options)), 1)
    x = tr.tensor(numbers(*((B, T) if "batch_first" in options else (T, B)), I), requires_grad=True)

    def function(x):
        y, (h, c) = layer(x)
        return head(y), h, c

    compiled = agree(function, [*layer.parameters(), *head.parameters()], x)
    report = compiled.explain(x)
    assert report.native


STEPS = {
    "lengths": {},
    "mask": {"reverse": True},
    "resets": {},
    "lengths resets": {"reverse": True},
    "lengths mask resets": {"bidirectional": True, "batch_first": True},
}


@pytest.mark.sampled(12)
@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("given", [False, True])
def test_steps_that_do_not_all_count(kind, given):
    """Lengths end, masks leave out and resets cut within chunks and between them."""
    options, rng = STEPS[kind], np.random.default_rng(4)
    layer = nn.GRU(I, H, checkpoint_every=4, **options)
    shape = (B, T) if "batch_first" in options else (T, B)
    x = tr.tensor(numbers(*shape, I), requires_grad=True)
    steps = {
        "lengths": np.array([T, 4, 7], np.uint8),
        "mask": rng.random(shape) < 0.6,
        "resets": rng.random(shape) < 0.4,
    }
    names = kind.split()
    n = 1 + ("bidirectional" in options)
    state = [tr.tensor(numbers(n, B, H), requires_grad=True)] * given
    arrays = tuple(steps[name] for name in names)
    function = lambda x, steps, *state: layer(x, *state, **dict(zip(names, steps)))
    compiled = agree(function, [*layer.parameters()], x, arrays, *state)
    assert compiled.explain(x, arrays, *state).native


@pytest.mark.sampled(2)
@pytest.mark.parametrize("reverse", [False, True])
def test_a_state_after_resets(reverse):
    cell, rng = nn.LSTMCell(I, H), np.random.default_rng(1)
    x = tr.tensor(numbers(T, B, I), requires_grad=True)
    states = [tuple(tr.tensor(numbers(B, H, seed=2 * k + j), requires_grad=True) for j in (0, 1)) for k in (0, 1)]
    steps = np.array([T, 4, 7], np.int32), rng.random((T, B)) < 0.4

    def function(x, state, after, lengths, resets):
        how = {"lengths": lengths, "resets": resets, "reverse": reverse, "checkpoint_every": 3}
        return scan(cell, x, state, reset_state=after, **how)

    compiled = agree(function, [*cell.parameters()], x, *states, *steps)
    assert compiled.explain(x, *states, *steps).native


def test_noise_and_lengths():
    layer = nn.LSTM(I, H, checkpoint_every=4, recurrent_dropout=0.3, zoneout=0.2)
    x, lengths = tr.tensor(numbers(T, B, I), requires_grad=True), np.array([T, 4, 7])
    agree(lambda x, lengths: layer(x, lengths=lengths), [*layer.parameters()], x, lengths)


def test_second_derivatives_with_lengths():
    layer, found = nn.GRU(I, H, checkpoint_every=3), []
    x, lengths, resets = numbers(T, B, I), np.array([T, 4, 7]), np.random.default_rng(0).random((T, B)) < 0.3
    function = lambda x, lengths, resets: layer(x, lengths=lengths, resets=resets)[0]
    for way in (function, tr.compile(function, fallback="error")):
        leaf = tr.tensor(x, requires_grad=True)
        (g,) = tr.grad((way(leaf, lengths, resets) ** 2).sum(), leaf, create_graph=True)
        found.append(tr.grad((g * g).sum(), leaf)[0].data)
    np.testing.assert_allclose(*found, rtol=1e-10)


def test_lengths_that_are_computed_run_where_they_are_looked_at():
    layer = nn.GRU(I, H, checkpoint_every=4)
    compiled = tr.compile(lambda x, n: layer(x, lengths=(n * 1.0).astype(np.int64))[0])
    x = numbers(T, B, I)
    with pytest.warns(RuntimeWarning, match="checkpoint_every with lengths that are computed of floats"):
        compiled(x, np.array([T, 4, 7.0]))
    with pytest.raises(ValueError, match=f"lengths: got {T + 1} for row 1"):
        compiled(x, np.array([T, T + 1, 7.0]))


def test_lengths_out_of_range_are_named():
    layer = nn.GRU(I, H, checkpoint_every=4)
    compiled = tr.compile(lambda x, lengths: layer(x, lengths=lengths)[0], fallback="error")
    x = numbers(T, B, I)
    compiled(x, np.array([T, 4, 7]))
    with pytest.raises(ValueError, match=f"lengths: got {T + 1} for row 1, wanted 0 to {T}"):
        compiled(x, np.array([T, T + 1, 7]))


def test_second_derivatives():
    layer = nn.GRU(I, H, checkpoint_every=3)
    x, found = numbers(T, B, I), []
    for function in (layer, tr.compile(layer, fallback="error")):
        leaf = tr.tensor(x, requires_grad=True)
        (g,) = tr.grad((function(leaf)[0] ** 2).sum(), leaf, create_graph=True)
        found.append(tr.grad((g * g).sum(), leaf)[0].data)
    np.testing.assert_allclose(*found, rtol=1e-10)


def train(every, way, x, y):
    """Losses and parameters after some updates, and the most memory that was in use at once."""
    tr.seed(1)
    layer, head = nn.LSTM(I, 16, checkpoint_every=every), nn.Linear(16, 1)
    params = [*layer.parameters(), *head.parameters()]
    optimizer, model = optim.Adam(params, lr=0.01), lambda x: head(layer(x)[0])
    if way == "tape":
        losses = []
        for _ in range(4):
            loss = nn.mse_loss(model(tr.tensor(x)), tr.tensor(y))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return [np.array(losses), *[p.data for p in params]], None
    step = TrainStep(model, optimizer, nn.mse_loss, fallback="error")
    losses = [step(x, y) for _ in range(4)]
    report = step.explain(x, y)
    assert report.native
    return [np.array(losses), *[p.data for p in params]], report.parts[0].peak_bytes


@pytest.mark.slow
def test_training_steps_take_less_memory():
    x, y = numbers(200, 8, I), numbers(200, 8, 1, seed=1)
    wanted, _ = train(14, "tape", x, y)
    peaks = []
    for every in (None, 14):
        found, peak = train(every, "program", x, y)
        peaks.append(peak)
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)
    assert peaks[1] < 0.6 * peaks[0]
