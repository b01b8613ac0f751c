"""Callbacks: checkpoints to disk, and a line of numbers for each epoch."""

from __future__ import annotations

import math
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ..atomic import checked
from ..checks import flag, number, whole_number
from ..errors import NonFiniteError
from ..storage.checkpoint import try_write
from ..storage.files import beside

if TYPE_CHECKING:
    from .trainer import Trainer


OTHERS = ("lr", "grad_norm", "skipped", "seconds")  # columns of the history that are no losses and no metrics


class SaveCheckpoint:
    """Keep a checkpoint on disk, so that a run that was interrupted goes on where it stood.

    Whether it can be written is tried before the first update. What fails later is a warning, and is tried again
    at the next checkpoint; :meth:`Trainer.fit` ends with an error if the last one failed. Weights that are not
    finite are never written.

    Parameters
    ----------
    path : path
        Written by :meth:`Trainer.save`, each time in place of the one before. Its folder is made if need be.
    seconds : float
        Time from one checkpoint to the next; 0 saves after every update. At the end of the training, and when
        Ctrl-C or SIGTERM ends it, there is one in any case.
    keep : int
        So many of the checkpoints before are kept beside it: ``name.1.suffix`` is the last one before, ...
    best : bool
        Keep the one after the best epoch so far as well, as ``name.best.suffix``.

    Attributes
    ----------
    saved : int or None
        After how many updates the last checkpoint was taken.

    Raises
    ------
    OSError
        At the beginning of :meth:`Trainer.fit`, or at its end.

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

    def __init__(self, path: str | Path, seconds: float = 60.0, keep: int = 1, best: bool = False):
        self.seconds = number("seconds", seconds, "at least 0", lambda seconds: seconds >= 0)
        self.keep = whole_number("keep", keep, 0, wanted="a whole number from 0 on")
        self.path, self.best = Path(checked(path)), flag("best", best)
        self.saved: int | None = None
        self._time = -math.inf  # of the last one, or of the last try
        self._failure: Exception | None = None  # of the last try

    @property
    def every_step(self) -> bool:
        """Whether it has to be asked after every update, and not only now and then."""
        return self.seconds == 0

    def on_fit_start(self, trainer: Trainer) -> None:
        state = trainer.state_dict()
        trainer.ranks.by_first(lambda: try_write(self.path, state))
        self._time, self._failure, self.saved = time.monotonic(), None, None

    def on_step_end(self, trainer: Trainer) -> None:
        if trainer.ranks.agree(time.monotonic() - self._time >= self.seconds):
            self._save(trainer)

    def on_epoch_end(self, trainer: Trainer) -> None:
        if self.best and trainer.best.epoch == trainer.epoch:
            self._save(trainer, beside(self.path, "best"))

    def on_interrupt(self, trainer: Trainer) -> None:
        self._save(trainer)

    def on_fit_end(self, trainer: Trainer) -> None:
        self._save(trainer)
        if isinstance(self._failure, OSError):
            raise self._failure

    def _save(self, trainer: Trainer, path: Path | None = None) -> None:
        try:
            trainer.save(path or self.path, keep=0 if path else self.keep)
        except (OSError, NonFiniteError) as e:
            self._failure = e
            warnings.warn(f"no checkpoint after update {trainer.steps}: {e}", RuntimeWarning, stacklevel=2)
        else:
            if path is None:
                self._failure, self.saved = None, trainer.steps
        if path is None:
            self._time = time.monotonic()


class PrintEpochs:
    """Print a line with the numbers of an epoch, but not more often than every few seconds.

    Where there is a progress bar, above it.

    Parameters
    ----------
    seconds : float
        Epochs that end sooner after the last line are left out.
    file : text file, optional
        Default: standard output.
    """

    only_first = True

    def __init__(self, seconds: float = 10.0, file: TextIO | None = None):
        self.seconds, self.file = number("seconds", seconds), file
        self._printed = -math.inf

    def on_fit_start(self, trainer: Trainer) -> None:
        self._printed = time.monotonic()

    def on_epoch_end(self, trainer: Trainer) -> None:
        if time.monotonic() - self._printed < self.seconds:
            return
        self._printed = time.monotonic()
        numbers = {
            name: column[-1]
            for name, column in trainer.history.items()
            if name not in OTHERS and len(column) == trainer.epoch
        }
        text = ", ".join(f"{name} {number:.4g}" for name, number in numbers.items())
        trainer.write(f"epoch {trainer.epoch}: {text}, {trainer.seconds:.0f} s", self.file)
