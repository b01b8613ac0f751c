"""What the models of text share: text that is on every machine, or of the user's own, and writing it on."""

from __future__ import annotations

import argparse
import random
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tinygrad_rnn import nn
from tinygrad_rnn.data import Vocabulary, contiguous_batches
from tinygrad_rnn.errors import DataError
from tinygrad_rnn.train import TruncatedBPTT

from . import _command

NOT_OURS = {"site-packages", "test", "tests", "idle_test", "__pycache__"}
GENERATED = "_sysconfigdata"  # the settings of a build: long, and easier to compress than to predict


# ---- texts


def sources(packages: bool = False) -> list[Path]:
    """The modules at the top of Python's standard library that people wrote; with `packages`, those in packages too."""
    root = Path(sysconfig.get_path("stdlib"))
    paths = sorted(root.rglob("*.py") if packages else root.glob("*.py"))
    paths = [path for path in paths if not NOT_OURS & set(path.relative_to(root).parts)]
    paths = [path for path in paths if not path.name.startswith(GENERATED)]
    if len(paths) < 20:
        raise DataError(f"{root}: got {len(paths)} modules, wanted Python's standard library; pass --data")
    return paths


def files(paths: Sequence[Path], suffixes: Sequence[str]) -> list[Path]:
    """The files that `paths` name: files as they are, folders by the `suffixes` of what they hold."""
    found: list[Path] = []
    for path in paths:
        inside = sorted(p for p in path.rglob("*") if p.suffix in suffixes and p.is_file()) if path.is_dir() else [path]
        if not inside:
            raise DataError(f"{path}: holds no file that ends in {' or '.join(suffixes)}")
        found += inside
    return found


def split(
    texts: Sequence[str], held_out: float, seed: int, limit: int | None = None, whole: bool = False
) -> tuple[list[str], list[str]]:
    """Texts to train on, and texts held out, in an order that the seed gives.

    `held_out` is the share of the characters to hold out, `limit` bounds the characters in all. The last text
    of each part is cut to fit, unless all are to stay `whole`. Of a single text the end is held out.
    """
    total = sum(map(len, texts))
    total = total if limit is None else min(total, limit)
    wanted = round(held_out * total)
    if wanted < 1 or wanted >= total:
        raise DataError(f"got {len(texts)} texts of {total} characters, wanted enough to train on and to hold out")
    if len(texts) == 1:
        return [texts[0][: total - wanted]], [texts[0][total - wanted : total]]
    order = list(texts)
    random.Random(seed).shuffle(order)
    parts: tuple[list[str], list[str]] = ([], [])
    for part, room in ((parts[1], wanted), (parts[0], total - wanted)):
        while order and room > 0:
            text = order.pop()
            part.append(text if whole else text[:room])
            room -= len(part[-1])
    return parts


def streams(ids: np.ndarray, batch_size: int, steps: int) -> TruncatedBPTT:
    """A text as parallel streams; gradients go back through `steps` steps, the state goes on.

    There are `batch_size` streams, or fewer, so that an epoch has twenty updates if the text is long enough.
    """
    batch_size = max(1, min(batch_size, len(ids) // (20 * steps)))
    ((inputs, targets),) = contiguous_batches(ids, batch_size, len(ids))
    return TruncatedBPTT(inputs, targets, steps)


# ---- language models


class LanguageModel(nn.Module):
    """Ids of symbols (T, B), and the state before them, to logits of the next ones (T, B, symbols) and the state."""

    def __init__(self, symbols: int, embedding: int, hidden_size: int, cell: str):
        self.embedding = nn.Embedding(symbols, embedding)
        self.rnn = _command.layer(cell, embedding, hidden_size, batch_first=False)
        self.head = nn.Linear(hidden_size, symbols)

    def forward(self, ids, state=None):
        outputs, state = self.rnn(self.embedding(ids), state)
        return self.head(outputs), state


def create(vocabulary: Vocabulary, embedding: int, args: argparse.Namespace) -> tuple[LanguageModel, dict]:
    """A new language model with the --hidden-size and --cell of the run, and the settings that make it anew."""
    sizes = {"symbols": len(vocabulary), "embedding": embedding}
    settings = {**sizes, "hidden_size": args.hidden_size, "cell": args.cell}
    return LanguageModel(**settings), settings


def decoder(model: LanguageModel) -> nn.Decoder:
    """What writes on by itself."""
    return nn.Decoder(model.rnn, model.embedding, model.head)


def stepper(model: LanguageModel, never: Sequence[int] = ()) -> Callable:
    """What :func:`nn.beam_search` calls: one symbol of each row, and the logits of the next.

    Symbols in `never` are not written.
    """

    def step(ids, state):
        logits, state = model(ids[None], state)
        logits = logits.numpy()[0].copy()
        logits[:, list(never)] = -np.inf
        return logits, state

    return step


def load(args: argparse.Namespace, model: str) -> tuple[LanguageModel, Vocabulary]:
    """A trained language model and its vocabulary."""
    network, _ = _command.load(args, model, LanguageModel)
    return network, Vocabulary.load(args.out / "vocabulary.json")
