"""Trainers whose updates are native calls: to the bit the same, however many are in one, and after a resume."""

import copy
import warnings

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.compiler.model.bind import Stages
from tinygrad_rnn.data import DataLoader
from tinygrad_rnn.errors import NonFiniteDataError, NonFiniteError
from tinygrad_rnn.train import SaveCheckpoint, Trainer, TrainStep, TruncatedBPTT, tiers


class Model(nn.Module):
    def __init__(self):
        self.layer, self.head = nn.GRU(2, 4, batch_first=True), nn.Linear(4, 1)

    def forward(self, x):
        return self.head(self.layer(x)[0][:, -1])


class EveryStep:
    """A callback that wants to run after every update."""

    def __init__(self):
        self.losses = []

    def on_step_end(self, trainer):
        self.losses.append(trainer.loss)


class NowAndThen(EveryStep):
    every_step = False


def data(bad=()):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(26, 5, 2)), rng.normal(size=(26, 1))
    for row in bad:
        x[row] = np.nan
    return x, y


def loader(bad=(), batch_size=3):
    return DataLoader(data(bad), batch_size, shuffle=True, seed=3)  # the last batch is smaller


def trainer(compile="always", model=Model, **options):
    tr.seed(0)
    made = model()
    optimizer = optim.Adam(made.parameters(), lr=0.02)
    options = {"clip_norm": 0.5, "schedule": optim.ExponentialLR(optimizer, 0.9), **options}
    return Trainer(made, optimizer, nn.mse_loss, compile=compile, progress=False, **options)


@pytest.fixture
def counts(monkeypatch):
    """How many updates each native call had."""
    seen = []
    original = Stages.run_steps

    def run_steps(self, count, status, *group):
        done = original(self, count, status, *group)
        seen.append(done)
        return done

    monkeypatch.setattr(Stages, "run_steps", run_steps)
    return seen


def everything(one):
    """The state dict of a trainer, but for times and for what only counts work."""
    state = one.state_dict()
    for name in ("seconds", "seconds_before"):
        del state["training"][name]
    state["training"]["history"].pop("seconds", None)
    return state


def same(one, other, path=""):
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            same(one[key], other[key], f"{path}/{key}")
    elif isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other, err_msg=path)
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), path
        for i, (a, b) in enumerate(zip(one, other)):
            same(a, b, f"{path}/{i}")
    else:
        assert one == other or (one != one and other != other), path


@pytest.mark.sampled(2)
@pytest.mark.parametrize("clip", [{"clip_norm": 0.3}, {"clip_norm": None}, {"clip_value": 0.01}])
def test_updates_in_one_call_are_those_one_by_one(clip, counts):
    found = []
    for callback in (EveryStep(), NowAndThen()):
        counts.clear()
        one = trainer(callbacks=[callback], **clip)
        one.fit(loader(), epochs=3)
        assert (max(counts) > 1) == (type(callback) is NowAndThen)
        assert sum(counts) == one.steps == 27
        found.append(everything(one))
        assert one.loss == callback.losses[-1]
    same(*found)


def test_ends_after_max_steps_and_goes_on(counts):
    whole = trainer()
    whole.fit(loader(), epochs=4)
    assert max(counts) > 2
    parts, batches = trainer(), loader()
    for most in (1, 2, 7, 8, 9, 14, 30):
        parts.fit(batches, epochs=4, max_steps=most)
        assert parts.steps == most
        assert parts.stop_reason == f"max_steps: {most} updates"
    parts.fit(batches, epochs=4)
    same(everything(parts), everything(whole))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("compile", ["auto", "always"])
@pytest.mark.parametrize("most", [1, 9, *[pytest.param(n, marks=pytest.mark.slow) for n in (5, 10, 13, 20)]])
def test_a_checkpoint_goes_on_to_the_bit(tmp_path, monkeypatch, most, compile):
    monkeypatch.setattr(tiers, "ENOUGH", 4 * tiers.CALLS)
    whole = trainer(compile)
    whole.fit(loader(), epochs=4)
    first = trainer(compile)
    first.fit(loader(), epochs=2, max_steps=most)
    first.save(tmp_path / "t.safetensors")
    tr.seed(8)
    second = trainer(compile)
    second.load(tmp_path / "t.safetensors")
    second.fit(loader(), epochs=4)
    same(everything(second), everything(whole))


def test_the_tape_comes_first_and_counts_decide(monkeypatch, counts):
    one = trainer("auto")
    one.fit(loader(), epochs=2)
    assert not counts
    assert len(one.state.worked) == 2  # whole batches, and the last ones
    monkeypatch.setattr(tiers, "ENOUGH", 6 * tiers.CALLS)
    one = trainer("auto", callbacks=[EveryStep()])
    one.fit(loader(), epochs=3)
    tape = trainer("never", callbacks=[EveryStep()])
    tape.fit(loader(), epochs=3)
    assert sum(counts) == 3 * 8 - 6
    losses, wanted = (t.callbacks[0].losses for t in (one, tape))
    assert losses[:6] == wanted[:6]
    np.testing.assert_allclose(losses, wanted, rtol=1e-4)


def test_more_signatures_than_programs_are_kept(monkeypatch):
    monkeypatch.setattr(tiers, "ENOUGH", 1e-9)
    monkeypatch.setattr(tiers, "MOST", 2)
    worked = {}
    batches = [np.zeros((2, n)) for n in range(1, 5)]
    for _ in range(2):
        hot = [tiers.Tiers(10, worked).is_hot(batch) for batch in batches]
    assert hot == [True, True, False, False]
    monkeypatch.setattr(tiers, "SEEN", 4)
    assert not any(tiers.Tiers(10, worked).is_hot([np.zeros(3)]) for _ in range(3))


def test_what_has_no_program_trains_on_the_tape_in_silence(monkeypatch):
    monkeypatch.setattr(tiers, "ENOUGH", 1e-9)

    class Gated(Model):
        def forward(self, x):
            y = super().forward(x)
            return y if float(y.sum()) > 0 else 2 * y

    found = []
    for compile in ("auto", "never"):
        one = trainer(compile, model=Gated)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            one.fit(loader(), epochs=2)
        found.append(one.history["loss"])
    assert found[0] == found[1]


def test_what_changes_at_every_batch_is_left_to_the_tape(monkeypatch):
    monkeypatch.setattr(tiers, "ENOUGH", 1e-9)
    one = trainer("auto")
    scale = 1.0

    def loss(y, t):
        return nn.mse_loss(y, t) * scale

    class Anneal:
        def on_step_end(self, trainer):
            nonlocal scale
            scale *= 0.9

    one.loss_fn, one.callbacks = loss, [Anneal()]
    with pytest.warns(RuntimeWarning, match="Trainer runs on the tape: .*change too often"):
        one.fit(DataLoader(data(), 13), epochs=8)
    other = trainer("never", callbacks=[Anneal()])
    scale, other.loss_fn = 1.0, loss
    other.fit(DataLoader(data(), 13), epochs=8)
    np.testing.assert_allclose(one.history["loss"], other.history["loss"], rtol=1e-4)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("callbacks", [[], [EveryStep()]])
@pytest.mark.parametrize("clip", [{"clip_norm": 0.3}, {"clip_norm": None}, {"clip_norm": None, "clip_value": 0.01}])
def test_what_is_not_finite_is_not_applied_and_named(callbacks, clip):
    bad = loader()
    order = np.concatenate([np.arange(26)[rows] for rows in bad.rows()])
    row = order[7 * 3 + 1]  # in the batch number 7
    one = trainer(callbacks=callbacks, **clip)
    with pytest.raises(NonFiniteDataError, match=r"inputs: got nan at \(1, 0, 0\) in batch 7 \(from 0\) of epoch 1"):
        one.fit(loader([row]), epochs=2)
    assert (one.steps, one.step_in_epoch) == (7, 7)
    before = trainer(**clip)
    before.fit(loader(), epochs=1, max_steps=7)
    same(one.state_dict()["model"], before.state_dict()["model"])
    same(one.state_dict()["optimizer"], before.state_dict()["optimizer"])


def test_batches_that_are_not_finite_are_skipped():
    found = []
    for compile, callbacks in (("never", []), ("always", []), ("always", [EveryStep()])):
        one = trainer(compile, nonfinite="skip", callbacks=callbacks)
        with pytest.warns(RuntimeWarning, match="skipped: inputs"):
            one.fit(loader([3, 17, 18]), epochs=3)
        found.append(everything(one))
    same(found[1], found[2])
    assert found[0]["training"]["history"]["skipped"] == found[1]["training"]["history"]["skipped"]
    assert found[0]["loader"] == found[1]["loader"]
    np.testing.assert_allclose(*[f["training"]["history"]["loss"] for f in found[:2]], rtol=1e-4)


def test_gradients_that_are_not_finite_are_named():
    class Root(nn.Module):
        def __init__(self):
            self.w = nn.Parameter(np.zeros(2))

        def forward(self, x):
            return tr.sqrt(x @ self.w)

    for nonfinite in ("stop", "ignore"):
        one = trainer(model=Root, nonfinite=nonfinite, clip_norm=None)
        x = np.ones((4, 2))
        if nonfinite == "stop":
            with pytest.raises(NonFiniteError, match=r"gradients: got NaN or infinity for batch 0 .* look at w"):
                one.fit([(x, np.ones(4))])
            np.testing.assert_array_equal(one.model.w.data, 0)
        else:
            one.fit([(x, np.ones(4))])
            assert not np.isfinite(one.model.w.data).any()


def test_time_and_signals_end_it_between_calls(counts):
    one = trainer()
    one.fit(loader(), epochs=2)
    one.fit(loader(), epochs=None, max_seconds=one.seconds + 0.3)
    assert one.stop_reason.startswith("max_seconds")
    assert max(counts) > 1

    class Stop(NowAndThen):
        def on_step_end(self, trainer):
            if trainer.steps >= 5:
                trainer.stop()

    one = trainer(callbacks=[Stop()])
    one.fit(loader(), epochs=3)
    assert one.stop_reason == "stopped by a callback"


def test_checkpoints_now_and_then_leave_updates_in_one_call(tmp_path, counts):
    saver = SaveCheckpoint(tmp_path / "t.safetensors")
    assert not saver.every_step
    assert SaveCheckpoint(tmp_path / "t.safetensors", seconds=0).every_step
    trainer(callbacks=[saver]).fit(loader(), epochs=3)
    assert max(counts) > 1


SCHEDULES = {
    "warmup": lambda own: optim.LinearWarmup(own, 5, 0.2, after=optim.StepLR(own, 3, 0.5)),
    "cycle": lambda own: optim.OneCycleLR(own, 0.05, 30),
    "function": lambda own: optim.LambdaLR(own, lambda k: 0.97**k),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_for_every_update(name, counts):
    found = []
    for compile, callbacks in (("never", ()), ("always", [EveryStep()]), ("always", ())):
        one = trainer(compile, schedule=None, callbacks=callbacks)
        one.step_schedule = SCHEDULES[name](one.optimizer)
        one.fit(loader(), epochs=3)
        found.append(everything(one))
    assert counts[:27] == [1] * 27
    assert (max(counts[27:]) > 1) == (name != "function")  # which may look at anything
    same(found[1], found[2])
    histories = [one["training"]["history"] for one in found]
    assert histories[0]["lr"] == histories[1]["lr"]
    np.testing.assert_allclose(histories[0]["loss"], histories[1]["loss"], rtol=1e-4)


def test_a_schedule_that_ends_before_the_updates_do(counts):
    one = trainer(schedule=None)
    one.step_schedule = optim.OneCycleLR(one.optimizer, 0.05, 12)
    with pytest.raises(ValueError, match="12"):
        one.fit(loader(), epochs=3)
    assert sum(counts) == 12


class Reader(nn.Module):
    def __init__(self):
        self.layer, self.head = nn.LSTM(2, 4), nn.Linear(4, 1)

    def forward(self, x, state):
        y, state = self.layer(x, state)
        return self.head(y), state


@pytest.mark.slow
@pytest.mark.sampled(4)
@pytest.mark.parametrize("most", [2, 5, 8])
def test_streams_are_native_and_go_on_to_the_bit(tmp_path, counts, most):
    rng = np.random.default_rng(0)
    stream = lambda: TruncatedBPTT(inputs, targets, 3, 5)
    inputs, targets = rng.normal(size=(13, 3, 2)), rng.normal(size=(13, 3, 1))
    whole = trainer(model=Reader)
    whole.fit(stream(), epochs=3)
    assert sum(counts) == 15
    assert max(counts) > 1
    first = trainer(model=Reader)
    first.fit(stream(), epochs=3, max_steps=most)
    first.save(tmp_path / "t.safetensors")
    second = trainer(model=Reader)
    second.load(tmp_path / "t.safetensors")
    second.fit(stream(), epochs=3)
    same(everything(second), everything(whole))


def test_a_window_that_is_not_finite_is_skipped():
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(15, 3, 2)), rng.normal(size=(15, 3, 1))
    inputs[7, 1] = np.nan
    found = []
    for compile in ("never", "always"):
        one = trainer(compile, model=Reader, nonfinite="skip")
        with pytest.warns(RuntimeWarning, match="skipped: inputs: got nan"):
            one.fit(TruncatedBPTT(inputs, targets, 3), epochs=3)
        found.append(one.history)
    assert found[0]["skipped"] == found[1]["skipped"] == [1, 1, 1]
    np.testing.assert_allclose(found[0]["loss"], found[1]["loss"], rtol=1e-4)


class Tied(nn.Module):
    """Embedding and head share a weight; a bias is frozen, and a layer has no part in the loss."""

    def __init__(self):
        self.table, self.layer, self.unused = nn.Embedding(7, 4), nn.GRU(4, 4, batch_first=True), nn.Linear(2, 2)
        self.layer.bias_ih_l0.requires_grad_(False)

    def forward(self, x):
        return self.layer(self.table(x))[0] @ self.table.weight.T


@pytest.mark.sampled(2)
@pytest.mark.parametrize("unused", [False, True])
def test_groups_frozen_and_tied_parameters_and_schedules(unused, counts):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 7, (14, 5)), rng.integers(0, 7, (14, 5))
    found = []
    for compile, callbacks in (("never", []), ("always", [EveryStep()]), ("always", [])):
        tr.seed(0)
        model = Tied()
        groups = [{"params": [model.table.weight], "lr": 0.1}, {"params": [*model.layer.parameters()]}]
        groups += [{"params": [*model.unused.parameters()], "lr": 1.0}] * unused
        optimizer = optim.Adam(groups, lr=0.01, weight_decay=0.1)
        one = Trainer(
            model, optimizer, nn.cross_entropy, schedule=optim.StepLR(optimizer, 2), clip_norm=0.3, compile=compile,
            callbacks=callbacks, progress=False,
        )  # fmt: skip
        one.fit(DataLoader((x, y), 4, shuffle=True, seed=1), epochs=5)
        assert model.layer.bias_ih_l0.grad is None
        assert model.unused.weight.grad is None
        found.append(everything(one))
    assert max(counts) > 1
    same(found[1], found[2])
    tape, program = found[:2]
    for name, value in tape["model"].items():
        np.testing.assert_allclose(program["model"][name], value, rtol=1e-4, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(program["training"]["history"]["loss"], tape["training"]["history"]["loss"], rtol=1e-4)
    assert program["optimizer"]["param_groups"] == tape["optimizer"]["param_groups"]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_data_may_be_written_to_in_between(dtype, counts):
    found = []
    for callbacks in ([EveryStep()], []):
        x, y = (a.astype(dtype) for a in data())

        def noise(trainer, x=x):
            x[...] += np.random.default_rng(trainer.epoch).normal(size=x.shape)

        one = trainer(callbacks=[*callbacks, noise])
        one.fit(DataLoader((x, y), 3, shuffle=True, seed=3), epochs=4)
        found.append(everything(one))
    assert max(counts) > 1
    same(*found)


def test_classes_that_become_wrong_in_between_are_named():
    x, y = np.zeros((12, 3), int), np.zeros((12, 3), int)
    seen = []

    def spoil(trainer):
        seen.append(trainer.steps)
        if trainer.epoch == 2:
            x[7, 1] = 10**9

    tr.seed(0)
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3))
    one = Trainer(model, optim.SGD(model.parameters(), lr=0.1), nn.cross_entropy, compile="always", callbacks=[spoil])
    with pytest.raises(IndexError, match="got 1000000000, wanted ids from 0 to 4"):
        one.fit(DataLoader((x, y), 2), epochs=4)
    assert seen == [6, 12]
    assert one.steps == 15


def test_a_change_of_the_model_costs_no_more_than_a_step(counts):
    def freeze(trainer):
        trainer.model.head.bias.requires_grad_(trainer.epoch != 2)

    found = []
    for callbacks in ([freeze, EveryStep()], [freeze]):
        counts.clear()
        one = trainer(callbacks=callbacks)
        one.fit(loader(), epochs=5)
        found.append(everything(one))
    assert sum(count > 1 for count in counts) >= 5
    same(*found)


def test_copies_go_on_alike():
    one = trainer()
    one.fit(loader(), epochs=2)
    other = copy.deepcopy(one)
    for each in (one, other):
        generators = tr.config.generator().bit_generator.state
        each.fit(loader(), epochs=4)
        tr.config.generator().bit_generator.state = generators
    same(everything(one), everything(other))
    step = TrainStep(one.model, one.optimizer, nn.mse_loss, fallback="error")
    x, y = data()
    step(x, y)
    twin = copy.deepcopy(step)
    assert [step(x, y) for _ in range(3)] == [twin(x, y) for _ in range(3)]


def test_models_and_losses_may_be_replaced():
    one = trainer()
    one.fit(loader(), epochs=1)
    one.loss_fn = nn.l1_loss
    one.fit(loader(), epochs=2)
    other = trainer("never")
    other.fit(loader(), epochs=1)
    other.loss_fn = nn.l1_loss
    other.fit(loader(), epochs=2)
    np.testing.assert_allclose(one.history["loss"], other.history["loss"], rtol=1e-4)


def test_a_large_parameter_without_a_gradient():
    found = []
    for compile in ("never", "always"):
        tr.seed(0)
        model, large = nn.Linear(2, 1), nn.Parameter(np.ones(20000, np.float32))
        model.large = large
        optimizer = optim.Adam([large, *model.parameters()][:3], lr=0.1)
        one = Trainer(lambda x, model=model: model(x), optimizer, nn.mse_loss, compile=compile, progress=False)
        x, y = data()
        one.fit([(x[:, 0], y)], epochs=5)
        assert large.grad is None
        np.testing.assert_array_equal(large.data, 1)
        found.append(model.weight.data)
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_the_batch_comes_first_without_a_copy(monkeypatch):
    copied, copy_to = [], Stages.copy

    def record(self, source, target, *mode):
        copied.append(source.size)
        copy_to(self, source, target, *mode)

    monkeypatch.setattr(Stages, "copy", record)
    x, y = data()
    model = Model()
    step = TrainStep(model, optim.Adam(model.parameters()), nn.mse_loss, fallback="error")
    step(x, y)
    assert copied
    assert x.size not in copied  # the loop reads it with time first, as it was fed
    assert 26 * 5 * 4 not in copied  # nor the cotangents of all outputs, of which one counts
