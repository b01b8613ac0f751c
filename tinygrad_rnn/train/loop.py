"""The epoch loop of the trainer: updates up to a limit, then validation, history and callbacks."""

from __future__ import annotations

import functools
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sized
from typing import Any

from ..errors import DataError, NonFiniteError
from . import randomness, resume
from .accumulation import Accumulation
from .checks import EVENTS
from .evaluation import Evaluation
from .gradients import ByProgram, of_pairs, of_steps, of_windows, on_the_tape
from .many_batches import ManyBatches
from .measuring import Watch
from .modes import Modes
from .position import Position
from .program_updates import ProgramUpdates
from .progress import Progress
from .signals import Interruption, interruption
from .state import TrainingState
from .stopping import Stopping
from .tbptt import TruncatedBPTT
from .tiers import Tiered, Tiers
from .updates import Outcome, Update, applier, describe, outcomes, updater


class Loop(Evaluation):
    """The epoch loop of :class:`Trainer`: updates, validation, history, callbacks, signals."""

    progress: bool | None
    compile: str
    accumulate: int

    def __init__(self) -> None:
        self.state = TrainingState()
        self.position = Position()
        self.stop_reason: str | None = None
        self._accumulation = Accumulation()
        self._modes = Modes(self.model)
        self._interruption = Interruption()  # while fitting, the one that signals are noted in
        self._generators: dict[str, randomness.Generator] = {}  # of the model and its loss
        self._programs: ProgramUpdates | None = None
        self._parts: tuple = ()  # what its programs are of
        self._measuring: Watch | None = None
        self._many: ManyBatches | None = None  # while fitting, over the rows of the loader
        self._at_boundary = True  # between two updates, where a checkpoint may be taken
        self._bar = Progress(None, 0, False)

    def __getstate__(self) -> dict[str, Any]:
        own = {"_programs": None, "_parts": (), "_measuring": None, "_many": None, "_bar": Progress(None, 0, False)}
        return {**self.__dict__, **own}  # copies make their own programs

    def _fit(
        self, train: Iterable[Any], validation: Iterable[Any] | None, epochs: int | None, rules: Stopping, best: bool
    ) -> None:
        """Run epochs until a limit is reached; with `best`, end with the weights of the best one."""
        state = self.state
        length = len(train) if isinstance(train, Sized) else None
        total = None if length is None or epochs is None else -(-length // self.accumulate) * epochs
        if rules.max_steps is not None:
            total = min(total or rules.max_steps, rules.max_steps)
        bar = self._bar = Progress(total, state.steps, self.progress if self.ranks.rank == 0 else False)
        self.position.begin(train)
        self._generators = resume.own_generators(self)
        self._modes.train()
        self._accumulation.waiting = state.waiting
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
                if self._at_boundary and (self.ranks.size == 1 or self._interruption.signal is not None):
                    self._call("on_interrupt")
                else:
                    self.ranks.failed()
                raise
            except Exception:
                self.ranks.failed()
                raise
            finally:
                self._at_boundary, self._many = True, None
                self._interruption = Interruption()
                bar.close()
                self.position.leave()

    def _run_epoch(self, train: Iterable[Any], rules: Stopping, bar: Progress) -> None:
        """Updates until the batches, or a limit, run out."""
        state, interruption, accumulation = self.state, self._interruption, self._accumulation
        if state.step_in_epoch == 0:
            self._call("on_epoch_start")
        self._at_boundary = False  # from here on, except in callbacks
        on_step = any(hasattr(c, "on_step_end") for c in self.callbacks)
        limited = rules.max_steps is not None or rules.max_seconds is not None
        showing = bar.on
        before, started = state.seconds, time.perf_counter()
        for losses, norms, batch, error in self._outcomes(train, rules):
            steps = state.steps
            self._count(losses, norms)
            state.waiting = accumulation.waiting
            if error is not None:
                self._skip(train, batch, error)
            if on_step or limited or showing or interruption.signal is not None or self.ranks.size > 1:
                state.seconds = before + time.perf_counter() - started
                self._after_updates(rules, bar, state.steps > steps or error is not None)
                if self.stop_reason is not None:
                    break
        state.seconds = before + time.perf_counter() - started
        if state.step_in_epoch == 0:
            raise DataError(
                f"train: got no batches in epoch {state.epoch + 1}, wanted at least one; a generator can be "
                "iterated only once: pass a list or a DataLoader"
            )
        self._at_boundary = True

    def _count(self, losses: list[float], norms: Iterable[float | None]) -> None:
        """Count batches with these losses, and updates whose gradients had these norms."""
        state, total = self.state, self.state.loss_sum
        for value in losses:  # thousands in an epoch; one by one, as sum() adds otherwise in newer Pythons
            total += value
        if losses:
            state.loss, state.loss_sum = losses[-1], total
            state.step_in_epoch += len(losses)
        done = [norm for norm in norms if norm is not None]
        if self.step_schedule is not None:
            for norm in done:
                self.step_schedule.step()
                state.norm_sum += norm
                state.steps += 1
            return
        total = state.norm_sum
        for norm in done:
            total += norm
        state.norm_sum = total
        state.steps += len(done)

    def _after_updates(self, rules: Stopping, bar: Progress, call: bool) -> None:
        """What stands between two batches: callbacks, if asked for, signals and limits."""
        state = self.state
        self._at_boundary = True
        if call:
            for callback in self.callbacks:
                if hasattr(callback, "on_step_end"):
                    callback.on_step_end(self)
        self._check_signals()
        self._at_boundary = False
        if self.stop_reason is None:
            self.stop_reason = rules.after_step(state.steps, state.seconds)
        self.stop_reason = self.ranks.first(self.stop_reason)
        bar.update(state.steps, state.loss)

    def _update_with_rest(self, rules: Stopping, bar: Progress) -> None:
        """Update with the last batches of an epoch, if they are fewer than those of an update."""
        state, accumulation = self.state, self._accumulation
        if not accumulation.waiting:
            return
        started, params = time.perf_counter(), resume.parameters(self.optimizer)
        self._at_boundary = False
        where = f"the last {accumulation.waiting} batches of epoch {state.epoch + 1}"
        accumulation.take(params)
        try:
            norm = applier(self.optimizer, self.clip_norm, self.clip_value, self.nonfinite != "ignore")()
        except FloatingPointError as error:
            named = describe(self, None, None, where, error)
            if self.nonfinite != "skip":
                raise named from (None if named is error else error)
            warnings.warn(f"skipped: {named}", RuntimeWarning, stacklevel=4)
            self.optimizer.zero_grad()
        else:
            self._count([], [norm])
        state.waiting = 0
        state.seconds += time.perf_counter() - started
        self._after_updates(rules, bar, True)
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
        if not state.waiting:
            self.optimizer.zero_grad()
        state.step_in_epoch += 1
        state.skipped += 1
        if state.skipped == 1:
            warnings.warn(f"skipped: {named}", RuntimeWarning, stacklevel=5)

    def _end_epoch(self, validation: Any, rules: Stopping, restore_best: bool, bar: Progress) -> None:
        state = self.state
        self._update_with_rest(rules, bar)
        batches, updates = state.step_in_epoch - state.skipped, state.steps - state.steps_before
        if not updates:
            raise NonFiniteError(f"train: all {state.step_in_epoch} batches of epoch {state.epoch + 1} were skipped")
        started = time.perf_counter()
        row = {"loss": state.loss_sum / batches}
        row |= {name: total / batches for name, total in state.metric_sums.items()}
        if validation is not None:
            row |= {f"val_{name}": value for name, value in self._validate(validation).items()}
        row["lr"] = float(self.optimizer.param_groups[0]["lr"])
        if self.clip_norm is not None:
            row["grad_norm"] = state.norm_sum / updates
        if self.nonfinite == "skip":
            row["skipped"] = state.skipped
        self._at_boundary = False
        state.seconds += time.perf_counter() - started
        row["seconds"] = state.seconds - state.seconds_before
        row = self.ranks.agree(row)  # schedules and limits look at it
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
        self.stop_reason = self.ranks.first(self.stop_reason)
        self._check_signals()

    def _validate(self, validation: Any) -> dict[str, float]:
        generators = {**randomness.shared_generators(), **self._generators}
        drawn = randomness.states(generators)
        try:
            return self.measure(validation) if self.metrics else {"loss": self.evaluate(validation)}
        except (KeyboardInterrupt, SystemExit):  # a run that goes on from a checkpoint validates again, from here
            randomness.restore(generators, drawn)
            raise

    # ---- updates

    def _outcomes(self, train: Any, rules: Stopping) -> Iterator[Outcome]:
        """Update with the batches of an epoch, from where it stands; many in one native call if possible."""
        state, done = self.state, self.state.step_in_epoch
        self._accumulation.every = self.accumulate
        update, programs = self._update(train)
        if programs is None or not self._may_run_ahead() or not ManyBatches.fits(train):
            return outcomes(update, self.position.batches(train, done))
        most = sys.maxsize if rules.max_steps is None else rules.max_steps
        if self._many is None:
            self._many = ManyBatches(train, lambda: programs, update, self.step_schedule)
        batches = self.position.batches(train, done, self._many.source.begin)
        return self._many.epoch(batches, lambda: self._accumulation.batches(most - state.steps))

    def _may_run_ahead(self) -> bool:
        """Whether nothing in Python wants to run after every update."""
        eager = [c for c in self.callbacks if hasattr(c, "on_step_end") and getattr(c, "every_step", True)]
        foreseen = self.step_schedule is None or self.step_schedule.preview(0) is not None
        return foreseen and not eager and not self.metrics

    def _update(self, train: Any) -> tuple[Update, ProgramUpdates | None]:
        """What updates with a batch, and the part of it that does so by programs, if there is one."""
        watch = self.nonfinite != "ignore"
        metrics = self._watch() if self.metrics else None
        loss = None if metrics is None or self.loss_fn is None else metrics.noting(self.loss_fn)
        gradients = on_the_tape(self._loss_function(train, loss), self.optimizer, watch)
        tape = updater(self, self.ranks.gradients(gradients, self.optimizer, train), self._accumulation)
        update, programs = self._tiered(train, tape, watch, metrics)
        if metrics is not None:
            of_all = functools.partial(self.ranks.weighed, self.metrics, data=train)
            update = metrics.around(update, lambda: self.state.metric_sums, of_all)
        return update, programs

    def _watch(self) -> Watch:
        """What measures the updates, as long as the metrics are the same."""
        if self._measuring is None or self._measuring.functions != self.metrics:
            self._measuring = Watch(dict(self.metrics))
        return self._measuring

    def _tiered(
        self, train: Any, tape: Update, watch: bool, metrics: Watch | None
    ) -> tuple[Update, ProgramUpdates | None]:
        """Updates on the tape or by programs, as `compile` says, and those by programs."""
        ranks = self.ranks
        if self.compile == "never":
            return tape, None
        stream = train if isinstance(train, TruncatedBPTT) else None
        parts = self.model, self.loss_fn, self.step_fn, self.optimizer, stream, self.compile, watch, metrics
        if self._programs is None or any(a is not b for a, b in zip(parts, self._parts)):
            gradients = self._by_program(stream, watch, metrics)
            self._programs, self._parts = ProgramUpdates(gradients, None, None, self._accumulation), parts
        programs = self._programs
        programs.clip_norm, programs.clip_value = self.clip_norm, self.clip_value
        by_program: Update = programs
        if ranks.size > 1:  # gradients by a program, the sum of all between them and the update
            of_all = ranks.gradients(programs.gradients, self.optimizer, train)
            by_program = updater(self, of_all, self._accumulation)
        if self.compile == "auto":
            weights = sum(p.size for p in resume.parameters(self.optimizer))
            by_program = Tiered(tape, by_program, Tiers(weights, self.state.worked, stream))
        return by_program, None if ranks.size > 1 else programs

    def _by_program(self, stream: TruncatedBPTT | None, watch: bool, metrics: Watch | None) -> ByProgram:
        fallback = "error" if self.compile == "always" else "tape"
        optimizer, how = self.optimizer, (fallback, "Trainer", True)
        if self.loss_fn is None:
            assert self.step_fn is not None
            return of_steps(self.step_fn, optimizer, watch, *how)
        if stream is not None:
            return of_windows(stream, self.model, self.loss_fn, optimizer, watch, *how, metrics)
        return of_pairs(self.model, self.loss_fn, optimizer, watch, *how, metrics)

    def _call(self, event: str) -> None:
        for callback in self.callbacks:
            if self.ranks.rank and getattr(callback, "only_first", False):
                continue
            method = getattr(callback, event, None)
            if method is not None:
                method(self)
            elif event == "on_epoch_end" and not any(hasattr(callback, e) for e in EVENTS):
                callback(self)
