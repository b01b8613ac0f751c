"""Metrics of a training, by every way to update, and predictions."""

import copy

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import DataLoader
from tinygrad_rnn.errors import CheckpointError, DataError, NonFiniteDataError, ShapeError
from tinygrad_rnn.train import PrintEpochs, SaveCheckpoint, Trainer, TruncatedBPTT


class Classifier(nn.Module):
    def __init__(self, dropout=0.3):
        self.layer, self.drop, self.head = nn.GRU(2, 4, batch_first=True), nn.Dropout(dropout), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.drop(self.layer(x)[0][:, -1]))


def data(n=13):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 5, 2)).astype(np.float32), rng.integers(0, 3, n)


def trainer(compile="never", **options):
    tr.seed(0)
    model = Classifier()
    options = {"metrics": {"accuracy": nn.accuracy}, **options}
    return Trainer(
        model, optim.Adam(model.parameters(), lr=0.02), nn.cross_entropy, compile=compile, progress=False, **options
    )


def mean_of(predictions, targets):
    return predictions.mean()


@pytest.mark.slow
@pytest.mark.sampled(2)
@pytest.mark.parametrize("compile", ["never", "always"])
def test_a_metric_may_write_in_what_it_is_given(compile):
    def clipped(predictions, targets):
        predictions.data[predictions.data < 0] = 0
        targets.data[...] = 0
        return predictions.max()

    x, y = data()
    histories = []
    for metric in (lambda predictions, targets: predictions.max(), clipped):
        one = trainer(compile, metrics={"m": metric})
        one.fit(DataLoader((x, y), 5), DataLoader((x, y), 5), epochs=2)
        histories.append((one.history["loss"], one.history["val_loss"]))
    assert (y != 0).any()
    assert histories[0] == histories[1]


def test_metrics_are_means_over_batches_of_what_the_losses_saw():
    seen = []

    def watch(predictions, targets):
        assert not predictions.requires_grad
        seen.append((predictions.numpy().copy(), targets.numpy().copy()))
        return nn.accuracy(predictions, targets)

    one = trainer(metrics={"accuracy": watch})
    x, y = data()
    batches = [(x[i : i + 4], y[i : i + 4]) for i in range(0, 12, 4)]
    history = one.fit(batches, [(x, y)], epochs=2)
    assert [*history][:4] == ["loss", "accuracy", "val_loss", "val_accuracy"]
    shares = [(p.argmax(-1) == t).mean() for p, t in seen]
    assert history["accuracy"] == pytest.approx([np.mean(shares[:3]), np.mean(shares[4:7])])
    assert history["val_accuracy"] == pytest.approx([shares[3], shares[7]])
    losses = [nn.cross_entropy(tr.tensor(p), t).item() for p, t in seen]
    assert history["loss"] == pytest.approx([np.mean(losses[:3]), np.mean(losses[4:7])])
    assert one.measure([(x, y)]) == {"loss": one.evaluate([(x, y)]), "accuracy": history["val_accuracy"][-1]}


@pytest.mark.slow
@pytest.mark.sampled(3)
@pytest.mark.parametrize("loss_kind", ["batches", "loader", "stream"])
def test_programs_measure_what_the_tape_measures(loss_kind):
    x, y = data()

    def run(compile, metrics):
        tr.seed(0)
        if loss_kind == "stream":
            model, loss = nn.GRU(2, 3), nn.mse_loss
            streams = np.random.default_rng(1).normal(size=(11, 2, 2)).astype(np.float32)
            train = TruncatedBPTT(streams, np.tile(streams[..., :1], 3), k1=4, k2=6)
            validation = train
        else:
            model, loss = Classifier(), nn.cross_entropy
            train = DataLoader((x, y), 4, shuffle=True, seed=3)
            train = train if loss_kind == "loader" else list(train)
            validation = [(x, y)]
        optimizer = optim.Adam(model.parameters(), lr=0.02)
        one = Trainer(model, optimizer, loss, compile=compile, metrics=metrics, clip_norm=1.0, progress=False)
        history = one.fit(train, validation, epochs=3)
        history.pop("seconds")
        return history

    metrics = {"mean": mean_of, "size": lambda p, t: len(t)}
    tape, programs = run("never", metrics), run("always", metrics)
    assert [*tape] == [*programs]
    for name, column in tape.items():
        np.testing.assert_allclose(programs[name], column, rtol=2e-4, atol=1e-6)
    without = run("always", None)
    for name, column in without.items():  # and they change nothing
        np.testing.assert_allclose(programs[name], column, rtol=1e-5, atol=1e-7)


def test_the_metrics_of_a_stream():
    streams = np.arange(10.0)[:, None, None]
    w = tr.tensor(np.zeros(1), requires_grad=True)
    one = Trainer(
        lambda x, state: (x * 1.0, x),
        optim.SGD([w]),
        lambda y, t: (y * w).sum(),
        metrics={"first": lambda y, t: y[0]},
        progress=False,
    )
    found = one.measure(TruncatedBPTT(streams, streams, k1=4))
    assert found["first"] == pytest.approx((4 * 0 + 4 * 4 + 2 * 8) / 10)  # each step weighs the same


def test_an_optimizer_that_computes_its_loss_several_times_is_measured_once():
    x, y = data()
    calls = []
    for compile in ("never", "always"):
        tr.seed(0)
        model = Classifier(dropout=0.0)
        one = Trainer(
            model,
            optim.LBFGS(model.parameters(), max_iter=4),
            nn.cross_entropy,
            compile=compile,
            metrics={"loss_too": lambda p, t: calls.append(0) or nn.cross_entropy(p, t)},
            progress=False,
        )
        history = one.fit([(x, y)], epochs=2)
        assert history["loss_too"] == pytest.approx(history["loss"], rel=1e-5)
    assert len(calls) == 4


def test_batches_that_are_skipped_do_not_count():
    x, y = data()
    bad = x.copy()
    bad[5] = np.nan
    for compile in ("never", "always"):
        one = trainer(compile, nonfinite="skip", metrics={"size": lambda p, t: len(t)})
        with pytest.warns(RuntimeWarning, match="skipped: inputs: got nan"):
            history = one.fit([(bad[:4], y[:4]), (bad[4:6], y[4:6]), (bad[6:], y[6:])], epochs=1)
        assert history["size"] == [(4 + 7) / 2]
        assert history["skipped"] == [1]


def test_an_epoch_that_was_left_goes_on(tmp_path):
    x, y = data()
    batches = [(x[i : i + 4], y[i : i + 4]) for i in range(0, 13, 4)]
    whole = trainer().fit(batches, epochs=2)
    first = trainer(callbacks=[SaveCheckpoint(tmp_path / "run.safetensors", seconds=0)])
    first.fit(batches, epochs=2, max_steps=6)
    second = trainer()
    second.load(tmp_path / "run.safetensors")
    assert second.fit(batches, epochs=2)["accuracy"] == whole["accuracy"]
    with pytest.raises(CheckpointError, match=r"metrics: got \['accuracy'\] in the file, wanted \[\]"):
        trainer(metrics=None).load(tmp_path / "run.safetensors")
    again = copy.deepcopy(second)
    assert again.measure(batches) == second.measure(batches)


@pytest.mark.parametrize(
    ("metrics", "error", "text"),
    [
        ([nn.accuracy], TypeError, "metrics: got list, wanted a dict of functions"),
        (nn.accuracy, TypeError, "metrics: got function, wanted a dict"),
        ({"accuracy": "accuracy"}, TypeError, r"metrics\['accuracy'\]: got 'accuracy', wanted a function"),
        ({"loss": nn.accuracy}, ValueError, "metrics: got the name 'loss', wanted one that is no other"),
        ({"val_accuracy": nn.accuracy}, ValueError, "metrics: got the name 'val_accuracy'"),
        ({3: nn.accuracy}, TypeError, "metrics: got the name 3"),
        ({"l": nn.CrossEntropyLoss}, TypeError, r"metrics\['l'\]: got the class CrossEntropyLoss, wanted Cross"),
    ],
)
def test_wrong_metrics(metrics, error, text):
    with pytest.raises(error, match=text):
        trainer(metrics=metrics)


def test_what_a_metric_returns():
    x, y = data()
    for value in (None, np.zeros(2), "good", 1j):
        one = trainer(metrics={"m": lambda p, t, value=value: value})
        with pytest.raises(TypeError, match=r"metrics\['m'\]: got .*, wanted a single number"):
            one.fit([(x, y)])
        assert one.steps == 0
    one = trainer(metrics={"m": lambda p, t: tr.ones((1, 1)), "n": lambda p, t: np.bool_(True)})
    history = one.fit([(x, y)])
    assert history["m"] == history["n"] == [1.0]


def test_a_step_function_shows_no_predictions():
    w = tr.tensor(np.zeros(1), requires_grad=True)
    with pytest.raises(ValueError, match="metrics: got some and a step function"):
        Trainer(None, optim.SGD([w]), step=lambda b: w.sum(), metrics={"accuracy": nn.accuracy})


# ---- several inputs and targets


@pytest.mark.parametrize("compile", ["never", "always"])
def test_inputs_by_name_and_several_targets(compile):
    tr.seed(0)
    left, right = nn.Linear(2, 1), nn.Linear(3, 1)
    params = [*left.parameters(), *right.parameters()]
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(6, 2)), rng.normal(size=(6, 3))

    def model(a, b):
        return left(a), right(b)

    def loss(predictions, targets):
        assert type(targets) is tuple
        return sum(((p - t) ** 2).mean() for p, t in zip(predictions, targets))

    one = Trainer(
        model,
        optim.SGD(params, lr=0.1),
        loss,
        compile=compile,
        metrics={"second": lambda p, t: ((p[1] - t[1]) ** 2).mean()},
        progress=False,
    )
    batches = [({"b": b, "a": a}, (a[:, :1], b[:, :1]))]
    history = one.fit(batches, epochs=100)
    assert history["loss"][-1] < 0.05 * history["loss"][0]
    assert history["second"][-1] < 0.05
    _, q = one.predict({"b": b, "a": a})
    np.testing.assert_allclose(q, one.predict(batches)[1])
    bad = b.copy()
    bad[2, 1] = np.inf
    with pytest.raises(NonFiniteDataError, match=r"inputs\['b'\]: got inf at \(2, 1\)"):
        one.fit([({"b": bad, "a": a}, (a[:, :1], b[:, :1]))], epochs=101)


def test_a_column_that_begins_late_stands_at_its_epochs(capsys):
    x, y = data()
    one = trainer(callbacks=[PrintEpochs(0)])
    one.fit([(x, y)], epochs=2)
    one.fit([(x, y)], [(x[:5], y[:5])], epochs=4)
    history = one.history
    assert np.isnan(history["val_loss"]).tolist() == np.isnan(history["val_accuracy"]).tolist() == [1, 1, 0, 0]
    assert one.state.watched() == history["val_loss"][-1]  # which patience counts, not the loss of the training
    assert one.best.loss == min(history["val_loss"][2:])
    one.metrics = {}
    one.fit([(x, y)], epochs=5)
    assert one.best.loss == one.state.watched() == history["loss"][-1]
    assert "val_" not in capsys.readouterr().out.splitlines()[-1]  # nothing of the epoch before
    one.metrics = {"accuracy": nn.accuracy}
    one.fit([(x, y)], epochs=6)
    assert np.isnan(history["accuracy"]).tolist() == [0, 0, 0, 0, 1, 0]
    other = trainer()
    other.load_state_dict(one.state_dict())
    np.testing.assert_equal(other.history, history)


@pytest.mark.parametrize("validation", [[data()[:1]], [(*data(), 0)], ({"x": 1},)])
def test_batches_of_a_list_are_looked_at_before_the_training(validation):
    one = trainer()
    with pytest.raises(DataError, match=r"batch: got .*, wanted a pair"):
        one.fit([data()], validation)
    assert one.steps == 0


# ---- predictions


def test_predict():
    one = trainer()
    x, y = data()
    one.model.eval()
    wanted = one.model(x).numpy()
    one.model.train()
    for inputs, options in [
        (x, {}),
        (tr.tensor(x), {}),
        (x.tolist(), {}),
        ((x,), {}),
        (x, {"batch_size": 4}),
        ([(x[:4], y[:4]), (x[4:], y[4:])], {}),
        (DataLoader((x, y), 5), {}),
        (DataLoader(x, 5), {}),
        ([(x[:4], None), (x[4:], None)], {"output_axis": 0}),
    ]:
        found = one.predict(inputs, **options)
        assert type(found) is np.ndarray
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    assert one.model.training


def test_predict_with_time_first():
    tr.seed(0)
    layer = nn.GRU(2, 3)
    one = Trainer(layer, optim.SGD(layer.parameters(), lr=0.1), lambda y, t: y[0].sum(), progress=False)
    x = np.random.default_rng(0).normal(size=(5, 7, 2)).astype(np.float32)
    y, h = one.predict(x, batch_size=3, batch_axis=1)
    wanted_y, wanted_h = layer(x)
    np.testing.assert_allclose(y, wanted_y.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(h, wanted_h.numpy(), rtol=1e-5, atol=1e-6)
    last = Trainer(lambda x: layer(x)[0][-1], optim.SGD(layer.parameters()), nn.mse_loss, progress=False)
    with pytest.raises(ShapeError, match=r"predictions: got shape \(2, 3\), wanted 2 examples along axis 1"):
        last.predict(x, batch_size=2, batch_axis=1)
    found = last.predict(x, batch_size=2, batch_axis=1, output_axis=0)
    np.testing.assert_allclose(found, wanted_y.numpy()[-1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "options", "error", "text"),
    [
        (DataLoader(data(), 4, shuffle=True, seed=0), {}, ValueError, "got a DataLoader that shuffles"),
        (data()[0], {"batch_size": 0}, ValueError, "batch_size: got 0"),
        (data()[0], {"batch_size": 2, "batch_axis": 5}, ShapeError, "wanted an axis 5"),
        (data()[0], {"batch_axis": 1.0}, TypeError, "batch_axis, output_axis: got 1.0"),
        ((data()[0], data()[0][:3]), {"batch_size": 2}, ShapeError, r"got \[13, 3\] examples"),
        (3.0, {}, TypeError, "inputs: got float, wanted an iterable"),
        ([], {}, DataError, "inputs: got no batches"),
        ([data()], {"batch_size": 2}, ValueError, "batch_size: got 2 for batches"),
        (TruncatedBPTT(np.zeros((3, 1, 1)), np.zeros((3, 1, 1)), 2), {}, TypeError, "inputs: got TruncatedBPTT"),
    ],
)
def test_what_cannot_be_predicted(inputs, options, error, text):
    with pytest.raises(error, match=text):
        trainer().predict(inputs, **options)
