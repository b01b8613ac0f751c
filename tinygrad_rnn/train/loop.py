"""The epochs of a training: updates until the batches, or a limit, run out; then validation and history."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from ..core import Tensor
from ..errors import DataError, NonFiniteError
from ..optim import Optimizer, Schedule
from . import randomness, resume
from .batches import pair_loss, tensor_maker
from .checks import EVENTS
from .modes import Modes
from .position import Position
from .progress import Progress
from .signals import Interruption
from .state import TrainingState
from .stopping import Stopping
from .tbptt import TruncatedBPTT
from .updates import describe, updater


class Loop:
    """What :class:`Trainer` runs: everything that happens within :meth:`Trainer.fit`.

    Attributes
    ----------
    state : TrainingState
        Counters, history and best weights.
    position : Position
        The place in the batches.
    """

    model: Any
    optimizer: Optimizer
    loss_fn: Callable[..., Tensor] | None
    step_fn: Callable[[Any], Tensor] | None
    schedule: Schedule | None
    step_schedule: Schedule | None
    clip_norm: float | None
    clip_value: float | None
    nonfinite: str
    callbacks: list[Any]

    def __init__(self) -> None:
        self.state = TrainingState()
        self.position = Position()
        self.stop_reason: str | None = None
        self._modes = Modes(self.model)
        self._interruption = Interruption()  # while fitting, of the signals
        self._sources: dict[str, randomness.Source] = {}  # of the user's own
        self._between = True  # two updates: what a checkpoint may be taken of

    def evaluate(self, data: Iterable[Any]) -> float:
        """The mean loss over batches."""
        raise NotImplementedError

    def _run_epoch(self, train: Iterable[Any], rules: Stopping, bar: Progress) -> None:
        """Updates until the batches, or a limit, run out."""
        state, step_schedule, interruption = self.state, self.step_schedule, self._interruption
        if state.step_in_epoch == 0:
            self._call("on_epoch_start")
        self._between = False  # from here on, but for callbacks
        update = updater(self, self._loss_function(train))
        on_step = [c.on_step_end for c in self.callbacks if hasattr(c, "on_step_end")]
        limited = rules.max_steps is not None or rules.max_seconds is not None
        showing = bar.on
        before, started = state.seconds, time.perf_counter()
        for batch in self.position.batches(train, state.step_in_epoch):
            try:
                value = update(batch)
            except FloatingPointError as e:
                self._skip(train, batch, e)
            else:
                if step_schedule is not None:
                    step_schedule.step()
                state.loss = value
                state.loss_sum += value
                state.steps += 1
                state.step_in_epoch += 1
            if on_step or limited or showing or interruption.signal is not None:
                state.seconds = before + time.perf_counter() - started
                self._between = True
                for call in on_step:
                    call(self)
                self._look_for_signals()
                self._between = False
                if limited and self.stop_reason is None:
                    self.stop_reason = rules.after_step(state.steps, state.seconds)
                bar.update(state.steps, state.loss)
                if self.stop_reason is not None:
                    break
        state.seconds = before + time.perf_counter() - started
        if state.step_in_epoch == 0:
            raise DataError(
                f"train: got no batches in epoch {state.epoch + 1}, wanted at least one; a generator can be "
                "iterated only once: pass a list or a DataLoader"
            )
        self._between = True

    def _skip(self, train: Any, batch: Any, error: FloatingPointError) -> None:
        """Count a batch that brings no update; raise if that is not wanted."""
        if self.nonfinite == "ignore":
            raise error
        state = self.state
        where = f"batch {state.step_in_epoch} (from 0) of epoch {state.epoch + 1}"
        named = describe(self, train, batch, where, error)
        if self.nonfinite == "stop":
            raise named from (None if named is error else error)
        if isinstance(train, TruncatedBPTT):
            train.discard()
        self.optimizer.zero_grad()
        state.step_in_epoch += 1
        state.skipped += 1
        if state.skipped == 1:
            warnings.warn(f"skipped: {named}", RuntimeWarning, stacklevel=4)

    def _end_epoch(self, validation: Any, rules: Stopping, restore_best: bool, bar: Progress) -> None:
        state = self.state
        updates = state.step_in_epoch - state.skipped
        if not updates:
            raise NonFiniteError(f"train: all {state.skipped} batches of epoch {state.epoch + 1} were skipped")
        started = time.perf_counter()
        row = {"loss": state.loss_sum / updates}
        if validation is not None:
            row["val_loss"] = self._validate(validation)
        row["lr"] = float(self.optimizer.param_groups[0]["lr"])
        if self.clip_norm is not None:
            row["grad_norm"] = state.norm_sum / updates
        if self.nonfinite == "skip":
            row["skipped"] = state.skipped
        self._between = False
        state.seconds += time.perf_counter() - started
        row["seconds"] = state.seconds - state.seconds_before
        state.end_epoch(row)
        watched = state.watched()
        if state.best.update(watched, state.epoch, rules.min_delta) and restore_best:
            state.best_weights = resume.weights(self.model, self.optimizer)
        if self.schedule is not None:
            self.schedule.step(watched if self.schedule.needs_metric else None)
        self._between = True
        bar.epoch(state.steps, state.epoch, row)
        self.stop_reason = self.stop_reason or rules.after_epoch(watched, state.best)
        self._call("on_epoch_end")
        self._look_for_signals()

    def _validate(self, validation: Any) -> float:
        sources = {**randomness.shared(), **self._sources}
        drawn = randomness.states(sources)
        try:
            return self.evaluate(validation)
        except (KeyboardInterrupt, SystemExit):  # it begins again when this goes on from a checkpoint
            randomness.restore(sources, drawn)
            raise

    def _look_for_signals(self) -> None:
        """Between two updates: end if somebody asked for it."""
        if self._interruption.signal is not None:
            state = self.state
            where = f"update {state.steps} ({state.step_in_epoch} of epoch {state.epoch + 1})"
            raise self._interruption.exception(f"training was interrupted after {where}")

    def _loss_function(self, data: Any) -> Callable[[Any], Tensor]:
        if self.loss_fn is None:
            assert self.step_fn is not None
            return self.step_fn
        model, loss, tensor = self.model, self.loss_fn, self._tensor()
        if isinstance(data, TruncatedBPTT):
            return lambda window: data.loss(model, loss, window, tensor)
        return pair_loss(model, loss, tensor)

    def _tensor(self) -> Callable[[Any], Any]:
        return tensor_maker(resume.parameters(self.optimizer)[0].dtype)

    def _call(self, event: str) -> None:
        for callback in self.callbacks:
            method = getattr(callback, event, None)
            if method is not None:
                method(self)
            elif event == "on_epoch_end" and not any(hasattr(callback, e) for e in EVENTS):
                callback(self)
