"""One training of a model: its folder, going on with it, and what is written at its end."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tinygrad_rnn import nn
from tinygrad_rnn.storage.files import write_whole
from tinygrad_rnn.train import PrintEpochs, SaveCheckpoint, Trainer
from tinygrad_rnn.train.alone import ALONE, Alone

from . import _options, _weights
from ._parser import PROG


class Run:
    """One training: its options and its folder, which appears with the first file.

    Attributes
    ----------
    args : Namespace
        The options.
    files : list of Path
        What was written, to be named at the end.
    seconds : float
        Of training.
    losses : dict of lists
        Of every epoch, by the name of the training's checkpoint.
    ranks : Alone
        The processes that share the training.
    """

    def __init__(self, model: str, args: argparse.Namespace, ranks: Alone = ALONE, out: Path | None = None):
        self.model, self.args, self.ranks = model, args, ranks
        self._out = out or args.out  # where this process writes
        self.files: list[Path] = []
        self.seconds = 0.0
        self.losses: dict[str, list[float]] = {}

    def path(self, name: str) -> Path:
        """The path of a file that is about to be written; it is named at the end."""
        path = self._hidden(name)
        if path not in self.files:
            self.files.append(path)
        return path

    def _hidden(self, name: str) -> Path:
        self._out.mkdir(parents=True, exist_ok=True)
        return self._out / name

    def fit(
        self, trainer: Trainer, train, validation=None, name: str = "checkpoint", quiet: bool = False, **limits
    ) -> dict:
        """``trainer.fit`` for --epochs epochs, from the last checkpoint with --resume; returns the history.

        `name` is that of the checkpoint; a model with several trainings needs several. `quiet` prints nothing.
        """
        say = (lambda text: None) if quiet else print
        checkpoint = self.args.out / f"{name}.safetensors"
        trainer.ranks = self.ranks  # each of which takes its own random generators of a checkpoint
        if self.args.lr is not None:
            set_rate(trainer, self.args.lr)  # a checkpoint brings its own
        if self.args.resume:
            if checkpoint.exists():
                trainer.load(checkpoint)
                say(f"going on after epoch {trainer.epoch}, update {trainer.steps}")
            else:
                say(f"there is no checkpoint {checkpoint} yet: this begins at update 0")
        elif not self.losses:  # the first training of a new run: nothing of an older one is taken up later
            self.ranks.by_first(self._begin)
        saver = SaveCheckpoint(checkpoint)
        trainer.callbacks += [saver, *([] if quiet else [PrintEpochs()])]
        before = trainer.seconds
        try:
            with warnings.catch_warnings():  # that a run which goes on was at its end is no news here
                warnings.filterwarnings("ignore", "fit: nothing to do", UserWarning)
                history = trainer.fit(train, validation, self.args.epochs, **limits)
        except (KeyboardInterrupt, SystemExit) as stop:
            raise self._interrupted(trainer, saver, stop) from None
        earlier = f", {before:.1f} s of them before" if before else ""
        epochs = "1 epoch" if trainer.epoch == 1 else f"{trainer.epoch} epochs"
        say(f"trained for {epochs}, {trainer.seconds:.1f} s{earlier}")
        self.seconds += trainer.seconds
        self.losses[name] = history["loss"]
        return history

    def _begin(self) -> None:
        """Remove the checkpoints of an older run, and keep the options of this one."""
        self.args.out.mkdir(parents=True, exist_ok=True)
        for old in self.args.out.glob("checkpoint*.safetensors"):
            old.unlink()
        _options.write(self.args, self.model)

    def _interrupted(self, trainer: Trainer, saver: SaveCheckpoint, stop: BaseException) -> SystemExit:
        """What ends the process after Ctrl-C or SIGTERM, having said how to go on."""
        text = f"\ninterrupted after {trainer.seconds:.0f} s of training, at update {trainer.steps}"
        if saver.saved is None:
            text += ", before anything was saved"
        else:
            again = f"{PROG} {self.model} --out {self.args.out} --resume"
            text += f"; update {saver.saved} is saved, go on with: {again}"
        if isinstance(stop, KeyboardInterrupt):
            return SystemExit(text)
        print(text, file=sys.stderr)
        return SystemExit(stop.code if isinstance(stop, SystemExit) else 1)

    def save(self, model: nn.Module, settings: Mapping[str, Any], name: str = "weights", **facts) -> Path:
        """Write the weights, with the settings that make the model anew and other facts that using it needs."""
        path = self.path(f"{name}.safetensors")
        _weights.save(path, model, self.model, settings, facts)
        return path

    def picture(self, figure: Figure, name: str) -> Path:
        """Write a figure as PNG."""
        path = self.path(name)
        figure.savefig(path, dpi=110)
        return path

    def close(self, metrics: dict) -> None:
        """Write the metrics, and say what was written."""
        text = json.dumps(
            {**metrics, "seconds": self.seconds, "losses": self.losses}, indent=1, default=_weights.listed
        )
        write_whole(self.path("metrics.json"), f"{text}\n".encode())
        if self.losses:
            name = next(iter(self.losses)) if len(self.losses) == 1 else "checkpoint*"
            print(f"kept in {self.args.out} for --resume: {name}.safetensors, options.json")
        print("wrote:")
        for path in self.files:
            print(f"  {path}")


def set_rate(trainer: Trainer, lr: float) -> None:
    """Let a trainer that has not begun begin at another learning rate; schedules go on from there."""
    for group in trainer.optimizer.param_groups:
        initial = group.get("initial_lr", group["lr"])
        group["lr"] *= lr / initial
        group["initial_lr"] = lr
