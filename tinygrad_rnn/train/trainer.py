"""The trainer: the arguments, limits, evaluation and checkpoints of a training."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any, TextIO

from ..checks import flag, one_of
from ..core import Tensor
from ..errors import CheckpointError
from ..optim import Optimizer, Schedule
from ..storage.checkpoint import read, write
from . import resume
from .alone import ALONE, Alone
from .batches import check_batches
from .checks import (
    COMPILE,
    NONFINITE,
    check_accumulate,
    check_callbacks,
    check_metrics,
    check_parts,
    check_positive,
    check_schedules,
)
from .loop import Loop
from .stopping import Best, Stopping
from .tbptt import TruncatedBPTT


class Trainer(Loop):
    """Trains a model: batches, gradients, clipping, updates, schedules, validation, stopping, checkpoints.

    Parameters
    ----------
    model : callable
        ``model(inputs) -> predictions``. If it is a module, it is switched to training and evaluation; parts
        of it that were put into ``eval()`` stay so.
    optimizer : Optimizer
    loss : callable, optional
        ``loss(predictions, targets)``, a tensor with one element. Batches are then pairs ``(inputs,
        targets)`` of arrays, which become tensors; floating-point arrays take the dtype of the parameters.
        Inputs that are a tuple, such as ids and lengths, are handed to the model as several arguments, those in a
        dict by their names; the loss takes targets that are a tuple or a dict of arrays as such a one.
    step : callable, optional
        Instead of `loss`: ``step(batch) -> loss``, given each batch as the loader yields it.
    schedule, step_schedule : Schedule, optional
        Stepped after every epoch (with the validation loss, else the training loss, if it needs one), or
        after every update.
    clip_norm, clip_value : float, optional
        Clip gradients by their norm together, or by value.
    accumulate : int
        Update after so many batches, by the mean of their gradients, as with one batch of all their rows; at the end
        of an epoch by those of as many as are left. A *step* is an update, in `step_schedule`, ``max_steps``, `steps`
        and ``on_step_end``; losses and metrics are means over batches. Ctrl-C, SIGTERM and ``max_seconds`` end a
        training between two batches: the gradients of those that wait for an update add up in the parameters, and are
        part of a checkpoint.
    nonfinite : "stop", "skip" or "ignore"
        What to do before an update whose loss or gradients hold NaN or infinity: end with an error that names the
        batch; go on with the next batch (a warning names it, and the history counts them as "skipped"); or update
        all the same. What :func:`tinygrad_rnn.detect_anomaly` finds is treated alike. A batch that is skipped has no
        part in its update with others, for which one more is taken.
    compile : {"auto", "always", "never"}
        Whether an update (forward, loss, backward, clipping, update) is one program, see :class:`TrainStep`, whose
        numbers are those of the tape but for rounding. "always": it is, and a CompileError says why if a program
        cannot be made. "never": on the tape. "auto": on the tape first, and by a program as soon as batches of the
        same shapes have come up so often that this is worth the time of compiling; on the tape, too, what has no
        program. When that is follows from counts and sizes alone, not from a clock: the same seed gives the same
        bits, on a fast machine and a slow one, and in a training that was interrupted.
    metrics : dict of functions, optional
        By name, ``f(predictions, targets)``, a single number, such as ``{"accuracy": nn.accuracy}``. They take tensors
        without a graph: in training what the losses were computed from, before the updates; in validation those of
        evaluation mode. Each batch weighs the same, as with losses.
    callbacks : sequence
        Functions ``f(trainer)``, called after every epoch; or objects with any of the methods
        ``on_fit_start``, ``on_epoch_start``, ``on_step_end``, ``on_epoch_end``, ``on_interrupt`` (between two
        updates, before Ctrl-C or SIGTERM ends the training), ``on_fit_end``, each of which takes the trainer.
        With ``on_step_end``, each update is a call from Python; without, many small ones are one native call of at
        most 50 ms, if the loader is a DataLoader over a tuple of arrays or a TruncatedBPTT whose model hands on a
        state like the one that it was given, and the `step_schedule`, if there is one, is a schedule of this package
        that looks at nothing but the number of steps (not a LambdaLR). A callback with ``every_step = False`` is
        content with being called in between, and one with ``only_first = True`` with being called in the first of
        several processes.
    progress : bool, optional
        Show a progress bar. Default: on a terminal, and in a notebook.
    ranks : Ranks, optional
        The processes that share each batch, see :class:`Ranks`. Batches are then those of a DataLoader or of a
        TruncatedBPTT.

    Attributes
    ----------
    history : dict of lists
        Which notebooks show as curves and a table. One number per finished epoch, NaN for those before a column began:
        "loss" (mean over its batches),
        that of each metric; "val_loss" and "val_..." of each metric (if validated); "lr" (of the first group),
        "grad_norm" (mean norm before clipping, with `clip_norm`), "skipped" (batches, with ``nonfinite="skip"``),
        "seconds".
    epoch, steps : int
        Finished epochs, updates.
    loss : float
        Of the last batch.
    best : Best
        Best loss so far, and its epoch; of the epochs with validation, once there are such.
    stop_reason : str or None
        Why the last :meth:`fit` ended early.

    Examples
    --------
    >>> import numpy as np, tinygrad_rnn as tr
    >>> from tinygrad_rnn import optim
    >>> from tinygrad_rnn.train import Trainer
    >>> w = tr.tensor(np.zeros((1, 1)), requires_grad=True)
    >>> x = np.linspace(-1, 1, 20)[:, None]
    >>> trainer = Trainer(lambda x: x @ w, optim.SGD([w], lr=0.5), lambda y, t: ((y - t) ** 2).mean())
    >>> history = trainer.fit([(x, 3 * x)], epochs=200, below=1e-8)
    >>> round(w.item(), 3), trainer.stop_reason[:5]
    (3.0, 'below')
    """

    def __init__(
        self,
        model: Callable[..., Any],
        optimizer: Optimizer,
        loss: Callable[..., Tensor] | None = None,
        *,
        step: Callable[[Any], Tensor] | None = None,
        schedule: Schedule | None = None,
        step_schedule: Schedule | None = None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        accumulate: int = 1,
        nonfinite: str = "stop",
        compile: str = "auto",
        metrics: Mapping[str, Callable[[Any, Any], Any]] | None = None,
        callbacks: Iterable[Any] = (),
        progress: bool | None = None,
        ranks: Alone | None = None,
    ):
        check_parts(model, optimizer, loss, step)
        check_schedules(optimizer, schedule, step_schedule)
        check_positive("clip_norm", clip_norm)
        check_positive("clip_value", clip_value)
        self.accumulate = check_accumulate(accumulate, optimizer)
        one_of("nonfinite", nonfinite, NONFINITE, f"one of {', '.join(map(repr, NONFINITE))}")
        self.model, self.optimizer, self.loss_fn, self.step_fn = model, optimizer, loss, step
        self.schedule, self.step_schedule = schedule, step_schedule
        self.clip_norm, self.clip_value, self.nonfinite = clip_norm, clip_value, nonfinite
        self.compile = one_of("compile", compile, COMPILE, f"one of {', '.join(map(repr, COMPILE))}")
        self.metrics = check_metrics(metrics, loss)
        self.callbacks = check_callbacks(callbacks)
        self.progress = None if progress is None else flag("progress", progress)
        if ranks is not None and not isinstance(ranks, Alone):
            raise TypeError(f"ranks: got {type(ranks).__name__}, wanted Ranks() or None")
        self.ranks = ALONE if ranks is None else ranks
        super().__init__()

    def _repr_html_(self) -> str:
        """What it trains, how far it has come, and the history, for notebooks."""
        text = (
            f"{type(self.model).__name__}, {type(self.optimizer).__name__}: {self.epoch} epochs, {self.steps:,} updates"
        )
        return f"<p>{escape(text)}</p>{self.state.history._repr_html_()}"

    @property
    def history(self) -> dict[str, list[float]]:
        return self.state.history

    @property
    def epoch(self) -> int:
        return self.state.epoch

    @property
    def steps(self) -> int:
        return self.state.steps

    @property
    def step_in_epoch(self) -> int:
        """Batches of this epoch so far."""
        return self.state.step_in_epoch

    @property
    def seconds(self) -> float:
        """Of training, in all."""
        return self.state.seconds

    @property
    def loss(self) -> float:
        return self.state.loss

    @property
    def best(self) -> Best:
        return self.state.best

    # ---- what it does

    def fit(
        self,
        train: Iterable[Any],
        validation: Iterable[Any] | None = None,
        epochs: int | None = 1,
        *,
        below: float | None = None,
        patience: int | None = None,
        min_delta: float = 0.0,
        restore_best: bool = False,
        max_steps: int | None = None,
        max_seconds: float | None = None,
    ) -> dict[str, list[float]]:
        """Train until one of the limits is reached.

        All limits count from the trainer's beginning, so that a training that was interrupted, or loaded
        from a checkpoint, goes on with the same call and ends where it would have ended. Ctrl-C (and SIGTERM)
        lets the update be finished and callbacks save; a second one ends at once.

        Parameters
        ----------
        train : iterable of batches, or TruncatedBPTT
            Iterated once per epoch.
        validation : iterable of batches, or TruncatedBPTT, optional
            See :meth:`evaluate`; after every epoch.
        epochs : int or None
            Finish so many epochs, counted from the trainer's beginning: ``fit(data, epochs=5)`` a second time has
            nothing to do, and warns. None for no limit (then `max_steps` or `max_seconds` is needed).
        below : float, optional
            Stop when the loss of an epoch (of the validation, if there is one) falls below this.
        patience : int, optional
            Stop after so many epochs in a row without a loss better than the best by more than `min_delta`.
        min_delta : float
        restore_best : bool
            At the end, go back to the weights of the best epoch. Those of the last update are kept, also in a
            checkpoint: another call goes on from them, unless the weights were changed in between.
        max_steps : int, optional
            Stop after so many updates, also within an epoch.
        max_seconds : float, optional
            Stop after so much time, also within an epoch.

        Returns
        -------
        dict of lists
            The history.

        Raises
        ------
        DataError
            If there are no batches, or they are no pairs.
        NonFiniteError
            A FloatingPointError: if a loss or a gradient is NaN or infinite (the batch is named, and what is wrong
            in it; it is a DataError as well if that is in the data). Nothing is updated then. With
            ``nonfinite="skip"`` if all batches of an epoch are so.
        KeyboardInterrupt, SystemExit
            After Ctrl-C or SIGTERM, in the main thread and if no handler of the user's own is there; between two
            updates, with all that was trained kept.
        """
        rules = Stopping(below, patience, min_delta, max_steps, max_seconds)
        if epochs is None and max_steps is None and max_seconds is None:
            raise ValueError("epochs: got None, wanted a number, or max_steps or max_seconds")
        check_positive("epochs", epochs, whole=True)
        self.accumulate = check_accumulate(self.accumulate, self.optimizer)
        restore_best = flag("restore_best", restore_best)
        if self.model is None and self.loss_fn is not None:
            raise TypeError("model: got None, wanted a module or a function, or a trainer with step=")
        check_batches("train", train, self.loss_fn is not None)
        if validation is not None:
            check_batches("validation", validation, self.loss_fn is not None)
        if isinstance(train, TruncatedBPTT) and self.loss_fn is None:
            raise ValueError("train: got TruncatedBPTT and a step function, wanted a trainer with a loss")
        state = self.state
        self.stop_reason = rules.after_step(state.steps, state.seconds)
        if state.step_in_epoch == 0 and state.epoch:
            self.stop_reason = self.stop_reason or rules.after_epoch(state.watched(), state.best)
        if self.stop_reason is None and epochs is not None and state.epoch >= epochs:
            text = f"nothing to do: all {epochs} epochs were done already; epochs counts from the beginning"
            text += f": {state.epoch + epochs} does {epochs} more"
            warnings.warn(f"fit: {text}", UserWarning, stacklevel=2)
        train = self.ranks.begin(self, train, (epochs, rules, restore_best))
        self.stop_reason = self.ranks.first(self.stop_reason)
        self._fit(train, validation, epochs, rules, restore_best)
        return state.history

    def stop(self, reason: str = "stopped by a callback") -> None:
        """End :meth:`fit` after this update (from ``on_step_end``) or this epoch."""
        self.stop_reason = reason

    def write(self, text: str, file: TextIO | None = None) -> None:
        """Print a line above the progress bar, on standard output unless another file is given."""
        self._bar.write(text, file)

    # ---- checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Everything that :meth:`fit` needs to resume, as a nest of arrays, numbers, strings, lists and dicts.

        Model, optimiser, gradients that wait for an update, schedules, position in the batches, history, best weights
        and random generators: the package's, those behind ``random`` and ``np.random``, and those found on model, loss
        and loader.
        """
        return resume.collect(self)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken.

        Raises
        ------
        CheckpointError
            If it does not fit; nothing is changed then.
        """
        resume.restore(self, state_dict)

    def save(self, path: str | Path, keep: int = 0) -> None:
        """Write everything that :meth:`fit` needs to resume into one safetensors file.

        See :meth:`state_dict`; numbers are JSON in the file's metadata, and every array has a hash. The file
        appears at once or not at all, and is on the disk when this returns. Call it between two updates: from a
        callback, or after :meth:`fit`.

        Parameters
        ----------
        path : path
            Its folder is made if need be.
        keep : int
            So many of the files before are kept beside it, as ``name.1.suffix`` (the last one), ...

        Raises
        ------
        NonFiniteError
            If a parameter holds NaN or infinity; the file that is there stays.
        OSError
            If it cannot be written; the file that is there stays.
        """
        resume.check_finite(self.model, self.optimizer)
        state = self.state_dict()
        self.ranks.by_first(lambda: write(path, state, keep))

    def load(self, path: str | Path) -> None:
        """Resume where :meth:`save` was called: the next :meth:`fit` gives the same results, bit for bit.

        Parameters
        ----------
        path : path
            The trainer, its model, optimiser and schedules must be made as they were then: the same classes, and
            parameters of the same names, shapes and dtypes in the same groups. Options of the optimiser's groups,
            such as the learning rate, become those of the file.

        Raises
        ------
        CheckpointError
            If the file is not a checkpoint of a trainer, is damaged, or does not fit; nothing is changed then.
        FileNotFoundError
            If there is none.
        """
        saved = read(path)
        try:
            self.load_state_dict(saved)
        except CheckpointError as e:
            raise CheckpointError(f"{path}: {e}") from e
