"""One update for several batches: as on the tape, and as with one batch of all their rows."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import DataLoader
from tinygrad_rnn.train import TrainStep


class Tied(nn.Module):
    """Embedding and head share a weight; a bias is frozen."""

    def __init__(self):
        self.table, self.layer, self.drop = nn.Embedding(7, 4), nn.GRU(4, 4), nn.Dropout(0.2)
        self.layer.bias_ih_l0.requires_grad_(False)

    def forward(self, x):
        return self.drop(self.layer(self.table(x))[0]) @ self.table.weight.T


@pytest.fixture(params=["float32", "float64"])
def tolerance(request):
    tr.set_default_dtype(request.param)
    yield 1e-5 if request.param == "float32" else 1e-12
    tr.set_default_dtype("float32")


def make(model=Tied):
    tr.seed(0)
    made = model()
    groups = [{"params": [p], "lr": 0.01 * (k + 1)} for k, p in enumerate(made.parameters())]
    return made, optim.Adam(groups)


@pytest.mark.sampled(6)
@pytest.mark.parametrize("clip", [{}, {"clip_norm": 0.1}, {"clip_value": 0.01}])
def test_as_on_the_tape(clip, tolerance):
    rng = np.random.default_rng(0)
    data = [(rng.integers(0, 7, (4, b)), rng.integers(0, 7, (4, b))) for b in (3, 3, 2, 3, 3, 2, 3)]
    model, optimizer = make()
    step = TrainStep(model, optimizer, nn.cross_entropy, accumulate=3, fallback="error", **clip)
    losses = [step(*batch) for batch in data]
    model.eval()
    other, tape = make()
    wanted = []
    for k, (x, y) in enumerate(data):
        if k % 3 == 0:
            tape.zero_grad()
        loss = nn.cross_entropy(other(tr.tensor(x)), tr.tensor(y))
        (loss / 3).backward()
        wanted.append(loss.item())
        if k % 3 == 2:
            if "clip_value" in clip:
                optim.clip_grad_value_(list(other.parameters()), 0.01)
            if "clip_norm" in clip:
                optim.clip_grad_norm_(list(other.parameters()), 0.1)
            tape.step()
    np.testing.assert_allclose(losses, wanted, rtol=tolerance)
    for name, value in model.state_dict().items():
        np.testing.assert_allclose(value, other.state_dict()[name], rtol=tolerance, atol=tolerance, err_msg=name)
    for one, two in zip(*(o.state_dict()["state"].values() for o in (optimizer, tape))):
        for name in one:
            np.testing.assert_allclose(one[name], two[name], rtol=tolerance, atol=tolerance)


def test_small_batches_are_one_large_one(tolerance):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 2)), rng.normal(size=(24, 1))
    found = []
    for size, accumulate in ((12, 1), (4, 3)):
        tr.seed(0)
        model = nn.Linear(2, 1)
        step = TrainStep(model, optim.SGD(model.parameters(), lr=0.1), nn.mse_loss, accumulate=accumulate)
        losses = step.run(DataLoader((x, y), size), 8 * accumulate)
        assert len(losses) == 8 * accumulate
        found.append((losses.reshape(8, -1).mean(1), model.weight.data))
    for one, other in zip(*found):
        np.testing.assert_allclose(one, other, rtol=max(tolerance, 1e-11))


def test_what_waits_counts_for_the_next_update():
    model = nn.Linear(2, 1)
    step = TrainStep(model, optim.SGD(model.parameters(), lr=0.1), nn.mse_loss, accumulate=2)
    x, y = np.ones((3, 2)), np.ones((3, 1))
    before = model.weight.data.copy()
    step.run([(x, y)], 1)
    np.testing.assert_array_equal(model.weight.data, before)
    step.run([(x, y)], 1)
    assert not np.array_equal(model.weight.data, before)
    before = model.weight.data.copy()
    step(x, y)
    step.accumulate = 1
    step(x, y)
    after = model.weight.data.copy()
    assert not np.array_equal(after, before)
    step(x, y)
    assert not np.array_equal(model.weight.data, after)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "2"])
def test_bad_numbers(wrong):
    model = nn.Linear(2, 1)
    with pytest.raises((TypeError, ValueError), match="accumulate: got"):
        TrainStep(model, optim.SGD(model.parameters()), nn.mse_loss, accumulate=wrong)


def test_on_the_tape_where_there_is_no_program():
    class Gated(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 1)

        def forward(self, x):
            y = self.layer(x)
            return y if float(y.sum()) > 1e9 else 1.0 * y

    found = []
    for kind in (Gated, lambda: nn.Linear(2, 1)):
        tr.seed(0)
        model = kind()
        step = TrainStep(model, optim.SGD(model.parameters(), lr=0.1), nn.mse_loss, accumulate=2)
        rng = np.random.default_rng(0)
        if kind is Gated:
            with pytest.warns(RuntimeWarning, match="runs on the tape"):
                step(rng.normal(size=(3, 2)), rng.normal(size=(3, 1)))
        else:
            step(rng.normal(size=(3, 2)), rng.normal(size=(3, 1)))
        for _ in range(5):
            step(rng.normal(size=(3, 2)), rng.normal(size=(3, 1)))
        found.append([p.data for p in model.parameters()])
    for one, other in zip(*found):
        np.testing.assert_allclose(one, other, rtol=1e-5)
