"""Windows of streams, and batches that share an update, many in one native call: as on the tape, and one by one."""

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import config, nn, optim
from tinygrad_rnn.data import DataLoader
from tinygrad_rnn.errors import NonFiniteDataError
from tinygrad_rnn.train import Trainer, TrainStep, TruncatedBPTT
from tinygrad_rnn.train.batches import tensor_maker
from tinygrad_rnn.train.many_steps import ManySteps

from .test_native_trainer import EveryStep, NowAndThen, everything, same
from .test_train_step import alike

STEPS, BATCH = 43, 3


class Tagger(nn.Module):
    """A layer with noise and a head; its state is carried by the caller."""

    def __init__(self, kind=nn.LSTM, noise=0.0):
        self.layer, self.drop, self.head = kind(2, 4, num_layers=2), nn.Dropout(noise), nn.Linear(4, 3)

    def forward(self, x, state=None, resets=None):
        ys, state = self.layer(x, state, resets=resets)
        return self.head(self.drop(ys)), state


class Words(nn.Module):
    """Integers in; its state swaps places at each window, and counts windows in integers."""

    def __init__(self):
        self.table, self.layer, self.head = nn.Embedding(5, 4), nn.GRU(4, 4), nn.Linear(4, 3)

    def forward(self, x, state=None):
        if state is None:
            state = {"h": None, "other": tr.zeros((1, BATCH, 4)), "count": tr.tensor(np.zeros(BATCH, np.int32))}
        ys, h = self.layer(self.table(x), state["h"])
        scale = 1.0 / (1.0 + state["count"].astype(ys.dtype))
        ys = self.head(ys + 0.1 * state["other"]) * scale.reshape(1, BATCH, 1)
        return ys, {"h": tr.tanh(state["other"] + 0.5 * h), "other": h, "count": state["count"] + 1}


def stream(k1=3, k2=None, resets=False, words=False, steps=STEPS):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 5, (steps, BATCH)) if words else rng.normal(size=(steps, BATCH, 2))
    cut = rng.random((steps, BATCH)) < 0.2 if resets else None
    return TruncatedBPTT(x, rng.integers(0, 3, (steps, BATCH)), k1, k2, cut)


@pytest.fixture(params=["float32", "float64"])
def tolerance(request):
    tr.set_default_dtype(request.param)
    yield 1e-5 if request.param == "float32" else 1e-12
    tr.set_default_dtype("float32")


@pytest.fixture
def calls(monkeypatch):
    """The numbers of windows or batches that each native call of many had."""
    seen, run = [], ManySteps.run
    monkeypatch.setattr(
        ManySteps, "run", lambda self, order, *rest: seen.append(order.length) or run(self, order, *rest)
    )
    return seen


def trainer(compile="always", model=Tagger, **options):
    tr.seed(0)
    made = model()
    optimizer = optim.Adam(made.parameters(), lr=0.01)
    options = {"clip_norm": 0.5, **options}
    return Trainer(made, optimizer, nn.cross_entropy, compile=compile, progress=False, **options)


WINDOWS = [(3, 3, False, False), (2, 5, True, False), (1, 3, False, True), (4, 7, False, True), (3, 3, True, False)]


@pytest.mark.sampled(10)
@pytest.mark.parametrize(("k1", "k2", "resets", "words"), WINDOWS)
def test_windows_as_on_the_tape(k1, k2, resets, words, tolerance, calls):
    found = []
    for compile in ("never", "always"):
        one = trainer(compile, Words if words else lambda: Tagger(noise=0.2))
        data = stream(k1, k2, resets, words)
        one.fit(data, epochs=6)
        state = [np.asarray(leaf.data) for leaf in tr.core.tree.flatten(data.state)[0]]
        found.append((one.history["loss"], one.model.state_dict(), state, config.generator().random(2)))
    assert max(calls) > 1
    assert one.steps >= 6 * 10
    for tape, program in zip(*found):
        alike(tape, program, tolerance)


@pytest.mark.slow
def test_windows_in_one_call_are_those_one_by_one(calls):
    found = []
    for callback in (EveryStep(), NowAndThen()):
        one = trainer(model=lambda: Tagger(noise=0.3), callbacks=[callback])
        one.fit(stream(3, 5, True), epochs=3)
        assert one.loss == callback.losses[-1]
        found.append(everything(one))
    assert sum(calls) > 20
    same(*found)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("most", [1, 5, *[pytest.param(n, marks=pytest.mark.slow) for n in (14, 15, 16, 29)]])
def test_a_checkpoint_amid_a_stream_goes_on_to_the_bit(tmp_path, most, calls):
    whole, parts = trainer(), trainer()
    whole.fit(stream(), epochs=3)
    parts.fit(stream(), epochs=3, max_steps=most)
    parts.save(tmp_path / "t.safetensors")
    tr.seed(8)
    other = trainer()
    other.load(tmp_path / "t.safetensors")
    other.fit(stream(), epochs=3)
    assert max(calls) > 1
    same(everything(other), everything(whole))


def test_checkpoints_between_calls_go_on_to_the_bit(calls):
    """Those that a callback takes while windows are taken ahead."""

    class Keep:
        every_step = False

        def on_step_end(self, trainer):
            kept.append((trainer.steps, everything(trainer), trainer.state_dict()))

    kept, data = [], stream(2)
    whole = trainer(callbacks=[Keep()])
    whole.fit(data, epochs=2)
    steps, _, state = next(entry for entry in kept if 4 < entry[0] < len(data))
    other = trainer()
    other.load_state_dict(state)
    other.fit(stream(2), epochs=2)
    assert other.steps == whole.steps > steps
    same(everything(other)["model"], everything(whole)["model"])


@pytest.mark.sampled(2)
@pytest.mark.parametrize("row", [20, 40])
def test_a_window_that_is_not_finite_is_skipped_as_on_the_tape(row, calls):
    found = []
    for compile in ("never", "always"):
        data = stream(2)
        data.inputs[row] = np.nan
        one = trainer(compile, nonfinite="skip")
        with pytest.warns(RuntimeWarning, match=rf"inputs: got nan .* in batch {row // 2} \(from 0\)"):
            one.fit(data, epochs=2)
        found.append((one.history["loss"], one.history["skipped"], one.model.state_dict()))
        with pytest.raises(NonFiniteDataError, match=f"in batch {row // 2}"):
            trainer(compile).fit(data, epochs=2)
    assert max(calls) > 1
    for tape, program in zip(*found):
        alike(tape, program, 1e-5)


def test_a_model_that_returns_another_kind_of_state_goes_one_by_one(calls):
    class Once(Tagger):
        def forward(self, x, state=None):
            ys, state = super().forward(x, None if state is None else state[0])
            return ys, (state, x[-1])  # no result of the program alone: an argument's part

    found = []
    for compile in ("never", "always"):
        one = trainer(compile, Once)
        one.fit(stream(), epochs=2)
        found.append(one.model.state_dict())
    alike(*found, 1e-5)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ["inputs", "targets", "resets"])
def test_other_arrays_in_a_stream_are_read(name, calls):
    class Exchange:
        def on_epoch_end(self, trainer):
            setattr(data, name, np.roll(getattr(data, name), 7, axis=0))

    found = []
    for compile in ("never", "always"):
        data, one = stream(2, resets=True), trainer(compile, callbacks=[Exchange()])
        one.fit(data, epochs=4)
        found.append((np.array(one.history["loss"]), one.model.state_dict()))
    assert max(calls) > 1
    for tape, program in zip(*found):
        alike(tape, program, 1e-5)


# ---- training steps


def by_hand(model, optimizer, data, n, accumulate, clip=None):
    """The same on the tape; the losses."""
    losses, waiting, tensor = [], 0, tensor_maker(next(model.parameters()).dtype)
    while len(losses) < n:
        for window in data:
            if not waiting:
                optimizer.zero_grad()
            loss = data.loss(model, nn.cross_entropy, window, tensor)
            loss.backward()
            losses.append(loss.item())
            waiting += 1
            if waiting == accumulate:
                for p in model.parameters():
                    p.grad = p.grad / accumulate
                optim.clip_grad_norm_(list(model.parameters()), 0.5)
                optimizer.step()
                waiting = 0
            if len(losses) == n:
                break
    return losses


@pytest.mark.slow
@pytest.mark.sampled(4)
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_training_step_takes_streams(accumulate, tolerance, calls):
    found = []
    for tape in (True, False):
        tr.seed(0)
        model = Tagger(nn.GRU, 0.2)
        optimizer, data = optim.SGD(model.parameters(), lr=0.1, momentum=0.9), stream(2, 3, True)
        if tape:
            losses = by_hand(model, optimizer, data, 100, accumulate)
        else:
            step = TrainStep(model, optimizer, nn.cross_entropy, 0.5, fallback="error", accumulate=accumulate)
            losses = step.run(data, 100)
        grads = [p.grad.data for p in model.parameters()]
        found.append((np.array(losses), model.state_dict(), grads, config.generator().random(2)))
    assert max(calls) > 1
    for one, other in zip(*found):
        alike(one, other, tolerance)


@pytest.mark.sampled(18)
@pytest.mark.parametrize("every", [2, 3, 7])
@pytest.mark.parametrize("batch_size", [1, 4])  # the last batch of 4 is smaller
@pytest.mark.parametrize("clip", [{}, {"clip_norm": 0.1}, {"clip_value": 0.01}])
def test_batches_that_share_an_update(every, batch_size, clip, calls):
    """One by one and many at once: to the bit."""
    rng = np.random.default_rng(0)
    x, y, found = rng.normal(size=(14, 5, 2)), rng.integers(0, 3, 14), []
    for many in (False, True):
        tr.seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(10, 300), nn.Dropout(0.2), nn.Linear(300, 3))
        optimizer, loader = optim.Adam(model.parameters()), DataLoader((x, y), batch_size)
        step = TrainStep(model, optimizer, nn.cross_entropy, accumulate=every, fallback="error", **clip)
        if many:
            losses = step.run(loader, 41)
        else:
            losses = [step(*batch) for batch in [batch for _ in range(41) for batch in loader][:41]]
        found.append((np.array(losses), model.state_dict(), [p.grad.data for p in model.parameters()]))
    assert max(calls) > 1
    for one, other in zip(*found):
        alike(one, other, 0)


def test_a_call_begins_and_ends_amid_a_group(calls):
    rng = np.random.default_rng(0)
    x, y, found = rng.normal(size=(40, 2)), rng.normal(size=(40, 1)), []
    for many in (False, True):
        tr.seed(0)
        model = nn.Linear(2, 1)
        step = TrainStep(model, optim.Adam(model.parameters(), lr=0.1), nn.mse_loss, accumulate=4, fallback="error")
        losses = []
        for n in (7, 10, 1, 9, 13):
            loader = DataLoader((x, y), 2)
            losses += [*step.run(loader, n)] if many else [step(*loader.batch(r)) for r in [*loader.rows()][:n]]
        grads = [p.grad.data.copy() for p in model.parameters()]
        losses.append(step(x, y))  # a batch of another size
        model.bias.grad = None  # what waits is not all there: on the tape
        step(x, y)
        losses.append(step(x, y))
        found.append((np.array(losses), model.state_dict(), grads))
    assert max(calls) > 1
    for one, other in zip(*found):
        alike(one, other, 0)
