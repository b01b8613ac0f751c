"""The command line of every model: its options, training, going on with it, and using what it learnt.

A model's file ends with ``main = Command(...)``. ``main(["--epochs", "3"])`` trains: it calls the model's own
``train(run)`` and names the files that this wrote. ``main(["predict", ...])`` calls a function that uses the
saved weights.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import CheckpointError
from tinygrad_rnn.train import Ranks

from . import _options
from ._parser import PROG, Parser, above, at_least, count, folder, no_such, number
from ._run import Run
from ._weights import load

# what a model's file needs, here together
__all__ = [
    "Card",
    "Command",
    "Run",
    "Use",
    "above",
    "at_least",
    "count",
    "folder",
    "layer",
    "load",
    "number",
    "predict",
]
AddOptions = Callable[[argparse.ArgumentParser], None]
FORMS = {  # what goes in to what comes out, and an example
    "one to one": "a value to the next value",
    "one to many": "a style to a tune",
    "many to one": "a sequence to a class or a value",
    "many to many": "something for each step",
    "many to many, unequal": "a sequence to another of its own length",
}


class Use(NamedTuple):
    """Something to do with saved weights: ``function(args)``, its options, and a line about it."""

    function: Callable[[argparse.Namespace], Any]
    options: AddOptions
    about: str


class Card(NamedTuple):
    """What the gallery says about a model; scores are keys of its metrics."""

    form: str  # one of FORMS
    data: str
    metric: str
    score: str
    baseline: str
    baseline_score: str
    style: str  # of the scores, such as ".1%"
    picture: str  # a file that training writes
    seeds: int = 3  # of the report; more where the result hangs on the seed


class Command:
    """The command line of one model.

    Parameters
    ----------
    module, doc : str
        ``__name__`` and ``__doc__`` of its file.
    train : callable
        ``train(run)`` trains, draws and returns the metrics, a dict of numbers.
    epochs : int
    cell : str
        Default of --cell.
    card : Card
    options : callable, optional
        Adds the model's own options to a parser.
    uses : Use
        By the name of the sub-command.
    """

    def __init__(
        self,
        module: str,
        doc: str | None,
        train: Callable[[Run], dict],
        *,
        epochs: int,
        cell: str,
        card: Card,
        options: AddOptions | None = None,
        **uses: Use,
    ):
        self.name, self.doc = module.rpartition(".")[2], inspect.cleandoc(doc or "")
        self.train, self.options, self.uses, self.card = train, options, uses, card
        self.epochs, self.cell = epochs, cell

    def __call__(self, argv: list[str] | None = None) -> Any:
        """Train, or do what the first of the arguments says."""
        argv = list(argv or [])
        if argv and argv[0] in self.uses:
            use = self.uses[argv[0]]
            return use.function(self._use_parser(argv[0], use).parse_args(argv[1:]))
        if argv and not argv[0].startswith("-"):
            self._train_parser().error(no_such("use of this model", argv[0], self.uses))
        args = self._parse(argv)
        if not args.distributed:
            return self._train(Run(self.name, args))
        ranks = Ranks()
        try:
            if ranks.rank == 0:
                return self._train(Run(self.name, args, ranks))
            with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(None):  # the first one tells
                return self._train(Run(self.name, args, ranks, Path(folder)))
        except Exception:
            ranks.failed()
            raise

    def _train(self, run: Run) -> dict:
        run.ranks.by_first(lambda: _options.require_new(run.args))
        tr.seed(run.args.seed)
        metrics = self.train(run)
        run.close(metrics)
        return metrics

    def _parse(self, argv: list[str]) -> argparse.Namespace:
        """The options of a training; with --resume those of the run that goes on."""
        parser = self._train_parser()
        args = parser.parse_args(argv)
        if not args.resume:
            return args
        saved = _options.read(args.out, self.name, parser)
        parser.set_defaults(**saved)
        args = parser.parse_args(argv)
        for name, before in saved.items():
            now = _options.plain(getattr(args, name))
            if now != _options.plain(before) and name != "epochs":
                option = "--" + name.replace("_", "-")
                raise CheckpointError(f"{option}: got {now} with --resume, wanted {before} as the run in {args.out}")
        return args

    def _train_parser(self) -> argparse.ArgumentParser:
        lines = [f"  {PROG} {self.name} {name} --help: {use.about}" for name, use in self.uses.items()]
        epilog = "\n\n".join(["afterwards, with the weights that were saved:", "\n".join(lines)]) if lines else None
        parser = Parser(f"{PROG} {self.name}", self.doc, epilog)
        count(parser, "--epochs", self.epochs)
        count(parser, "--seed", 0, "of everything random", least=0)
        cells = nn.cell_names()
        text = f"one of {', '.join(cells)}; default: {self.cell}"
        parser.add_argument("--cell", choices=cells, default=self.cell, metavar="CELL", help=text)
        text = "learning rate at the beginning; default: what suits the model"
        parser.add_argument("--lr", type=above(0.0), metavar="X", help=text)
        self._add_out(parser)
        parser.add_argument("--resume", action="store_true", help="go on with the run in that folder")
        parser.add_argument("--force", action="store_true", help="write over what is in that folder")
        text = f"share each batch with the processes of: mpiexec -n N {PROG} {self.name} --distributed"
        parser.add_argument("--distributed", action="store_true", help=text)
        if self.options is not None:
            self.options(parser)
        return parser

    def _use_parser(self, name: str, use: Use) -> argparse.ArgumentParser:
        parser = Parser(f"{PROG} {self.name} {name}", inspect.cleandoc(use.function.__doc__ or use.about))
        self._add_out(parser)
        use.options(parser)
        return parser

    def _add_out(self, parser: argparse.ArgumentParser) -> None:
        text = f"the folder of the run; default: out/{self.name}"
        parser.add_argument("--out", type=Path, default=Path("out", self.name), metavar="FOLDER", help=text)


def layer(
    cell: str,
    input_size: int,
    hidden_size: int,
    *,
    batch_first: bool = True,
    bidirectional: bool = False,
    **options,
) -> nn.Module:
    """A layer of the cell that --cell names; both ways it puts out twice as many features."""
    kind = nn.cell_by_name(cell)
    cells = [kind(input_size, hidden_size, **options) for _ in range(1 + bidirectional)]
    return (nn.Bidirectional if bidirectional else nn.Recurrent)(*cells, batch_first=batch_first)


def predict(model: nn.Module, *inputs: np.ndarray) -> np.ndarray:
    """What the model puts out, without a graph."""
    with tr.no_grad():
        return model(*inputs).numpy()
