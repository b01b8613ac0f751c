"""Programs over long and crowded times: memory stays flat, threads share a function, processes fork."""

import gc
import multiprocessing
import os
import threading
import tracemalloc
import warnings
import weakref

import numpy as np
import pytest

import tinygrad_rnn as tr
from tests.recurrent.flat_memory import resident
from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import DataLoader
from tinygrad_rnn.train import TrainStep

MIB = 1 << 20


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class Net(nn.Module):
    """Words, a layer with noise, and a head."""

    def __init__(self):
        self.table, self.layer, self.head = nn.Embedding(7, 4), nn.LSTM(4, 8), nn.Linear(8, 5)
        self.drop = nn.Dropout(0.2)

    def forward(self, ids):
        return self.head(self.drop(self.layer(self.table(ids))[0]))


def growth(work, count, warm_up):
    """By how many bytes the process and the objects of Python have grown while `work` was done so often.

    Objects are counted twice, and the smaller number is told: what leaks does so each time, while a module that is
    imported or a kernel that is compiled late stays once.
    """
    for k in range(warm_up):
        work(k)
    traced = min(growth_of_objects(work, count // 2) for _ in range(2))
    middle = resident()
    for k in range(count - count // 2):
        work(k)
    gc.collect()
    return resident() - middle, traced


def growth_of_objects(work, count):
    gc.collect()
    tracemalloc.start()  # slow, as everything is traced
    try:
        work(0)
        before = tracemalloc.get_traced_memory()[0]
        for k in range(count):
            work(k)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("count", [600, pytest.param(20_000, marks=pytest.mark.exhaustive)])
def test_memory_is_flat_over_training_steps(count):
    tr.seed(0)
    net = Net()
    optimizer = optim.Adam(net.parameters(), lr=1e-3)
    step = TrainStep(net, optimizer, nn.cross_entropy, clip_norm=1.0, fallback="error")
    rng = np.random.default_rng(0)
    ids, targets = rng.integers(0, 7, (6, 4)), rng.integers(0, 5, (6, 4))

    def work(k):
        if k % 50 == 0:
            optimizer.param_groups[0]["lr"] *= 0.99
        step(ids, targets)

    resident_bytes, traced = growth(work, count, 100)
    assert traced < 0.2 * MIB
    assert resident_bytes < 4 * MIB


@pytest.mark.slow
def test_memory_is_flat_over_many_steps_at_once():
    tr.seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2))
    step = TrainStep(net, optim.SGD(net.parameters(), lr=1e-3), nn.mse_loss, fallback="error")
    loader = DataLoader((numbers(64, 3), numbers(64, 2)), batch_size=8, shuffle=True)
    resident_bytes, traced = growth(lambda k: step.run(loader, 500), 12, 2)
    assert traced < 0.2 * MIB
    assert resident_bytes < 4 * MIB


@pytest.mark.slow
@pytest.mark.parametrize("count", [600, pytest.param(20_000, marks=pytest.mark.exhaustive)])
def test_memory_is_flat_over_calls_of_a_compiled_function(count):
    tr.seed(0)
    net = Net()
    function = tr.compile(lambda ids, t: nn.cross_entropy(net(ids), t), fallback="error")
    rng = np.random.default_rng(0)
    ids, targets = rng.integers(0, 7, (6, 4)), rng.integers(0, 5, (6, 4))

    def work(k):
        net.zero_grad()
        function(ids, targets).backward()
        if k % 40 == 0:  # parameters move to other arrays
            net.head.weight.data = net.head.weight.data * 1.0

    resident_bytes, traced = growth(work, count, 100)
    assert traced < 0.2 * MIB
    assert resident_bytes < 4 * MIB


@pytest.mark.slow
@pytest.mark.parametrize("count", [10, pytest.param(100, marks=pytest.mark.exhaustive)])
def test_programs_go_with_their_function(count):
    def once(k):
        head = nn.Linear(3, 2)
        function = tr.compile(lambda x: tr.tanh(head(x)).sum(), fallback="error")
        for _ in range(3):
            function(numbers(4, 3)).backward()
        step = TrainStep(head, optim.SGD(head.parameters()), nn.mse_loss, fallback="error")
        for _ in range(2):
            step(numbers(4, 3), numbers(4, 2))

    resident_bytes, traced = growth(once, count, count // 2)
    assert traced < 0.012 * MIB * count
    assert resident_bytes < 4 * MIB + 0.1 * MIB * count


@pytest.mark.parametrize("tries", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_threads_call_one_function_with_gradients(tries, restless_threads):
    for attempt in range(tries):
        tr.seed(attempt)
        layer, head = nn.GRU(3, 4), nn.Linear(4, 2)

        def loss(x, layer=layer, head=head):
            return (head(layer(x)[0]) ** 2).sum()

        compiled = tr.compile(loss, fallback="error")
        params = [*layer.parameters(), *head.parameters()]
        inputs = [tr.tensor(numbers(4 + k % 2, 2, 3, seed=k), requires_grad=True) for k in range(8)]
        wanted = [tr.grad(loss(x), [x, *params]) for x in inputs]
        found, errors, start = {}, [], threading.Barrier(len(inputs))

        def work(k, compiled=compiled, inputs=inputs, params=params, found=found, errors=errors, start=start):
            try:
                start.wait()
                for _ in range(5):
                    found[k] = tr.grad(compiled(inputs[k]), [inputs[k], *params])
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(k,), daemon=True) for k in range(len(inputs))]
        for t in threads:
            t.start()
        for t in threads:
            t.join(120)
        assert not any(t.is_alive() for t in threads), "a thread waits for ever"
        assert not errors, errors
        for k, grads in enumerate(wanted):
            for got, g in zip(found[k], grads):
                np.testing.assert_allclose(got.data, g.data, rtol=1e-4, atol=1e-5)


def _in_child(function, step, x, y, queue):
    head_grad = tr.grad(function(x), x)[0].data
    queue.put((head_grad, [step(x.data, y) for _ in range(3)]))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_goes_on_with_the_programs_of_its_parent():
    tr.seed(0)
    head = nn.Linear(3, 2)
    function = tr.compile(lambda x: tr.tanh(head(x)).sum(), fallback="error")
    step = TrainStep(head, optim.SGD(head.parameters(), lr=0.1), nn.mse_loss, fallback="error")
    x, y = tr.tensor(numbers(4, 3), requires_grad=True), numbers(4, 2)
    for _ in range(3):
        grad = tr.grad(function(x), x)[0].data
    step(x.data, y)
    grad = tr.grad(function(x), x)[0].data
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads that the process has
        child = context.Process(target=_in_child, args=(function, step, x, y, queue))
        child.start()
    got, losses = queue.get(timeout=120)
    child.join(60)
    assert child.exitcode == 0
    np.testing.assert_allclose(got, grad, rtol=1e-6)
    np.testing.assert_allclose(losses, [step(x.data, y) for _ in range(3)], rtol=1e-6)


@pytest.mark.slow
def test_models_that_hold_their_compiled_functions_go():
    def model():
        net = nn.Linear(3, 2)
        net.total = tr.compile(lambda x: net(x).sum())
        step = TrainStep(net, optim.SGD(net.parameters(), lr=0.1), nn.mse_loss, fallback="error")
        for _ in range(2):
            net.total(np.ones((2, 3), np.float32))
            step(np.ones((2, 3), np.float32), np.ones((2, 2), np.float32))
        return weakref.ref(net)

    seen = [model() for _ in range(2)]
    gc.collect()
    assert [net() for net in seen] == [None, None]
