"""Launches that threads share: the same bits whatever their number, and nobody waits for a thread that is not there."""

import os
import signal
import threading
import time

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import config, nn, optim, train
from tinygrad_rnn.compiler.runtime import launch, sharing, trials
from tinygrad_rnn.compiler.runtime.threads import LIMIT, STARTED, workers
from tinygrad_rnn.kernels.threads.job_codes import IDLE, OFFERED, TAKEN, Board, Worker

COUNTS = (2, 3, 8, 16)
CALLERS = Board._fields.index("callers")
STATE, ASLEEP = map(Worker._fields.index, ("state", "asleep"))


def results(layer, x, **options):
    """Outputs, final states and gradients of one training step."""
    tr.seed(0)
    x = tr.tensor(x, requires_grad=True)
    for p in layer.parameters():
        p.grad = None
    y, state = layer(x, **options)
    states = state if isinstance(state, tuple | list) else (state,)
    weights = np.random.default_rng(1).normal(size=y.shape).astype(y.dtype)
    loss = (y * tr.tensor(weights)).sum()
    for s in states:
        loss = loss + (s * s).sum()
    loss.backward()
    return [
        a.copy() for a in (y.data, *(s.data for s in states), x.grad.data, *(p.grad.data for p in layer.parameters()))
    ]


def same(found, wanted):
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


def make(kind, I, H, dtype="float32"):
    tr.seed(3)
    cell = getattr(nn, f"{kind}Cell")(I, H)
    layer = nn.Recurrent(cell, mode="compiled")
    for p in layer.parameters():
        p.data = p.data.astype(dtype)
    return layer


def inputs(T, B, I, dtype="float32"):
    return np.random.default_rng(0).normal(size=(T, B, I)).astype(dtype)


CASES = [
    ("LSTM", 5, 1, 3, 70, "float32"),
    ("LSTM", 4, 20, 37, 65, "float64"),
    ("GRU", 3, 7, 5, 130, "float32"),
    ("LayerNormLSTM", 3, 37, 9, 33, "float32"),  # partial sums of four rows each
    ("RNN", 6, 2, 1, 1, "float32"),
]


@pytest.mark.sampled(12)
@pytest.mark.parametrize(("kind", "T", "B", "I", "H", "dtype"), CASES)
def test_the_same_bits_for_any_number_of_threads(shared, kind, T, B, I, H, dtype):
    layer, x = make(kind, I, H, dtype), inputs(T, B, I, dtype)
    tr.set_num_threads(1)
    wanted = results(layer, x)
    for n in COUNTS:
        tr.set_num_threads(n)
        for _ in range(2):
            same(results(layer, x), wanted)


@pytest.mark.parametrize("option", ["lengths", "mask"])
def test_the_same_bits_for_sequences_of_different_lengths(shared, option):
    layer, x = make("LSTM", 5, 33), inputs(7, 9, 5)
    rng = np.random.default_rng(2)
    lengths = rng.integers(0, 8, 9)
    options = {"lengths": lengths} if option == "lengths" else {"mask": rng.random((7, 9)) < 0.7}
    tr.set_num_threads(1)
    wanted = results(layer, x, **options)
    for n in COUNTS:
        tr.set_num_threads(n)
        same(results(layer, x, **options), wanted)


class Tagger(nn.Module):
    def __init__(self):
        self.embed, self.rnn, self.head = nn.Embedding(50, 20), nn.LSTM(20, 33), nn.Linear(33, 50)

    def forward(self, x):
        return self.head(self.rnn(self.embed(x))[0])


@pytest.mark.slow
@pytest.mark.sampled(2)
def test_the_same_bits_of_whole_training_steps(shared):
    """Regions, products and sums of programs are launches, too."""
    rng, found = np.random.default_rng(0), []
    x, y = rng.integers(0, 50, (7, 9)), rng.integers(0, 50, (7, 9))
    for n in (1, *COUNTS):
        tr.set_num_threads(n)
        tr.seed(5)
        model = Tagger()
        step = train.TrainStep(
            model, optim.Adam(model.parameters(), lr=0.01), nn.cross_entropy, clip_norm=1.0, fallback="error"
        )
        losses = [float(step(x, y)) for _ in range(3)]
        found.append([np.array(losses), *(p.data.copy() for p in model.parameters())])
    for other in found[1:]:
        same(other, found[0])


@pytest.mark.sampled(2)
def test_many_callers_at_once(shared, restless_threads):
    tr.set_num_threads(1)
    layers = [make("LSTM", 5, 40 + i) for i in range(6)]
    x = inputs(6, 8, 5)
    wanted = [results(layer, x) for layer in layers]
    tr.set_num_threads(4)
    failures, barrier = [], threading.Barrier(6, timeout=60)

    def call(i):
        try:
            for _ in range(10):
                barrier.wait()
                same([layers[i](tr.tensor(x))[0].data], wanted[i][:1])
        except BaseException as error:
            failures.append(error)
            barrier.abort()

    callers = [threading.Thread(target=call, args=(i,)) for i in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not failures
    assert_at_rest()


def assert_at_rest():
    """Nobody works, and soon all sleep."""
    end = time.monotonic() + 30
    there = workers.slots[1 : 1 + int(workers.slots[0, STARTED])]
    while time.monotonic() < end and not ((there[:, STATE] == IDLE) & (there[:, ASLEEP] == 1)).all():
        time.sleep(0.01)
    assert (there[:, STATE] == IDLE).all()
    assert (there[:, ASLEEP] == 1).all()
    assert workers.slots[0, CALLERS] == 0


@pytest.mark.sampled(2)
def test_nobody_waits_for_a_thread_that_does_not_come(shared):
    layer, x = make("LSTM", 5, 70), inputs(4, 12, 5)
    tr.set_num_threads(1)
    wanted = results(layer, x)
    tr.set_num_threads(3)
    results(layer, x)
    assert_at_rest()
    slots, started = workers.slots, int(workers.slots[0, STARTED])
    late = slots[1 + started]
    late[:] = slots[1]  # of no thread; whoever wakes it wakes another one, which finds nothing to do
    late[ASLEEP] = 0
    tr.set_num_threads(2 + started)
    workers.ready = lambda: None  # its own slot would get a thread
    try:
        slots[0, LIMIT], slots[0, STARTED] = 2 + started, started + 1
        for _ in range(3):
            same(results(layer, x), wanted)
        assert late[STATE] == IDLE
        late[STATE] = TAKEN  # by somebody else, for ever
        same(results(layer, x), wanted)
        for slot in slots[1 : 1 + started]:
            assert slot[STATE] != OFFERED
    finally:
        del workers.ready
        late[:] = 0
        slots[0, STARTED] = started


def test_interrupts(shared):
    """Ctrl-C comes before or after a launch, never in between."""
    layer, x = make("LSTM", 20, 100), inputs(30, 16, 20)
    tr.set_num_threads(4)
    wanted = results(layer, x)

    def interrupt(*_):
        raise KeyboardInterrupt

    def train_until_interrupted(seconds):
        signal.setitimer(signal.ITIMER_REAL, seconds)
        while True:
            layer(tr.tensor(x, requires_grad=True))[0].sum().backward()

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for i in range(10):
            with pytest.raises(KeyboardInterrupt):
                train_until_interrupted(0.002 + 0.0007 * i)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    same(results(layer, x), wanted)
    assert_at_rest()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_makes_its_own_threads(shared):
    layer, x = make("LSTM", 5, 70), inputs(4, 12, 5)
    tr.set_num_threads(4)
    wanted = results(layer, x)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert workers.slots[0, STARTED] == 0
            same(results(layer, x), wanted)
            assert workers.slots[0, STARTED] == 3
            code = 0
        finally:
            os._exit(code)
    end = time.monotonic() + 120
    while (status := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < end:
        same(results(layer, x), wanted)
    if status[0] == 0:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert status == (child, 0)


def test_launches_go_on_when_threads_have_ended(shared):
    layer, x = make("LSTM", 5, 70), inputs(4, 12, 5)
    tr.set_num_threads(3)
    wanted = results(layer, x)
    threads = list(workers.threads)
    assert len(threads) >= 2
    try:
        workers.end()
        assert not any(thread.is_alive() for thread in threads)
        same(results(layer, x), wanted)
    finally:
        workers.reset()
    same(results(layer, x), wanted)
    assert workers.threads


def test_no_more_threads_than_processors(shared, monkeypatch):
    monkeypatch.setattr(config, "PROCESSORS", 2)
    monkeypatch.setattr(workers, "limit", 0)
    tr.set_num_threads(100)
    results(make("LSTM", 5, 70), inputs(4, 12, 5))
    assert workers.slots[0, LIMIT] == 2


def test_small_launches_are_not_shared(monkeypatch):
    """Then nothing is looked up at a call."""
    found = []
    monkeypatch.setattr(launch, "share", lambda *args: found.append(sharing.share(*args)))
    results(make("LSTM", 1, 4), inputs(12, 1, 1))
    assert found == [None, None]


def test_launches_that_threads_hurt_are_not_shared():
    """For a while, and longer each time; then it is tried again."""
    found = trials.Trials()
    assert [found.next_is_shared() for _ in range(2)] == [True, False]
    found.note(False, 100)

    def shared_of(count, time):
        out = []
        for _ in range(count):
            out.append(found.next_is_shared())
            found.note(out[-1], time if out[-1] else 100)
        return out

    assert shared_of(20, 99).count(False) == 1
    assert shared_of(2, 150) == [True] * 2
    assert shared_of(trials.FEW, 150) == [False] * trials.FEW
    assert sum(shared_of(1000, 150)) < 30
    assert shared_of(1000, 50)[-500:].count(False) <= 1
    assert 95 <= found.alone <= 105
