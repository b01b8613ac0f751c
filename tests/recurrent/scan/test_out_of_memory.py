"""Batches that cannot fit: who, how large, and what helps; nothing is really allocated."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.compiler.runtime import buffer_pool, executable, memory
from tinygrad_rnn.errors import OutOfMemoryError, TinygradError

MODES = ["eager", "auto", "compiled"]
HELP = r"needs [\d.]+ \w+, which is not there; a smaller batch.*checkpoint_every=.*return_outputs=False"


def endless(*shape):
    """An array of a shape that no memory holds; all of it is one number."""
    return np.broadcast_to(np.zeros(1, np.float32), shape)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "make", [lambda mode: nn.GRU(3, 4, mode=mode), lambda mode: nn.Recurrent(nn.GRUCell(3, 4), mode)]
)
@pytest.mark.parametrize("options", [{}, {"lengths": [5]}, {"return_outputs": False}])
def test_absurd_sizes(make, mode, options):
    layer, x = make(mode), endless(1 << 40, 1, 3)
    with pytest.raises(
        MemoryError, match=r"GRU(Cell)?: (input|xs): got shape .* a copy needs 12.0 TiB, which is not there; a"
    ):
        layer(x, **options)
    with tr.no_grad(), pytest.raises(MemoryError, match=rf"GRU(Cell|): T=1099511627776, B=1: .* {HELP}"):
        layer(x, **options)
    layer(x[:5, :, :])


@pytest.mark.parametrize("options", [{}, {"lengths": [5, 2]}])
@pytest.mark.parametrize("train", [False, True])
def test_a_machine_that_is_too_small(monkeypatch, options, train):
    """What the loop's own arrays take counts too, and is known before they are made."""
    monkeypatch.setattr(memory, "LARGE", 0)
    monkeypatch.setattr(memory, "total_memory", lambda: 5 * 2 * 4 * 4)
    layer = nn.GRU(3, 4)
    with tr.set_grad_enabled(train), pytest.raises(OutOfMemoryError, match=rf"GRUCell: T=5, B=2: its \w+ loop {HELP}"):
        layer(np.ones((5, 2, 3), np.float32), **options)


class Full:
    """A pool that has nothing any more."""

    def __init__(self, dtype):
        self.real = buffer_pool.BufferPool(dtype)
        self.zeros = self.real.zeros

    def empty(self, size):
        raise MemoryError("Unable to allocate")

    def clear(self):
        pass


@pytest.mark.parametrize("options", [{}, {"lengths": [5, 2]}])
def test_loops_that_find_no_memory(monkeypatch, options):
    layer, x = nn.LSTM(3, 4), np.ones((5, 2, 3), np.float32)
    ys, _ = layer(x, **options)
    ys, _ = layer(x, **options)
    loss = ys.sum()
    monkeypatch.setattr(executable, "SMALL", 0)  # all arrays come from the pool
    monkeypatch.setattr(buffer_pool.BufferPool, "empty", Full.empty)
    with pytest.raises(OutOfMemoryError, match=rf"LSTMCell: T=5, B=2: its training loop {HELP}"):
        layer(x, **options)
    with tr.no_grad(), pytest.raises(OutOfMemoryError, match=rf"LSTMCell: T=5, B=2: its inference loop {HELP}"):
        layer(x, **options)
    with pytest.raises(OutOfMemoryError, match=rf"LSTMCell: T=5, B=2: its backward loop {HELP}") as raised:
        loss.backward()
    assert isinstance(raised.value, TinygradError)
    assert isinstance(raised.value.__cause__, MemoryError)


def test_steps_that_find_no_memory():
    class Greedy(nn.Cell):
        input_size = hidden_size = 3

        def step(self, x, h):
            raise MemoryError

    with pytest.raises(OutOfMemoryError, match=r"Greedy: T=5, B=2: the sequence needs 120 bytes.*checkpoint_every="):
        nn.Recurrent(Greedy(), "eager")(np.ones((5, 2, 3), np.float32))


@pytest.mark.parametrize(
    ("size", "words"), [(12, "12 bytes"), (2048, "2.0 KiB"), (3 << 30, "3.0 GiB"), (5 << 50, "5120.0 TiB")]
)
def test_sizes_in_words(size, words):
    assert memory.format_bytes(size) == words


def test_what_there_is():
    assert memory.total_memory() > 1 << 26
