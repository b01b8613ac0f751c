"""models/digits: its data, MNIST's files, pictures, and the bar."""

import gzip
import os

import numpy as np
import pytest
from matplotlib.image import imsave
from PIL import Image

from models import __main__ as command
from models import digits
from tests.data.test_files import idx
from tinygrad_rnn.errors import DataError


def mnist_folder(folder, seed=0):
    """MNIST in small: bars at a place that the label names."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    for part, count in (("train", 80), ("t10k", 20)):
        labels = rng.integers(0, 4, count).astype(np.uint8)
        images = rng.integers(0, 40, (count, 12, 10)).astype(np.uint8)
        for image, label in zip(images, labels):
            image[3 * label : 3 * label + 3] = 250
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    return folder


def test_the_small_digits():
    train_x, train_y, test_x, test_y = digits.small_digits(seed=3)
    assert train_x.shape == (1438, 8, 8)
    assert test_x.shape == (359, 8, 8)
    assert (train_x.min(), train_x.max()) == (0, 1)
    whole = np.concatenate([train_x, test_x]).reshape(1797, 64)
    assert len(np.unique(whole, axis=0)) == 1797  # nothing is in both parts
    assert sorted(set(test_y)) == sorted(set(train_y)) == list(range(10))
    assert not (digits.small_digits(seed=4)[3][:50] == test_y[:50]).all()


def test_nearest_mean():
    images = np.array([[[0.0, 0]], [[0, 1]], [[4, 4]]])
    assert digits.nearest_mean(images, np.array([3, 3, 7]), np.array([[[0, 0.6]], [[3, 2.5]]])).tolist() == [3, 7]


def test_a_folder_of_idx_files(tmp_path, capsys):
    folder = mnist_folder(tmp_path / "mnist")
    metrics = digits.main(["--data", str(folder), "--epochs", "6", "--out", str(tmp_path / "out")])
    assert "images of 12 x 10: 80 to train on, 20 held out" in capsys.readouterr().out
    assert metrics["accuracy"] > 0.8
    image = np.zeros((24, 30), np.float32)
    image[12:18] = 1
    imsave(tmp_path / "two.png", 1 - image, cmap="gray", vmin=0, vmax=1)
    assert digits.main(["predict", str(tmp_path / "two.png"), "--dark-on-light", "--out", str(tmp_path / "out")]) == [2]


def broken(kind, folder):
    images, labels = folder / "train-images-idx3-ubyte", folder / "train-labels-idx1-ubyte.gz"
    if kind == "missing":
        images.unlink()
        return "holds no train-images-idx3-ubyte or train-images-idx3-ubyte.gz; --download fetches them"
    if kind == "cut":
        images.write_bytes(images.read_bytes()[:-1])
        return "train-images-idx3-ubyte: got 9615 bytes, wanted 9616"
    if kind == "lengths":
        labels.write_bytes(idx(np.zeros(79, np.uint8)))
        return "train-labels-idx1-ubyte.gz: got uint8 (79,), wanted 80 labels"
    if kind == "one class":
        labels.write_bytes(idx(np.full(80, 3, np.uint8)))
        return "train-labels-idx1-ubyte.gz: got the one class 3 only, wanted several"
    if kind == "no images":
        images.write_bytes(idx(np.zeros(80, np.uint8)))
        return "train-images-idx3-ubyte: got shape (80,), wanted images"
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx(np.zeros((20, 5, 5), np.uint8)))
    return "t10k-images-idx3-ubyte: got images (5, 5), wanted (12, 10) as in"


@pytest.mark.parametrize("kind", ["missing", "cut", "lengths", "one class", "no images", "other size"])
def test_bad_folders(tmp_path, capsys, kind):
    folder = mnist_folder(tmp_path / "mnist")
    message = broken(kind, folder)
    assert command.main(["digits", "--data", str(folder), "--out", str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_download_without_a_network_or_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(digits, "MNIST", "http://127.0.0.1:9/")
    assert command.main(["digits", "--download", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "http://127.0.0.1:9/train-images-idx3-ubyte.gz: cannot be fetched" in capsys.readouterr().err
    assert command.main(["digits", "--download"]) == 1
    assert "--download: got no --data" in capsys.readouterr().err


def test_bad_pictures(tmp_path, capsys):
    digits.main(["--epochs", "1", "--out", str(tmp_path)])
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    imsave(tmp_path / "small.png", np.zeros((4, 9)))
    for name, message in (("bad", "cannot be read as a picture"), ("small", "got a picture (4, 9), wanted at least")):
        assert command.main(["digits", "predict", str(tmp_path / f"{name}.png"), "--out", str(tmp_path)]) == 1
        assert message in capsys.readouterr().err


def test_shrinking_keeps_the_mean():
    image = np.arange(48.0).reshape(6, 8)
    small = digits.shrink(image, 3, 4, None)
    assert small.tolist() == image.reshape(3, 2, 4, 2).mean((1, 3)).tolist()


def test_without_scikit_learn(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    assert command.main(["digits", "--out", str(tmp_path / "out")]) == 1
    assert "digits needs sklearn.datasets, which is not installed" in capsys.readouterr().err


@pytest.mark.slow
def test_96_percent(tmp_path):
    for seed in range(3):
        metrics = digits.main(["--seed", str(seed), "--out", str(tmp_path / str(seed))])
        assert metrics["accuracy"] >= 0.96
        assert metrics["accuracy"] > metrics["nearest_mean_accuracy"]


def test_pictures_that_are_none(tmp_path):
    """No pipe is waited for, and nothing is unpacked that is larger than a photograph."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe: got something else than a file, wanted a picture"):
        digits.read_picture(tmp_path / "pipe")
    Image.new("1", (5000, 5000)).save(tmp_path / "large.png")
    with pytest.raises(DataError, match=r"large\.png: got 5000 by 5000 pixels, wanted at most 16777216"):
        digits.read_picture(tmp_path / "large.png")
    with pytest.raises(DataError, match="got a pixel that is NaN or infinite"):
        digits.as_grey(np.full((9, 9), np.nan), tmp_path / "x.tiff")
    assert digits.as_grey(np.ones((9, 9), bool), tmp_path / "x.bmp").max() == 1
    with pytest.raises(FileNotFoundError):
        digits.read_picture(tmp_path / "none.png")
