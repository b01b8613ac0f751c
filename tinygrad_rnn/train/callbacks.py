"""What a trainer can be asked to do while it runs."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from .trainer import Trainer


class SaveCheckpoint:
    """Keep a checkpoint on disk, so that a run that was interrupted goes on where it stood.

    Parameters
    ----------
    path : path
        Written by :meth:`Trainer.save`, each time in place of the one before.
    seconds : float
        Time from one checkpoint to the next; 0 saves after every update. At the end of the training there is
        one in any case.

    Examples
    --------
    >>> import pathlib, tempfile, numpy as np, tinygrad_rnn as tr
    >>> from tinygrad_rnn import nn, optim
    >>> from tinygrad_rnn.train import SaveCheckpoint, Trainer
    >>> def trainer(*callbacks):
    ...     model = nn.Linear(1, 1)
    ...     return Trainer(model, optim.SGD(model.parameters(), lr=0.1), nn.mse_loss, callbacks=callbacks)
    >>> batches = [(np.ones((2, 1)), np.zeros((2, 1)))]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "run.safetensors")
    ...     _ = trainer(SaveCheckpoint(path)).fit(batches, epochs=3)
    ...     again = trainer()
    ...     again.load(path)
    >>> again.epoch
    3
    """

    def __init__(self, path: str | Path, seconds: float = 60.0):
        if not seconds >= 0:
            raise ValueError(f"seconds: got {seconds}, wanted at least 0")
        self.path, self.seconds = Path(path), seconds
        self._saved = -math.inf  # when

    def on_fit_start(self, trainer: Trainer) -> None:
        self._saved = time.monotonic()

    def on_step_end(self, trainer: Trainer) -> None:
        if time.monotonic() - self._saved >= self.seconds:
            self._save(trainer)

    def on_fit_end(self, trainer: Trainer) -> None:
        self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        trainer.save(self.path)
        self._saved = time.monotonic()


class PrintEpochs:
    """Print a line with the numbers of an epoch, but not more often than every few seconds.

    Parameters
    ----------
    seconds : float
        Epochs that end sooner after the last line are left out.
    file : text file, optional
        Default: standard output.
    """

    def __init__(self, seconds: float = 10.0, file: TextIO | None = None):
        self.seconds, self.file = seconds, file
        self._printed = -math.inf

    def on_fit_start(self, trainer: Trainer) -> None:
        self._printed = time.monotonic()

    def on_epoch_end(self, trainer: Trainer) -> None:
        if time.monotonic() - self._printed < self.seconds:
            return
        self._printed = time.monotonic()
        numbers = {name: column[-1] for name, column in trainer.history.items() if name in ("loss", "val_loss")}
        text = ", ".join(f"{name} {number:.4g}" for name, number in numbers.items())
        print(f"epoch {trainer.epoch}: {text}, {trainer.seconds:.0f} s", file=self.file, flush=True)
