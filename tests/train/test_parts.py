"""What a trainer looks at when it is made, and what it leaves as it was: modes of submodules, files."""

import os
import stat

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.errors import CheckpointError, DataError, ShapeError
from tinygrad_rnn.storage.files import write_whole
from tinygrad_rnn.train import SaveCheckpoint, Trainer

from .models import batches, data


def network():
    tr.seed(3)
    return nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.5), nn.Linear(4, 1), nn.Dropout(0.1))


def make(model=None, **options):
    model = model or network()
    return Trainer(model, optim.SGD(model.parameters(), lr=0.05), nn.mse_loss, progress=False, **options)


def train(trainer, **options):
    return trainer.fit(batches(*data()), batches(*data(seed=5)), **options)


# ---- modes


def modes(model):
    return [m.training for m in model.modules()]


def once_more(trainer):
    train(trainer, epochs=trainer.epoch + 1)


def evaluate(trainer):
    trainer.evaluate(batches(*data()))


@pytest.mark.parametrize("action", [once_more, evaluate])
def test_parts_in_evaluation_stay_so(action):
    model = network()
    frozen = list(model.children())[1]
    frozen.eval()
    trainer, seen = make(model, callbacks=[lambda t: seen.append(modes(model))]), []
    action(trainer)
    assert modes(model) == [True, True, False, True, True]
    assert all(s == [True, True, False, True, True] for s in seen)
    model.train()
    action(trainer)
    assert modes(model) == [True] * 5


def test_a_frozen_part_draws_nothing_while_training():
    model = network()
    for part in list(model.children())[1::2]:
        part.eval()
    before = tr.config.generator().bit_generator.state
    train(make(model))
    assert tr.config.generator().bit_generator.state == before


def test_a_model_in_evaluation_goes_back_to_its_last_modes():
    model = network()
    list(model.children())[1].eval()
    trainer = make(model)
    model.eval()  # to predict, say
    trainer.evaluate(batches(*data()))
    assert modes(model) == [False] * 5
    train(trainer)
    assert modes(model) == [True, True, False, True, True]


# ---- parts


class Line(nn.Module):
    def __init__(self):
        self.w = nn.Parameter(np.zeros((2, 1)))

    def forward(self, x):
        return x @ self.w


OTHER = Line()


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        (lambda m: (m, "adam", nn.mse_loss), {}, TypeError, "optimizer: got 'adam', wanted an Optimizer, such as"),
        (lambda m: (m, optim.Adam, nn.mse_loss), {}, TypeError, "optimizer: got the class Adam, wanted an Optimizer"),
        (lambda m: (m, None, nn.mse_loss), {}, TypeError, "optimizer: got NoneType"),
        (lambda m: (m, optim.Adam(OTHER.parameters()), nn.mse_loss), {}, ValueError, "optimizer: got one of other"),
        (lambda m: (m, optim.SGD(m.parameters()), "mse"), {}, TypeError, "loss: got 'mse', wanted a function loss"),
        (
            lambda m: (m, optim.SGD(m.parameters()), nn.MSELoss),
            {},
            TypeError,
            r"loss: got the class MSELoss, wanted MS",
        ),
        (lambda m: (Line, optim.SGD(m.parameters()), nn.mse_loss), {}, TypeError, "model: got the class Line"),
        (lambda m: (3, optim.SGD(m.parameters()), nn.mse_loss), {}, TypeError, "model: got 3, wanted a module"),
        (lambda m: (m, optim.SGD(m.parameters())), {"step": 3}, TypeError, "step: got 3, wanted a function step"),
        (lambda m: (m, optim.SGD(m.parameters()), nn.mse_loss), {"schedule": "x"}, TypeError, "schedule: got 'x'"),
        (
            lambda m: (m, optim.SGD(m.parameters()), nn.mse_loss),
            {"schedule": optim.StepLR(optim.SGD(OTHER.parameters()), 1)},
            ValueError,
            "schedule: got a schedule of another optimizer",
        ),
        (lambda m: (m, optim.SGD(m.parameters()), nn.mse_loss), {"clip_norm": "1"}, TypeError, "clip_norm: got '1'"),
        (
            lambda m: (m, optim.SGD(m.parameters()), nn.mse_loss),
            {"callbacks": print},
            TypeError,
            "callbacks: got b",
        ),
        (
            lambda m: (m, optim.SGD(m.parameters()), nn.mse_loss),
            {"callbacks": [SaveCheckpoint]},
            TypeError,
            "callbacks: got the class SaveCheckpoint",
        ),
        (
            lambda m: (m, optim.SGD([{"params": []}]), nn.mse_loss),
            {},
            ValueError,
            "optimizer: got one without",
        ),
    ],
)
def test_arguments(arguments, options, error, words):
    with pytest.raises(error, match=words):
        Trainer(*arguments(Line()), **options)


X, Y = (a.astype(np.float32) for a in data())


@pytest.mark.parametrize(
    ("train", "options", "error", "words"),
    [
        ((X, Y), {}, DataError, "train: got a tuple of 2 arrays, wanted an iterable of batches"),
        (X, {}, DataError, r"train: got one array of shape \(23, 2\)"),
        (3, {}, TypeError, "train: got int, wanted an iterable of batches"),
        ("ab", {}, TypeError, "train: got str"),
        ({"x": X}, {}, TypeError, "train: got dict"),
        (
            [(X, Y, X)],
            {},
            DataError,
            r"batch: got tuple, wanted a pair .* it holds 3, and several inputs are one tuple",
        ),
        ([X[:2]], {}, DataError, r"batch: got ndarray, wanted a pair .* its shape is \(2, 2\)"),
        ([{"x": X, "y": Y}], {}, DataError, "batch: got dict, wanted a pair"),
        (["ab"], {}, DataError, "batch: got str, wanted a pair"),
        ([(X, Y)], {"validation": (X, Y)}, DataError, "validation: got a tuple of 2 arrays"),
        ([(X, Y)], {"epochs": 1.5}, TypeError, "epochs: got 1.5, wanted a whole number"),
        ([(X, Y)], {"epochs": "3"}, TypeError, "epochs: got '3'"),
        ([(X, Y)], {"epochs": -1}, ValueError, "epochs: got -1"),
        ([(X, Y)], {"patience": "3"}, TypeError, "patience: got '3', wanted a whole number"),
        ([(X, Y)], {"max_steps": 2.5}, TypeError, "max_steps: got 2.5, wanted a whole number"),
        ([(X, Y)], {"max_seconds": None, "epochs": None}, ValueError, "epochs: got None"),
        ([(X, Y)], {"below": "x"}, TypeError, "below: got 'x', wanted a number"),
        ([(X, Y)], {"below": np.nan}, ValueError, "below: got nan"),
    ],
)
def test_what_to_fit(train, options, error, words):
    with pytest.raises(error, match=words):
        make().fit(train, **options)


def test_a_loss_that_is_no_tensor():
    trainer = make()
    trainer.loss_fn = lambda y, t: 3.0
    with pytest.raises(TypeError, match="loss: got float from the loss function, wanted a Tensor"):
        trainer.fit([(X, Y)])
    trainer.loss_fn = lambda y, t: (y - t) ** 2
    with pytest.raises(ShapeError, match=r"loss: got shape .* from the loss function, wanted one element"):
        trainer.fit([(X, Y)])


def test_a_second_fit_says_that_there_is_nothing_to_do():
    trainer = make()
    trainer.fit([(X, Y)], epochs=5)
    with pytest.warns(UserWarning, match="nothing to do: all 5 epochs were done already; epochs counts from the begin"):
        trainer.fit([(X, Y)], epochs=5)
    trainer.fit([(X, Y)], epochs=6)
    assert trainer.epoch == 6


def test_parameters_that_are_not_the_models_are_saved_too(tmp_path):
    def trainer(value):
        model, scale = Line(), tr.tensor(np.full(1, value), requires_grad=True)
        optimizer = optim.Adam([*model.parameters(), scale], lr=0.1)
        return scale, Trainer(model, optimizer, lambda y, t: nn.mse_loss(y * scale, t), progress=False)

    whole, first = trainer(1.0)
    first.fit([(X, Y)], epochs=5, restore_best=True)
    first.save(tmp_path / "a")
    again, second = trainer(9.0)
    second.load(tmp_path / "a")
    assert again.item() == whole.item()


def test_fit_with_nothing_to_do_keeps_the_place_in_the_loader(tmp_path):
    def loader():
        return tr.data.DataLoader((X, Y), 5, shuffle=True, seed=1)

    whole, first, second, third = make(), make(), make(), make()
    tr.seed(1)
    whole.fit(loader(), epochs=2)
    tr.seed(1)
    first.fit(loader(), epochs=2, max_steps=7)
    first.save(tmp_path / "a")
    second.load(tmp_path / "a")
    second.fit(loader(), epochs=2, max_steps=7)
    second.save(tmp_path / "b")
    third.load(tmp_path / "b")
    third.fit(loader(), epochs=2)
    for p, q in zip(whole.model.parameters(), third.model.parameters()):
        np.testing.assert_array_equal(p.data, q.data)


# ---- files


def test_folders_are_made_and_bad_places_are_found_at_the_beginning(tmp_path):
    path = tmp_path / "new" / "folder" / "run.safetensors"
    train(make(callbacks=[SaveCheckpoint(path)]))
    assert path.exists()
    (tmp_path / "file").write_text("mine")
    for bad in (tmp_path / "file" / "run", tmp_path / "new"):
        trainer = make(callbacks=[SaveCheckpoint(bad)])
        with pytest.raises(OSError, match=bad.name) as error:
            train(trainer)
        assert str(bad) in str(error.value)
        assert trainer.steps == 0
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(p.name for p in path.parent.iterdir()) == ["run.safetensors"]


class Break:
    """Puts a file in the way of the folder after some updates, and takes it away after others."""

    def __init__(self, folder, first, last):
        self.folder, self.first, self.last = folder, first, last

    def on_step_end(self, trainer):
        away = self.folder.with_name("away")
        if trainer.steps == self.first:
            self.folder.rename(away)
            self.folder.write_text("in the way")
        elif trainer.steps == self.last:
            self.folder.unlink()
            away.rename(self.folder)


def test_a_checkpoint_that_fails_later_is_tried_again(tmp_path):
    path = tmp_path / "folder" / "run"
    trainer = make(callbacks=[Break(path.parent, 2, 4), SaveCheckpoint(path, seconds=0)])
    with pytest.warns(RuntimeWarning, match=r"no checkpoint after update [23]: ") as warned:
        train(trainer, epochs=2)
    assert len(warned) == 2
    again = make()
    again.load(path)
    assert again.steps == trainer.steps == 10


def test_a_last_checkpoint_that_fails_is_an_error(tmp_path):
    path = tmp_path / "folder" / "run"
    trainer = make(callbacks=[Break(path.parent, 4, 99), SaveCheckpoint(path, seconds=0)])
    with pytest.warns(RuntimeWarning, match="no checkpoint after update"), pytest.raises(OSError, match="run"):
        train(trainer)
    assert len(trainer.history["loss"]) == 1


def test_a_full_disk(tmp_path, monkeypatch):
    path = tmp_path / "run"
    trainer = make()
    train(trainer)
    trainer.save(path)
    before = path.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device.*run") as error:
        trainer.save(path)
    assert error.value.errno == 28
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_follow_the_umask(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        train(make(callbacks=[SaveCheckpoint(tmp_path / "run.x", seconds=0)]))
    finally:
        os.umask(before)
    assert {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()} == {"run.x": mode, "run.1.x": mode}


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_older_checkpoints_are_kept(tmp_path, keep):
    path = tmp_path / "run.safetensors"
    train(make(callbacks=[SaveCheckpoint(path, seconds=0, keep=keep)]))  # 5 updates and the end
    names = ["run.safetensors", *(f"run.{i}.safetensors" for i in range(1, keep + 1))]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names)
    steps = []
    for name in names:
        again = make()
        again.load(tmp_path / name)
        steps.append(again.steps)
    assert steps == [5, 5, 4, 3][: keep + 1]


def test_the_best_is_kept(tmp_path):
    losses = iter([3.0, 1.0, 2.0, 0.5, 0.7])
    trainer = make(callbacks=[SaveCheckpoint(tmp_path / "run.x", best=True)])
    trainer.evaluate = lambda data: next(losses)
    train(trainer, epochs=5)
    again = make()
    again.load(tmp_path / "run.best.x")
    assert again.epoch == 4


def test_parts_of_killed_runs_are_cleared(tmp_path):
    path = tmp_path / "run[1].x"
    gone = [f"run[1].x.{process}.part" for process in (99999999, f"99999999-{'a' * 8}", os.getpid())]
    others = ["run[1].x.part", "run[1].y.99999999.part", f"run[1].x.{os.getppid()}-{'b' * 8}.part"]
    for name in (*gone, *others):
        (tmp_path / name).write_text("half")
    write_whole(path, b"whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([path.name, *others])


def test_another_class_of_file_names_what_differs(tmp_path):
    train(trainer := make())
    trainer.save(tmp_path / "a")
    other = make(nn.Sequential(nn.Linear(2, 5), nn.Dropout(0.5), nn.Linear(5, 1), nn.Dropout(0.1)))
    with pytest.raises(CheckpointError, match=r"a: model: got in the file: 0.weight float32\(4, 2\), wanted float"):
        other.load(tmp_path / "a")


def test_checkpoints_go_through_links_and_leave_devices_alone(tmp_path):
    link, path = tmp_path / "link.x", tmp_path / "disk" / "run.x"
    path.parent.mkdir()
    link.symlink_to(path)
    for content in (b"first", b"second"):
        write_whole(link, content, keep=1)
    assert link.is_symlink()
    assert path.read_bytes() == b"second"
    assert (tmp_path / "link.1.x").read_bytes() == b"first"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(DataError, match="pipe: got a pipe, wanted a file"):
        train(make(callbacks=[SaveCheckpoint(pipe)]))
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("call", [lambda path: make().save(path), lambda path: make().load(path), SaveCheckpoint])
def test_what_is_no_path(call):
    with pytest.raises(TypeError, match="path: got 3, wanted the path of a file as str or PathLike"):
        call(3)
    with pytest.raises(DataError, match=r"path: got .*, wanted a path without a null byte"):
        call("a\0b")
