"""Gradient checkpointing in programs: chunks of time run once more for their gradient, in less memory."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
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


def test_lengths_run_on_the_tape():
    layer = nn.GRU(I, H, checkpoint_every=3)
    compiled = tr.compile(lambda x, n: layer(x, lengths=n)[0])
    with pytest.warns(RuntimeWarning, match="checkpoint_every with lengths, a mask or resets, which runs on the tape"):
        compiled(numbers(T, B, I), np.array([3, 2, 9]))
