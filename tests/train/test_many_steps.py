"""Many training steps in one native call, with masks and lengths, are those one by one."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import config, nn, optim
from tinygrad_rnn.data import DataLoader
from tinygrad_rnn.train import TrainStep
from tinygrad_rnn.train.many_steps import ManySteps

from .test_train_step import alike, by_hand

N, T = 14, 5


class Reader(nn.Module):
    """Rows of different lengths, with noise of all kinds, to classes at each step."""

    def __init__(self, **options):
        self.rnn = nn.GRU(3, 4, bidirectional=True, num_layers=2, dropout=0.2, **options)
        self.drop, self.head = nn.Dropout(0.3), nn.Linear(8, 3)

    def forward(self, x, *steps):
        return self.head(self.drop(self.rnn(x, **dict(zip(("lengths", "mask", "resets"), steps)))[0]))


def examples(batch_first=True):
    rng = np.random.default_rng(0)
    x, y, lengths = rng.normal(size=(N, T, 3)), rng.integers(0, 3, (N, T)), rng.integers(0, T + 1, N).astype(np.int32)
    mask, resets = rng.random((N, T)) < 0.8, rng.random((N, T)) < 0.2
    if not batch_first:
        x, y, mask, resets = (np.ascontiguousarray(a.swapaxes(0, 1)) for a in (x, y, mask, resets))
    return x, y, lengths, mask, resets


def both(make, loader, monkeypatch, n=19):
    """Train one by one and many at once; fail unless they are the same to the bit. Returns the numbers of steps."""
    kept, calls = [], []
    run = ManySteps.run
    monkeypatch.setattr(
        ManySteps, "run", lambda self, order, state: calls.append(order.length) or run(self, order, state)
    )
    for many in (False, True):
        tr.seed(0)
        model, batches = make(), loader()
        optimizer = optim.Adam(model.parameters(), lr=0.02)
        step = TrainStep(model, optimizer, nn.cross_entropy, clip_norm=0.7, fallback="error")
        losses = step.run(batches, n) if many else by_hand(step, batches, n)
        kept.append((np.array(losses), model.state_dict(), config.generator().random(3), batches.state_dict()))
    for one, other in zip(*kept):
        alike(one, other, 0)
    return calls


@pytest.mark.slow
@pytest.mark.sampled(4)
@pytest.mark.parametrize("batch_size", [1, 4])  # the last batch of 4 is smaller
@pytest.mark.parametrize("noise", [{}, {"input_dropout": 0.2, "recurrent_dropout": 0.2, "zoneout": 0.1}])
def test_masks_and_lengths(batch_size, noise, monkeypatch):
    x, y, lengths, *_ = examples()
    loader = lambda: DataLoader(((x, lengths), y), batch_size, shuffle=True, seed=1)
    calls = both(lambda: Reader(batch_first=True, **noise), loader, monkeypatch)
    assert sum(calls) > 8


@pytest.mark.slow
def test_batches_along_another_axis(monkeypatch):
    x, y, lengths, mask, resets = examples(False)
    loader = lambda: DataLoader(((x, lengths, mask, resets), y), 4, shuffle=True, seed=1, batch_axis=(1, 0, 1, 1, 1))
    assert sum(both(Reader, loader, monkeypatch)) > 8


def test_masks_of_many_steps_need_little_room(monkeypatch):
    monkeypatch.setattr("tinygrad_rnn.train.many_steps.ROOM", 3000)
    x, y, *_ = examples()
    calls = both(lambda: Reader(batch_first=True), lambda: DataLoader((x, y), 2, drop_last=True), monkeypatch)
    assert 0 < max(calls) <= 8


def test_masks_are_drawn_for_batches_that_come_up_alone(monkeypatch):
    x, y, *_ = examples()
    kept, original = [], ManySteps.run

    def interrupted(self, order, state):
        native = self.stages.run_steps
        self.stages.run_steps = lambda count, *others: native(1, *others)
        original(self, order, state)
        raise KeyboardInterrupt

    for many in (False, True):
        tr.seed(0)
        model = Reader(batch_first=True)
        step = TrainStep(model, optim.SGD(model.parameters(), lr=0.1), nn.cross_entropy, fallback="error")
        if many:
            monkeypatch.setattr(ManySteps, "run", interrupted)
            with pytest.raises(KeyboardInterrupt):
                step.run(DataLoader((x, y), 2), 7)
        else:
            by_hand(step, DataLoader((x, y), 2), 2)
        kept.append((config.generator().random(4), model.state_dict()))
    for one, other in zip(*kept):
        alike(one, other, 0)


def test_a_wrong_length_is_named():
    x, y, lengths, *_ = examples()
    lengths[9] = T + 1
    model = Reader(batch_first=True)
    step = TrainStep(model, optim.SGD(model.parameters(), lr=0.1), nn.cross_entropy, fallback="error")
    with pytest.raises(ValueError, match=f"lengths: got {T + 1} for row 1, wanted 0 to {T}"):
        step.run(DataLoader(((x, lengths), y), 2), 7)
