"""Trainers whose batches run as programs: history, checkpoints and errors are those of the tape."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import DataLoader
from tinygrad_rnn.errors import CompileError, NonFiniteDataError
from tinygrad_rnn.train import Trainer, TruncatedBPTT


class Model(nn.Module):
    def __init__(self):
        self.layer, self.drop, self.head = nn.GRU(2, 4, batch_first=True), nn.Dropout(0.2), nn.Linear(4, 1)

    def forward(self, x):
        return self.head(self.drop(self.layer(x)[0][:, -1]))


def data(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(10, 5, 2)), rng.normal(size=(10, 1))


def trainer(compile, **options):
    tr.seed(0)
    model = Model()
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    schedule = optim.ExponentialLR(optimizer, 0.9)
    options = {"clip_norm": 0.5, "schedule": schedule, **options}
    return Trainer(model, optimizer, nn.mse_loss, compile=compile, progress=False, **options)


def loader(seed=0):
    return DataLoader(data(seed), 4, shuffle=True, seed=3)  # the last batch is smaller


def test_the_history_is_that_of_the_tape():
    histories = []
    for compile in ("never", "always"):
        one = trainer(compile)
        seen = []
        one.callbacks.append(lambda t, seen=seen: seen.append(t.loss))
        histories.append({**one.fit(loader(), loader(1), epochs=4), "seen": seen})
    tape, program = histories
    assert tape.keys() == program.keys()
    for name in tape.keys() - {"seconds"}:
        np.testing.assert_allclose(program[name], tape[name], rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("compile", ["never", "always"])
def test_a_training_goes_on_to_the_bit(tmp_path, compile):
    whole, batches = trainer(compile), loader()
    whole.fit(batches, epochs=4)
    first, batches = trainer(compile), loader()
    first.fit(batches, epochs=4, max_steps=5)
    first.save(tmp_path / "t.safetensors")
    second, batches = trainer(compile), loader()
    second.load(tmp_path / "t.safetensors")
    second.fit(batches, epochs=4)
    assert second.history["loss"] == whole.history["loss"]
    for a, b in zip(second.model.parameters(), whole.model.parameters()):
        np.testing.assert_array_equal(a.data, b.data)


def test_batches_that_are_not_finite():
    x, y = data()
    x[7, 2, 1] = np.nan
    batches = [(x[:5], y[:5]), (x[5:], y[5:])]
    one = trainer("always")
    with pytest.raises(NonFiniteDataError, match=r"inputs: got nan at \(2, 2, 1\) in batch 1"):
        one.fit(batches, epochs=1)
    assert one.steps == 1
    other = trainer("always", nonfinite="skip")
    with pytest.warns(RuntimeWarning, match="skipped"):
        other.fit(batches, epochs=2)
    assert other.history["skipped"] == [1, 1]
    for p in other.model.parameters():
        assert np.isfinite(p.data).all()


def test_what_cannot_be_compiled():
    tr.seed(0)
    model = nn.Linear(2, 1)
    optimizer = optim.SGD(model.parameters())

    def loss(y, t):
        return nn.mse_loss(y, t) * (2.0 if float(y.sum()) > 0 else 1.0)

    with pytest.raises(CompileError, match=r"Trainer: float\(\) of a tensor at .*test_trainer_programs"):
        Trainer(model, optimizer, loss, compile="always").fit([(np.ones((3, 2)), np.ones((3, 1)))])
    with pytest.raises(ValueError, match="compile: got 'yes', wanted one of"):
        Trainer(model, optimizer, loss, compile="yes")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("k2", [None, 5])
def test_streams_with_a_carried_state(k2):
    class Reader(nn.Module):
        def __init__(self):
            self.layer, self.head = nn.LSTM(2, 4), nn.Linear(4, 1)

        def forward(self, x, state):
            y, state = self.layer(x, state)
            return self.head(y), state

    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(13, 3, 2)), rng.normal(size=(13, 3, 1))
    histories = []
    for compile in ("never", "always"):
        tr.seed(0)
        model = Reader()
        one = Trainer(model, optim.Adam(model.parameters(), lr=0.01), nn.mse_loss, compile=compile, progress=False)
        stream = TruncatedBPTT(inputs, targets, 3, k2)
        histories.append(one.fit(stream, TruncatedBPTT(inputs, targets, 3), epochs=3))
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(histories[1][name], histories[0][name], rtol=1e-5)


def test_step_functions():
    histories = []
    for compile in ("never", "always"):
        tr.seed(0)
        layer, head = nn.GRU(2, 4), nn.Linear(4, 3)

        def step(batch, layer=layer, head=head):
            return nn.cross_entropy(head(layer(batch["x"], lengths=batch["n"])[0]), batch["y"])

        rng = np.random.default_rng(0)
        batches = [
            {"x": rng.normal(size=(5, 2, 2)), "y": rng.integers(0, 3, (5, 2)), "n": np.array([5, 5 - k])}
            for k in range(3)
        ]
        optimizer = optim.Adam([*layer.parameters(), *head.parameters()])
        one = Trainer(None, optimizer, step=step, compile=compile, progress=False)
        histories.append(one.fit(batches, epochs=3)["loss"])
    np.testing.assert_allclose(*histories, rtol=1e-5)
