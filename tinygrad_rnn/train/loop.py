"""The epoch loop of the trainer: updates up to a limit, then validation, history and callbacks."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Sized
from typing import Any

from ..core import Tensor
from ..errors import DataError, NonFiniteError
from . import randomness, resume
from .batches import pair_loss, tensor_maker
from .checks import EVENTS
from .gradients import ByProgram, GradientsOf, of_pairs, of_steps, of_windows, on_the_tape
from .modes import Modes
from .parts import Parts
from .position import Position
from .progress import Progress
from .signals import Interruption, interruption
from .state import TrainingState
from .stopping import Stopping
from .tbptt import TruncatedBPTT
from .updates import describe, updater


class Loop(Parts):
    """The epoch loop of :class:`Trainer`: updates, validation, history, callbacks, signals."""

    progress: bool | None
    compile: str

    def __init__(self) -> None:
        self.state = TrainingState()
        self.position = Position()
        self.stop_reason: str | None = None
        self._modes = Modes(self.model)
        self._interruption = Interruption()  # while fitting, the one that signals are noted in
        self._generators: dict[str, randomness.Generator] = {}  # of the model and its loss
        self._by_program: ByProgram | None = None
        self._stream: TruncatedBPTT | None = None  # that its programs are of
        self._at_boundary = True  # between two updates, where a checkpoint may be taken

    def evaluate(self, data: Iterable[Any]) -> float:
        """The mean loss over batches."""
        raise NotImplementedError

    def _fit(
        self, train: Iterable[Any], validation: Iterable[Any] | None, epochs: int | None, rules: Stopping, best: bool
    ) -> None:
        """Run epochs until a limit is reached; with `best`, end with the weights of the best one."""
        state = self.state
        length = len(train) if isinstance(train, Sized) else None
        total = None if length is None or epochs is None else length * epochs
        if rules.max_steps is not None:
            total = min(total or rules.max_steps, rules.max_steps)
        bar = Progress(total, state.steps, self.progress)
        self.position.begin(train)
        self._generators = resume.own_generators(self)
        self._modes.train()
        with interruption() as self._interruption:
            try:
                if self.stop_reason is None and (epochs is None or state.epoch < epochs):
                    resume.load_last(self.model, self.optimizer, state)
                self._call("on_fit_start")
                while self.stop_reason is None and (epochs is None or state.epoch < epochs):
                    if state.step_in_epoch == 0 or state.step_in_epoch != length:
                        self._run_epoch(train, rules, bar)
                    if self.stop_reason is None or state.step_in_epoch == length:
                        self._end_epoch(validation, rules, best, bar)
                if best and state.last_weights is None:
                    resume.load_best(self.model, self.optimizer, state)
                self._call("on_fit_end")
                self._check_signals()
            except (KeyboardInterrupt, SystemExit):
                if self._at_boundary:
                    self._call("on_interrupt")
                raise
            finally:
                self._at_boundary = True
                self._interruption = Interruption()
                bar.close()
                self.position.leave()

    def _run_epoch(self, train: Iterable[Any], rules: Stopping, bar: Progress) -> None:
        """Updates until the batches, or a limit, run out."""
        state, step_schedule, interruption = self.state, self.step_schedule, self._interruption
        if state.step_in_epoch == 0:
            self._call("on_epoch_start")
        self._at_boundary = False  # from here on, except in callbacks
        update = updater(self, self._gradients_of(train))
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
                self._at_boundary = True
                for call in on_step:
                    call(self)
                self._check_signals()
                self._at_boundary = False
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
        self._at_boundary = True

    def _skip(self, train: Any, batch: Any, error: FloatingPointError) -> None:
        """Skip a batch whose loss or gradients are not finite; raise the error that names it if not asked to."""
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
            warnings.warn(f"skipped: {named}", RuntimeWarning, stacklevel=5)

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
        self._at_boundary = False
        state.seconds += time.perf_counter() - started
        row["seconds"] = state.seconds - state.seconds_before
        state.end_epoch(row)
        watched = state.watched()
        if state.best.update(watched, state.epoch, rules.min_delta) and restore_best:
            state.best_weights = resume.weights(self.model, self.optimizer)
        if self.schedule is not None:
            self.schedule.step(watched if self.schedule.needs_metric else None)
        self._at_boundary = True
        bar.epoch(state.steps, state.epoch, row)
        self.stop_reason = self.stop_reason or rules.after_epoch(watched, state.best)
        self._call("on_epoch_end")
        self._check_signals()

    def _validate(self, validation: Any) -> float:
        generators = {**randomness.shared_generators(), **self._generators}
        drawn = randomness.states(generators)
        try:
            return self.evaluate(validation)
        except (KeyboardInterrupt, SystemExit):  # a run that goes on from a checkpoint validates again, from here
            randomness.restore(generators, drawn)
            raise

    def _check_signals(self) -> None:
        """Raise what a signal asks for, between two updates."""
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

    def _gradients_of(self, data: Any) -> GradientsOf:
        """What computes the losses and gradients of batches."""
        watch = self.nonfinite != "ignore"
        if self.compile != "always":
            return on_the_tape(self._loss_function(data), self.optimizer, watch)
        stream = data if isinstance(data, TruncatedBPTT) else None
        if self._by_program is None or self._stream is not stream:
            self._by_program, self._stream = self._programs(stream, watch), stream
        return self._by_program

    def _programs(self, stream: TruncatedBPTT | None, watch: bool) -> ByProgram:
        optimizer, how = self.optimizer, ("error", "Trainer", True)
        if self.loss_fn is None:
            assert self.step_fn is not None
            return of_steps(self.step_fn, optimizer, watch, *how)
        if stream is not None:
            return of_windows(stream, self.model, self.loss_fn, optimizer, watch, *how)
        return of_pairs(self.model, self.loss_fn, optimizer, watch, *how)

    def _tensor(self) -> Callable[[Any], Any]:
        return tensor_maker(resume.parameters(self.optimizer)[0].dtype)

    def _call(self, event: str) -> None:
        for callback in self.callbacks:
            method = getattr(callback, event, None)
            if method is not None:
                method(self)
            elif event == "on_epoch_end" and not any(hasattr(callback, e) for e in EVENTS):
                callback(self)
