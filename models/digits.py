"""Handwritten digits: an LSTM of 30 units reads an image row by row and says which digit it is.

The set-up is that of the Keras tutorials for MNIST: rows of pixels as a sequence, LSTM(30), RMSprop,
cross-entropy. The default is scikit-learn's set of 1,797 digits of 8 x 8 pixels, a fifth of them held out.
With --data it reads MNIST's four IDX files (28 x 28, 60,000 and 10,000 of them), or others of that format,
from a folder of yours; --download fetches them into it first.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.data import DataLoader, download, read_idx
from tinygrad_rnn.errors import DataError, ShapeError
from tinygrad_rnn.train import Trainer, confusion_matrix

from . import _command, _export, _pictures

HELD_OUT = 0.2
BATCH_SIZE = 32
MOST_PIXELS = 1 << 24
MNIST = "https://storage.googleapis.com/cvdf-datasets/mnist/"
FILES = {  # with their SHA-256
    "train-images-idx3-ubyte": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


# ---- 1. Data: images (N, rows, columns) between 0 and 1, and their digits (N,)


def small_digits(seed: int) -> tuple[np.ndarray, ...]:
    """scikit-learn's digits, shuffled and split: training images and labels, then those that are held out."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    images, labels = (digits.images[order] / 16).astype(np.float32), digits.target[order]
    held_out = round(HELD_OUT * len(labels))
    return images[held_out:], labels[held_out:], images[:held_out], labels[:held_out]


def mnist(folder: Path, fetch: bool = False) -> tuple[np.ndarray, ...]:
    """MNIST's four files: training images and labels, then those to test."""
    if fetch:
        for name, checksum in FILES.items():
            download(f"{MNIST}{name}.gz", folder / f"{name}.gz", checksum)
    paths = [find(_command.folder(folder, "MNIST's files"), name) for name in FILES]
    arrays = [read_idx(path) for path in paths]
    for images, labels, image_path, label_path in zip(arrays[::2], arrays[1::2], paths[::2], paths[1::2]):
        if images.ndim != 3 or not images.size:
            raise DataError(f"{image_path}: got shape {images.shape}, wanted images (N, rows, columns)")
        if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
            raise DataError(f"{label_path}: got {labels.dtype} {labels.shape}, wanted {len(images)} labels")
        if len(np.unique(labels)) < 2:
            raise DataError(f"{label_path}: got the one class {labels[0]} only, wanted several to tell apart")
    if arrays[0].shape[1:] != arrays[2].shape[1:]:
        raise DataError(f"{paths[2]}: got images {arrays[2].shape[1:]}, wanted {arrays[0].shape[1:]} as in {paths[0]}")
    return tuple(a.astype(np.int64) if a.ndim == 1 else a.astype(np.float32) / 255 for a in arrays)


def find(folder: Path, name: str) -> Path:
    """The file `name` in `folder`, packed or not."""
    for path in (folder / name, folder / f"{name}.gz", folder / name.replace("-idx", ".idx")):
        if path.is_file():
            return path
    raise FileNotFoundError(f"{folder}: holds no {name} or {name}.gz; --download fetches them where there is a network")


# ---- 2. Model: an LSTM over the rows, and a linear layer on what it knows after the last one


class Classifier(nn.Module):
    """(N, rows, columns) to logits (N, classes)."""

    def __init__(self, columns: int, classes: int, hidden_size: int, cell: str = "lstm"):
        self.rnn = _command.layer(cell, columns, hidden_size)
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(hidden_size, classes)

    def forward(self, x):
        outputs, _ = self.rnn(x)
        return self.head(self.dropout(outputs[:, -1]))


# ---- 3. Training


def trainer(model: nn.Module) -> Trainer:
    """RMSprop on the cross-entropy, with a learning rate that falls by 5 % every epoch."""
    optimizer = optim.RMSprop(model.parameters(), lr=1e-2)
    schedule = optim.ExponentialLR(optimizer, 0.95)
    return Trainer(model, optimizer, nn.cross_entropy, schedule=schedule, clip_norm=1.0)


def train(run: _command.Run) -> dict[str, float]:
    args = run.args
    if args.download and args.data is None:
        raise DataError("--download: got no --data, wanted the folder that the files go to")
    data = small_digits(args.seed) if args.data is None else mnist(args.data, args.download)
    train_x, train_y, test_x, test_y = data
    rows, columns = train_x.shape[1:]
    print(f"images of {rows} x {columns}: {len(train_x)} to train on, {len(test_x)} held out")
    settings = {
        "columns": columns,
        "classes": int(max(train_y.max(), test_y.max())) + 1,
        "hidden_size": args.hidden_size,
        "cell": args.cell,
    }
    model = Classifier(**settings)
    print(model)
    loader = DataLoader((train_x, train_y), BATCH_SIZE, shuffle=True)
    run.fit(trainer(model), loader, DataLoader((test_x, test_y), 1000))

    model.eval()
    guesses = classify(model, test_x)
    metrics = {
        "accuracy": float((guesses == test_y).mean()),
        "nearest_mean_accuracy": float((nearest_mean(train_x, train_y, test_x) == test_y).mean()),
    }
    print("of the held-out digits, right are:")
    print(f"{args.cell.upper():<24}{metrics['accuracy']:8.1%}")
    print(f"{'nearest mean image':<24}{metrics['nearest_mean_accuracy']:8.1%}")
    draw(run, confusion_matrix(test_y, guesses, settings["classes"]), test_x, test_y, guesses)
    run.save(model, settings, rows=rows)
    return metrics


# ---- 4. Result: accuracy beside that of the nearest mean image, and who is taken for whom


def classify(model: nn.Module, images: np.ndarray) -> np.ndarray:
    """The most likely digit of each image."""
    return np.concatenate([_command.predict(model, batch).argmax(-1) for batch in DataLoader(images, 1000)])


def nearest_mean(images: np.ndarray, labels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The baseline: the digit whose mean training image is nearest."""
    classes = np.unique(labels)
    means = np.stack([images[labels == c].mean(0).reshape(-1) for c in classes])
    flat = others.reshape(len(others), -1)
    distances = (means**2).sum(1) - 2 * flat @ means.T
    return classes[distances.argmin(1)]


def draw(run: _command.Run, confusion: np.ndarray, images, labels, guesses) -> None:
    """The confusion matrix, and the images that were taken for something else."""
    figure, (ax, wrong) = _pictures.picture(widths=(5, 5.5))
    _pictures.draw_confusion(ax, confusion, range(len(confusion)))
    ax.set(title=f"Held-out digits: {(guesses == labels).mean():.1%} right", ylabel="digit")
    wrong.axis("off")
    places = np.flatnonzero(guesses != labels)[:20]
    across = max(1, math.ceil(math.sqrt(len(places))))  # as many in a row as there are rows, or one more
    down = max(1, math.ceil(len(places) / across))
    rows, columns = images.shape[1:]
    gap = rows // 2 + 1
    for n, i in enumerate(places):
        x, y = (n % across) * (columns + gap), (n // across) * (rows + gap)
        wrong.imshow(images[i], cmap="gray_r", extent=(x, x + columns, y + rows, y))
        wrong.text(x + columns / 2, y - 0.1 * rows, f"{labels[i]}, not {guesses[i]}", ha="center", fontsize=8)
    size = {"xlim": (-gap / 2, across * (columns + gap) - gap / 2), "ylim": (down * (rows + gap) - gap / 2, -gap)}
    wrong.set(**size, title="Taken for something else" if len(places) else "None was taken for something else")
    run.picture(figure, "confusion.png")


# ---- 5. Use: digits in picture files


def predict(args) -> list[int]:
    """Say which digits stand in picture files: white on black, or the other way round with --dark-on-light."""
    model, facts = _command.load(args, "digits", Classifier)
    digits = []
    for path in args.files:
        grey = as_grey(read_picture(path), path)
        image = shrink(1 - grey if args.dark_on_light else grey, facts["rows"], model.rnn.cell.input_size, path)
        with tr.no_grad():
            chances = tr.softmax(model(image[None]), -1).numpy()[0]
        digits.append(int(chances.argmax()))
        print(f"{path}: {digits[-1]} ({chances.max():.0%})")
    return digits


def read_picture(path: Path) -> np.ndarray:
    """What matplotlib reads, of at most MOST_PIXELS."""
    from matplotlib.image import imread
    from PIL import Image

    if path.exists() and not path.is_file():
        raise DataError(f"{path}: got something else than a file, wanted a picture")
    try:
        with Image.open(path) as picture:
            width, height = picture.size
        if width * height > MOST_PIXELS:  # a small file may unpack to any number
            raise DataError(f"{path}: got {width} by {height} pixels, wanted at most {MOST_PIXELS}")
        return np.asarray(imread(path))
    except Exception as error:  # Pillow has many words for a broken file
        if isinstance(error, DataError) or (isinstance(error, OSError) and error.filename is not None):
            raise
        raise DataError(f"{path}: cannot be read as a picture: {error}") from None


def as_grey(image: np.ndarray, path: Path) -> np.ndarray:
    """A picture as (rows, columns) between 0 and 1."""
    scale = np.iinfo(image.dtype).max if image.dtype.kind in "iu" else 1
    if image.ndim == 3:
        image = image[:, :, : 1 if image.shape[2] < 3 else 3].mean(-1)  # without transparency
    if image.ndim != 2:
        raise DataError(f"{path}: got shape {image.shape}, wanted a picture")
    if not np.isfinite(image).all():
        raise DataError(f"{path}: got a pixel that is NaN or infinite, wanted a picture")
    return (image / scale).astype(np.float32)


def shrink(image: np.ndarray, rows: int, columns: int, path: Path) -> np.ndarray:
    """An image (rows, columns), each pixel the mean of those it covers."""
    for axis, size in ((0, rows), (1, columns)):
        if image.shape[axis] < size:
            raise ShapeError(f"{path}: got a picture {image.shape}, wanted at least {(rows, columns)}")
        edges = np.arange(size) * image.shape[axis] // size
        counts = np.diff([*edges, image.shape[axis]])
        image = np.add.reduceat(image, edges, axis) / np.expand_dims(counts, 1 - axis)
    return image.astype(np.float32)


def options(parser) -> None:
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="of MNIST's IDX files, packed or not")
    parser.add_argument("--download", action="store_true", help="fetch MNIST into that folder, 11 MB")
    _command.count(parser, "--hidden-size", 30)


def predict_options(parser) -> None:
    parser.add_argument("files", type=Path, nargs="+", metavar="PICTURE", help="PNG or what else Pillow reads")
    parser.add_argument("--dark-on-light", action="store_true", help="ink is dark, as on paper")


main = _command.Command(
    __name__,
    __doc__,
    train,
    options=options,
    epochs=60,
    cell="lstm",
    card=_command.Card(
        form="many to one",
        data="scikit-learn's digits, 8 x 8",
        metric="accuracy on held-out digits",
        score="accuracy",
        baseline="nearest mean image",
        baseline_score="nearest_mean_accuracy",
        style=".1%",
        picture="confusion.png",
    ),
    predict=_command.Use(predict, predict_options, "digits in picture files"),
    export=_export.use("digits", Classifier, _export.features()),
)
