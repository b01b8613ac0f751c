"""Interrupted and resumed is, bit for bit, uninterrupted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import DataLoader
from tinygrad_rnn.errors import CheckpointError
from tinygrad_rnn.storage.checkpoint import pack, unpack
from tinygrad_rnn.train import Trainer, TruncatedBPTT

from .models import Line, Recurrent, batches, data, mse, streams

OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.05, momentum=0.9),
    "adam": lambda p: optim.Adam(p, lr=0.05, amsgrad=True),
    "rmsprop": lambda p: optim.RMSprop(p, centered=True),
    "adagrad": lambda p: optim.Adagrad(p, lr_decay=0.1),
}


class SaveAt:
    """Saves after an update or after an epoch."""

    def __init__(self, path, steps=None, epoch=None):
        self.path, self.steps, self.epoch = path, steps, epoch

    def on_step_end(self, trainer):
        if trainer.steps == self.steps:
            trainer.save(self.path)

    def on_epoch_end(self, trainer):
        if trainer.epoch == self.epoch:
            trainer.save(self.path)


def without_time(history):
    return {k: v for k, v in history.items() if k != "seconds"}


def line(optimizer="adam", callbacks=(), seed=0):
    tr.seed(11)
    model = Line(noise=0.2, seed=seed)
    own = OPTIMIZERS[optimizer](model.parameters())
    after = optim.CosineAnnealingLR(own, 10)
    return Trainer(
        model,
        own,
        mse,
        schedule=optim.ReduceLROnPlateau(own, patience=0, factor=0.5),
        step_schedule=optim.LinearWarmup(own, 4, 0.2, after=after),
        clip_norm=1.0,
        callbacks=callbacks,
        progress=False,
    )


def loader(kind):
    if kind == "loader":
        return DataLoader(data(), 5, shuffle=True, seed=3)
    return batches(*data())


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", ["loader", "list"])
@pytest.mark.parametrize("where", [{"steps": 1}, {"steps": 7}, {"steps": 10}, {"epoch": 1}, {"epoch": 4}])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resumed_is_uninterrupted(tmp_path, kind, where, optimizer):
    path = tmp_path / "state.safetensors"
    options = {"validation": batches(*data(seed=9)), "epochs": 6, "patience": 3, "restore_best": True}
    whole = line(optimizer, [SaveAt(path, **where)])
    history = whole.fit(loader(kind), **options)
    draw = tr.config.generator().random()

    resumed = line(optimizer, seed=5)
    tr.seed(99)
    resumed.load(path)
    assert resumed.steps == where.get("steps", 5 * where.get("epoch", 0))
    assert without_time(resumed.fit(loader(kind), **options)) == without_time(history)
    for p, q in zip(whole.model.parameters(), resumed.model.parameters()):
        np.testing.assert_array_equal(p.data, q.data)
    assert tr.config.generator().random() == draw
    assert resumed.best == whole.best
    assert resumed.stop_reason == whole.stop_reason
    assert resumed.optimizer.param_groups[0]["lr"] == whole.optimizer.param_groups[0]["lr"]


def recurrent(callbacks=(), seed=0, nested=True):
    model = Recurrent(seed=seed, nested=nested)
    return Trainer(model, optim.Adam(model.parameters(), lr=0.02), mse, callbacks=callbacks, progress=False)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("where", [{"steps": 2}, {"steps": 8}, {"steps": 11}, {"epoch": 1}])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(("k1", "k2"), [(3, 3), (3, 7)])
def test_resumed_streams_carry_their_state(tmp_path, where, nested, k1, k2):
    path = tmp_path / "state.safetensors"
    whole = recurrent([SaveAt(path, **where)], nested=nested)
    history = whole.fit(TruncatedBPTT(*streams(), k1, k2), epochs=3)
    resumed = recurrent(seed=5, nested=nested)
    resumed.load(path)
    assert without_time(resumed.fit(TruncatedBPTT(*streams(), k1, k2), epochs=3)) == without_time(history)
    for p, q in zip(whole.model.parameters(), resumed.model.parameters()):
        np.testing.assert_array_equal(p.data, q.data)


def test_streams_interrupted_in_one_process():
    whole, pieces = recurrent(), recurrent()
    whole.fit(TruncatedBPTT(*streams(), 3, 7), epochs=3)
    stream = TruncatedBPTT(*streams(), 3, 7)
    for limit in (2, 8, 13, None):
        pieces.fit(stream, epochs=3, max_steps=limit)
    for p, q in zip(whole.model.parameters(), pieces.model.parameters()):
        np.testing.assert_array_equal(p.data, q.data)


def test_a_finished_training_stays_finished(tmp_path):
    path = tmp_path / "state.safetensors"
    first = line()
    first.fit(loader("list"), epochs=50, below=0.5)
    assert first.stop_reason
    first.save(path)
    second = line()
    second.load(path)
    second.fit(loader("list"), epochs=50, below=0.5)
    assert second.steps == first.steps
    assert second.stop_reason == first.stop_reason


def test_with_modules(tmp_path):
    def make():
        tr.seed(4)
        model = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.3), nn.Linear(8, 1))
        return Trainer(model, optim.AdamW(model.parameters(), lr=0.02), nn.MSELoss(), progress=False)

    train = loader("list")
    whole, first, second = make(), make(), make()
    tr.seed(8)
    history = whole.fit(train, validation=train, epochs=4)
    tr.seed(8)
    first.fit(train, validation=train, epochs=4, max_steps=7)
    first.save(tmp_path / "a")
    second.load(tmp_path / "a")
    assert without_time(second.fit(train, validation=train, epochs=4)) == without_time(history)
    for (name, p), q in zip(whole.model.named_parameters(), second.model.parameters()):
        np.testing.assert_array_equal(p.data, q.data, err_msg=name)
    assert history["loss"][-1] < history["loss"][0]


def test_plain_functions_save_the_optimizers_parameters(tmp_path):
    def make(value):
        w = tr.tensor([[value], [value]], requires_grad=True, dtype="float64")
        return w, Trainer(lambda x: x @ w, optim.SGD([w], lr=0.1), mse, progress=False)

    w, trainer = make(1.0)
    trainer.fit(loader("list"))
    trainer.save(tmp_path / "a")
    v, other = make(2.0)
    other.load(tmp_path / "a")
    np.testing.assert_array_equal(v.data, w.data)
    u = tr.tensor([1.0], requires_grad=True)
    with pytest.raises(CheckpointError, match=r"model: got parameters of shapes \[\(2, 1\)\], wanted \[\(1,\)\]"):
        Trainer(None, optim.SGD([u]), mse).load(tmp_path / "a")


def test_saving_replaces_the_file_and_leaves_nothing_else(tmp_path):
    trainer = line()
    for epochs in (1, 2):
        trainer.fit(loader("list"), epochs=epochs)
        trainer.save(tmp_path / "a")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    other = line()
    other.load(tmp_path / "a")
    assert other.epoch == 2


def test_files_that_are_no_checkpoints(tmp_path):
    from safetensors.numpy import save_file

    trainer = line()
    with pytest.raises(FileNotFoundError, match=r"path: got .*nothing"):
        trainer.load(tmp_path / "nothing")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(CheckpointError, match="cannot be read"):
        trainer.load(tmp_path / "text")
    save_file({"x": np.zeros(3)}, tmp_path / "other")
    with pytest.raises(CheckpointError, match="without a trainer's state"):
        trainer.load(tmp_path / "other")
    with pytest.raises(TypeError, match="x: got object"):
        pack({"x": object()}, {})


def test_other_schedules_are_refused(tmp_path):
    line().save(tmp_path / "a")
    model = Line()
    with pytest.raises(CheckpointError, match="schedule: got one in the file, wanted none"):
        Trainer(model, optim.Adam(model.parameters()), mse).load(tmp_path / "a")


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from([np.arange(3), np.ones((2, 0)), np.array(1.5), np.ones((2, 3), np.float32).T, np.array([True])])
)
trees = st.recursive(
    leaves,
    lambda t: (
        st.lists(t, max_size=3)
        | st.lists(t, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(), t, max_size=3)
    ),
    max_leaves=8,
)


def same(a, b):
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and (a == b).all()
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, tuple | list):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@given(trees)
def test_pack_and_unpack(tree):
    import json

    arrays = {}
    assert same(unpack(json.loads(json.dumps(pack(tree, arrays))), arrays), tree)
    assert all(a.flags.c_contiguous for a in arrays.values())
