"""Trainers whose batches share updates: as by hand on the tape, however they run, and after a resume amid a group."""

import signal

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import DataLoader
from tinygrad_rnn.errors import CheckpointError, NonFiniteDataError, NonFiniteError
from tinygrad_rnn.train import SaveCheckpoint, Trainer, TruncatedBPTT, many_steps, tiers

from . import test_native_trainer
from .test_native_trainer import (
    EveryStep,
    NowAndThen,
    Reader,
    data,
    everything,
    loader,
    same,
    trainer,
)

counts = test_native_trainer.counts
WAYS = [("never", ()), ("always", (EveryStep(),)), ("always", ())]  # the last one: many batches in one native call


@pytest.fixture(autouse=True)
def _double():
    tr.set_default_dtype("float64")
    yield
    tr.set_default_dtype("float32")


def close(one, other, path=""):
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            close(one[key], other[key], f"{path}/{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), path
        for a, b in zip(one, other):
            close(a, b, path)
    elif isinstance(one, float | np.ndarray):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12, err_msg=path)
    else:
        assert one == other, path


def result(one):
    """What has come of a training, but for times and for what only counts work."""
    state = everything(one)
    del state["training"]["worked"]
    return state


def warmup(own):
    return optim.LinearWarmup(own, 5, 0.2, after=optim.StepLR(own, 3, 0.5))


def by_hand(epochs, every, clip_norm=0.3):
    """Weights, means of losses and of norms, and the count of updates of a loop that is written out."""
    one = trainer(clip_norm=clip_norm)
    model, optimizer, schedule, batches = one.model, one.optimizer, warmup(one.optimizer), loader()
    rows, updates = [], 0
    for _ in range(epochs):
        epoch, losses, norms = [*batches], [], []
        for first in range(0, len(epoch), every):
            group = epoch[first : first + every]
            optimizer.zero_grad()
            for x, y in group:
                loss = nn.mse_loss(model(tr.tensor(x)), tr.tensor(y))
                (loss / len(group)).backward()
                losses.append(loss.item())
            norms.append(optim.clip_grad_norm_(list(model.parameters()), clip_norm))
            optimizer.step()
            schedule.step()
            updates += 1
        rows.append((np.mean(losses), np.mean(norms)))
    return model.state_dict(), np.array(rows).T, updates


@pytest.mark.parametrize(("compile", "callbacks"), WAYS)
def test_as_a_loop_that_is_written_out(compile, callbacks):
    weights, means, updates = by_hand(2, 4)  # 9 batches an epoch, the last one smaller: groups of 4, 4 and 1
    one = trainer(compile, clip_norm=0.3, accumulate=4, schedule=None, callbacks=callbacks)
    one.step_schedule = warmup(one.optimizer)
    one.fit(loader(), epochs=2)
    assert one.steps == updates == 6
    close(dict(one.model.state_dict()), dict(weights))
    np.testing.assert_allclose([one.history["loss"], one.history["grad_norm"]], means, rtol=1e-12)


def test_a_callback_comes_after_each_update_and_limits_count_updates(counts):
    seen = []

    class Count:
        def on_step_end(self, trainer):
            seen.append((trainer.steps, trainer.step_in_epoch, trainer.state.waiting))

    one = trainer(accumulate=4, callbacks=[Count()])
    one.fit(loader(), epochs=2, max_steps=5)
    assert seen == [(1, 4, 0), (2, 8, 0), (3, 9, 0), (4, 4, 0), (5, 8, 0)]
    many, batches = trainer(accumulate=4, callbacks=[NowAndThen()]), loader()
    for most in (1, 2, 5):
        many.fit(batches, epochs=2, max_steps=most)
        assert (many.steps, many.stop_reason) == (most, f"max_steps: {most} updates")
    assert max(counts) > 1
    same(result(one), result(many))


def interrupt_after(one, batches):
    """Let a signal come to a trainer during a batch; several are in one native call at most where two are."""
    original, done = one._outcomes, 0

    def outcomes(train, rules):
        nonlocal done
        for outcome in original(train, rules):
            before, done = done, done + len(outcome.losses)
            if before < batches <= done:
                one._interruption.signal = signal.SIGINT
            yield outcome

    one._outcomes = outcomes


@pytest.mark.parametrize(
    "batches", [9, *[pytest.param(n, marks=pytest.mark.slow) for n in (1, 11)]]
)  # 9: all of an epoch
@pytest.mark.parametrize(("compile", "callbacks"), [*WAYS, ("auto", ())])
def test_a_checkpoint_amid_a_group_goes_on_to_the_bit(tmp_path, monkeypatch, batches, compile, callbacks):
    monkeypatch.setattr(tiers, "ENOUGH", 3 * tiers.CALLS)
    monkeypatch.setattr(many_steps, "MOST", 2)
    saver = SaveCheckpoint(tmp_path / "t.safetensors")
    options = {"accumulate": 4, "nonfinite": "skip"}
    whole, first, second = (trainer(compile, callbacks=[*callbacks, *more], **options) for more in ((), (saver,), ()))
    whole.fit(loader(), epochs=3)
    interrupt_after(first, batches)
    order = loader()
    with pytest.raises(KeyboardInterrupt):
        first.fit(order, epochs=3)
    assert first.state.waiting > 0
    tr.seed(8)
    second.load(saver.path)
    assert second.state.waiting == first.state.waiting
    second.fit(loader(), epochs=3)
    same(everything(second), everything(whole))
    del first._outcomes  # the one that was interrupted goes on as well
    first.callbacks = [*callbacks]
    first.fit(order, epochs=3)
    close(result(first), result(whole))


@pytest.mark.parametrize("epochs", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_windows_of_a_stream(tmp_path, epochs):
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(13, 3, 2)), rng.normal(size=(13, 3, 1))
    inputs[7, 1] = np.nan
    found = []
    for compile, callbacks in WAYS:
        one = trainer(compile, model=Reader, accumulate=2, nonfinite="skip", callbacks=callbacks)
        with pytest.warns(RuntimeWarning, match=r"skipped: inputs.*batch 2 \(from 0\) of epoch"):
            one.fit(TruncatedBPTT(inputs, targets, 3), epochs=epochs)
        assert one.steps == 2 * epochs  # windows 0 and 1, 3 and 4
        found.append(result(one))
    same(found[1], found[2])
    close(found[0], found[1])


def test_a_batch_that_is_not_finite_has_no_part_in_a_group():
    found = []
    for compile, callbacks in WAYS:
        one = trainer(compile, nonfinite="skip", accumulate=4, callbacks=callbacks)
        with pytest.warns(RuntimeWarning, match="skipped: inputs"):
            one.fit(loader([3, 17, 18]), epochs=2)
        found.append(result(one))
    same(found[1], found[2])
    close(found[0], found[1])
    x, y = data([3])  # in order, that is batch 1: as without it
    one, other = (trainer("never", nonfinite="skip", accumulate=4, clip_norm=None) for _ in range(2))
    with pytest.warns(RuntimeWarning, match="batch 1"):
        one.fit(DataLoader((x, y), 3))
    other.fit([batch for k, batch in enumerate(DataLoader((x, y), 3)) if k != 1])
    close(dict(one.model.state_dict()), dict(other.model.state_dict()))
    assert one.history["skipped"] == [1]


@pytest.mark.parametrize(("compile", "callbacks"), WAYS)
def test_what_is_not_finite_ends_it_and_leaves_what_waits(compile, callbacks):
    order = np.concatenate([np.arange(26)[rows] for rows in loader().rows()])
    one = trainer(compile, accumulate=4, callbacks=callbacks)
    with pytest.raises(NonFiniteDataError, match=r"inputs: got nan at \(1, 0, 0\) in batch 6 \(from 0\) of epoch 1"):
        one.fit(loader([order[6 * 3 + 1]]), epochs=1)
    assert (one.steps, one.step_in_epoch, one.state.waiting) == (1, 6, 2)
    before = trainer(compile, accumulate=4, callbacks=callbacks)
    interrupt_after(before, 6)
    with pytest.raises(KeyboardInterrupt):
        before.fit(loader(), epochs=1)
    state, wanted = (each.state_dict() for each in (one, before))
    if one.callbacks or compile == "never":
        assert before.state.waiting == 2
        for part in ("model", "optimizer", "gradients"):
            same(state[part], wanted[part])
    assert [*state["gradients"]] == [name for name, _ in one.model.named_parameters()]


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize(("compile", "callbacks"), WAYS)
def test_gradients_that_are_not_finite_one_by_one_and_together(compile, callbacks):
    class Product(nn.Module):
        def __init__(self):
            self.first, self.w = nn.Parameter(np.ones(1)), nn.Parameter(np.ones(1))

        def forward(self, x):
            return x @ self.w + self.first

    def run(values, nonfinite):
        model = Product()
        optimizer = optim.SGD(model.parameters(), lr=1e-300)
        how = {"accumulate": 2, "compile": compile, "callbacks": callbacks, "progress": False}
        one = Trainer(model, optimizer, lambda y, t: (y - t).mean(), nonfinite=nonfinite, **how)
        x = np.array(values)[:, None]
        one.fit(DataLoader((x, np.zeros(len(x))), 1), epochs=1)
        return one

    text = r"gradients: got NaN or infinity for batch 1 \(from 0\) of epoch 1, wanted finite ones; look at w"
    with pytest.raises(NonFiniteError, match=text):
        run([1.7e308, 1.7e308, 1.0, 2.0], "stop")  # their sum overflows
    with pytest.warns(RuntimeWarning, match="look at w"):
        one = run([1.7e308, 1.7e308, 1.0, 2.0, 3.0], "skip")
    assert (one.steps, one.history["skipped"]) == (2, [1])
    close(one.model.w.data, 1 - 1e-300 * np.array([1.5 + 3.0]))


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("callbacks", [(), (EveryStep(),)])
def test_one_gradient_is_named(callbacks):
    class Root(nn.Module):
        def __init__(self):
            self.first, self.w = nn.Parameter(np.zeros(2)), nn.Parameter(np.zeros(2))

        def forward(self, x):
            return tr.sqrt(x @ self.w) + x @ self.first

    for compile in ("never", "always"):
        one = trainer(compile, model=Root, accumulate=2, callbacks=callbacks)
        with pytest.raises(NonFiniteError, match=r"gradients: got NaN or infinity for batch 0 .* look at w$"):
            one.fit([(np.ones((4, 2)), np.ones(4))])
        assert one.state.waiting == 0


def test_a_schedule_that_ends_before_the_updates_do():
    found = []
    for compile, callbacks in WAYS:
        one = trainer(compile, schedule=None, accumulate=4, callbacks=callbacks)
        one.step_schedule = optim.OneCycleLR(one.optimizer, 0.05, 5)
        with pytest.raises(ValueError, match="5"):
            one.fit(loader(), epochs=3)
        assert one.state.steps == 5 - 1  # the fifth was not counted
        found.append(one.model.state_dict())
    for other in found[1:]:
        close(dict(found[0]), dict(other))


def test_metrics_and_validation_are_means_over_batches():
    found = []
    for compile in ("never", "always"):
        metrics = {"error": lambda y, t: abs(y - t).mean()}
        one = trainer(compile, accumulate=4, metrics=metrics)
        one.fit(loader(), loader(), epochs=2)
        found.append(one.history)
    for name in ("loss", "error", "val_loss", "val_error"):
        np.testing.assert_allclose(found[0][name], found[1][name], rtol=1e-12)
    frozen = trainer("never", metrics=metrics, accumulate=100, schedule=None)
    frozen.optimizer.param_groups[0]["lr"] = 0.0
    frozen.fit(loader(), loader(), epochs=1)
    for name in ("loss", "error"):
        np.testing.assert_allclose(frozen.history[name], frozen.history[f"val_{name}"], rtol=1e-12)


def test_the_number_may_change_from_epoch_to_epoch():
    found = []

    def more(trainer):
        trainer.accumulate = trainer.epoch + 1

    for compile, callbacks in WAYS:
        one = trainer(compile, callbacks=[*callbacks, more])
        one.fit(loader(), epochs=3)
        assert one.steps == 9 + 5 + 3
        found.append(result(one))
    same(found[1], found[2])
    close(found[0], found[1])


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "2", True])
def test_bad_numbers(wrong):
    with pytest.raises((TypeError, ValueError), match="accumulate: got"):
        trainer(accumulate=wrong)
    one = trainer()
    one.accumulate = wrong
    with pytest.raises((TypeError, ValueError), match="accumulate: got"):
        one.fit(loader())


def test_an_optimiser_that_computes_losses_anew_has_no_groups():
    model = nn.Linear(2, 1)
    with pytest.raises(ValueError, match="accumulate: got 2, wanted 1, as LBFGS"):
        Trainer(model, optim.LBFGS(model.parameters()), nn.mse_loss, accumulate=2)


def test_damaged_gradients_in_a_checkpoint():
    one = trainer("never", accumulate=4)
    interrupt_after(one, 2)
    with pytest.raises(KeyboardInterrupt):
        one.fit(loader())
    state = one.state_dict()
    name = next(iter(state["gradients"]))
    for wrong in (None, {name: np.zeros(77)}, {"other": np.zeros(1)}, {name: 1.0}):
        with pytest.raises(CheckpointError, match="gradients: got"):
            trainer("never", accumulate=4).load_state_dict({**state, "gradients": wrong})
