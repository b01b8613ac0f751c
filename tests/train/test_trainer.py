"""The loop against loops written by hand; stopping, schedules, validation, callbacks, checks."""

import math

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import optim
from tinygrad_rnn.data import DataLoader
from tinygrad_rnn.errors import DataError
from tinygrad_rnn.train import Trainer, TruncatedBPTT

from .models import Line, Recurrent, batches, data, mse, streams


def make(loss=mse, lr=0.05, seed=0, **options):
    model = Line(seed=seed)
    return Trainer(model, optim.Adam(model.parameters(), lr=lr), loss, progress=False, **options)


def by_hand(epochs, clip_norm=None, clip_value=None, schedule=None, step_schedule=None):
    model = Line()
    optimizer = optim.Adam(model.parameters(), lr=0.05)
    per_epoch, per_step = (s and s(optimizer) for s in (schedule, step_schedule))
    losses, norms, rates = [], [], []
    for _ in range(epochs):
        total, norm, count = 0.0, 0.0, 0
        for x, y in batches(*data()):
            loss = mse(model(tr.tensor(x)), tr.tensor(y))
            optimizer.zero_grad()
            loss.backward()
            if clip_value:
                optim.clip_grad_value_(model.parameters(), clip_value)
            if clip_norm:
                norm += optim.clip_grad_norm_(model.parameters(), clip_norm)
            optimizer.step()
            if per_step:
                per_step.step()
            total += loss.item()
            count += 1
        losses.append(total / count)
        norms.append(norm / count)
        rates.append(optimizer.param_groups[0]["lr"])
        if per_epoch:
            per_epoch.step()
    return model, losses, norms, rates


def assert_same_weights(model, other):
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)


def step_lr(optimizer):
    return optim.StepLR(optimizer, 2, 0.5)


def warmup(optimizer):
    return optim.LinearWarmup(optimizer, 7, 0.1)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"clip_norm": 0.5},
        {"clip_value": 0.2},
        {"clip_value": 0.2, "clip_norm": 0.2},
        {"schedule": step_lr},
        {"step_schedule": warmup},
        {"schedule": step_lr, "step_schedule": warmup, "clip_norm": 1.0},
    ],
)
def test_as_a_loop_by_hand(options):
    model, losses, norms, rates = by_hand(4, **options)
    own = Line()
    optimizer = optim.Adam(own.parameters(), lr=0.05)
    made = {k: v(optimizer) if callable(v) else v for k, v in options.items()}
    trainer = Trainer(own, optimizer, mse, progress=False, **made)
    history = trainer.fit(batches(*data()), epochs=4)
    assert_same_weights(own, model)
    assert history["loss"] == losses
    assert history["lr"] == rates
    assert history.get("grad_norm", norms if "clip_norm" not in options else None) == norms
    assert len(history["seconds"]) == 4
    assert math.isclose(sum(history["seconds"]), trainer.seconds)
    assert (trainer.epoch, trainer.steps, trainer.stop_reason) == (4, 20, None)


def test_a_step_function_gets_the_batch_as_it_is():
    model, losses, _, _ = by_hand(2)
    own = Line()

    def step(batch):
        return mse(own(tr.tensor(batch["x"])), tr.tensor(batch["y"]))

    trainer = Trainer(own, optim.Adam(own.parameters(), lr=0.05), step=step, progress=False)
    loader = [{"x": x, "y": y} for x, y in batches(*data())]
    assert trainer.fit(loader, validation=loader, epochs=2)["loss"] == losses
    assert_same_weights(own, model)


def test_arrays_take_the_dtype_of_the_parameters():
    seen = []

    def loss(y, t):
        seen.extend([y.dtype, t.dtype])
        return mse(y, t)

    w = tr.tensor(np.zeros((2, 1), np.float32), requires_grad=True)
    trainer = Trainer(lambda x: x @ w, optim.SGD([w]), loss, progress=False)
    trainer.fit(batches(*data()))
    assert set(seen) == {np.dtype(np.float32)}

    ids = np.array([0, 1, 1])

    def model(x):
        seen.append(x.dtype)
        return tr.take(w, x, axis=0)

    Trainer(model, optim.SGD([w]), mse, progress=False).fit([(ids, np.ones((3, 1)))])
    assert seen[-1] == np.int64  # integers stay what they are


def test_validation():
    train, held_out = batches(*data()), batches(*data(seed=5))
    trainer = make()
    history = trainer.fit(train, validation=held_out, epochs=3)
    model = trainer.model
    with tr.no_grad():
        expected = np.mean([mse(model(tr.tensor(x)), tr.tensor(y)).item() for x, y in held_out])
    assert history["val_loss"][-1] == pytest.approx(expected, rel=1e-14)
    assert trainer.evaluate(held_out) == history["val_loss"][-1]
    assert model.modes == [True, *([False, True] * 4)]
    model.train(False)
    trainer.evaluate(held_out)
    assert model.training is False  # as it was


def test_below():
    losses = by_hand(30)[1]
    trainer = make()
    history = trainer.fit(batches(*data()), epochs=30, below=losses[9] * 1.0000001)
    assert history["loss"] == losses[:10]
    assert trainer.stop_reason.startswith("below")


def scripted(values):
    """A trainer whose validation losses are `values`, and the weight at each epoch."""
    w = tr.tensor([0.0], requires_grad=True)
    model = lambda x: w
    trainer = Trainer(model, optim.SGD([w], lr=1.0), lambda y, t: (y * 1.0 + t).sum(), progress=False)
    weights, left = [], list(values)
    trainer.evaluate = lambda data: left.pop(0)
    trainer.callbacks.append(lambda t: weights.append(w.item()))
    return trainer, w, weights


@pytest.mark.parametrize(
    ("values", "options", "epochs", "best"),
    [
        ([5, 4, 3, 3, 3, 2, 1], {"patience": 2}, 5, 3),
        ([5, 4, 3, 3, 2.9, 3, 3, 3, 1], {"patience": 3}, 8, 5),
        ([5, 4, 3.95, 3.92, 1], {"patience": 2, "min_delta": 0.1}, 4, 2),
        ([5, math.nan, math.nan, 1], {"patience": 2}, 3, 1),
        ([5, 4, 3, 2, 1], {"patience": 2}, 5, 5),
    ],
)
@pytest.mark.parametrize("restore_best", [False, True])
def test_patience(values, options, epochs, best, restore_best):
    trainer, w, weights = scripted(values)
    batch = (np.zeros(1), np.zeros(1))
    trainer.fit([batch], validation=[batch], epochs=len(values), restore_best=restore_best, **options)
    assert trainer.epoch == epochs
    assert trainer.best.epoch == best
    assert (trainer.stop_reason is None) == (epochs == len(values))
    assert w.item() == weights[best - 1 if restore_best else -1]


def test_max_steps_within_an_epoch_and_going_on():
    whole, pieces = make(), make()
    train = DataLoader(data(), batch_size=5, shuffle=True, seed=3)
    history = whole.fit(train, epochs=4)
    train = DataLoader(data(), batch_size=5, shuffle=True, seed=3)
    for limit in (3, 5, 11, 12):
        pieces.fit(train, epochs=4, max_steps=limit)
        assert pieces.steps == limit
        assert pieces.stop_reason == f"max_steps: {limit} updates"
    assert pieces.epoch == 2
    pieces.fit(train, epochs=4)
    assert pieces.stop_reason is None
    assert_same_weights(whole.model, pieces.model)
    assert pieces.history["loss"] == history["loss"]
    with pytest.warns(UserWarning, match="all 4 epochs were done already; epochs counts from the beginning"):
        pieces.fit(train, epochs=4)
    assert pieces.steps == 20


@pytest.mark.parametrize("saved", [False, True])
def test_going_on_after_the_best_weights(saved):
    """The best weights are what `fit` leaves, the last ones are what goes on."""
    x, y = data()
    train, second = batches(x, y), make()
    second.fit(train, epochs=2)
    valid = batches(x, second.model(tr.tensor(x)).numpy())  # which later epochs are trained away from
    whole, pieces = make(), make()
    history = whole.fit(train, valid, epochs=6, restore_best=True)
    assert whole.best.epoch == 2
    for limit in (3, 9, 10, 13, 17, 25, None):  # within an epoch and at its end
        pieces.fit(train, valid, epochs=6, max_steps=limit, restore_best=True)
        if pieces.epoch:
            assert pieces.evaluate(valid) == pieces.best.loss
        if saved:
            state, pieces = pieces.state_dict(), make()
            pieces.load_state_dict(state)
    assert_same_weights(whole.model, pieces.model)
    assert pieces.history["val_loss"] == history["val_loss"]
    longer = make().fit(train, valid, epochs=8)["val_loss"]
    assert whole.fit(train, valid, epochs=8)["val_loss"] == longer


def test_weights_that_were_changed_after_the_best_ones_are_kept():
    train = batches(*data())
    trainer = make()
    trainer.fit(train, epochs=6, restore_best=True)
    for p in trainer.model.parameters():
        p.data[...] = 0
    trainer.optimizer.param_groups[0]["lr"] = 0.0
    trainer.fit(train, epochs=7)
    assert all((p.data == 0).all() for p in trainer.model.parameters())


def test_max_steps_alone():
    trainer = make()
    trainer.fit(batches(*data()), epochs=None, max_steps=13)
    assert (trainer.steps, trainer.epoch) == (13, 2)


def test_max_seconds():
    trainer = make()
    trainer.fit(batches(*data()), epochs=None, max_seconds=0.05)
    assert trainer.stop_reason.startswith("max_seconds: 0.")
    assert 0.05 <= trainer.seconds < 5
    steps = trainer.steps
    trainer.fit(batches(*data()), epochs=None, max_seconds=0.05)
    assert trainer.steps == steps


def test_plateau_schedule_sees_the_validation_loss():
    trainer, _, _ = scripted([5, 4, 4, 4, 4])
    trainer.schedule = optim.ReduceLROnPlateau(trainer.optimizer, patience=1, factor=0.1)
    batch = (np.zeros(1), np.zeros(1))
    assert trainer.fit([batch], [batch], 5)["lr"] == pytest.approx([1, 1, 1, 1, 0.1])


def test_callbacks():
    events = []

    class Everything:
        def on_fit_start(self, trainer):
            events.append("fit")

        def on_epoch_start(self, trainer):
            events.append(f"epoch {trainer.epoch}")

        def on_step_end(self, trainer):
            events.append(f"step {trainer.steps} {trainer.optimizer.param_groups[0]['params'][0].grad is not None}")

        def on_epoch_end(self, trainer):
            events.append(f"end {trainer.epoch} {len(trainer.history['loss'])}")

        def on_fit_end(self, trainer):
            events.append("done")

    class Stopper:
        def on_epoch_end(self, trainer):
            if trainer.epoch == 2:
                trainer.stop("enough")

    trainer = make(callbacks=[Everything(), lambda t: events.append("f"), Stopper()])
    trainer.fit(batches(*data(), size=12), epochs=5)
    expected = "fit / epoch 0 / step 1 True / step 2 True / end 1 1 / f / epoch 1 / step 3 True / step 4 True"
    assert events == [*expected.split(" / "), "end 2 2", "f", "done"]
    assert trainer.stop_reason == "enough"


def test_a_callback_stops_within_an_epoch():
    class Stopper:
        def on_step_end(self, trainer):
            if trainer.steps == 7:
                trainer.stop()

    trainer = make(callbacks=[Stopper()])
    trainer.fit(batches(*data()), epochs=5)
    assert (trainer.steps, trainer.epoch, trainer.step_in_epoch) == (7, 1, 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["inputs", "targets"])
def test_nonfinite_in_data(bad, where):
    x, y = data()
    (x if where == "inputs" else y)[12, 0] = bad
    trainer = make()
    with pytest.raises(DataError, match=rf"{where}: got {bad} at \(2, 0\) in batch 2 \(from 0\) of epoch 1"):
        trainer.fit(batches(x, y))
    assert trainer.steps == 2
    other = make()
    other.fit(batches(*data()), max_steps=2)
    assert_same_weights(trainer.model, other.model)  # nothing was updated with the bad batch


def test_nonfinite_in_the_loss():
    def loss(y, t):
        return mse(y, t) / (0.0 if trainer.steps == 3 else 1.0)

    trainer = make(loss)
    with (
        np.errstate(divide="ignore"),
        pytest.raises(FloatingPointError, match=r"loss: got inf for batch 3 \(from 0\) of epoch 1"),
    ):
        trainer.fit(batches(*data()))
    other = make()
    other.fit(batches(*data()), max_steps=3)
    assert_same_weights(trainer.model, other.model)


def test_nonfinite_in_the_gradients():
    w = tr.tensor([0.0], requires_grad=True)
    options = {"clip_norm": 1.0, "progress": False}
    trainer = Trainer(lambda x: tr.sqrt(w), optim.SGD([w]), lambda y, t: y.sum(), **options)
    with (
        np.errstate(divide="ignore"),
        pytest.raises(FloatingPointError, match="gradients: got a norm of inf for batch 0"),
    ):
        trainer.fit([(np.zeros(1), np.zeros(1))])
    assert w.item() == 0.0


def test_nonfinite_names_the_arrays_of_other_batches():
    w = tr.tensor([0.0], requires_grad=True)
    trainer = Trainer(None, optim.SGD([w]), step=lambda batch: (w * batch[1]).sum(), progress=False)
    with pytest.raises(DataError, match=r"array 1: got nan at \(1,\)"):
        trainer.fit([(np.array([1, 2]), np.array([0.0, np.nan]), "text")])


def test_nan_may_be_ignored():
    x, y = data()
    x[0, 0] = np.nan
    trainer = make(nonfinite="ignore")
    trainer.fit(batches(x, y))
    assert math.isnan(trainer.history["loss"][0])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: make().fit([]), DataError, "train: got no batches in epoch 1"),
        (lambda: make().fit(iter(batches(*data())), epochs=2), DataError, "no batches in epoch 2.*generator"),
        (lambda: make().fit(batches(*data()), []), DataError, "validation: got no batches"),
        (lambda: make().fit([data()[0][:3]]), DataError, r"batch: got ndarray, wanted a pair"),
        (lambda: make().fit([3]), DataError, "batch: got int, wanted a pair"),
        (lambda: make().fit([data()], epochs=None), ValueError, "epochs: got None"),
        (lambda: make().fit([data()], patience=0), ValueError, "patience: got 0"),
        (lambda: make().fit([data()], max_steps=-1), ValueError, "max_steps: got -1"),
        (lambda: make().fit([data()], max_seconds=0), ValueError, "max_seconds: got 0"),
        (lambda: make().fit([data()], min_delta=-1), ValueError, "min_delta: got -1"),
        (lambda: make(None), ValueError, "loss: got neither"),
        (lambda: make(step=mse), ValueError, "loss: got both"),
        (lambda: make(clip_norm=0), ValueError, "clip_norm: got 0"),
        (lambda: make(clip_value=-1), ValueError, "clip_value: got -1"),
        (lambda: make(callbacks=[3]), TypeError, "callbacks: got int"),
        (lambda: make(loss=lambda y, t: y).fit([data()]), ValueError, "one element"),
        (
            lambda: make(None, step=mse).fit(TruncatedBPTT(*streams(), k1=2)),
            ValueError,
            "train: got TruncatedBPTT and a step function",
        ),
        (
            lambda: make(None, step=mse).evaluate(TruncatedBPTT(*streams(), k1=2)),
            ValueError,
            "data: got TruncatedBPTT",
        ),
    ],
)
def test_bad_arguments(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_plateau_per_step_is_refused():
    own = optim.SGD(Line().parameters())
    with pytest.raises(ValueError, match="step_schedule: got ReduceLROnPlateau"):
        Trainer(None, own, mse, step_schedule=optim.ReduceLROnPlateau(own))


def test_reproducible_from_one_seed():
    def run(seed):
        tr.seed(seed)
        model = Line(noise=0.3)
        trainer = Trainer(model, optim.Adam(model.parameters()), mse, progress=False)
        return trainer.fit(DataLoader(data(), 4, shuffle=True), epochs=3)["loss"]

    assert run(1) == run(1) != run(2)


def test_progress_bar(capsys):
    trainer = make()
    trainer.progress = None  # standard error is no terminal here
    trainer.fit(batches(*data()), epochs=2)
    assert capsys.readouterr().err == ""
    trainer.progress = True
    trainer.fit(batches(*data()), validation=batches(*data()), epochs=4)
    text = capsys.readouterr().err
    assert "20/20" in text
    assert "epoch=4" in text
    assert "val_loss=" in text
    trainer.fit(batches(*data()), epochs=None, max_steps=25)
    assert "25/25" in capsys.readouterr().err


def test_recurrent_model_with_a_step_function():
    model = Recurrent()
    x, y = streams()
    trainer = Trainer(
        model,
        optim.Adam(model.parameters(), lr=0.02),
        step=lambda b: mse(model(tr.tensor(b[0]))[0], b[1]),
        progress=False,
    )
    history = trainer.fit([(x, y)], epochs=40)
    assert history["loss"][-1] < 0.5 * history["loss"][0]


def test_inputs_that_are_a_tuple_are_several_arguments():
    w = tr.tensor(np.zeros((2, 1)), requires_grad=True)
    seen = []

    def model(x, lengths):
        seen.append((type(x), x.dtype, lengths.dtype))
        return x @ w * lengths.astype("float64")[:, None]

    x, lengths = np.eye(2, dtype=np.float32), np.array([1, 2])
    trainer = Trainer(model, optim.SGD([w], lr=0.3), mse, progress=False)
    trainer.fit([((x, lengths), np.array([[3.0], [8.0]]))], epochs=80)
    np.testing.assert_allclose(w.numpy(), [[3], [4]], rtol=1e-3)
    assert seen[0] == (tr.Tensor, np.dtype(np.float64), np.dtype(np.int64))
    with pytest.raises(DataError, match=r"inputs\[0\]: got nan at \(1, 0\)"):
        trainer.fit([((np.array([[1.0, 0], [np.nan, 0]]), lengths), np.zeros((2, 1)))], epochs=99)
