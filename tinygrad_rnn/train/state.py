"""The progress of a training: counters, history, best weights; and its form in a checkpoint."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import CheckpointError
from .history import History
from .stopping import Best

Weights = dict[str, np.ndarray]


@dataclass
class TrainingState:
    """Counters, history and best weights of a training.

    Attributes
    ----------
    epoch, steps : int
        Finished epochs, updates.
    steps_before : int
        Updates at the end of the last epoch.
    waiting : int
        Batches whose gradients wait for an update with others.
    step_in_epoch, skipped : int
        Batches of this epoch so far, and how many of them brought no update.
    seconds, seconds_before : float
        Of training in all, and at the end of the last epoch.
    loss : float
        Of the last batch.
    loss_sum, norm_sum : float
        Over the batches of this epoch that were finite, and over its updates.
    metric_sums : dict of float
        Of each metric, over the same batches as the losses.
    history : History
    best : Best
    best_weights : dict of arrays, optional
    last_weights : dict of arrays, optional
        Of the last update, while the model has the best ones instead.
    worked : dict of float
        By signature, what batches would have taken on the tape, see :class:`Tiers`.
    """

    epoch: int = 0
    steps: int = 0
    steps_before: int = 0
    waiting: int = 0
    step_in_epoch: int = 0
    skipped: int = 0
    seconds: float = 0.0
    seconds_before: float = 0.0
    loss: float = math.nan
    loss_sum: float = 0.0
    norm_sum: float = 0.0
    metric_sums: dict[str, float] = field(default_factory=dict)
    history: History = field(default_factory=History)
    best: Best = field(default_factory=Best)
    best_weights: Weights | None = None
    last_weights: Weights | None = None
    worked: dict[str, float] = field(default_factory=dict)

    def watched(self) -> float:
        """The loss of the last epoch: of the validation, if there was one."""
        val_loss = self.history.get("val_loss", [])
        return val_loss[-1] if len(val_loss) == self.epoch else self.history["loss"][-1]

    def end_epoch(self, row: Mapping[str, float]) -> None:
        """Append the numbers of an epoch to the history, and reset the counters of the epoch.

        A column that was not there in epochs before has NaN for them, so that each number stands at its epoch. Where
        validation begins or ends, the best loss is looked for anew: those of training and validation do not compare.
        """
        validated = len(self.history.get("val_loss", [])) == self.epoch
        if self.epoch and validated != ("val_loss" in row):
            self.best, self.best_weights = Best(), None
        for key, number in row.items():
            column = self.history.setdefault(key, [])
            column += [math.nan] * (self.epoch - len(column)) + [number]
        self.epoch += 1
        self.step_in_epoch = self.skipped = 0
        self.loss_sum = self.norm_sum = 0.0
        self.metric_sums = {}
        self.seconds_before, self.steps_before = self.seconds, self.steps

    def to_dict(self) -> dict[str, Any]:
        """The fields as numbers, lists, dicts and arrays."""
        out = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        out["history"] = {name: list(column) for name, column in self.history.items()}
        out["best"] = dataclasses.asdict(self.best)
        out["worked"], out["metric_sums"] = dict(self.worked), dict(self.metric_sums)
        return out

    @classmethod
    def from_dict(cls, saved: Any) -> TrainingState:
        """The inverse of :meth:`to_dict`; :func:`resume.restore` checks the weights against the model.

        Raises
        ------
        CheckpointError
            If `saved` holds something else.
        """
        values = fields("training", saved, cls)
        for name in ("epoch", "steps", "steps_before", "waiting", "step_in_epoch", "skipped"):
            number(f"training: {name}", values[name], whole=True)
        for name in ("seconds", "seconds_before", "loss", "loss_sum", "norm_sum"):
            values[name] = float(number(f"training: {name}", values[name]))
        best = fields("training: best", values["best"], Best)
        values["best"] = Best(
            float(number("training: best: loss", best["loss"])),
            number("training: best: epoch", best["epoch"], whole=True),
            number("training: best: bad_epochs", best["bad_epochs"], whole=True),
        )
        history = values["history"]
        if not isinstance(history, dict) or not all(isinstance(column, list) for column in history.values()):
            raise CheckpointError(f"training: history: got {type(history).__name__}, wanted a dict of lists")
        for name, column in history.items():
            for value in column:
                number(f"training: history: {name}", value)
            if len(column) > values["epoch"] or (name == "loss" and len(column) != values["epoch"]):
                raise CheckpointError(
                    f"training: history: {name}: got {len(column)} numbers, wanted one for each of the epochs"
                )
        values["history"] = History(history)
        for name, what in (("worked", "by signature"), ("metric_sums", "by metric")):
            numbers = values[name]
            if not isinstance(numbers, dict) or not all(isinstance(key, str) for key in numbers):
                raise CheckpointError(f"training: {name}: got {type(numbers).__name__}, wanted a dict {what}")
            values[name] = {key: float(number(f"training: {name}", value)) for key, value in numbers.items()}
        if values["epoch"] and "loss" not in history:
            raise CheckpointError("training: history: got no losses, wanted one for each epoch")
        return cls(**values)


def fields(what: str, saved: Any, kind: type) -> dict[str, Any]:
    """`saved` as a new dict with just the fields of a dataclass."""
    names = [f.name for f in dataclasses.fields(kind)]
    return entries(what, saved, names)


def entries(what: str, saved: Any, names: list[str]) -> dict[str, Any]:
    """`saved` as a new dict with just these keys."""
    if not isinstance(saved, dict):
        raise CheckpointError(f"{what}: got {type(saved).__name__}, wanted a dict")
    if set(saved) != set(names):
        differ = ", ".join(sorted(map(str, set(saved) ^ set(names))))
        raise CheckpointError(f"{what}: got other entries than those of a trainer: {differ}")
    return dict(saved)


def number(what: str, value: Any, whole: bool = False) -> Any:
    """`value`, checked to be a number; if `whole`, one from 0 on."""
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or (whole and value < 0):
        raise CheckpointError(f"{what}: got {value!r}, wanted {'a whole number from 0 on' if whole else 'a number'}")
    if isinstance(value, int) and abs(value) >= 2**1023:
        raise CheckpointError(f"{what}: got a number that is too large")
    return value


def check_weights(what: str, saved: Any, own: Weights) -> None:
    """Raise CheckpointError unless `saved` holds arrays of the names, shapes and dtypes of `own`."""
    if not isinstance(saved, dict) or not all(isinstance(array, np.ndarray) for array in saved.values()):
        raise CheckpointError(f"{what}: got {type(saved).__name__}, wanted the arrays of a model")
    if [*saved] == [*own] and all(name.startswith("parameter ") for name in own):  # of a function: no names
        shapes, wanted_shapes = ([a.shape for a in arrays.values()] for arrays in (saved, own))
        if shapes != wanted_shapes:
            raise CheckpointError(f"{what}: got parameters of shapes {shapes}, wanted {wanted_shapes}")
    problems = [f"no {name}" for name in own if name not in saved]
    for name, array in saved.items():
        if name not in own:
            problems.append(f"{name}, which is not here")
        elif array.shape != own[name].shape or array.dtype != own[name].dtype:
            problems.append(f"{name} {array.dtype}{array.shape}, wanted {own[name].dtype}{own[name].shape}")
    if problems:
        raise CheckpointError(f"{what}: got in the file: " + "; ".join(problems))
