"""Loggers: callbacks that write the numbers of each epoch to a CSV file or for TensorBoard."""

from __future__ import annotations

import csv
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic import checked, write
from ..checks import missing
from ..errors import DataError

if TYPE_CHECKING:
    from .trainer import Trainer


class _Rows:
    """The rows of a history as they come up, one for each epoch, after those before it was resumed."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self._lengths: dict[str, int] = {}

    def start(self, trainer: Trainer) -> None:
        """Take over the epochs before; of their columns, those that have a number for each of them."""
        history, epochs = trainer.history, trainer.epoch
        if len(self.rows) != epochs or any(
            row["loss"] != loss for row, loss in zip(self.rows, history.get("loss", []))
        ):
            whole = {name: column for name, column in history.items() if len(column) == epochs}
            self.rows = [{"epoch": i + 1, **{name: column[i] for name, column in whole.items()}} for i in range(epochs)]
        self._lengths = {name: len(column) for name, column in history.items()}

    def next(self, trainer: Trainer) -> dict[str, float]:
        """The row of the epoch that has just ended."""
        history = trainer.history
        new = {name: column[-1] for name, column in history.items() if len(column) > self._lengths.get(name, 0)}
        self._lengths = {name: len(column) for name, column in history.items()}
        self.rows.append({"epoch": trainer.epoch, **new})
        return self.rows[-1]


class CSVLogger:
    """Write a CSV file with a row for each epoch: its number, then what is in the trainer's history.

    The file is written anew when a training begins, with the epochs before if it is resumed, and has each row as soon
    as its epoch is over. Spreadsheets, pandas and :func:`tinygrad_rnn.data.read_csv_columns` read it.

    Parameters
    ----------
    path : path
        Its folder is made if need be.

    Raises
    ------
    OSError
        At the beginning of :meth:`Trainer.fit`, if it cannot be written. Later on that is a warning.

    Examples
    --------
    >>> import pathlib, tempfile, numpy as np
    >>> from tinygrad_rnn import nn, optim
    >>> from tinygrad_rnn.train import CSVLogger, Trainer
    >>> model = nn.Linear(1, 1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "log.csv")
    ...     trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), nn.mse_loss, callbacks=[CSVLogger(path)])
    ...     _ = trainer.fit([(np.ones((2, 1)), np.zeros((2, 1)))], epochs=3)
    ...     print(path.read_text().splitlines()[0])
    epoch,loss,lr,seconds
    """

    only_first = True

    def __init__(self, path: str | Path):
        self.path = Path(checked(path))
        self._rows = _Rows()
        self._columns: list[str] = []

    def on_fit_start(self, trainer: Trainer) -> None:
        self._rows.start(trainer)
        self._columns = []
        self._write()

    def on_epoch_end(self, trainer: Trainer) -> None:
        row = self._rows.next(trainer)
        try:
            if not self.path.exists() or not {*row} <= {*self._columns}:
                self._write()
                return
            with open(self.path, "a", encoding="utf-8", newline="") as file:
                csv.DictWriter(file, self._columns, lineterminator="\n").writerow(row)
        except (OSError, DataError) as e:  # no reason to lose the training
            warnings.warn(f"no row for epoch {trainer.epoch}: {e}", RuntimeWarning, stacklevel=2)

    def _write(self) -> None:
        """Write the whole file: a column for whatever is in a row."""
        self._columns = list(dict.fromkeys(name for row in self._rows.rows for name in row)) or ["epoch", "loss"]
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows.rows)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write(self.path, text.getvalue().encode("utf-8"))


class TensorBoardLogger:
    """Write the numbers of each epoch for TensorBoard, a curve for each column of the trainer's history.

    The library tensorboardX writes them, which needs neither TensorFlow nor PyTorch; ``tensorboard --logdir folder``
    shows them.

    Parameters
    ----------
    folder : path
        Made if need be. Each training adds a file of its own; one that is resumed goes on with its epochs.

    Raises
    ------
    ModuleNotFoundError
        If tensorboardX is not there: ``pip install "tinygrad_rnn[tensorboard]"``.
    """

    only_first = True

    def __init__(self, folder: str | Path):
        try:
            from tensorboardX import SummaryWriter
        except ModuleNotFoundError:
            raise missing("TensorBoardLogger", "tensorboardX", "tensorboard") from None
        self.folder = Path(checked(folder))
        self._make = SummaryWriter
        self._writer: Any = None
        self._rows = _Rows()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_writer": None}

    def on_fit_start(self, trainer: Trainer) -> None:
        self._rows.start(trainer)
        self._close()
        self._writer = self._make(str(self.folder))

    def on_epoch_end(self, trainer: Trainer) -> None:
        row = self._rows.next(trainer)
        for name, value in row.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, trainer.epoch)
        self._writer.flush()

    def on_interrupt(self, trainer: Trainer) -> None:
        self._close()

    def on_fit_end(self, trainer: Trainer) -> None:
        self._close()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
