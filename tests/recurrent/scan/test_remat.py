"""Gradient checkpointing in time: the same results and gradients, for less memory and one more forward pass."""

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn, recurrent
from tinygrad_rnn.errors import GraphError
from tinygrad_rnn.testing import gradcheck

from ..by_hand import some_steps
from ..sequences import draw, draw_state, leaves
from .test_valid_steps import CELLS, assert_same, cell_of, directions, everything, modes

T, B, I, H = 7, 4, 3, 5
STEPS = {"every step": {}, **some_steps(T, B)}


def both(cell, x, inputs, every, seed=0, **how):
    """Results and gradients without and with checkpoints."""
    found = []
    for k in (None, every):
        tr.seed(seed)
        found.append(everything(recurrent.scan, inputs, cell, x, checkpoint_every=k, **how))
    return found


@pytest.mark.sampled(45)
@modes
@directions
@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_same_results_and_gradients(mode, reverse, steps):
    for name, every in zip(CELLS, (1, 2, 3, 5, 6)):
        cell = cell_of(name)
        x, state, reset_state = draw((T, B, I)), draw_state(cell, B), draw_state(cell, B, seed=2)
        inputs = [x, *leaves(state, reset_state), *cell.parameters()]
        options = [{"state": state, "reset_state": reset_state}, {"state": state}, {"state": None}]
        for more in options[: 1 if reverse else None]:
            assert_same(*both(cell, x, inputs, every, mode=mode, reverse=reverse, **steps, **more))


@modes
def test_any_number_of_steps(mode):
    cell, x = cell_of("lstm"), draw((T, B, I))
    for every in (1, 2, 6, T, T + 1, 1000):
        assert_same(*both(cell, x, [x, *cell.parameters()], every, mode=mode))


@modes
def test_batch_first(mode):
    cell, x = cell_of("gru"), draw((B, T, I))
    steps = {k: v.T for k, v in STEPS["all"].items()}
    assert_same(*both(cell, x, [x, *cell.parameters()], 3, mode=mode, batch_first=True, **steps))


class Noisy(nn.Cell):
    """Masks for a sequence, masks for each step, and a matrix that is computed once for the sequence."""

    def __init__(self):
        self.input_size, self.hidden_size = I, H
        rng = np.random.default_rng(0)
        self.w, self.u = (nn.Parameter(rng.uniform(-0.5, 0.5, (n, H))) for n in (I, H))
        self.drop = nn.Dropout(0.3)

    def begin_sequence(self, batch_size):
        self.mask = tr.randn((batch_size, H), "float64")
        self.matrix = self.u - 2 * self.u.T

    def step(self, x, h):
        h = tr.tanh(self.drop(x) @ self.w + (h * self.mask) @ self.matrix + h @ self.u)
        return self.drop(h), h


@pytest.mark.sampled(2)
@modes
def test_what_a_cell_draws(mode):
    """Steps run a second time with the numbers of the first; what is between the calls does not disturb them."""
    cell, x = Noisy(), draw((T, B, I))
    assert_same(*both(cell, x, [x, *cell.parameters()], 3, mode=mode))
    grads = []
    for every in (None, 3):
        tr.seed(1)
        ys, _ = recurrent.scan(cell, x, mode=mode, checkpoint_every=every)
        recurrent.scan(cell, x, mode=mode)  # new masks
        cell.eval()
        before = tr.config.generator().bit_generator.state
        grads.append([g.numpy() for g in tr.grad((ys * ys).sum(), [x, *cell.parameters()])])
        assert tr.config.generator().bit_generator.state == before
        assert not cell.training
        cell.train()
    assert_same(*grads)


@pytest.mark.sampled(2)
@modes
def test_second_derivatives(mode):
    cell = nn.GRUCell(2, 2, dtype="float64")
    x, h = draw((5, 2, 2)), draw_state(cell, 2)

    def slope(*_):
        ys, final = recurrent.scan(cell, x, h, mode=mode, checkpoint_every=2)
        (g,) = tr.grad((ys * ys).sum() + final.sum(), [x], create_graph=True)
        return (g * g).sum()

    gradcheck(slope, [x, h, *cell.parameters()], fast=True, atol=1e-5)
    cell, x = Noisy().eval(), draw((T, B, I))
    found = []
    for every in (None, 3):
        tr.seed(0)
        ys, _ = recurrent.scan(cell, x, mode=mode, checkpoint_every=every)
        (g,) = tr.grad((ys * ys).sum(), [cell.u], create_graph=True)
        found.append([g.numpy(), tr.grad((g * g).sum(), [cell.u])[0].numpy()])
    assert_same(*found)


def test_one_forward_pass_more():
    made = []

    class Counting(nn.GRUCell):
        def step(self, x, h):
            made.append(1)
            return super().step(x, h)

    ys, _ = recurrent.scan(Counting(I, H), np.zeros((12, B, I), np.float32), mode="eager", checkpoint_every=4)
    assert len(made) == 12
    ys.sum().backward()
    assert len(made) == 24


@pytest.mark.slow
def test_memory_on_the_tape():
    """What is kept is a state for each chunk, and what one chunk needs."""
    cell = nn.LSTMCell(2, 64)
    x = tr.tensor(np.zeros((500, 4, 2), np.float32))
    peaks = []
    for every in (None, 20):
        tracemalloc.start()
        try:
            _, (h, _) = recurrent.scan(cell, x, mode="eager", checkpoint_every=every)
            h.sum().backward()
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < peaks[0] / 4


LONG = """
import sys
import numpy as np, tinygrad_rnn as tr
from tinygrad_rnn import nn
def peak():  # KiB; getrusage also counts what the process that started this one had
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
T, every = int(sys.argv[1]), int(sys.argv[2]) or None
layer = nn.LSTM(4, 128, mode="compiled", checkpoint_every=every)
for steps in (every or 4, T):
    before = peak()
    _, (h, c) = layer(np.zeros((max(4, 2 * steps if steps == every else steps), 8, 4), np.float32))
    (h * h).sum().backward()
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_of_a_long_sequence():
    """A process that trains on 20,000 steps with a loss on the final state needs little more than the outputs."""
    T, folder = 20_000, Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    rise = {}
    for every in (0, 150):
        command = [sys.executable, "-c", LONG, str(T), str(every)]
        result = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        rise[every] = int(result.stdout) * 1024
    outputs = T * 8 * 128 * 4
    assert rise[150] < 1.5 * outputs
    assert rise[0] > 3 * outputs


@modes
def test_weights_that_changed_are_noticed(mode):
    cell, x = cell_of("gru"), draw((T, B, I))
    ys, _ = recurrent.scan(cell, x, mode=mode, checkpoint_every=3)
    with tr.no_grad():
        cell.weight_hh.fill_(0.0)
    with pytest.raises(GraphError, match="overwritten"):
        ys.sum().backward()


def test_a_step_that_reads_another_tensor_later():
    class Fickle(nn.Cell):
        def __init__(self):
            self.hidden_size, self.count = H, 0
            self.a, self.b = nn.Parameter(np.ones(H, np.float32)), nn.Parameter(np.ones(H, np.float32))

        def step(self, x, h):
            self.count += 1
            h = h * 0.5 + (self.a if self.count < 5 else self.b)
            return h, h

    _, h = recurrent.scan(Fickle(), np.zeros((T, B, 0)), mode="eager", checkpoint_every=3)
    with pytest.raises(GraphError, match=r"Fickle: checkpoint_every: the steps from t=\d on read a tensor"):
        h.sum().backward()


def test_a_step_that_counts():
    """What a step keeps in attributes is, when it runs again, what it was."""

    class Counting(nn.Cell):
        def __init__(self):
            self.hidden_size, self.count = H, 0
            self.a = nn.Parameter(np.ones(H))

        def begin_sequence(self, batch_size):
            self.count = 0

        def step(self, x, h):
            self.count += 1
            h = h * 0.5 + self.a * self.count
            return h, h

    cell, x = Counting(), np.zeros((T, B, 0))
    assert_same(*both(cell, x, [cell.a], 3, mode="eager"))
    assert cell.count == T


def test_without_gradients_nothing_is_run_twice():
    cell, x = cell_of("gru"), draw((T, B, I), requires_grad=False)
    with tr.no_grad():
        ys, h = recurrent.scan(cell, x, checkpoint_every=2)
    assert not ys.requires_grad
    for p in cell.parameters():
        p.requires_grad_(False)
    ys, h = recurrent.scan(cell, x, checkpoint_every=2)
    assert not ys.requires_grad
    assert not h.requires_grad


LAYERS = {
    "lstm": lambda k: nn.LSTM(I, H, num_layers=2, bidirectional=True, checkpoint_every=k, dtype="float64"),
    "recurrent": lambda k: nn.Recurrent(nn.MGUCell(I, H, dtype="float64"), reverse=True, checkpoint_every=k),
    "both": lambda k: nn.Bidirectional(
        nn.GRUCell(I, H, dtype="float64"), nn.LSTMCell(I, H, dtype="float64"), checkpoint_every=k
    ),
    "stacked": lambda k: nn.Recurrent(
        nn.Stacked([nn.GRUCell(I, H, dtype="float64"), nn.LSTMCell(H, 2, dtype="float64")]),
        learn_initial_state=True,
        checkpoint_every=k,
    ),
}


@pytest.mark.sampled(4)
@modes
@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_layers(make, mode):
    x, found = draw((T, B, I)), []
    for every in (None, 3):
        tr.seed(0)
        layer = make(every)
        layer.mode = mode
        found.append(everything(layer, [x, *layer.parameters()], x, **STEPS["all"]))
    assert_same(*found)


@pytest.mark.sampled(9)
@modes
@pytest.mark.parametrize("every", [None, 3])
@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_without_outputs(make, every, mode):
    """The same final states and gradients, and None in the place of the outputs."""
    x, found = draw((T, B, I)), []
    for more in ({}, {"return_outputs": False}):
        tr.seed(0)
        layer = make(every)
        layer.mode = mode
        outputs, state = layer(x, **STEPS["all"], **more)
        assert (outputs is None) == bool(more)
        grads = tr.grad(sum((s * s).sum() for s in leaves(state)), [x, *layer.parameters()])
        found.append([a.numpy() for a in (*leaves(state), *grads)])
        all_outputs, every_state = layer(x, return_states="all", **STEPS["all"], **more)
        assert (all_outputs is None) == bool(more)
        found[-1] += [s.numpy() for s in leaves(every_state)]
    assert_same(*found, tol=0)


@pytest.mark.parametrize("every", [0, -1, 2.0, True, "4"])
def test_refused(every):
    for make in (
        lambda: recurrent.scan(cell_of("gru"), draw((T, B, I)), checkpoint_every=every),
        lambda: nn.LSTM(I, H, checkpoint_every=every),
        lambda: nn.Recurrent(nn.GRUCell(I, H), checkpoint_every=every),
    ):
        with pytest.raises(ValueError, match=r"(GRUCell|LSTM|Recurrent): checkpoint_every: got .*, wanted None or"):
            make()
