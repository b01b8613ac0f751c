"""What whole training steps are compared on: language models, rows of digits, and the airline's LSTM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn as tr
from models import airline
from tinygrad_rnn import nn
from tinygrad_rnn.data import DataLoader, read_column

STEPS = 10  # batches, and so updates, of one pass over the data
PASSES = 100  # in one call of tasks whose steps take microseconds


class Task(NamedTuple):
    """A model, its data and how it is trained.

    Attributes
    ----------
    name : str
    build : callable
        Makes the model, with the same weights each time.
    inputs, targets : ndarray
        All examples; both have them along `axis`.
    axis, batch_size : int
    loss : {"cross_entropy", "mse_loss"}
    lr, eps : float
        Of Adam.
    clip : float, optional
        The norm of the gradients.
    passes : int
        Over the batches, of one call where a side does many steps in it.
    """

    name: str
    build: Callable[[], Model]
    inputs: np.ndarray
    targets: np.ndarray
    axis: int
    batch_size: int
    loss: str = "cross_entropy"
    lr: float = 1e-2
    eps: float = 1e-8
    clip: float | None = 0.05  # below what it is at the beginning, so that all sides have to scale them
    passes: int = 1

    @property
    def loader(self) -> DataLoader:
        """The batches, always in the same order."""
        return DataLoader((self.inputs, self.targets), self.batch_size, batch_axis=self.axis)

    @property
    def steps(self) -> int:
        """Updates of one pass."""
        return len(self.loader)


class Model(nn.Module):
    """Embedding or numbers, an LSTM, and a linear layer on all outputs or on the last one."""

    def __init__(self, inputs: int, hidden: int, outputs: int, embedded: bool):
        self.embedding = nn.Embedding(outputs, inputs) if embedded else None
        self.rnn = nn.LSTM(inputs, hidden, batch_first=not embedded)
        self.head = nn.Linear(hidden, outputs)

    def forward(self, x):
        if self.embedding is None:
            return self.head(self.rnn(x)[0][:, -1])
        return self.head(self.rnn(self.embedding(x))[0])


def language(vocabulary: int, embedding: int, hidden: int, T: int, B: int, passes: int = 1) -> Task:
    """Ids (T, B), of which each is to be guessed from those before it."""

    def build() -> Model:
        tr.seed(0)
        return Model(embedding, hidden, vocabulary, embedded=True)

    ids = np.random.default_rng(1).integers(0, vocabulary, (T + 1, STEPS * B))
    name = ", ".join(map(str, (vocabulary, embedding, hidden, T, B)))
    return Task(f"({name})", build, ids[:-1], ids[1:], axis=1, batch_size=B, passes=passes)


def digits(rows: int = 28, columns: int = 28, hidden: int = 30, B: int = 128, classes: int = 10) -> Task:
    """Images (B, rows, columns), read row by row."""

    def build() -> Model:
        tr.seed(0)
        return Model(columns, hidden, classes, embedded=False)

    rng = np.random.default_rng(1)
    images = rng.random((STEPS * B, rows, columns), np.float32)
    return Task("digits", build, images, rng.integers(0, classes, STEPS * B), axis=0, batch_size=B)


def airline_task(look_back: int = 1, hidden: int = 4) -> Task:
    """The windows of models/airline, one by one, with its weights and its Adam."""

    def build() -> Model:
        tr.seed(0)
        other, model = airline.Forecaster(hidden), Model(1, hidden, 1, embedded=False)
        values = {f"rnn.{name}_l0": p.numpy() for name, p in other.rnn.cell.named_parameters()}
        model.load_state_dict(values | {f"head.{name}": p.numpy() for name, p in other.head.named_parameters()})
        dict(model.named_parameters())["rnn.bias_hh_l0"].requires_grad_(False)
        return model

    data = airline.Windows(read_column(airline.PASSENGERS, "passengers"), look_back)
    options: dict[str, Any] = {"loss": "mse_loss", "lr": 1e-3, "eps": 1e-7, "clip": None, "passes": PASSES}
    return Task("airline", build, *data.train, axis=0, batch_size=1, **options)


TASKS: dict[str, Callable[[], Task]] = {
    "airline": airline_task,
    "letters": lambda: language(10, 8, 16, 10, 1, PASSES),
    "characters": lambda: language(65, 16, 32, 25, 8),
    "text": lambda: language(65, 64, 128, 50, 32),
    "words": lambda: language(5000, 100, 128, 35, 20),
    "digits": digits,
}
QUICK = ("airline", "letters", "characters")
