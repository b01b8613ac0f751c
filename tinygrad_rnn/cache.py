"""``python -m tinygrad_rnn.cache warm``: compile ahead what most programs need, for images and CI.

Compiled code goes to the folder that programs look in (``TINYGRAD_RNN_CACHE``, or the user's cache folder), for this
processor and these versions. What is there already is only loaded. Loops of cells of your own are compiled at their
first call, wherever that is.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import re
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import nn, optim
from .compiler.runtime.contents import Contents
from .config import no_grad
from .data import DataLoader
from .kernels.build import compile_times, disk_cache
from .train import TrainStep

OURS = re.compile(r"[\w.]+-[0-9a-f]{20}\.code|tinygrad_rnn_step_[0-9a-f]{20}\.py")
LAYERS = ("RNN", "LSTM", "GRU")
OPTIMIZERS = ("SGD", "Adam", "RMSprop", "Adagrad")
DTYPES = ("float32", "float64")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tinygrad_rnn.cache", description=inspect.cleandoc(__doc__ or ""))
    commands = parser.add_subparsers(dest="command", required=True)
    warm = commands.add_parser(
        "warm", help="compile layers, steppers, optimisers and training steps, and print how long each took"
    )
    warm.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES, metavar="DTYPE", help=", ".join(DTYPES))
    warm.add_argument("--layers", nargs="+", choices=LAYERS, default=LAYERS, metavar="LAYER", help=", ".join(LAYERS))
    args = parser.parse_args(argv)
    folder = disk_cache.directory()
    if folder is None:
        print("tinygrad_rnn.cache: no folder can be made; set TINYGRAD_RNN_CACHE to one", file=sys.stderr)
        return 1
    start, compiled = time.perf_counter(), 0
    for made in warmed(args.layers, args.dtypes):
        compiled += not made.loaded
        print(f"{made.name:<60} {'loaded' if made.loaded else 'compiled':>8} {made.seconds:6.2f} s", flush=True)
    print(f"{compiled} compiled in {time.perf_counter() - start:.1f} s, for {folder}")
    return 0


def folder() -> Path | None:
    """The folder of compiled code; None if there is no place where one can be."""
    return disk_cache.directory()


class Entry(NamedTuple):
    """A file of compiled code, or the text that it was compiled from; `modified` is in seconds since 1970."""

    name: str
    bytes: int
    modified: float


def entries() -> list[Entry]:
    """Files of ours in the folder of compiled code, newest first."""
    found = []
    for path in _files():
        with contextlib.suppress(OSError):  # another process may have removed it
            status = path.lstat()
            found.append(Entry(path.name, status.st_size, status.st_mtime))
    return sorted(found, key=lambda entry: (-entry.modified, entry.name))


def clear() -> tuple[int, int]:
    """Remove what :func:`entries` lists, and nothing else; returns how many files, and bytes."""
    count = size = 0
    for path in _files():
        with contextlib.suppress(OSError):
            one = path.lstat().st_size
            path.unlink()
            count, size = count + 1, size + one
    return count, size


def _files() -> Iterator[Path]:
    where = folder()
    for path in [] if where is None else where.iterdir():
        if OURS.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            yield path


def warmed(layers: tuple[str, ...] = LAYERS, dtypes: tuple[str, ...] = DTYPES) -> Iterator[compile_times.Made]:
    """Do one of each thing that needs compiled code, and tell what was compiled or loaded for it."""
    for dtype in dtypes:
        for name in layers:
            for use in (_train, _infer, _pad, _stream):
                compile_times.made.clear()
                use(getattr(nn, name)(3, 4, dtype=dtype), np.ones((2, 1, 3), dtype))
                yield from [*compile_times.made]
        for name in OPTIMIZERS:
            compile_times.made.clear()
            layer = nn.Linear(2, 2, dtype=dtype)
            layer(np.ones((1, 2), dtype)).sum().backward()
            getattr(optim, name)(layer.parameters(), lr=0.1).step()
            yield from [*compile_times.made]
            compile_times.made.clear()
            _train_natively(name, dtype)
            yield from [*compile_times.made]


def _train(layer: Any, x: np.ndarray) -> None:
    layer(x)[0].sum().backward()


def _infer(layer: Any, x: np.ndarray) -> None:
    with no_grad():
        layer(x)


def _pad(layer: Any, x: np.ndarray) -> None:
    layer(x, lengths=[1])[0].sum().backward()


def _train_natively(optimizer: str, dtype: str) -> None:
    """Take training steps, one by one and many at once, that look up, clip and update."""
    model = nn.Sequential(nn.Embedding(3, 2, dtype=dtype), nn.Linear(2, 3, dtype=dtype))
    ids = np.arange(12).reshape(2, 6) % 3
    updates = getattr(optim, optimizer)(model.parameters(), lr=0.1)
    loader = DataLoader((ids, ids), 2, batch_axis=1)
    TrainStep(model, updates, nn.cross_entropy, clip_norm=1.0, clip_value=1.0).run(loader, 6)
    layer, x = nn.Linear(2, 1, dtype=dtype), np.ones((6, 2), dtype)
    step = TrainStep(layer, optim.SGD(layer.parameters(), lr=0.1), nn.mse_loss)
    step.run(DataLoader((x, x[:, :1]), 2), 6)  # numbers as inputs
    Contents().function()  # what steps that come again and again compare


def _stream(layer: Any, x: np.ndarray) -> None:
    layer.eval().stepper(1)(x[0])


if __name__ == "__main__":
    warnings.simplefilter("error")  # nothing is to be kept in memory without a word
    raise SystemExit(main())
