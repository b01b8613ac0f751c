"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from .. import config
from ..core import Tensor
from ..errors import DataError
from ..optim import Optimizer, Schedule, clip_grad_norm_, clip_grad_value_
from . import state
from .batches import check_finite, pair_loss, tensor_maker
from .checkpoint import read, write
from .progress import Progress
from .stopping import Best, Stopping
from .tbptt import TruncatedBPTT

EVENTS = ("on_fit_start", "on_epoch_start", "on_step_end", "on_epoch_end", "on_fit_end")


class Trainer:
    """Trains a model: batches, gradients, clipping, updates, schedules, validation, stopping, checkpoints.

    Parameters
    ----------
    model : callable
        ``model(inputs) -> predictions``. If it is a module, it is switched to training and evaluation.
    optimizer : Optimizer
    loss : callable, optional
        ``loss(predictions, targets)``, a tensor with one element. Batches are then pairs ``(inputs,
        targets)`` of arrays, which become tensors; floating-point arrays take the dtype of the parameters.
        Inputs that are a tuple, such as ids and lengths, are handed to the model as several arguments.
    step : callable, optional
        Instead of `loss`: ``step(batch) -> loss``, given each batch as the loader yields it.
    schedule, step_schedule : Schedule, optional
        Stepped after every epoch (with the validation loss, else the training loss, if it needs one), or
        after every update.
    clip_norm, clip_value : float, optional
        Clip gradients by their norm together, or by value.
    check_finite : bool
        Look for NaN and infinity in every batch and every loss, before the update.
    callbacks : sequence
        Functions ``f(trainer)``, called after every epoch; or objects with any of the methods
        ``on_fit_start``, ``on_epoch_start``, ``on_step_end``, ``on_epoch_end``, ``on_fit_end``, each of
        which takes the trainer.
    progress : bool, optional
        Show a progress bar. Default: on a terminal.

    Attributes
    ----------
    history : dict of lists
        One number per finished epoch: "loss" (mean over its batches), "val_loss" (if validated), "lr" (of
        the first group), "grad_norm" (mean norm before clipping, with `clip_norm`), "seconds".
    epoch, steps : int
        Finished epochs, updates.
    loss : float
        Of the last batch.
    best : Best
        Best loss so far, and its epoch.
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
        check_finite: bool = False,
        callbacks: Iterable[Any] = (),
        progress: bool | None = None,
    ):
        if (loss is None) == (step is None):
            raise ValueError(f"loss: got {'neither' if loss is None else 'both'}, wanted either loss or step")
        if step_schedule is not None and step_schedule.needs_metric:
            raise ValueError(
                f"step_schedule: got {type(step_schedule).__name__}, which needs a loss per epoch; pass it as schedule"
            )
        for name, value in (("clip_norm", clip_norm), ("clip_value", clip_value)):
            if value is not None and not value > 0:
                raise ValueError(f"{name}: got {value}, wanted a positive number or None")
        self.model, self.optimizer, self.loss_fn, self.step_fn = model, optimizer, loss, step
        self.schedule, self.step_schedule = schedule, step_schedule
        self.clip_norm, self.clip_value, self.check_finite = clip_norm, clip_value, check_finite
        self.callbacks = list(callbacks)
        for c in self.callbacks:
            if not callable(c) and not any(hasattr(c, event) for event in EVENTS):
                raise TypeError(f"callbacks: got {type(c).__name__}, wanted a function or one of {', '.join(EVENTS)}")
        self.progress = progress
        self.history: dict[str, list[float]] = {}
        self.epoch = self.steps = self.step_in_epoch = 0
        self.seconds = 0.0  # of training, in all
        self.loss = math.nan
        self.best = Best()
        self.stop_reason: str | None = None
        self._loss_sum = self._norm_sum = self._seconds_before = 0.0  # of this epoch; before it
        self._best_weights: dict[str, np.ndarray] | None = None
        self._loader: Any = None  # while fitting
        self._loader_state: Any = None  # where the last one was left
        self._resumed = False  # from a checkpoint

    # ---- the loop

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
        from a checkpoint, goes on with the same call and ends where it would have ended.

        Parameters
        ----------
        train : iterable of batches, or TruncatedBPTT
            Iterated once per epoch.
        validation : iterable of batches, or TruncatedBPTT, optional
            See :meth:`evaluate`; after every epoch.
        epochs : int or None
            Finish so many epochs; None for no limit (then `max_steps` or `max_seconds` is needed).
        below : float, optional
            Stop when the loss of an epoch (of the validation, if there is one) falls below this.
        patience : int, optional
            Stop after so many epochs in a row without a loss better than the best by more than `min_delta`.
        min_delta : float
        restore_best : bool
            At the end, go back to the parameters of the best epoch.
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
            If there are no batches; with `check_finite`, if a batch holds NaN or infinity (it is named).
        FloatingPointError
            With `check_finite`, if a loss, or with `clip_norm` the norm of the gradients, is NaN or infinite
            (the batch is named). Nothing is updated then.
        """
        rules = Stopping(below, patience, min_delta, max_steps, max_seconds)
        if epochs is None and max_steps is None and max_seconds is None:
            raise ValueError("epochs: got None, wanted a number, or max_steps or max_seconds")
        if isinstance(train, TruncatedBPTT) and self.loss_fn is None:
            raise ValueError("train: got TruncatedBPTT and a step function, wanted a trainer with a loss")
        self.stop_reason = rules.after_step(self.steps, self.seconds)
        if self.step_in_epoch == 0 and self.epoch:
            self.stop_reason = self.stop_reason or rules.after_epoch(self._watched(), self.best)
        self._loader = train
        length = len(train) if isinstance(train, Sized) else None
        total = None if length is None or epochs is None else length * epochs
        bar = Progress(total if max_steps is None else min(total or max_steps, max_steps), self.steps, self.progress)
        self._mode(training=True)
        try:
            self._call("on_fit_start")
            while self.stop_reason is None and (epochs is None or self.epoch < epochs):
                if self.step_in_epoch == 0 or self.step_in_epoch != length:
                    self._run_epoch(train, rules, bar)
                if self.stop_reason is None or self.step_in_epoch == length:
                    self._end_epoch(validation, rules, restore_best, bar)
            if restore_best and self._best_weights is not None:
                state.set_weights(self, self._best_weights)
            self._call("on_fit_end")
        finally:
            bar.close()
            self._loader_state = self._position()
            self._loader = None
        return self.history

    def _run_epoch(self, train: Iterable[Any], rules: Stopping, bar: Progress) -> None:
        """Updates until the batches, or a limit, run out."""
        if self.step_in_epoch == 0:
            self._call("on_epoch_start")
        batches = self._batches(train)
        loss_of = self._loss_function(train)
        optimizer, step_schedule = self.optimizer, self.step_schedule
        check, clip_norm, clip_value = self.check_finite, self.clip_norm, self.clip_value
        clipping = clip_norm is not None or clip_value is not None
        params = [p for group in optimizer.param_groups for p in group["params"]]
        on_step = [c.on_step_end for c in self.callbacks if hasattr(c, "on_step_end")]
        limited = rules.max_steps is not None or rules.max_seconds is not None
        showing = bar.on
        before, started = self.seconds, time.perf_counter()
        for batch in batches:
            if check:
                self._check_batch(train, batch)
            loss = loss_of(batch)
            value = loss.item()
            if check and not math.isfinite(value):
                raise FloatingPointError(f"loss: got {value} for {self._batch_name()}, wanted a finite number")
            optimizer.zero_grad()
            loss.backward()
            if clipping:
                if clip_value is not None:
                    clip_grad_value_(params, clip_value)
                if clip_norm is not None:
                    norm = clip_grad_norm_(params, clip_norm)
                    if check and not math.isfinite(norm):
                        raise FloatingPointError(
                            f"gradients: got a norm of {norm} for {self._batch_name()}, wanted a finite one"
                        )
                    self._norm_sum += norm
            optimizer.step()
            if step_schedule is not None:
                step_schedule.step()
            self.loss = value
            self._loss_sum += value
            self.steps += 1
            self.step_in_epoch += 1
            if on_step or limited or showing:
                self.seconds = before + time.perf_counter() - started
                for call in on_step:
                    call(self)
                if limited and self.stop_reason is None:
                    self.stop_reason = rules.after_step(self.steps, self.seconds)
                bar.update(self.steps, value)
                if self.stop_reason is not None:
                    break
        self.seconds = before + time.perf_counter() - started
        if self.step_in_epoch == 0:
            raise DataError(
                f"train: got no batches in epoch {self.epoch + 1}, wanted at least one; a generator can be "
                "iterated only once: pass a list or a DataLoader"
            )

    def _end_epoch(self, validation: Any, rules: Stopping, restore_best: bool, bar: Progress) -> None:
        started = time.perf_counter()
        row = {"loss": self._loss_sum / self.step_in_epoch}
        if validation is not None:
            row["val_loss"] = self.evaluate(validation)
        row["lr"] = float(self.optimizer.param_groups[0]["lr"])
        if self.clip_norm is not None:
            row["grad_norm"] = self._norm_sum / self.step_in_epoch
        self.seconds += time.perf_counter() - started
        row["seconds"] = self.seconds - self._seconds_before
        self._seconds_before = self.seconds
        for key, number in row.items():
            self.history.setdefault(key, []).append(number)
        self.epoch += 1
        self.step_in_epoch = 0
        self._loss_sum = self._norm_sum = 0.0
        watched = self._watched()
        if self.best.update(watched, self.epoch, rules.min_delta) and restore_best:
            self._best_weights = state.weights(self)
        if self.schedule is not None:
            self.schedule.step(watched if self.schedule.needs_metric else None)
        bar.epoch(self.steps, self.epoch, row)
        self.stop_reason = self.stop_reason or rules.after_epoch(watched, self.best)
        self._call("on_epoch_end")

    def _watched(self) -> float:
        """The loss of the last epoch: of the validation, if there was one."""
        val_loss = self.history.get("val_loss", [])
        return val_loss[-1] if len(val_loss) == self.epoch else self.history["loss"][-1]

    def stop(self, reason: str = "stopped by a callback") -> None:
        """End :meth:`fit` after this update (from ``on_step_end``) or this epoch."""
        self.stop_reason = reason

    def evaluate(self, data: Iterable[Any]) -> float:
        """The mean loss over batches, in evaluation mode and without gradients.

        Parameters
        ----------
        data : iterable of batches, or TruncatedBPTT
            Each batch weighs the same; of a TruncatedBPTT each time step.

        Returns
        -------
        float
        """
        before = getattr(self.model, "training", True)
        self._mode(training=False)
        try:
            with config.no_grad():
                if isinstance(data, TruncatedBPTT):
                    if self.loss_fn is None:
                        raise ValueError(
                            "data: got TruncatedBPTT, wanted a trainer with a loss, not with a step function"
                        )
                    return data.evaluate(self.model, self.loss_fn, self._tensor())
                loss_of = self._loss_function(data)
                losses = [loss_of(batch).item() for batch in data]
        finally:
            self._mode(training=before)
        if not losses:
            raise DataError("validation: got no batches, wanted at least one")
        return sum(losses) / len(losses)

    # ---- batches

    def _batches(self, train: Iterable[Any]) -> Iterator[Any]:
        """The batches of this epoch that are still to come."""
        resumed, self._resumed = self._resumed, False
        if self.step_in_epoch == 0 and not resumed:
            return iter(train)
        if self._loader_state is not None and hasattr(train, "load_state_dict"):
            train.load_state_dict(self._loader_state)
            return iter(train)
        return islice(iter(train), self.step_in_epoch, None)

    def _position(self) -> Any:
        """Where the loader stands, if it can tell."""
        if self._loader is None:
            return self._loader_state
        return self._loader.state_dict() if hasattr(self._loader, "state_dict") else None

    def _loss_function(self, data: Any) -> Callable[[Any], Tensor]:
        if self.loss_fn is None:
            assert self.step_fn is not None
            return self.step_fn
        model, loss, tensor = self.model, self.loss_fn, self._tensor()
        if isinstance(data, TruncatedBPTT):
            return lambda window: data.loss(model, loss, window, tensor)
        return pair_loss(model, loss, tensor)

    def _tensor(self) -> Callable[[Any], Any]:
        return tensor_maker(self.optimizer.param_groups[0]["params"][0].dtype)

    def _check_batch(self, train: Any, batch: Any) -> None:
        if isinstance(train, TruncatedBPTT):
            batch = train.inputs[batch.first : batch.stop], train.targets[batch.first : batch.stop]
        check_finite(batch, self.step_fn is None, self._batch_name())

    def _batch_name(self) -> str:
        return f"batch {self.step_in_epoch} (from 0) of epoch {self.epoch + 1}"

    # ---- helpers

    def _mode(self, training: bool) -> None:
        if hasattr(self.model, "train"):
            self.model.train(training)

    def _call(self, event: str) -> None:
        for callback in self.callbacks:
            method = getattr(callback, event, None)
            if method is not None:
                method(self)
            elif event == "on_epoch_end" and not any(hasattr(callback, e) for e in EVENTS):
                callback(self)

    # ---- checkpoints

    def save(self, path: str | Path) -> None:
        """Write everything that :meth:`fit` needs to go on into one safetensors file.

        Model, optimiser, schedules, position of the loader, random generator, history and best weights;
        numbers are JSON in the file's metadata. The file appears at once or not at all. Call it between two
        updates: from a callback, or after :meth:`fit`.

        Parameters
        ----------
        path : path
        """
        write(path, state.collect(self, self._position()))

    def load(self, path: str | Path) -> None:
        """Go on where :meth:`save` was called; the next :meth:`fit` gives what it would have, bit for bit.

        Parameters
        ----------
        path : path
            The trainer, its model, optimiser and schedules must be made as they were then.

        Raises
        ------
        CheckpointError
            If the file is not a checkpoint of a trainer, or does not fit.
        """
        saved = read(path)
        state.restore(self, saved)
        self._loader_state, self._resumed = saved["loader"], True
