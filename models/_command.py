"""The command line of every model: its options, the folder of a run, going on with it, and using what it learnt.

A model's file ends with ``main = Command(...)``. ``main(["--epochs", "3"])`` trains: it calls the model's own
``train(run)`` and names the files that this wrote. ``main(["predict", ...])`` calls a function that uses the
saved weights.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import inspect
import json
import math
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from matplotlib.figure import Figure
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.errors import CheckpointError, TinygradError
from tinygrad_rnn.storage.files import write_whole
from tinygrad_rnn.train import PrintEpochs, Ranks, SaveCheckpoint, Trainer
from tinygrad_rnn.train.alone import ALONE, Alone

from . import _options
from ._parser import PROG, Parser, no_such

KEY = "tinygrad_rnn.models"  # in the metadata of weights
HASH = "tinygrad_rnn.sha256"  # there too, of that and of the weights
# what safetensors, NumPy, JSON and constructors make of a damaged file
UNREADABLE = (
    *(SafetensorError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
    *(RecursionError, MemoryError, ImportError),
)
AnyModule = TypeVar("AnyModule", bound=nn.Module)
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
        text = json.dumps({"model": self.model, "settings": settings, "facts": facts}, default=listed)
        arrays = {key: np.ascontiguousarray(array) for key, array in model.state_dict().items()}
        write_whole(path, save(arrays, sealed(text, arrays)))
        return path

    def picture(self, figure: Figure, name: str) -> Path:
        """Write a figure as PNG."""
        path = self.path(name)
        figure.savefig(path, dpi=110)
        return path

    def close(self, metrics: dict) -> None:
        """Write the metrics, and say what was written."""
        text = json.dumps({**metrics, "seconds": self.seconds, "losses": self.losses}, indent=1, default=listed)
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


# ---- files


def load(args: argparse.Namespace, model: str, kind: Callable[..., AnyModule], name: str = "weights"):
    """A trained model, made by ``kind(**settings)``, in evaluation mode, and the facts saved with it.

    Raises
    ------
    FileNotFoundError
        If there are no weights.
    CheckpointError
        Naming the file, if it holds something else than the weights of this model.
    """
    path = args.out / f"{name}.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there are no weights; train first: {PROG} {model} --out {args.out}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            about = json.loads(metadata.get(KEY, "{}"))
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except UNREADABLE as error:
        raise CheckpointError(f"{path}: cannot be read as weights: {error}") from None
    about = about if isinstance(about, dict) else {}
    if about.get("model") != model:
        raise CheckpointError(f"{path}: got weights of {about.get('model', 'no model')}, wanted those of {model}")
    if metadata != sealed(metadata[KEY], arrays):
        raise CheckpointError(f"{path}: got damaged weights, or those of another version: the hash differs")
    settings, facts = about.get("settings"), about.get("facts")
    if not isinstance(settings, dict) or not isinstance(facts, dict):
        raise CheckpointError(f"{path}: got weights without settings and facts, wanted what {model} writes")
    entries = sum(array.size for array in arrays.values())
    for key, value in settings.items():
        if isinstance(value, int) and value > entries:  # it would be made in vain, and may not fit the memory
            raise CheckpointError(f"{path}: got {key} = {value} for {entries} weights, wanted what {model} writes")
    try:
        module = kind(**settings)
        module.load_state_dict(arrays)
    except (*UNREADABLE, TinygradError) as error:
        raise CheckpointError(f"{path}: got weights that do not fit their settings: {error}") from None
    module.eval()
    return module, Facts(path, facts)


def sealed(text: str, arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The metadata of weights: what is said of them, and a hash by which damage is seen."""
    digest = hashlib.sha256(text.encode(errors="surrogatepass"))
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode(errors="surrogatepass"))
        digest.update(arrays[name].tobytes())
    return {KEY: text, HASH: digest.hexdigest()}


class Facts(dict):
    """What is saved with weights; what is missing is told with the name of the file."""

    def __init__(self, path: Path, facts: Mapping[str, Any]):
        super().__init__(facts)
        self.path = path

    def __missing__(self, key: str) -> Any:
        raise CheckpointError(f"{self.path}: got no {key!r} with the weights, wanted what the training writes")


def listed(value):
    """Arrays and NumPy numbers for JSON."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"got {type(value).__name__}, wanted what JSON can hold")


# ---- options


def at_least(least: int) -> Callable[[str], int]:
    """The type of an option that is an integer of at least `least`."""

    def integer(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"got {text!r}, wanted an integer of at least {least}")
        return number

    return integer


def above(least: float) -> Callable[[str], float]:
    """The type of an option that is a number above `least`."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least < value < math.inf:
            raise argparse.ArgumentTypeError(f"got {text!r}, wanted a number above {least:g}")
        return value

    return number


def folder(path: Path, what: str) -> Path:
    """A folder of the user's; an error if there is none."""
    if not path.is_dir():
        found = "a file" if path.exists() else "no such folder"
        raise NotADirectoryError(f"{path}: got {found}, wanted a folder of {what}")
    return path


def count(parser: argparse.ArgumentParser, name: str, default: int | None, what: str = "", least: int = 1) -> None:
    """Add an option that is an integer of at least `least`."""
    text = "; ".join([what] * bool(what) + [f"default: {default}"] * (default is not None))
    parser.add_argument(name, type=at_least(least), default=default, metavar="N", help=text)


def number(parser: argparse.ArgumentParser, name: str, default: float, what: str = "", least: float = 0.0) -> None:
    """Add an option that is a number above `least`."""
    text = f"{what}; default: {default:g}" if what else f"default: {default:g}"
    parser.add_argument(name, type=above(least), default=default, metavar="X", help=text)


# ---- models


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
