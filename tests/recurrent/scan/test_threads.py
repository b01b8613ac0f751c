"""Threads that share a layer with noise: each sequence has its own masks, and gradients that belong to them."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn

MODES = ["eager", "auto"]
THREADS = 8


def together(work, rounds=6):
    """The results of ``work(thread, round)`` of threads that begin each round at the same moment."""
    gate = threading.Barrier(THREADS)

    def loop(i):
        found = []
        for r in range(rounds):
            gate.wait(300)
            found.append(work(i, r))
        return found

    with ThreadPoolExecutor(THREADS) as pool:
        return [x for result in [pool.submit(loop, i) for i in range(THREADS)] for x in result.result(300)]


class Marked(nn.Cell):
    """Puts out what was drawn when the sequence began, in two ways that have to agree."""

    def __init__(self):
        self.input_size = self.hidden_size = 3
        self.w = nn.Parameter(np.ones(3))

    def begin_sequence(self, batch_size):
        self.mask = tr.tensor(tr.config.generator().random((batch_size, 3)))
        self.square = self.mask * self.mask

    def step(self, x, h):
        h = h + x * self.mask * self.w
        return (h, self.square * x), h


@pytest.mark.sampled(2)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("every", [None, 2])
def test_users_cells(mode, every):
    layer = nn.Recurrent(Marked(), mode, checkpoint_every=every)
    layer(np.ones((5, 2, 3)))

    def work(i, r):
        B, T = 1 + (i + r) % 3, 5 + i % 2
        x = tr.tensor(np.ones((T, B, 3)), requires_grad=True)
        (ys, squares), h = layer(x)
        mask = np.sqrt(squares.numpy()[0])
        np.testing.assert_allclose(squares.numpy(), np.broadcast_to(mask**2, (T, B, 3)), rtol=1e-12)
        np.testing.assert_allclose(ys.numpy(), np.cumsum(np.broadcast_to(mask, (T, B, 3)), 0), rtol=1e-12)
        (dx,) = tr.grad(h.sum(), x)
        np.testing.assert_allclose(dx.numpy(), np.broadcast_to(mask, (T, B, 3)), rtol=1e-12)
        return mask.tobytes()

    found = together(work)
    assert len(set(found)) == len(found), "every sequence draws its own"


class Echo(nn.Cell):
    """The state adds the inputs up; a product with weights that can be dropped."""

    def __init__(self):
        self.input_size = self.hidden_size = 4
        self.weight_hh = nn.Parameter(np.ones((4, 4)))

    def step(self, x, h):
        return x @ self.weight_hh, h + x


@pytest.mark.sampled(4)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("around", [nn.VariationalDropout, nn.WeightDrop])
def test_noise(mode, around):
    if around is nn.WeightDrop:
        cell = nn.WeightDrop(Echo(), 0.5)
    else:
        cell = nn.VariationalDropout(Echo(), outputs=0.5)
    layer = nn.Recurrent(cell, mode)
    layer(np.ones((3, 2, 4)))

    def work(i, r):
        B, T = 1 + (i + r) % 4, 4
        x = tr.tensor(np.ones((T, B, 4)), requires_grad=True)
        ys, _ = layer(x)
        np.testing.assert_array_equal(ys.numpy(), np.broadcast_to(ys.numpy()[0], ys.shape), "one mask for all steps")
        (dx,) = tr.grad(ys.sum(), x)
        np.testing.assert_allclose(dx.numpy().sum(), ys.numpy().sum())
        return True

    assert all(together(work))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("mode", MODES)
def test_layers_with_all_noise_at_once(mode):
    """Shapes of other threads' masks would not fit, and gradients of shared parameters add up."""
    noise = {"input_dropout": 0.3, "recurrent_dropout": 0.3, "weight_dropout": 0.3, "zoneout": 0.2, "dropout": 0.1}
    layer = nn.LSTM(3, 4, num_layers=2, mode=mode, **noise)

    def work(i, r):
        x = np.ones((3, 1 + (i + r) % 3, 3), np.float32)
        ys, _ = layer(x, lengths=[3] * x.shape[1] if i % 2 else None)
        ys.sum().backward()
        step = layer.stepper(x.shape[1])
        return np.isfinite(ys.numpy()).all() and step(x[0]).shape == ys.shape[1:]

    assert all(together(work, 3))


def test_a_layer_inside_begin_sequence():
    """Re-entry: a hypernetwork with noise of its own runs when the sequence begins."""

    class Hyper(nn.Cell):
        def __init__(self):
            self.input_size = self.hidden_size = 3
            self.inner = nn.Recurrent(nn.VariationalDropout(nn.GRUCell(3, 3), 0.2))

        def begin_sequence(self, batch_size):
            _, self.code = self.inner(np.ones((2, batch_size, 3), np.float32))

        def step(self, x, h):
            h = tr.tanh(x * self.code + h)
            return h, h

    layer = nn.Recurrent(Hyper())

    def work(i, r):
        ys, _ = layer(np.ones((3, 1 + i % 3, 3), np.float32))
        ys.sum().backward()
        return np.isfinite(ys.numpy()).all()

    assert all(together(work, 3))
